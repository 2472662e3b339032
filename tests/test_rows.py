"""Classes that the catalogue alone has: a right one of each passes, and a wrong one is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import parity
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


RIGHT = {cls.__name__: cls for cls in
         (Softsign, Mish, Hardtanh, ReLU6, InstanceNorm2d, SmoothL1Loss)}  # fmt: skip
WRONG = {
    "Softsign": (WrongSoftsign, "Softsign input gradient lacks the square in 1 / (1 + |x|)^2"),
    "Mish": (WrongMish, "as if tanh(softplus(x)) were a constant"),
    "Hardtanh": (WrongHardtanh, "Hardtanh input gradient is not cut off below -1"),
    "ReLU6": (WrongReLU6, "ReLU6 output is not cut off above 6"),
    "InstanceNorm2d": (WrongInstanceNorm2d, "is normalised over all channels of a sample"),
    "SmoothL1Loss": (WrongSmoothL1Loss, "is that of HuberLoss: it is multiplied by beta"),
    "HuberLoss": (WrongHuberLoss, "is that of SmoothL1Loss: it is divided by delta"),
}


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_right_passes(name: str) -> None:
    report = parity.check(subject(name, RIGHT[name]), strict=True)
    assert report.passed, [str(one) for one in report.findings]
    assert report.count("passed") >= 25


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named(name: str) -> None:
    cls, says = WRONG[name]
    report = parity.check(subject(name, cls, dtypes=("float32",)))
    (found,) = report.findings
    assert says in str(found)
