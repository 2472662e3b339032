"""Faults of activations, losses and optimizers that the reports have not."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import scratch
from tests.faults import Planting, fault, swap


@fault(
    "Phi is taken for a constant", "layer.input_grad", "GELU", "as if Phi were a constant",
    dtype="float64",
)  # fmt: skip
def _() -> Planting:
    def backward(self: Any, dy: Tensor) -> Tensor:
        x = self._take(dy)
        return dy * self._phi(x)[0]

    return swap(scratch.GELU, backward=backward)


@fault(
    "the sigmoid is taken for a constant", "layer.input_grad", "SiLU", "as if s were a constant",
    dtype="float64",
)  # fmt: skip
def _() -> Planting:
    return swap(scratch.SiLU, backward=lambda self, dy: dy * torch.sigmoid(self._take(dy)))


@fault("beta is left out of the derivative", "layer.input_grad", "Softplus-beta=3", "beta")
def _() -> Planting:
    return swap(scratch.Softplus, backward=lambda self, dy: dy * torch.sigmoid(self._take(dy)))


@fault(
    "the threshold is none",
    "layer.forward",
    "Softplus-threshold=1",
    "threshold",
    subtle="below the threshold",
)
def _() -> Planting:
    right = scratch.Softplus.forward

    def forward(self: Any, x: Tensor) -> Tensor:
        threshold, self.threshold = self.threshold, 20.0
        y = right(self, x)
        self.threshold = threshold
        return y

    return swap(scratch.Softplus, forward=forward)


@fault(
    "the derivative goes on beyond delta",
    "loss.gradient",
    "HuberLoss",
    subtle="up to delta",
)
def _() -> Planting:
    return swap(scratch.HuberLoss, _derivative=lambda self, difference, t: difference)


@fault(
    "the mean counts samples, not their weights",
    "loss.value",
    "NLLLoss-index_weight_mean",
    subtle="without weights",
)
def _() -> Planting:
    return _without_total(scratch.NLLLoss)


@fault(
    "ignored samples count in the mean",
    "loss.value",
    "CrossEntropyLoss-index_ignore_index=1_mean",
    subtle="where none is ignored",
)
def _() -> Planting:
    return _without_total(scratch.CrossEntropyLoss)


@fault(
    "t log t is left out",
    "loss.value",
    "KLDivLoss",
    "lacks the target's own part, t log t: it is a cross-entropy",
    subtle="where targets are 0 and 1",
)
def _() -> Planting:
    right = scratch.KLDivLoss._entries

    def entries(self: Any, x: Tensor, t: Tensor) -> Any:
        _, kept = right(self, x, t)
        return -kept[0] * x, kept

    return swap(scratch.KLDivLoss, _entries=entries)


@fault(
    "0 log 0 is NaN",
    "loss.extremes",
    "KLDivLoss-mean",
    subtle="where no target is 0",
)
def _() -> Planting:
    right = scratch.KLDivLoss._entries

    def entries(self: Any, x: Tensor, t: Tensor) -> Any:
        _, kept = right(self, x, t)
        return t * (torch.log(t) - x), kept

    return swap(scratch.KLDivLoss, _entries=entries)


@fault(
    "a mean over the batch is one over all entries",
    "loss.value",
    "KLDivLoss-batchmean",
    "is the mean, where batchmean is declared",
    subtle="but for batchmean",
)
def _() -> Planting:
    right = scratch.KLDivLoss._entries

    def entries(self: Any, x: Tensor, t: Tensor) -> Any:
        found, kept = right(self, x, t)
        self._total = None if self._total is None else self._total * x.shape[-1]
        return found, kept

    return swap(scratch.KLDivLoss, _entries=entries)


@fault(
    "the mean over the batch is not in the derivative",
    "loss.gradient",
    "KLDivLoss-batchmean",
    "7 is the batch size; the loss averages, its backward does not",
    subtle="but for batchmean",
)
def _() -> Planting:
    right = scratch.Loss.backward

    def backward(self: Any, dy: Tensor | None = None) -> Tensor:
        dx = right(self, dy)
        return dx * dx.shape[-2] if self.reduction == "batchmean" else dx

    return swap(scratch.KLDivLoss, backward=backward)


@fault(
    "the derivative multiplies by the target's logarithm",
    "loss.gradient",
    "KLDivLoss-log_target",
    "ignores log_target",
    subtle="but for log_target",
)
def _() -> Planting:
    return swap(scratch.KLDivLoss, _derivative=lambda self, p, t: -t)


def _without_total(loss: Any) -> Planting:
    """A loss whose mean is over the samples."""
    right = loss._entries

    def entries(self: Any, x: Tensor, t: Tensor) -> Any:
        found = right(self, x, t)
        self._total = None
        return found

    return swap(loss, _entries=entries)


@fault(
    "what is smoothed off the target's class is not given to it",
    "loss.value",
    "CrossEntropyLoss-index_label_smoothing=0.1",
    subtle="without smoothing",
)
def _() -> Planting:
    right = scratch.CrossEntropyLoss._targets

    def targets(self: Any, t: Tensor, like: Tensor) -> Tensor:
        smoothed = right(self, t, like)
        return torch.where(smoothed > 0.5, smoothed - self.label_smoothing / 5, smoothed)

    return swap(scratch.CrossEntropyLoss, _targets=targets)


@fault(
    "centered does not take the mean off",
    "optimizer.twenty_steps",
    "RMSprop-centered",
    "centered",
)
def _() -> Planting:
    right = scratch.RMSprop._update

    def update(self: Any, p: Tensor, g: Tensor) -> None:
        centered, self.centered = self.centered, False
        right(self, p, g)
        self.centered = centered

    return swap(scratch.RMSprop, _update=update)


@fault("eps is inside of the root", "optimizer.twenty_steps", "RMSprop-eps=0.01", "root")
def _() -> Planting:
    def update(self: Any, p: Tensor, g: Tensor) -> None:
        v = self._slot("square_avg").mul_(self.alpha).addcmul_(g, g, value=1 - self.alpha)
        p.addcdiv_(g, (v + self.eps).sqrt(), value=-self.lr)

    return swap(scratch.RMSprop, _update=update)


@fault("the rate decays a step early", "optimizer.twenty_steps", "Adagrad-lr_decay=0.1")
def _() -> Planting:
    right = scratch.Adagrad._update

    def update(self: Any, p: Tensor, g: Tensor) -> None:
        self._steps += 1
        right(self, p, g)
        self._steps -= 1

    return swap(scratch.Adagrad, _update=update)


@fault("nothing is passed on beside the modules", "layer.input_grad", "Residual")
def _() -> Planting:
    return swap(scratch.Residual, backward=lambda self, dy: self._inside.backward(dy))
