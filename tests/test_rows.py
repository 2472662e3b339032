"""Classes that the catalogue alone has: a right one of each passes, and a wrong one is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import parity
import scratch
from parity.catalogue.table import by_name
from parity.explain import adaptive
from tests.subjects import more_by_loops
from tests.subjects.layers_by_loops import Array, Layer
from tests.wrongs import subject


def softplus(x: Array) -> Array:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def sigmoid(x: Array) -> Array:
    return np.exp(-softplus(-x))


class Softsign(Layer):
    def forward(self, x: Array) -> Array:
        self.x = x.copy()
        return x / (1 + np.abs(x))

    def backward(self, dy: Array) -> Any:
        return dy / (1 + np.abs(self.x)) ** 2


class WrongSoftsign(Softsign):
    def backward(self, dy: Array) -> Any:
        return dy / (1 + np.abs(self.x))


class Mish(Layer):
    def forward(self, x: Array) -> Array:
        self.x = x.copy()
        return x * np.tanh(softplus(x))

    def backward(self, dy: Array) -> Any:
        gate = np.tanh(softplus(self.x))
        return dy * (gate + self.x * (1 - gate**2) * sigmoid(self.x))


class WrongMish(Mish):
    def backward(self, dy: Array) -> Any:
        return dy * np.tanh(softplus(self.x))


class Hardtanh(Layer):
    def __init__(self, min_val: float = -1.0, max_val: float = 1.0) -> None:
        self.low, self.high = min_val, max_val

    def forward(self, x: Array) -> Array:
        self.x = x.copy()
        return np.clip(x, self.low, self.high)

    def backward(self, dy: Array) -> Any:
        return np.where((self.x > self.low) & (self.x < self.high), dy, 0)


class WrongHardtanh(Hardtanh):
    def backward(self, dy: Array) -> Any:
        return np.where(self.x < self.high, dy, 0)


class ReLU6(Hardtanh):
    def __init__(self) -> None:
        super().__init__(0.0, 6.0)


class WrongReLU6(ReLU6):
    """As ReLU."""

    def forward(self, x: Array) -> Array:
        self.x = x.copy()
        return np.maximum(x, 0)


class InstanceNorm2d(more_by_loops.GroupNorm):
    def __init__(self, num_features: int, eps: float = 1e-5, affine: bool = False) -> None:
        super().__init__(num_features, num_features, eps, affine)


class WrongInstanceNorm2d(more_by_loops.GroupNorm):
    def __init__(self, num_features: int, eps: float = 1e-5, affine: bool = False) -> None:
        super().__init__(1, num_features, eps, affine)


class SmoothL1Loss:
    def __init__(self, reduction: str = "mean", beta: float = 1.0) -> None:
        self.reduction, self.beta = reduction, beta

    def forward(self, x: Array, t: Array) -> Any:
        self.d = x - t
        size = np.abs(self.d)
        entries = np.where(size < self.beta, size**2 / (2 * self.beta), size - self.beta / 2)
        if self.reduction == "none":
            return entries
        return entries.mean() if self.reduction == "mean" else entries.sum()

    def backward(self) -> Any:
        dx = np.clip(self.d / self.beta, -1, 1).astype(self.d.dtype)
        return dx / self.d.size if self.reduction == "mean" else dx


class WrongSmoothL1Loss(SmoothL1Loss):
    """As HuberLoss."""

    def forward(self, x: Array, t: Array) -> Any:
        return super().forward(x, t) * self.beta

    def backward(self) -> Any:
        return super().backward() * self.beta


class WrongHuberLoss(SmoothL1Loss):
    """As SmoothL1Loss."""

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction, delta)


class GLU(Layer):
    def __init__(self, dim: int = -1) -> None:
        self.dim = dim

    def forward(self, x: Array) -> Array:
        self.a, b = np.split(x, 2, axis=self.dim)
        self.s = sigmoid(b)
        y: Array = self.a * self.s
        return y

    def backward(self, dy: Array) -> Any:
        return np.concatenate([dy * self.s, dy * self.a * self.s * (1 - self.s)], self.dim)


class WrongGLU(GLU):
    def backward(self, dy: Array) -> Any:
        return np.concatenate([dy * self.s, dy * self.a], self.dim)


class ZeroPad2d(Layer):
    def __init__(self, padding: Any) -> None:
        sides: Any = (padding,) * 4 if isinstance(padding, int) else padding
        self.left, self.right, self.top, self.bottom = sides

    def forward(self, x: Array) -> Array:
        self.shape = x.shape
        both = (self.top, self.bottom), (self.left, self.right)
        return np.pad(x, ((0, 0), (0, 0), *both))

    def backward(self, dy: Array) -> Any:
        height, width = self.shape[2:]
        rows = slice(self.top, self.top + height)
        return dy[:, :, rows, self.left : self.left + width].copy()


class WrongZeroPad2d(ZeroPad2d):
    def __init__(self, padding: Any) -> None:
        super().__init__(padding)
        self.left, self.right = self.right, self.left
        self.top, self.bottom = self.bottom, self.top


class KLDivLoss:
    def __init__(self, reduction: str = "mean", log_target: bool = False) -> None:
        self.reduction, self.log_target = reduction, log_target

    def entries(self, x: Array, t: Array) -> Array:
        entries: Array = t * (np.log(np.where(t > 0, t, 1)) - x)
        return entries

    def forward(self, x: Array, t: Array) -> Any:
        t = np.exp(t) if self.log_target else t
        entries = self.entries(x, t)
        counts = {"mean": x.size, "sum": 1, "batchmean": len(x)}
        self.dx = -t / counts.get(self.reduction, 1)
        return entries if self.reduction == "none" else entries.sum() / counts[self.reduction]

    def backward(self) -> Any:
        return self.dx


class WrongKLDivLoss(KLDivLoss):
    def entries(self, x: Array, t: Array) -> Array:
        return -t * x


RIGHT = {cls.__name__: cls for cls in
         (Softsign, Mish, Hardtanh, ReLU6, InstanceNorm2d, SmoothL1Loss, GLU, ZeroPad2d,
          KLDivLoss)}  # fmt: skip
WRONG = {
    "Softsign": (WrongSoftsign, "Softsign input gradient lacks the square in 1 / (1 + |x|)^2"),
    "Mish": (WrongMish, "as if tanh(softplus(x)) were a constant"),
    "Hardtanh": (WrongHardtanh, "Hardtanh input gradient is not cut off below -1"),
    "ReLU6": (WrongReLU6, "ReLU6 output is not cut off above 6"),
    "InstanceNorm2d": (WrongInstanceNorm2d, "is normalised over all channels of a sample"),
    "SmoothL1Loss": (WrongSmoothL1Loss, "is that of HuberLoss: it is multiplied by beta"),
    "GLU": (WrongGLU, "GLU input gradient lacks sigma' in the gradient of the gate"),
    "ZeroPad2d": (WrongZeroPad2d, "has left for right and top for bottom"),
    "KLDivLoss": (WrongKLDivLoss, "KLDivLoss value lacks the target's own part, t log t"),
    "HuberLoss": (WrongHuberLoss, "is that of SmoothL1Loss: it is divided by delta"),
}


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_right_passes(name: str) -> None:
    report = parity.check(subject(name, RIGHT[name]), strict=True)
    assert report.passed, [str(one) for one in report.findings]
    assert report.count("passed") >= 25


class Stepping:
    """An optimizer whose steps are torch's, or those of one of the known mistakes."""

    def __init__(self, name: str, pairs: Any, options: dict[str, Any], mistake: int) -> None:
        self.pairs = list(pairs)
        self.rule: Any = None
        if mistake >= 0:
            settings = by_name(name).defaults() | options
            self.rule = getattr(adaptive, f"of_{name.lower()}")(settings)[mistake][2]
            self.states: list[dict[str, Any]] = [{} for _ in self.pairs]
        else:
            self.own = [p.clone().requires_grad_() for p, _ in self.pairs]
            self.torchs = getattr(torch.optim, name)(self.own, **options)
        self.count = 0

    def step(self) -> None:
        self.count += 1
        for place, (p, g) in enumerate(self.pairs):
            if self.rule is not None:
                p.copy_(self.rule(p, g, self.states[place], self.count))
            else:
                self.own[place].data, self.own[place].grad = p.clone(), g.clone()
        if self.rule is None:
            self.torchs.step()
            for own, (p, _) in zip(self.own, self.pairs, strict=True):
                p.copy_(own.detach())


def stepping(name: str, mistake: int = -1) -> parity.Report:
    def made(pairs: Any, lr: float, **options: Any) -> Stepping:
        return Stepping(name, pairs, {"lr": lr} | options, mistake)

    subject = parity.Subject({nn.Linear: scratch.Linear, getattr(torch.optim, name): made})
    return parity.check(subject, only=f"{name}-*", strict=True)


ADAPTIVE = ("Adadelta", "Adamax", "NAdam", "RAdam")


@pytest.mark.parametrize("name", ADAPTIVE)
def test_torchs_own_steps_pass(name: str) -> None:
    report = stepping(name)
    assert report.passed, [str(one) for one in report.findings]
    assert report.count("passed") >= 50


@pytest.mark.parametrize("mistake", range(3))
@pytest.mark.parametrize("name", ADAPTIVE)
def test_each_known_mistake_of_a_step_is_named(name: str, mistake: int) -> None:
    rules = getattr(adaptive, f"of_{name.lower()}")(by_name(name).defaults())
    assert len(rules) == 3
    (found,) = stepping(name, mistake).findings
    assert str(found) == f"{name} {rules[mistake][1]}"


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named(name: str) -> None:
    cls, says = WRONG[name]
    report = parity.check(subject(name, cls, dtypes=("float32",)))
    (found,) = report.findings
    assert says in str(found)
