"""Small frameworks in ways of their own: right ones pass, and what is wrong is told as is due."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn, optim

import parity
from parity import cli
from parity.run.report import Report

Array = np.ndarray[Any, Any]


def checked(layers: dict[Any, Any], **settings: Any) -> Report:
    given = {"array": "numpy", "dtypes": ("float64",), "name": "small"} | settings
    return parity.check(parity.Subject(layers, **given), quick=True)


def judged(report: Report) -> set[tuple[str, str]]:
    return {(o.case, o.check) for o in report.outcomes if o.verdict == "passed"}


class Dense:
    """Makes new gradients in each backward; weights [in, out]."""

    def __init__(self, n_in: int, n_out: int) -> None:
        self.W, self.b = np.zeros((n_in, n_out)), np.zeros(n_out)
        self.dW: Any = None
        self.db: Any = None

    def forward(self, x: Array) -> Array:
        self.x = x
        found: Array = x @ self.W + self.b
        return found

    def backward(self, dy: Array) -> Any:
        self.dW, self.db = self.x.T @ dy, dy.sum(0)
        return dy @ self.W.T

    def update_params(self, rate: float) -> None:
        self.W -= rate * self.dW
        self.b -= rate * self.db


class InLists(Dense):
    def params(self) -> list[Array]:
        return [self.W, self.b]

    def grads(self) -> list[Any]:
        return [self.dW, self.db]


class InDicts(Dense):
    @property
    def params(self) -> dict[str, Array]:
        return {"W": self.W, "b": self.b}

    @property
    def grads(self) -> dict[str, Array]:
        return {} if self.dW is None else {"W": self.dW, "b": self.db}


class ReLU:
    def forward(self, x: Array) -> Array:
        self.x = x
        return np.maximum(x, 0)

    def backward(self, dy: Array) -> Array:
        found: Array = dy * (self.x > 0)
        return found


class MSE:
    def forward(self, y: Array, t: Array) -> Any:
        self.d = y - t
        return np.mean(self.d**2)

    def backward(self) -> Array:
        return 2 * self.d / self.d.size


class SGD:
    """Over pairs."""

    momentum = 0.0

    def __init__(self, pairs: Any, lr: float) -> None:
        self.pairs, self.lr = pairs, lr
        self.velocity: list[Any] = [0.0 * p for p, _ in pairs]

    def step(self) -> None:
        for place, (p, g) in enumerate(self.pairs):
            self.velocity[place] = self.momentum * self.velocity[place] + g
            p -= self.lr * self.velocity[place]


class Momentum(SGD):
    momentum = 0.9


PARTS = {nn.ReLU: ReLU, nn.MSELoss: MSE, optim.SGD: SGD}
SETTINGS: dict[str, Any] = {"weight": "in_out", "gradients": "overwritten"}


@pytest.mark.parametrize(
    ("linear", "settings"),
    [
        (InLists, {}),
        (InDicts, {}),
        (InLists, {"parameters": lambda one: list(zip(one.params(), one.grads(), strict=True))
                   if isinstance(one, InLists) else []}),
    ],
    ids=["two lists", "two dicts", "a callable"],
)  # fmt: skip
def test_an_optimizer_gets_the_gradients_that_a_backward_makes_anew(
    linear: Any, settings: dict[str, Any]
) -> None:
    report = checked({nn.Linear: linear, **PARTS}, **SETTINGS, **settings)
    assert report.findings == []
    assert {("SGD", "first_step"), ("network", "training"), ("Linear", "param_grad")} <= judged(
        report
    )


def test_what_an_optimizer_has_fixed_holds_in_a_training() -> None:
    layers = {nn.Linear: InLists, **PARTS, optim.SGD: Momentum}
    report = checked(layers, **SETTINGS, fixed={optim.SGD: {"momentum": 0.9}})
    assert report.findings == []
    assert ("network", "training") in judged(report)
    (finding,) = checked(layers, **SETTINGS).findings
    assert str(finding).startswith("SGD takes momentum to be 0.9, not 0: if that is meant, say it")
    assert finding.severity == "convention"
    assert "network" in {outcome.case for outcome in finding.outcomes}


class LayerNorm:
    """Over the last axes; weights as torch's, whatever a Linear's are."""

    def __init__(self, shape: Any, eps: float = 1e-5) -> None:
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        self.g, self.b, self.eps = torch.ones(shape), torch.zeros(shape), eps
        self.dg, self.db = torch.zeros(shape), torch.zeros(shape)
        self.axes = tuple(range(-len(shape), 0))

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(self.axes, keepdim=True)
        self.r = (centred.pow(2).mean(self.axes, keepdim=True) + self.eps).rsqrt()
        self.h = centred * self.r
        return self.h * self.g + self.b

    def backward(self, dy: Tensor) -> Tensor:
        batch = tuple(range(dy.dim() - self.g.dim()))
        self.dg, self.db = (dy * self.h).sum(batch), dy.sum(batch)
        d = dy * self.g
        mean, along = (one.mean(self.axes, keepdim=True) for one in (d, d * self.h))
        return self.r * (d - mean - self.h * along)

    def param(self) -> list[tuple[Tensor, Tensor]]:
        return [(self.g, self.dg), (self.b, self.db)]


def test_weights_in_out_are_a_linears_and_not_a_norms() -> None:
    subject = parity.Subject({nn.LayerNorm: LayerNorm}, name="norm", **SETTINGS)
    report = parity.check(subject, quick=True, only="LayerNorm-two*")
    assert report.count("passed") >= 10
    assert report.findings == []


class ReturnsNothing(Dense):
    def backward(self, dy: Array) -> Any:
        super().backward(dy)


class ReturnsNothingAndWrong(ReturnsNothing):
    def backward(self, dy: Array) -> Any:
        super().backward(dy)
        self.db = self.db / len(dy)


def listed(one: Any) -> list[Any]:
    return [(one.W, one.dW), (one.b, one.db)] if isinstance(one, Dense) else []


def test_a_backward_that_returns_nothing_has_its_other_gradients_judged() -> None:
    report = checked({nn.Linear: ReturnsNothing}, **SETTINGS, parameters=listed)
    assert [str(one) for one in report.findings] == ["Linear input gradient is not there"]
    report = checked({nn.Linear: ReturnsNothingAndWrong}, **SETTINGS, parameters=listed)
    assert [str(one) for one in report.findings] == [
        "Linear input gradient is not there",
        "Linear.bias gradient is 0.143 times what it should be: 1 / 7, 7 is the batch size",
    ]
    assert "ReturnsNothingAndWrong.backward (test_frameworks.py:" in report.findings[1].where


class ReturnsOfEachSample(Dense):
    """Its bias's gradient has a row for each sample."""

    def backward(self, dy: Array) -> Any:
        return dy @ self.W.T, self.x.T @ dy, dy

    def param(self) -> list[Array]:
        return [self.W, self.b]


def test_a_returned_gradient_of_another_shape_in_each_batch_is_the_subjects_fault() -> None:
    report = checked({nn.Linear: ReturnsOfEachSample}, weight="in_out")
    assert not report.errors
    assert "Linear.bias gradient is not summed over the batch" in str(report.findings[0])


class TwoLayers:
    """A network that cannot be taken apart."""

    def __init__(self, n_in: int, hidden: int, out: int) -> None:
        self.W1, self.b1 = np.random.randn(n_in, hidden), np.zeros(hidden)  # noqa: NPY002
        self.W2, self.b2 = np.random.randn(hidden, out), np.zeros(out)  # noqa: NPY002

    def slope(self) -> Array:
        found: Array = 1 - self.a**2
        return found

    def step(self, x: Array, t: Array) -> Any:
        self.a: Array = np.tanh(x @ self.W1 + self.b1)
        z = self.a @ self.W2 + self.b2
        e = np.exp(z - z.max(1, keepdims=True))
        p = e / e.sum(1, keepdims=True)
        rows = np.arange(len(x))
        d = p.copy()
        d[rows, t] -= 1
        d /= len(x)
        back = d @ self.W2.T * self.slope()
        loss = -np.log(p[rows, t]).mean()
        parameters = [self.W1, self.b1, self.W2, self.b2]
        return z, loss, parameters, [x.T @ back, back.sum(0), self.a.T @ d, d.sum(0)]


class WrongSlope(TwoLayers):
    def slope(self) -> Array:
        return 1 - self.a


def whole(kind: type[TwoLayers], **settings: Any) -> Report:
    def build(widths: Any, activation: str) -> Any:
        n_in, hidden, out = widths
        return kind(n_in, hidden, out).step

    return checked(
        {}, model=build, weight="in_out", model_activations=("Tanh",),
        model_loss=nn.CrossEntropyLoss, **settings,
    )  # fmt: skip


def test_a_network_of_one_hidden_layer_is_judged_as_a_whole() -> None:
    with pytest.raises(parity.AdapterError, match=r"SETUP: .* widths .*: model_hidden=\(5,\)"):
        whole(TwoLayers)
    assert whole(TwoLayers, model_hidden=(5,)).passed
    findings = whole(WrongSlope, model_hidden=(5,)).findings
    assert len(findings) == 1
    assert "0.weight gradient is wrong" in str(findings[0])
    assert len(findings[0].outcomes) >= 2  # the step, and what follows it


@pytest.mark.parametrize("hidden", [[5], (0,), ("5",), 5])
def test_widths_that_cannot_be_are_refused(hidden: Any) -> None:
    with pytest.raises(parity.AdapterError, match="model_hidden as a tuple of widths"):
        parity.Subject(model=lambda widths, activation: None, model_hidden=hidden)


STATIC = """
import numpy as np

class MSE:
    @staticmethod
    def loss(y, t):
        return np.mean((y - t) ** 2)

    @staticmethod
    def gradient(y, t):
        return 2 * (y - t) / y.size

class MAE:
    @classmethod
    def loss(cls, y, t):
        return np.mean(np.abs(y - t))

    @classmethod
    def gradient(cls, y, t):
        return np.sign(y - t) / y.size
"""


def test_new_calls_methods_of_a_class_with_what_they_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "losses.py").write_text(STATIC)
    assert cli.main(["new", "losses.py", "-o", "adapter.py"]) == 0
    assert cli.main(["check", "adapter.py", "--quick", "--strict"]) == 0


def test_new_says_what_it_has_seen_where_nothing_is_a_layer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(
        "class TwoLayerNet:\n    pass\n\ndef accuracy(y, t):\n    pass\n"
    )
    assert cli.main(["new", "net.py"]) == 2
    told = capsys.readouterr().err
    assert "it has TwoLayerNet, accuracy" in told
    assert "parity.Subject(model=…)" in told
