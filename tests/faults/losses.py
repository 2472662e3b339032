"""Faults of losses."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import scratch
from scratch import activations, losses
from tests.faults import Planting, fault, swap


@fault(
    "a mean over the batch alone",
    "loss.value",
    "MSELoss-mean",
    "is the batch mean, where mean is declared",
)
def _() -> Planting:
    def entries(self: Any, x: Tensor, t: Tensor) -> Any:
        return (x - t).square() * x.shape[-1], (x - t, t)

    return swap(scratch.MSELoss, _entries=entries)


@fault("derivative lacks 1 / N", "loss.gradient", "MSELoss-mean", "35 is the number of entries")
def _() -> Planting:
    return swap(scratch.Loss, backward=lambda self, dy=None: self._derivative(*self._kept))


@fault(
    "derivative of a mean is divided by the batch alone",
    "loss.gradient",
    "MSELoss-mean",
    "5 is the number of features",
)
def _() -> Planting:
    def backward(self: Any, dy: Tensor | None = None) -> Tensor:
        dx: Tensor = self._derivative(*self._kept) / len(self._kept[0])
        return dx

    return swap(scratch.Loss, backward=backward)


@fault("derivative lacks its 2", "loss.differences", "MSELoss", dtype="float64")
def _() -> Planting:
    return swap(scratch.MSELoss, _derivative=lambda self, difference, t: difference)


@fault("derivative has the wrong sign", "loss.gradient", "L1Loss", "has the wrong sign")
def _() -> Planting:
    return swap(scratch.L1Loss, _derivative=lambda self, difference, t: -difference.sign())


@fault("derivative at 0 is 1", "loss.kink", "L1Loss", subtle="away from 0")
def _() -> Planting:
    def derivative(self: Any, difference: Tensor, t: Tensor) -> Tensor:
        return torch.where(difference >= 0, 1.0, -1.0).to(difference.dtype)

    return swap(scratch.L1Loss, _derivative=derivative)


@fault(
    "eps is not in the derivative", "loss.gradient", "BCELoss-eps", "takes eps to be 0, not 0.01"
)
def _() -> Planting:
    return swap(scratch.BCELoss, _derivative=lambda self, x, t: (1 - t) / (1 - x) - t / x)


@fault(
    "only the positive class counts",
    "loss.value",
    "BCELoss-mean",
    "counts the positive class alone",
)
def _() -> Planting:
    return swap(scratch.BCELoss, _entries=lambda self, x, t: (-t * torch.log(x), (x, t)))


@fault("logarithms are not held at -100", "loss.extremes", "BCELoss-mean")
def _() -> Planting:
    def entries(self: Any, x: Tensor, t: Tensor) -> Any:
        return -(t * torch.log(x) + (1 - t) * torch.log1p(-x)), (x, t)

    return swap(scratch.BCELoss, _entries=entries)


@fault("e^-x overflows", "loss.extremes", "BCEWithLogitsLoss")
def _() -> Planting:
    def entries(self: Any, x: Tensor, t: Tensor) -> Any:
        return torch.log(1 + torch.exp(-x)) + (1 - t) * x, (x, t)

    return swap(scratch.BCEWithLogitsLoss, _entries=entries)


@fault(
    "derivative passes through the sigmoid twice",
    "loss.gradient",
    "BCEWithLogitsLoss",
    "passes through the sigmoid twice",
)
def _() -> Planting:
    def derivative(self: Any, x: Tensor, t: Tensor) -> Tensor:
        y = torch.sigmoid(x)
        return (y - t) * y * (1 - y)

    return swap(scratch.BCEWithLogitsLoss, _derivative=derivative)


@fault("logits are not shifted", "loss.extremes", "CrossEntropyLoss")
def _() -> Planting:
    def log_softmax(x: Tensor, dim: int = -1) -> Tensor:
        return x - torch.exp(x).sum(dim, keepdim=True).log()

    return swap(losses, log_softmax=log_softmax)


@fault(
    "derivative does not subtract the target",
    "loss.gradient",
    "CrossEntropyLoss-index",
    "does not subtract the target",
)
def _() -> Planting:
    return swap(scratch.CrossEntropyLoss, _derivative=lambda self, log_p, t: torch.exp(log_p))


@fault(
    "targets are taken to sum to 1",
    "loss.gradient",
    "CrossEntropyLoss-distribution",
    "takes the targets of a sample to sum to 1",
)
def _() -> Planting:
    return swap(scratch.CrossEntropyLoss, _derivative=lambda self, log_p, t: torch.exp(log_p) - t)


@fault(
    "a mean over classes too",
    "loss.value",
    "CrossEntropyLoss-distribution_mean",
    "1 / 5, 5 is the number of features",
)
def _() -> Planting:
    def entries(self: Any, x: Tensor, t: Tensor) -> Any:
        log_p = activations.log_softmax(x)
        return -(t * log_p).mean(-1), (log_p, t)

    return swap(scratch.CrossEntropyLoss, _entries=entries)


@fault(
    "prediction is overwritten", "loss.no_mutation", "MSELoss", "MSELoss writes into the prediction"
)
def _() -> Planting:
    def entries(self: Any, x: Tensor, t: Tensor) -> Any:
        difference = x.sub_(t)
        return difference.square(), (difference, t)

    return swap(scratch.MSELoss, _entries=entries)


@fault(
    "1 / N is that of the first batch",
    "loss.repeated",
    "MSELoss-mean",
    "7 is the batch size",
    subtle="for the first batch",
)
def _() -> Planting:
    def backward(self: Any) -> Tensor:
        self._first = min(self._shape.numel(), getattr(self, "_first", self._shape.numel()))
        dx: Tensor = self._derivative(*self._kept) / self._first
        return dx

    return swap(scratch.Loss, backward=backward)


@fault("runs are averaged too", "loss.stacked", "MSELoss-mean")
def _() -> Planting:
    right = scratch.Loss.forward

    def forward(self: Any, prediction: Tensor, target: Tensor) -> Tensor:
        loss = right(self, prediction, target)
        return loss.mean(0, keepdim=True).expand(loss.shape) if loss.dim() == 1 else loss

    return swap(scratch.Loss, forward=forward)


@fault(
    "a batch of one is not reduced",
    "loss.batch_of_one",
    "MSELoss-mean",
    "is 5 times what it should be",
    subtle="for two samples and more",
)
def _() -> Planting:
    right = scratch.Loss.backward

    def backward(self: Any) -> Tensor:
        alone = len(self._kept[0]) == 1
        return right(self) * (self._shape.numel() if alone else 1)

    return swap(scratch.Loss, backward=backward)


@fault("the mean of nothing is 0", "loss.empty_batch", "MSELoss-mean")
def _() -> Planting:
    right = scratch.Loss.forward

    def forward(self: Any, prediction: Tensor, target: Tensor) -> Tensor:
        return right(self, prediction, target).nan_to_num(0)

    return swap(scratch.Loss, forward=forward)


@fault("strides of the prediction are ignored", "loss.noncontiguous", "MSELoss")
def _() -> Planting:
    right = scratch.MSELoss._entries

    def entries(self: Any, x: Tensor, t: Tensor) -> Any:
        return right(self, x.as_strided(x.shape, torch.empty(x.shape).stride()), t)

    return swap(scratch.MSELoss, _entries=entries)


@fault(
    "a sum by default", "loss.defaults", "MSELoss", "default of MSELoss's reduction is 'sum'",
    subtle="where the reduction is given",
)  # fmt: skip
def _() -> Planting:
    return swap(scratch.MSELoss.__init__, __defaults__=("sum",))
