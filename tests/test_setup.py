"""What an adapter has forgotten is one line, and no fault; what is right in its own way passes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import parity
from parity import cli
from tests.subjects import course


class InOut:
    """Weights [in, out]."""

    def __init__(self, n_in: int, n_out: int) -> None:
        self.w, self.b = torch.zeros(n_in, n_out), torch.zeros(n_out)
        self.dw, self.db = torch.zeros(n_in, n_out), torch.zeros(n_out)

    def forward(self, x: Tensor) -> Tensor:
        self.x = x
        return x @ self.w + self.b

    def backward(self, dy: Tensor) -> Tensor:
        self.dw += self.x.T @ dy
        self.db += dy.sum(0)
        return dy @ self.w.T

    def param(self) -> list[tuple[Tensor, Tensor]]:
        return [(self.w, self.dw), (self.b, self.db)]


class TakesMore(course.Linear):
    def forward(self, x: Tensor, params: Any) -> Tensor:  # type: ignore[override]
        return super().forward(x)


class BackwardTakesMore(course.Linear):
    def backward(self, dy: Tensor, cache: Any) -> Tensor:  # type: ignore[override]
        return super().backward(dy)


class Predicts:
    def predict(self, x: Tensor) -> Tensor:
        return x.tanh()


@pytest.mark.parametrize(
    ("layers", "told"),
    [
        ({nn.Linear: TakesMore}, "is called as layer.forward(x), and it takes (x, params): "
         "forward=lambda layer, x: …"),
        ({nn.Linear: BackwardTakesMore}, "layer.backward(dy), and it takes (dy, cache): backward="
         "lambda layer, dy: …"),
        ({nn.Tanh: Predicts}, "layer.forward(x), and it has no forward, and is not callable"),
    ],
)  # fmt: skip
def test_a_layer_that_takes_other_arguments_is_one_line(layers: Any, told: str) -> None:
    with pytest.raises(parity.AdapterError, match="SETUP: its") as raised:
        parity.check(parity.Subject(layers))
    assert told in str(raised.value)


class CallsItselfWrongly(course.Tanh):
    def activate(self, x: Tensor, slope: float) -> Tensor:
        return x.tanh() * slope

    def forward(self, x: Tensor) -> Tensor:
        return self.activate(x)  # type: ignore[call-arg]


def test_a_call_within_the_framework_that_does_not_fit_is_a_fault() -> None:
    report = parity.check(parity.Subject({nn.Tanh: CallsItselfWrongly}), quick=True)
    assert "missing 1 required positional argument: 'slope' (test_setup.py:" in str(
        report.findings[0]
    )


class FeaturesFirst(course.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.T).T

    def backward(self, dy: Tensor) -> Tensor:
        return super().backward(dy.T).T


class OneByOne(course.Linear):
    """Takes a vector."""

    def forward(self, x: Tensor) -> Tensor:
        assert x.dim() == 1
        return super().forward(x[None])[0]

    def backward(self, dy: Tensor) -> Tensor:
        return super().backward(dy[None])[0]


class Flat(course.Linear):
    def param(self) -> Any:
        return [self.w, self.b, self.dw, self.db]


class Activated(course.Linear):
    """Takes what torch's has not."""

    def __init__(self, n_in: int, n_out: int, activation: str) -> None:
        super().__init__(n_in, n_out)


class Unlisted:
    """Has its parameters under names of its own."""

    def __init__(self, n_in: int, n_out: int) -> None:
        self.kernel, self.offset = torch.zeros(n_in, n_out), torch.zeros(1, n_out)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.kernel + self.offset

    def backward(self, dy: Tensor) -> Tensor:
        return dy @ self.kernel.T


class ToldOfItsModel(course.SGD):
    def step(self, model: Any) -> None:  # type: ignore[override]
        super().step()


class Updates:
    """Its step has another name."""

    def __init__(self, params: Any, lr: float) -> None:
        self.params, self.lr = params, lr

    def update(self) -> None:
        for p, g in self.params:
            p -= self.lr * g


class OneHot:
    """A cross-entropy of targets in a row for each sample."""

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        assert x.shape == t.shape
        self.p, self.t = x.softmax(1), t
        return -(t * x.log_softmax(1)).sum(1).mean()

    def backward(self) -> Tensor:
        return (self.p * self.t.sum(1, keepdim=True) - self.t) / len(self.p)


class OneHotOfTwo(OneHot):
    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        assert x.shape[1] == 2
        return super().forward(x, t)


class TargetFirst(course.LossMSE):
    def forward(self, target: Tensor, prediction: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(prediction, target)


class Bce:
    """Minus the mean log-probability, of a target and a probability."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        self.t, self.p = a, b
        return -(a * b.log() + (1 - a) * (1 - b).log()).mean()

    def backward(self) -> Tensor:
        return (self.p - self.t) / (self.p * (1 - self.p)) / self.p.numel()


class WrongSign(course.LossMSE):
    def backward(self) -> Tensor:
        return -super().backward()


@pytest.mark.parametrize(
    ("layers", "says"),
    [
        ({nn.Linear: InOut}, 'weights [in, out]: weight="in_out"'),
        ({nn.Linear: FeaturesFirst}, 'features first: batch="columns"'),
        ({nn.Linear: OneByOne}, 'one sample at a time: batch="vector"'),
        ({nn.Linear: Flat}, "say 'pairs', 'flat', 'lists', 'objects'"),
        ({nn.MSELoss: TargetFirst}, "loss_forward=lambda loss, p, t: loss.forward(t, p)"),
        ({nn.BCELoss: Bce}, "loss_forward=lambda loss, p, t: loss.forward(t, p)"),
        (
            {nn.Linear: Activated},
            "takes (n_in, n_out, activation), and not (in_features, out_features)",
        ),
        (
            {nn.Linear: course.Linear, torch.optim.SGD: ToldOfItsModel},
            "its step() takes (model): step=lambda optimizer: …",
        ),
        (
            {nn.Linear: course.Linear, torch.optim.SGD: Updates},
            "its step is update(): step=lambda optimizer: optimizer.update()",
        ),
        ({nn.Linear: Unlisted}, "parameters=lambda layer: [(layer.kernel, …), (layer.offset, …)]"),
        ({nn.CrossEntropyLoss: OneHot}, 'one-hot targets: targets=("one_hot",)'),
        ({nn.CrossEntropyLoss: OneHotOfTwo}, "2 columns: outputs={nn.CrossEntropyLoss: 2}"),
    ],
)
def test_a_setting_that_is_missing_is_named(layers: dict[Any, Any], says: str) -> None:
    with pytest.raises(parity.AdapterError, match="SETUP: ") as raised:
        parity.check(parity.Subject(layers, name="mine"))
    assert says in str(raised.value)


def test_with_the_setting_it_passes() -> None:
    turned: Any = lambda loss, p, t: loss.forward(t, p)  # noqa: E731 - as an adapter has it
    for layers, settings in (
        ({nn.Linear: InOut}, {"weight": "in_out"}),
        ({nn.Linear: FeaturesFirst}, {"batch": "columns"}),
        ({nn.MSELoss: TargetFirst}, {"loss_forward": turned}),
        ({nn.CrossEntropyLoss: OneHot}, {"targets": ("one_hot",)}),
        (
            {nn.CrossEntropyLoss: OneHotOfTwo},
            {"targets": ("one_hot",), "outputs": {nn.CrossEntropyLoss: 2}},
        ),
        (
            {nn.Linear: course.Linear, torch.optim.SGD: Updates},
            {"step": lambda optimizer: optimizer.update()},
        ),
    ):
        subject = parity.Subject(layers, **settings)
        assert parity.check(subject, only="float64").passed


def test_a_fault_is_no_setting() -> None:
    (fault,) = parity.check(parity.Subject({nn.MSELoss: WrongSign}), only="MSE*gradient").findings
    assert str(fault) == "MSELoss gradient has the wrong sign"


def test_the_command_and_the_plugin_say_it_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "adapter.py"
    path.write_text(
        "from torch import nn\nimport parity\nfrom tests.test_setup import InOut\n"
        "subject = parity.Subject({nn.Linear: InOut})\n"
    )
    assert cli.main(["check", str(path)]) == cli.COULD_NOT_RUN
    assert 'SETUP: its Linear has weights [in, out]: weight="in_out"' in capsys.readouterr().err
    with pytest.raises(parity.AdapterError, match="SETUP"):
        parity.parametrize(str(path))


# ---- right, in its own way ----

PARTS: dict[Any, Any] = {
    nn.Linear: course.Linear, nn.Tanh: course.Tanh, nn.MSELoss: course.LossMSE,
    nn.Sequential: course.Sequential, torch.optim.SGD: course.SGD,
}  # fmt: skip


class Silent(course.Sequential):
    """Its backward returns nothing."""

    def backward(self, dy: Tensor) -> None:  # type: ignore[override]
        super().backward(dy)


class WithCache(course.Tanh):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x), "a cache"


class LeavesIt(course.Tanh):
    def forward(self, x: Tensor) -> None:  # type: ignore[override]
        self.output = super().forward(x)


class Unpacking(course.Sequential):
    """Of layers that return a pair, or leave what they make."""

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = _of(layer, x)
        return x


def _of(layer: Any, x: Tensor) -> Any:
    y = layer.forward(x)
    return layer.output if y is None else y[0] if isinstance(y, tuple) else y


@pytest.mark.parametrize(
    ("parts", "settings"),
    [
        ({nn.Sequential: Silent}, {}),
        (
            {
                nn.Sequential: Silent,
                torch.optim.SGD: lambda net, lr: course.SGD(net.param(), lr),
            },
            {"optimizer": "model"},
        ),
        ({nn.Sequential: Unpacking, nn.Tanh: WithCache}, {"forward": _of}),
        ({nn.Sequential: Unpacking, nn.Tanh: LeavesIt}, {"forward": _of}),
    ],
    ids=["returns nothing", "over the model", "pairs", "leaves its output"],
)
def test_a_right_container_passes(parts: dict[Any, Any], settings: dict[str, Any]) -> None:
    report = parity.check(parity.Subject(PARTS | parts, **settings), only=("network", "SGD"))
    assert report.passed, report.findings
    assert {"network", "SGD"} <= {one.cls for one in report.outcomes}


class Flagged(course.Dropout):
    """Its mode is a flag, which hides the method."""

    def __init__(self, p: float) -> None:
        super().__init__(p)
        self.eval = False  # type: ignore[assignment,method-assign]

    def forward(self, x: Tensor) -> Tensor:
        self.training = self.eval is False  # type: ignore[comparison-overlap]
        return super().forward(x)


class TrainsAlone(course.Dropout):
    def backward(self, dy: Tensor) -> Tensor:
        assert self.training
        return super().backward(dy)


class AskedFor(course.Linear):
    """Its gradients are beside its parameters, and come of a method that needs a backward first."""

    def param(self) -> Any:
        return [self.w, self.b] if self.b is not None else [self.w]

    def backward(self, dy: Tensor) -> Tensor:
        self.dy = dy
        return dy @ self.w

    def grad(self) -> Any:
        return [self.dy.T @ self.x, self.dy.sum(0)][: len(self.param())]


class AskedForInVain(AskedFor):
    def grad(self) -> Any:
        raise ValueError("no gradients")


class Behind(course.Linear):
    """Leaves behind what it makes."""

    def forward(self, x: Tensor) -> None:  # type: ignore[override]
        self.output = super().forward(x)

    def backward(self, dy: Tensor) -> None:  # type: ignore[override]
        self.dinputs = super().backward(dy)


class BehindTheLast(Behind):
    """Leaves what it made before."""

    def backward(self, dy: Tensor) -> None:  # type: ignore[override]
        if not hasattr(self, "dinputs"):
            super().backward(dy)


class Lazy(course.Linear):
    """Its gradients are computed when they are asked for."""

    def backward(self, dy: Tensor) -> Tensor:
        self.dy = dy
        return dy @ self.w

    def zero_grad(self) -> None:
        self.dy = None  # type: ignore[assignment]

    def param(self) -> Any:
        if getattr(self, "dy", None) is None:
            return [(p, torch.zeros_like(p)) for p in (self.w, self.b) if p is not None]
        pairs = [(self.w, self.dy.T @ self.x), (self.b, self.dy.sum(0))]
        return [pair for pair in pairs if pair[0] is not None]


class Flatten:
    """Refuses an empty batch, which torch takes."""

    def forward(self, x: Tensor) -> Tensor:
        self.shape = x.shape
        return x.reshape(len(x), -1)

    def backward(self, dy: Tensor) -> Tensor:
        return dy.reshape(self.shape)


class Norm:
    """Over the features, with weights of one dimension."""

    def __init__(self, n: int) -> None:
        self.w, self.b, self.dw, self.db = (torch.zeros(n) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        self.s = (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        self.h = centred / self.s
        return self.h * self.w + self.b

    def backward(self, dy: Tensor) -> Tensor:
        self.dw += (dy * self.h).sum(0)
        self.db += dy.sum(0)
        d = dy * self.w
        along = (d * self.h).mean(-1, keepdim=True)
        return (d - d.mean(-1, keepdim=True) - self.h * along) / self.s

    def param(self) -> list[tuple[Tensor, Tensor]]:
        return [(self.w, self.dw), (self.b, self.db)]


class BatchNorm(Norm):
    """In training alone: it keeps no statistics."""

    def forward(self, x: Tensor) -> Tensor:
        self.s = (x.var(0, unbiased=False) + 1e-5).sqrt()
        self.h = (x - x.mean(0)) / self.s
        return self.h * self.w + self.b

    def backward(self, dy: Tensor) -> Tensor:
        self.dw += (dy * self.h).sum(0)
        self.db += dy.sum(0)
        d = dy * self.w
        return (d - d.mean(0) - self.h * (d * self.h).mean(0)) / self.s


OWN = {
    "flatten": (parity.Entry(nn.Flatten, "layer", shape=(7, 2, 3)), Flatten),
    "layer norm": (
        parity.Entry(nn.LayerNorm, "layer", {"": {"normalized_shape": 5}},
                     positional=("normalized_shape",)), Norm),
    "batch norm": (
        parity.Entry(nn.BatchNorm1d, "layer", {"": {"num_features": 5}},
                     positional=("num_features",), mixes=("",)), BatchNorm),
    "two features": (parity.Entry(nn.Tanh, "layer", shape=(7, 2), name="Tanh of two"), course.Tanh),
    "loss without reduction": (parity.Entry(nn.MSELoss, "loss", shape=(7, 2)), course.LossMSE),
}  # fmt: skip


@pytest.mark.parametrize("name", OWN)
def test_an_entry_of_ones_own_is_judged_as_any_other(name: str) -> None:
    entry, own = OWN[name]
    report = parity.check(parity.Subject({entry: own}))
    assert report.passed, report.findings
    assert len(report.outcomes) > 20


def test_batch_norm_without_statistics_is_not_judged_in_evaluation() -> None:
    entry, own = OWN["batch norm"]
    gaps = " ".join(parity.check(parity.Subject({entry: own})).gaps)
    assert "eval_mode of BatchNorm1d (it has no eval())" in gaps
    assert "torch itself takes no batch of one sample" in gaps  # a batch of one


@pytest.mark.parametrize("layers", [{nn.Dropout: Flagged}, {nn.Dropout: TrainsAlone}])
def test_a_mode_that_is_a_flag_and_a_backward_for_training_alone_are_right(
    layers: dict[Any, Any],
) -> None:
    report = parity.check(parity.Subject(layers))
    assert report.passed, report.findings


def test_gradients_that_are_computed_when_asked_for_are_right() -> None:
    report = parity.check(parity.Subject({nn.Linear: Lazy}, gradients="overwritten"))
    assert report.passed, report.findings


def test_gradients_that_are_not_there_before_a_backward_are_right() -> None:
    subject = parity.Subject({nn.Linear: AskedFor}, gradients="overwritten")
    report = parity.check(subject, quick=True)
    assert report.passed, report.findings
    vain = parity.Subject({nn.Linear: AskedForInVain}, gradients="overwritten")
    assert not parity.check(vain, only="Linear-float*-param_grad").passed


def test_what_a_layer_leaves_behind_is_judged_as_what_it_returns() -> None:
    report = parity.check(parity.Subject({nn.Linear: Behind}))
    assert report.passed, report.findings
    stale = parity.check(parity.Subject({nn.Linear: BehindTheLast}))
    assert not stale.passed


class OverLayers:
    """An optimizer that is built over layers."""

    def __init__(self, layers: Any, lr: float) -> None:
        self.layers, self.lr = layers, lr

    def step(self) -> None:
        for layer in self.layers:
            layer.w -= self.lr * layer.dw
            layer.b -= self.lr * layer.db


def test_an_optimizer_may_be_over_layers() -> None:
    parts = PARTS | {torch.optim.SGD: OverLayers}
    report = parity.check(parity.Subject(parts, optimizer="layers"), only=("network", "SGD"))
    assert report.passed, report.findings


class Rows:
    """An embedding beside weights that are [in, out]: a table of rows has no in and out."""

    def __init__(self, count: int, width: int) -> None:
        self.w, self.dw = torch.zeros(count, width), torch.zeros(count, width)

    def forward(self, index: Tensor) -> Tensor:
        self.index = index
        return self.w[index]

    def backward(self, dy: Tensor) -> None:
        self.dw.index_put_((self.index,), dy, accumulate=True)

    def param(self) -> Any:
        return [(self.w, self.dw)]


def test_a_table_is_not_turned_where_weights_are() -> None:
    layers: dict[Any, Any] = {nn.Linear: InOut, nn.Embedding: Rows}
    report = parity.check(parity.Subject(layers, weight="in_out"), only="*float64*")
    assert report.passed, report.findings


@dataclasses.dataclass
class Tanh:
    """Of a class whose objects cannot be keys."""

    y: Any = None

    def forward(self, x: Tensor) -> Tensor:
        self.y = x.tanh()
        return self.y.clone()

    def backward(self, dy: Tensor) -> Tensor:
        return dy * (1 - self.y * self.y)


class Named(course.SGD):
    """What it calls its rate and its state is something else."""

    def __init__(self, params: Any, lr: float, momentum: float = 0.0) -> None:
        super().__init__(params, lr, momentum)
        self.rate, self.eta = 0.5, 3.0

    def state(self) -> str:
        return "well"

    def load(self, path: str) -> None:
        raise FileNotFoundError(path)

    def step(self) -> None:
        assert (self.rate, self.eta) == (0.5, 3.0)
        super().step()


def test_names_that_mean_something_else_are_no_faults() -> None:
    assert parity.check(parity.Subject({nn.Tanh: Tanh})).passed
    report = parity.check(parity.Subject(PARTS | {torch.optim.SGD: Named}), only="SGD")
    assert report.passed, report.findings
    assert any("what it has of a state is not for this" in gap for gap in report.gaps)


class OfNumpy:
    """Weights [in, out], of numpy."""

    def __init__(self, n_in: int, n_out: int) -> None:
        self.w, self.b = np.zeros((n_in, n_out)), np.zeros(n_out)
        self.dw, self.db = np.zeros((n_in, n_out)), np.zeros(n_out)

    def forward(self, x: Any) -> Any:
        self.x = x
        return np.dot(x, self.w) + self.b

    def backward(self, dy: Any) -> Any:
        self.dw += np.dot(self.x.T, dy)
        self.db += dy.sum(0)
        return np.dot(dy, self.w.T)

    def param(self) -> Any:
        return [(self.w, self.dw), (self.b, self.db)]


class NumpyReLU:
    def forward(self, x: Any) -> Any:
        self.x = x
        return np.maximum(x, 0)

    def backward(self, dy: Any) -> Any:
        dx = dy.copy()
        dx[self.x <= 0] = 0
        return dx


ARRAYS: list[tuple[dict[Any, Any], str, list[str]]] = [
    ({nn.Linear: OfNumpy, nn.ReLU: NumpyReLU}, "torch", [
        'the parameters of its Linear are numpy arrays: array="numpy"',
        'its Linear has weights [in, out]: weight="in_out"']),
    ({nn.Linear: InOut, nn.Tanh: course.Tanh}, "numpy", [
        'the parameters of its Linear are torch tensors: array="torch"',
        'its Linear has weights [in, out]: weight="in_out"']),
]  # fmt: skip


@pytest.mark.parametrize(("layers", "array", "due"), ARRAYS)
def test_arrays_of_the_other_kind_are_one_line(
    layers: dict[Any, Any], array: str, due: list[str]
) -> None:
    with pytest.raises(parity.AdapterError) as raised:
        parity.check(parity.Subject(layers, array=array))
    assert str(raised.value).removeprefix("SETUP: ").split("; ") == due


PLAIN = """
import {module}
class ReLU:
    def forward(self, x):
        self.x = x
        return {module}.maximum(x, 0 * x)
    def backward(self, dy):
        dx = dy.{copy}()
        dx[self.x <= 0] = 0
        return dx
class Squares:
    def forward(self, p, t):
        self.difference = p - t
        return {module}.square(p - t).mean()
    def backward(self):
        return (2 / self.difference.{count}) * self.difference
"""
OF_NUMPY = PLAIN.format(module="numpy", copy="copy", count="size")
OF_TORCH = PLAIN.format(module="torch", copy="clone", count="numel()")


@pytest.mark.parametrize(("text", "array", "other"), [
    (OF_NUMPY, "torch", 'numpy arrays: array="numpy"'),
    (OF_TORCH, "numpy", 'torch tensors: array="torch"'),
])  # fmt: skip
@pytest.mark.parametrize(("key", "cls"), [("ReLU", "ReLU"), ("MSELoss", "Squares")])
def test_so_they_are_where_nothing_has_parameters(
    tmp_path: Path, text: str, array: str, other: str, key: str, cls: str
) -> None:
    """A module that has one of the two alone says which."""
    (tmp_path / "mine.py").write_text(text)
    adapter = tmp_path / "adapter.py"
    subject = f"parity.Subject({{nn.{key}: mine.{cls}}}, array={array!r}, dtypes=('float64',))"
    adapter.write_text(f"import parity, mine\nfrom torch import nn\nsubject = {subject}\n")
    with pytest.raises(parity.AdapterError, match=f"its {key} takes {other}"):
        parity.check(adapter)
    adapter.write_text(adapter.read_text().replace(repr(array), repr(other.split('"')[1])))
    report = parity.check(adapter, quick=True)
    assert report.passed, report.findings


def test_what_was_asked_for_passes() -> None:
    layers: dict[Any, Any] = {nn.Linear: OfNumpy, nn.ReLU: NumpyReLU}
    settings: dict[str, Any] = {"array": "numpy", "weight": "in_out", "dtypes": ("float64",)}
    report = parity.check(parity.Subject(layers, **settings), quick=True)
    assert report.passed, report.findings


@pytest.mark.parametrize("others", [{}, PARTS])
def test_what_raises_among_tensors_is_a_fault_where_a_layer_keeps_tensors(
    others: dict[Any, Any],
) -> None:
    layers = others | {nn.Linear: course.Linear, nn.ReLU: NumpyReLU}
    report = parity.check(parity.Subject(layers), only="ReLU-*")
    assert not report.passed
    assert all("has no attribute 'copy'" in one.sentence for one in report.findings)
