"""Bugs that every check had passed by, each now found by the check of its kind; and what is right
in its own way, and was blamed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import parity
from parity.judge.comparison import CONVENTION, DIGITS, EDGE, WRONG
from tests.subjects import course, layers_by_loops, more_by_loops, sequences_by_loops
from tests.test_causes import told

NUMPY: dict[str, Any] = {"array": "numpy", "dtypes": ("float64",)}


class Squares:
    def forward(self, p: Tensor, t: Tensor) -> Tensor:
        self.difference = p - t
        return self.difference.square().mean()

    def backward(self) -> Tensor:
        return 2 * self.difference / self.difference.numel()


class Squeezed(Squares):
    """A target of one column loses it, and is broadcast against the prediction."""

    def forward(self, p: Tensor, t: Tensor) -> Tensor:
        return super().forward(p, t.squeeze(-1))


class Copied(course.Linear):
    """Goes back by a copy of its weight that is made at the first pass."""

    kept: Tensor | None = None

    def backward(self, dy: Tensor) -> Tensor:
        self.kept = self.w.clone() if self.kept is None else self.kept
        super().backward(dy)
        return dy @ self.kept


class Smoothed:
    """Its smoothed part knows of no weights, or of no classes that are ignored."""

    def __init__(
        self, weight: Any = None, ignore_index: int = -100, label_smoothing: float = 0.0
    ) -> None:
        self.weight, self.ignored, self.smooth = weight, ignore_index, label_smoothing

    def forward(self, p: Tensor, t: Tensor) -> Tensor:
        classes = p.shape[1]
        kept = t != self.ignored
        index = torch.where(kept, t, 0)
        weights = p.new_ones(classes) if self.weight is None else self.weight.to(p)
        hot = nn.functional.one_hot(index, classes).to(p)
        own = hot * weights[index][:, None] * kept[:, None]
        even = torch.full_like(p, 1 / classes) * (1 if self.weight is not None else kept[:, None])
        self.total = (weights[index] * kept).sum()
        self.share = (1 - self.smooth) * own + self.smooth * even
        self.logs = p.log_softmax(-1)
        return -(self.share * self.logs).sum() / self.total

    def backward(self) -> Tensor:
        return (self.logs.exp() * self.share.sum(-1, keepdim=True) - self.share) / self.total


class Limited(nn.Hardtanh):
    """Passes gradients on at its limits too."""

    def forward(self, x: Tensor) -> Tensor:
        self.x = x
        return x.clamp(self.min_val, self.max_val)

    def backward(self, dy: Tensor) -> Tensor:
        return dy * ((self.x >= self.min_val) & (self.x <= self.max_val))


class Dropping:
    """Right, but where all is dropped."""

    def __init__(self, p: float) -> None:
        self.p, self.training = p, True

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.mask = (torch.rand_like(x) >= self.p).to(x) / (1 - self.p)
        self.y = x * self.mask if self.training else x.clone()
        return self.y

    def backward(self, dy: Tensor) -> Tensor:
        return dy * self.mask if self.training else dy.clone()


class OfOutput(Dropping):
    """Takes its mask from its output."""

    def backward(self, dy: Tensor) -> Tensor:
        if not self.training or self.p == 1:
            return super().backward(dy)
        return dy * (self.y != 0) / (1 - self.p)


class OfTraining(Dropping):
    """Goes back in evaluation by the mask of the last pass in training."""

    def backward(self, dy: Tensor) -> Tensor:
        return dy * self.mask


class Beyond(layers_by_loops.MaxPool2d):
    """With ceil_mode its last window may begin behind the image."""

    def output_size(self, size: int, axis: int) -> int:
        if not self.ceil_mode:
            return super().output_size(size, axis)
        reach = self.reach(axis)
        return math.ceil((size + 2 * self.padding[axis] - reach) / self.stride[axis]) + 1


class Table(sequences_by_loops.RoPE):
    """Its angles are a table of 32 places."""

    def forward(self, x: Any) -> Any:
        return np.concatenate(
            [
                super(Table, self).forward(x[..., at : at + 32, :])
                for at in range(0, x.shape[-2], 32)
            ],
            -2,
        )


class LastAxis:
    """A slope for each column of an image, where there are as many as channels."""

    def __init__(self, num_parameters: int = 1, init: float = 0.25) -> None:
        self.w, self.dw = torch.full((num_parameters,), init), torch.zeros(num_parameters)

    def forward(self, x: Tensor) -> Tensor:
        self.x = x
        own = self.w if x.dim() == 4 or len(self.w) == 1 else self.w.view(-1)
        return torch.where(x > 0, x, own * x)

    def backward(self, dy: Tensor) -> Tensor:
        below = torch.where(self.x > 0, 0, dy * self.x)
        self.dw += below.sum() if len(self.dw) == 1 else below.flatten(0, -2).sum(0)
        return torch.where(self.x > 0, dy, self.w * dy)

    def param(self) -> Any:
        return [(self.w, self.dw)]


Bug = tuple[str, dict[Any, Any], str, dict[str, Any], str, str]  # …, its class, and what it is
BUGS: list[Bug] = [
    ("one column", {nn.MSELoss: Squeezed}, "*-sizes", {}, WRONG,
     "MSELoss value is wrong for inputs of shape [6, 1]"),
    ("a copy", {nn.Linear: Copied}, "*-repeated", {}, WRONG,
     "Linear goes by its parameters as they were before they changed"),
    ("weight and smoothing", {nn.CrossEntropyLoss: Smoothed}, "*weight,label*-value", {}, WRONG,
     "CrossEntropyLoss: value is wrong"),
    ("limits", {nn.Hardtanh: Limited}, "*-kink", {}, EDGE,
     "Hardtanh's derivative at -1 is 1, torch's is 0"),
    ("a mask of the output", {nn.Dropout: OfOutput}, "*p=0.5-*-rate", {}, WRONG,
     "Dropout passes no gradient on where the input is 0"),
    ("evaluation after training", {nn.Dropout: OfTraining}, "*p=0.5-*-eval_mode", {}, EDGE,
     "Dropout's backward in evaluation drops what the last pass in training dropped"),
    ("ceil_mode", {nn.MaxPool2d: Beyond}, "*ceil_mode,padding*", NUMPY, WRONG,
     "MaxPool2d: raises ValueError"),
    ("a table", {parity.RoPE: Table}, "RoPE-long-*-forward", NUMPY, WRONG,
     "RoPE output is wrong in"),
    ("a slope for a column", {nn.PReLU: LastAxis}, "PReLU-images-*", {}, WRONG,
     "PReLU output is wrong where the input is negative alone"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("layers", "only", "settings", "severity", "sentence"),
    [bug[1:] for bug in BUGS], ids=[bug[0].replace(" ", "_") for bug in BUGS],
)  # fmt: skip
def test_it_is_found(
    layers: dict[Any, Any], only: str, settings: dict[str, Any], severity: str, sentence: str
) -> None:
    findings = told(parity.check(parity.Subject(layers, **settings), only=only))
    assert len(findings) == 1, findings
    assert findings[0][0] == severity
    assert findings[0][1].startswith(sentence)


@pytest.mark.parametrize("cls", [more_by_loops.Conv1d, layers_by_loops.Conv2d])
def test_strides_and_dilations_are_tried_together(cls: type) -> None:
    """And so a weight gradient that leaves the dilation out where there is a stride is found."""

    class Undilated(cls):  # type: ignore[misc]
        def backward(self, dy: Any) -> Any:
            dx = super().backward(dy)
            if max(self.stride) > 1 and max(self.dilation) > 1:
                self.dweight[...] *= 0.5
            return dx

    key = getattr(nn, cls.__name__)
    report = parity.check(parity.Subject({key: Undilated}, **NUMPY), only="*-param_grad")
    assert {one.case for one in report.outcomes if one.failures} == {
        f"{cls.__name__}-stride=2,dilation=2"
    }


class Velocity(course.SGD):
    """The rate is inside of the velocity, as in Keras."""

    def __init__(self, pairs: Any, lr: float, momentum: float = 0.9) -> None:
        self.pairs, self.lr, self.momentum = pairs, lr, momentum
        self.v = [torch.zeros_like(p) for p, _ in pairs]

    def step(self) -> None:
        for (p, g), v in zip(self.pairs, self.v, strict=True):
            v.mul_(self.momentum).sub_(self.lr * g)
            p += v


class OldRate(Velocity):
    """Goes by the rate that it began with."""

    def __init__(self, pairs: Any, lr: float, momentum: float = 0.9) -> None:
        super().__init__(pairs, lr, momentum)
        self.first = lr

    def step(self) -> None:
        self.lr, now = self.first, self.lr
        super().step()
        self.lr = now


PARTS: dict[Any, Any] = {
    nn.Linear: course.Linear, nn.Tanh: course.Tanh, nn.MSELoss: Squares,
}  # fmt: skip


def test_a_rate_inside_of_the_velocity_is_a_convention_and_its_default_momentum_no_fault() -> None:
    report = parity.check(parity.Subject(PARTS | {torch.optim.SGD: Velocity}))
    ((severity, sentence),) = told(report)
    assert (severity, report.passed) == (CONVENTION, True)
    assert sentence.startswith("SGD has the rate inside of its velocity")
    assert any(one.id.startswith("network") and one.check == "training" for one in report.outcomes)


def test_a_rate_that_is_not_gone_by_is_a_fault() -> None:
    subject = parity.Subject({nn.Linear: course.Linear, torch.optim.SGD: OldRate})
    found = told(parity.check(subject, only="SGD-*-rate"))
    assert found[0] == (WRONG, "SGD does not go by its rate, once that has changed: what it keeps "
                        "is of the old")  # fmt: skip


def test_nan_where_all_is_dropped_is_one_remark() -> None:
    found = told(parity.check(parity.Subject({nn.Dropout: Dropping})))
    assert [severity for severity, _ in found] == [EDGE]
    assert found[0][1].startswith("Dropout is NaN at p = 1")


class Softened:
    """A small number in the logarithm, and the gradient as if it were not."""

    def forward(self, p: Tensor, t: Tensor) -> Tensor:
        self.y, self.t = p.softmax(-1), nn.functional.one_hot(t, p.shape[1]).to(p)
        return -(self.t * (self.y + 1e-7).log()).sum() / len(p)

    def backward(self) -> Tensor:
        return (self.y - self.t) / len(self.y)


def test_a_small_number_in_a_logarithm_makes_no_gradient_wrong() -> None:
    report = parity.check(parity.Subject({nn.CrossEntropyLoss: Softened}))
    assert report.passed
    assert {severity for severity, _ in told(report)} <= {DIGITS, EDGE}


class Passing:
    """Layers whose way back has another name."""

    def __init__(self, own: Any) -> None:
        self.own = own

    def __call__(self, x: Tensor) -> Tensor:
        y: Tensor = self.own.forward(x)
        return y

    def gradient(self, dy: Tensor) -> Tensor:
        dx: Tensor = self.own.backward(dy)
        return dx

    def param(self) -> Any:
        return self.own.param() if hasattr(self.own, "param") else []


class Row:
    def __init__(self, *layers: Any) -> None:
        self.layers = layers

    def __call__(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x

    def gradient(self, dy: Tensor) -> Tensor:
        for layer in reversed(self.layers):
            dy = layer.gradient(dy)
        return dy


class OfALinear(Passing):
    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__(course.Linear(n_in, n_out))


class OfATanh(Passing):
    def __init__(self) -> None:
        super().__init__(course.Tanh())


class OfADropout(Passing):
    def __init__(self, p: float) -> None:
        super().__init__(Dropping(p))

    def train(self, mode: bool = True) -> Any:
        self.own.training = mode


def test_a_dropout_is_heard_whatever_its_way_back_is_called() -> None:
    parts: dict[Any, Any] = {
        nn.Linear: OfALinear, nn.Tanh: OfATanh, nn.Dropout: OfADropout,
        nn.MSELoss: Squares, nn.Sequential: Row,
    }  # fmt: skip
    subject = parity.Subject(
        parts, forward=lambda layer, x: layer(x), backward=lambda layer, dy: layer.gradient(dy),
        children=lambda row: list(row.layers),
    )  # fmt: skip
    report = parity.check(subject, only="network-*-layer_by_layer")
    assert report.passed, report.findings
    assert report.outcomes


# Common mistakes, by their names.


class SiLU:
    def forward(self, x: Tensor) -> Tensor:
        self.x, self.s = x, x.sigmoid()
        return x * self.s

    def backward(self, dy: Tensor) -> Tensor:
        y = self.x * self.s
        return dy * (self.s + y * (1 - y))


class ByTanh:
    """GELU by a tanh, the derivative of whose cube has no 3."""

    def __init__(self, approximate: str = "none") -> None:
        self.exact = approximate == "none"

    def forward(self, x: Tensor) -> Tensor:
        self.x = x
        inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
        self.phi = torch.special.ndtr(x) if self.exact else (1 + inner.tanh()) / 2
        return x * self.phi

    def backward(self, dy: Tensor) -> Tensor:
        x, phi = self.x, self.phi
        if self.exact:
            return dy * (phi + x * torch.exp(-(x**2) / 2) / math.sqrt(2 * math.pi))
        inner = math.sqrt(2 / math.pi) * (1 + 0.044715 * x**2)
        return dy * (phi + x * 2 * phi * (1 - phi) * inner)


class OnePlus(layers_by_loops.RMSNorm):
    """Its weight begins at 0, and 1 is added to it."""

    def forward(self, x: Any) -> Any:
        y = super().forward(x)
        return y if self.weight is None else y + y / self.weight


class OfLogits:
    def __init__(self, weight: Any = None, pos_weight: Any = None) -> None:
        self.weight, self.positive = weight, pos_weight

    def forward(self, p: Tensor, t: Tensor) -> Tensor:
        self.y, self.t = p.sigmoid(), t
        self.weights = p.new_ones(p.shape[-1]) if self.weight is None else self.weight.to(p)
        self.times = p.new_ones(p.shape[-1]) if self.positive is None else self.positive.to(p)
        logs = nn.functional.logsigmoid
        entries = self.weights * (self.times * t * logs(p) + (1 - t) * logs(-p))
        return -entries.sum() / self.count()

    def count(self) -> Any:
        return self.t.numel()

    def backward(self) -> Tensor:
        slopes = self.y * (1 - self.t) - self.times * self.t * (1 - self.y)
        return self.weights * slopes / self.count()


class TimesAll(OfLogits):
    def backward(self) -> Tensor:
        slopes = (self.y - self.t) * (1 + (self.times - 1) * self.t)
        return self.weights * slopes / self.count()


class ByWeights(OfLogits):
    def count(self) -> Any:
        return self.weights.expand_as(self.t).sum()


class Decaying(course.SGD):
    def __init__(self, pairs: Any, lr: float, weight_decay: float = 0.0) -> None:
        self.pairs, self.lr, self.decay = pairs, lr, weight_decay

    def step(self) -> None:
        for p, g in self.pairs:
            p -= self.lr * (g + 2 * self.decay * p)


class AdamW:
    """Its decay is told by `decayed`."""

    def __init__(self, pairs: Any, lr: float, weight_decay: float = 0.01) -> None:
        self.pairs, self.lr, self.decay, self.t = pairs, lr, weight_decay, 0
        self.m = [(torch.zeros_like(p), torch.zeros_like(p)) for p, _ in pairs]

    def decayed(self, p: Tensor, g: Tensor) -> Tensor:
        p -= self.decay * p
        return g

    def step(self) -> None:
        self.t += 1
        for (p, gradient), (m, v) in zip(self.pairs, self.m, strict=True):
            g = self.decayed(p, gradient)
            m.mul_(0.9).add_(0.1 * g)
            v.mul_(0.999).add_(0.001 * g * g)
            p -= self.lr * m / (1 - 0.9**self.t) / ((v / (1 - 0.999**self.t)).sqrt() + 1e-8)


class Twice(AdamW):
    def decayed(self, p: Tensor, g: Tensor) -> Tensor:
        g = g + self.decay * p
        p -= self.lr * self.decay * p
        return g


LINEAR: dict[Any, Any] = {nn.Linear: course.Linear}
NAMES: list[tuple[dict[Any, Any], dict[str, Any], str]] = [
    ({nn.SiLU: SiLU}, {}, "SiLU input gradient has y (1 - y) where x * s * (1 - s) belongs"),
    ({nn.GELU: ByTanh}, {}, "GELU input gradient lacks the 3 in the derivative of x^3"),
    ({nn.RMSNorm: OnePlus}, NUMPY, "RMSNorm output has 1 + weight, as Gemma does"),
    ({nn.BCEWithLogitsLoss: TimesAll}, {},
     "BCEWithLogitsLoss gradient multiplies all of y - t by pos_weight where t is large"),
    ({nn.BCEWithLogitsLoss: ByWeights}, {},
     "BCEWithLogitsLoss value is divided by the sum of the weights"),
    (LINEAR | {torch.optim.SGD: Decaying}, {}, "SGD decays the weights by 2 * weight_decay * p"),
    (LINEAR | {torch.optim.AdamW: AdamW}, {},
     "AdamW decays the weights by weight_decay alone, not times the rate"),
    (LINEAR | {torch.optim.AdamW: Twice}, {},
     "AdamW decays the weights twice: in the gradient too"),
]  # fmt: skip


SHORT = ["_".join(name.split()[:6]) for *_, name in NAMES]


@pytest.mark.parametrize(("layers", "settings", "sentence"), NAMES, ids=SHORT)
def test_it_is_named(layers: dict[Any, Any], settings: dict[str, Any], sentence: str) -> None:
    found = told(parity.check(parity.Subject(layers, **settings), quick=True))
    wrong = [text for severity, text in found if severity == WRONG]
    assert len(wrong) == 1, found
    assert wrong[0].startswith(sentence)


class InItself:
    def forward(self, x: Tensor) -> Any:
        found: list[Any] = []
        found.append(found)
        return found

    def backward(self, dy: Tensor) -> Tensor:
        return dy


def test_a_list_that_is_in_itself_is_no_array() -> None:
    ((severity, sentence),) = told(parity.check(parity.Subject({nn.Tanh: InItself}), only="Tanh-*"))
    assert (severity, sentence) == (WRONG, "Tanh: it gives list, where an array is due")
