"""What is told of frameworks as people write them: each mistake of a layer, and no more than
that; and what an adapter gets wrong, in words of its own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import parity
from parity.show.text import text as report_text
from tests.subjects import course


def told(layers: Any, only: str | tuple[str, ...] = (), **settings: Any) -> list[str]:
    """The sentences of a report."""
    report = parity.check(parity.Subject(layers, **settings), only=only)
    return [str(finding) for finding in report.findings]


class TwoMistakes(course.Linear):
    def backward(self, dy: Tensor) -> Tensor:
        dx = dy @ self.w
        self.dw += dy.mT @ self.x / len(dy)
        self.db += dy[0]
        return dx


def test_two_mistakes_of_one_layer_are_two_faults() -> None:
    first, second = told({nn.Linear: TwoMistakes}, "Linear-float64-param_grad")
    assert first.startswith("Linear.weight gradient is 0.143 times")
    assert second.startswith("Linear.bias gradient is that of the first sample alone")


class Mirror(course.Linear):
    def backward(self, dy: Tensor) -> Tensor:
        self.dw += dy.mT @ self.x / len(dy)
        self.db += dy.sum(0) / len(dy)
        return dy @ self.w


def test_one_mistake_of_two_parameters_is_one_fault() -> None:
    (fault,) = told({nn.Linear: Mirror}, "Linear-float64-param_grad")
    assert fault.startswith("Linear.weight gradient, like that of Linear.bias, is 0.143 times")


class DropsRows(course.Dropout):
    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        self.factor = (torch.rand(len(x), 1) >= self.p).to(x).expand_as(x) / (1 - self.p)
        return x * self.factor


class DropsAlways(course.Dropout):
    def forward(self, x: Tensor) -> Tensor:
        self.factor = (torch.rand(x.shape) >= self.p).to(x) / (1 - self.p)
        return x * self.factor


class DropsTheSame(course.Dropout):
    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        generator = torch.Generator().manual_seed(0)
        self.factor = (torch.rand(x.shape, generator=generator) >= self.p).to(x) / (1 - self.p)
        return x * self.factor


@pytest.mark.parametrize(
    ("layer", "check", "says"),
    [
        (DropsRows, "rate", "Dropout drops whole rows, where each entry has a chance of its own"),
        (DropsTheSame, "rate", "Dropout has the same mask in every pass"),
        (
            DropsAlways,
            "eval_mode",
            "Dropout output, like its input gradient, drops entries in evaluation too",
        ),
    ],
)
def test_what_is_wrong_with_a_dropout_is_named(layer: Any, check: str, says: str) -> None:
    assert told({nn.Dropout: layer}, f"Dropout-p=0.5-float32-{check}") == [says]


class Sigmoid(course.Tanh):
    def forward(self, x: Tensor) -> Tensor:
        self.y = torch.sigmoid(x)
        return self.y

    def backward(self, dy: Tensor) -> Tensor:
        return dy * self.y


class PlusTanh(course.Tanh):
    def backward(self, dy: Tensor) -> Tensor:
        return dy * (1 + self.y**2)


class BatchSoftmax(course.Softmax):
    def backward(self, dy: Tensor) -> Tensor:
        return self.y * (dy - (dy * self.y).sum(0))


class HalfMSE(course.LossMSE):
    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        return super().forward(prediction, target) / 2


@pytest.mark.parametrize(
    ("layers", "only", "says"),
    [
        ({nn.Sigmoid: Sigmoid}, "float64-input_grad", "Sigmoid input gradient lacks the factor"),
        ({nn.Tanh: PlusTanh}, "float64-input_grad", "Tanh input gradient has 1 + y^2 where"),
        ({nn.Softmax: BatchSoftmax}, "float64-input_grad", "has its sum taken over the batch"),
        ({nn.MSELoss: HalfMSE}, "float64-value", "is the half mean, where mean is declared"),
    ],
)
def test_a_common_mistake_is_named(layers: Any, only: str, says: str) -> None:
    (fault,) = told(layers, only)
    assert says in fault


class HalfDecay(torch.optim.SGD):
    """Half of the weight decay, coupled as torch's."""

    def __init__(self, params: Any, lr: float, momentum: float = 0, weight_decay: float = 0,
                 nesterov: bool = False) -> None:  # fmt: skip
        super().__init__(
            [p for p, _ in params], lr, momentum, 0, weight_decay / 2, nesterov=nesterov
        )
        self.pairs = params

    def step(self) -> None:  # type: ignore[override]
        for parameter, gradient in self.pairs:
            parameter.grad = gradient.clone()
        super().step()


def test_what_is_near_a_known_mistake_is_not_called_it() -> None:
    layers = {nn.Linear: course.Linear, torch.optim.SGD: HalfDecay}
    faults = told(layers, "SGD-*weight_decay*float64-twenty_steps")
    assert faults
    assert not [fault for fault in faults if "decouples" in fault]


class ExactBCE(course.LossMSE):
    """Its derivative is bounded by 1e-12 itself, not by the float32 that torch has for it."""

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        self.x, self.t = prediction, target
        one, zero = prediction.log().clamp_min(-100), (-prediction).log1p().clamp_min(-100)
        return -(target * one + (1 - target) * zero).mean()

    def backward(self) -> Tensor:
        return (self.x - self.t) / (self.x * (1 - self.x)).clamp_min(1e-12) / self.x.numel()


def test_nobody_has_to_share_torchs_rounding_of_1e_12() -> None:
    assert told({nn.BCELoss: ExactBCE}) == []


def test_what_could_not_be_checked_is_said() -> None:
    report = parity.check(parity.Subject({nn.Tanh: course.Tanh}))
    assert report.passed
    text = report_text(report)
    assert "Not checked: how layers work together" in text
    assert "how parameters are moved" in text
    whole = {nn.Linear: course.Linear, nn.MSELoss: course.LossMSE, torch.optim.SGD: course.SGD}
    assert parity.check(parity.Subject(whole)).gaps == [
        "rank of Linear (its backward takes inputs of two dimensions alone)",
        "upstream of MSELoss (its backward takes no gradient of the loss: upstream=lambda loss, "
        "dy: …)",
        "resume of SGD (it has no state_dict and load_state_dict: state=(save, load))",
        "whether it uses torch.nn, torch.autograd or torch.optim itself "
        "(--forbid torch.nn,torch.autograd,torch.optim)",
    ]


def test_one_pattern_is_as_good_as_several() -> None:
    subject = parity.Subject({nn.Tanh: course.Tanh, nn.ReLU: course.ReLU})
    ids = {outcome.cls for outcome in parity.check(subject, only="Tanh").outcomes}
    assert ids == {"Tanh"}


class Surrogate(course.Tanh):
    def forward(self, x: Tensor) -> Tensor:
        raise ValueError("odd \ud800 \x1b[31m \uffff text")


def test_odd_text_is_escaped() -> None:
    (fault,) = told({nn.Tanh: Surrogate})
    assert r"odd \ud800 \x1b[31m \uffff text" in fault


@pytest.mark.parametrize(
    ("layers", "settings", "says"),
    [
        ({nn.Tanh: course.Tanh}, {"targets": ("onehot",)}, "takes as targets a tuple of 'index'"),
        ({nn.Tanh: course.Tanh}, {"targets": "one_hot"}, "takes as targets a tuple of 'index'"),
        ({nn.Tanh: course.Tanh}, {"dtypes": "float64"}, "takes as dtypes a tuple of 'float32'"),
        ({nn.Tanh: "Tanh"}, {}, "own nn.Tanh, a class or a function, not 'Tanh'"),
        ({"Tanh": course.Tanh}, {}, "layers has 'Tanh', and its keys are classes of torch"),
        ({nn.Tanh: course.Tanh}, {"forward": "forward"}, "a function as forward, not 'forward'"),
        ({nn.Tanh: course.Tanh}, {"waivers": ["Tanh-*"]}, "waivers takes a reason for each"),
        ({nn.Tanh: course.Tanh}, {"waivers": {"Tanh-*": ""}}, "waivers takes a reason for each"),
        ({nn.Tanh: course.Tanh}, {"reduction": {nn.L1Loss: "sum"}}, "reduction has nn.L1Loss"),
        ({nn.Tanh: course.Tanh}, {"model_activations": ("Tanh",)}, "there is none"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(layers: Any, settings: Any, says: str) -> None:
    with pytest.raises(parity.AdapterError, match=says):
        parity.Subject(layers, **settings)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"device": "gpu"}, "device 'gpu': takes cpu or cuda"),
        ({"seed": -1}, "a seed is an integer from 0"),
        ({"seed": "a"}, "a seed is an integer from 0"),
    ],
)
def test_a_run_that_cannot_be_is_refused(options: Any, says: str) -> None:
    with pytest.raises(parity.AdapterError, match=says):
        parity.check(parity.Subject({nn.Tanh: course.Tanh}), **options)


def test_a_builder_that_returns_nothing_and_a_dtype_that_cannot_be_are_told() -> None:
    faults = told({nn.Tanh: lambda: None}, "float64-forward")
    assert faults == ["Tanh: what the adapter has for Tanh returns None, and not a Tanh"]

    class Single(course.Linear):
        def __init__(self, n_in: int, n_out: int, bias: bool = True) -> None:
            super().__init__(n_in, n_out, bias=False)
            self.w, self.dw = self.w.float(), self.dw.float()

    (fault,) = told({nn.Linear: Single}, "Linear-no_bias-float64-forward")
    assert "the adapter says dtypes=('float32',)" in fault
