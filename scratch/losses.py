"""Losses: one number for a prediction and its target, and its derivative by the prediction."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from scratch.activations import log_softmax
from scratch.module import constant, describe

#: The least denominator in BCELoss's derivative. In torch it is a float32, in every dtype.
BCE_LEAST = 9.999999960041972e-13

Kept = tuple[Tensor, Tensor]


class Loss:
    """`loss = criterion(prediction, target)`, then `dprediction = criterion.backward()`.

    Shapes: prediction `[B, features]`, or `[R, B, features]` when stacked; target like it.
    The loss has no axes, or `[R]`: one value for each run. `backward` is the derivative of
    exactly what forward returned (with "none", of each entry of it).

    Args:
        reduction: "mean" over all entries of a run (default), their "sum", or "none".

    Raises:
        ValueError: another reduction; a target shaped or placed unlike the prediction; NaN in
            the target; a gradient shaped unlike the loss.
        TypeError: a target typed unlike the prediction.
        RuntimeError: `backward` without a forward of its own.
    """

    _axes: tuple[int, ...] = (-2, -1)  # of `_entries`, those that one run's loss is reduced over

    def __init__(self, reduction: str = "mean") -> None:
        if reduction not in ("mean", "sum", "none"):
            raise ValueError(f"reduction is 'mean', 'sum' or 'none', not {reduction!r}")
        self.reduction = reduction
        self._kept: Kept | None = None
        self._shape = torch.Size()

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        return self.forward(prediction, target)

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Returns the loss, and keeps what `backward` needs. Neither argument is modified."""
        self._check(prediction, target)
        entries, kept = self._entries(prediction, target)
        if self.reduction == "none":
            loss = entries
        else:
            loss = entries.sum(self._axes) if self.reduction == "sum" else entries.mean(self._axes)
        if math.isnan(loss.sum() if loss.dim() else loss):
            self._explain_nan(prediction, target)
        self._kept, self._shape = kept, entries.shape
        return loss

    def backward(self, dy: Tensor | None = None) -> Tensor:
        """d loss / d prediction, shaped like the prediction.

        Args:
            dy: the gradient of the loss itself, shaped like it, where something follows it.
                Default: 1 in each entry.
        """
        if self._kept is None:
            raise RuntimeError(
                f"{self}: backward without a forward of its own; forward keeps what one "
                "backward needs, and that backward uses it up"
            )
        reduced = self._shape[: self._axes[0]]
        due = self._shape if self.reduction == "none" else reduced
        if dy is not None and dy.shape != due:
            raise ValueError(f"{self} got a gradient {describe(dy)}; its loss is {list(due)}")
        kept, self._kept = self._kept, None
        dx = self._derivative(*kept)
        if self.reduction == "mean":
            dx = dx / constant(math.prod(self._shape[self._axes[0] :]), dx.dtype)
        if dy is None:
            return dx
        return dx * dy.reshape(due + (1,) * (dx.dim() - len(due)))  # over the axes that it has not

    def check(self, prediction: Tensor, target: Tensor) -> None:
        """Raises as `forward` would, for these arguments."""
        self._check(prediction, target)
        self._explain_nan(prediction, target)

    def extra_repr(self) -> str:
        """The constructor's arguments, as `repr` shows them."""
        return f"reduction={self.reduction!r}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.extra_repr()})"

    def _entries(self, x: Tensor, t: Tensor) -> tuple[Tensor, Kept]:
        """The loss before its reduction, `[R, B, features]`, and what `_derivative` needs."""
        raise NotImplementedError(f"{type(self).__name__} must define _entries")

    def _derivative(self, kept: Tensor, t: Tensor, /) -> Tensor:
        """The derivative of the sum of the entries by the prediction."""
        raise NotImplementedError(f"{type(self).__name__} must define _derivative")

    def _check(self, prediction: Tensor, target: Tensor) -> None:
        same_shape = target.shape == prediction.shape and prediction.dim() in (2, 3)
        if same_shape and target.dtype == prediction.dtype and target.device == prediction.device:
            return
        kind = TypeError if same_shape and target.dtype != prediction.dtype else ValueError
        raise kind(
            f"{self} got a prediction {describe(prediction)} and a target {describe(target)}; "
            "takes [B, features], or [R, B, features] when stacked, and a target like it"
        )

    def _explain_nan(self, prediction: Tensor, target: Tensor) -> None:
        """The loss is NaN: an error if the arguments are to blame, not if training diverged."""
        if target.isnan().any():
            raise ValueError(f"{self}: the target has NaN in it")


class MSELoss(Loss):
    """`(x - t)^2`: torch.nn.MSELoss; report B, eq. (10), (11), whose error is the "sum"."""

    def _entries(self, x: Tensor, t: Tensor) -> tuple[Tensor, Kept]:
        difference = x - t
        return difference.square(), (difference, t)

    def _derivative(self, difference: Tensor, t: Tensor) -> Tensor:
        """`2 * (x - t)`."""
        return difference + difference


class L1Loss(Loss):
    """`|x - t|`: torch.nn.L1Loss. The derivative at x = t is 0."""

    def _entries(self, x: Tensor, t: Tensor) -> tuple[Tensor, Kept]:
        difference = x - t
        return difference.abs(), (difference, t)

    def _derivative(self, difference: Tensor, t: Tensor) -> Tensor:
        """`sign(x - t)`."""
        return difference.sign()


class BCELoss(Loss):
    """`-t * log(x + eps) - (1 - t) * log(1 - x + eps)` for probabilities x.

    Without eps it is torch.nn.BCELoss, which holds the logarithms at -100 or above and the
    derivative's denominator at 1e-12 or above, so that x = 0 and x = 1 stay finite.

    Args:
        eps: default 0; report B, eq. (12) to (14), has 0.01.

    Raises:
        ValueError: as for every loss; x outside [0, 1], or NaN; eps below 0.
    """

    def __init__(self, eps: float = 0.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        if not eps >= 0:
            raise ValueError(f"BCELoss takes an eps of 0 or above, not {eps!r}")
        self.eps = eps

    def _entries(self, x: Tensor, t: Tensor) -> tuple[Tensor, Kept]:
        if self.eps:
            one, zero = torch.log(x + self.eps), torch.log(1 - x + self.eps)
        else:
            one, zero = torch.log(x).clamp_min_(-100), torch.log1p(-x).clamp_min_(-100)
        return torch.lerp(zero, one, t).neg_(), (x, t)  # zero + t * (one - zero)

    def _derivative(self, x: Tensor, t: Tensor) -> Tensor:
        """`(1 - t) / (1 - x + eps) - t / (x + eps)`, which is `(x - t) / (x * (1 - x))`."""
        if self.eps:
            return (1 - t) / (1 - x + self.eps) - t / (x + self.eps)
        return (x - t).div_((constant(1, x.dtype) - x).mul_(x).clamp_min_(BCE_LEAST))

    def _check(self, prediction: Tensor, target: Tensor) -> None:
        super()._check(prediction, target)
        if self.eps and prediction.numel():  # without eps, the logarithm is NaN there
            self._check_range(prediction)

    def _explain_nan(self, prediction: Tensor, target: Tensor) -> None:
        super()._explain_nan(prediction, target)
        if prediction.numel():
            self._check_range(prediction)

    def _check_range(self, prediction: Tensor) -> None:
        self.check_range(*(float(bound) for bound in torch.aminmax(prediction)))

    def check_range(self, low: float, high: float) -> None:
        """Raises ValueError for a prediction of such values if they are not in [0, 1]."""
        if not (low >= 0 and high <= 1):
            raise ValueError(
                f"{self} takes probabilities in [0, 1], and got values from {low:g} to {high:g}; "
                "for logits there is BCEWithLogitsLoss"
            )

    def extra_repr(self) -> str:
        return (f"eps={self.eps}, " if self.eps else "") + super().extra_repr()


class BCEWithLogitsLoss(Loss):
    """Binary cross-entropy of `sigmoid(x)` for logits x: torch.nn.BCEWithLogitsLoss.

    Written as `max(x, 0) - x * t + log(1 + e^-|x|)`, which no logit overflows.
    """

    def _entries(self, x: Tensor, t: Tensor) -> tuple[Tensor, Kept]:
        return x.clamp_min(0) - x * t + torch.log1p(torch.exp(-x.abs())), (x, t)

    def _derivative(self, x: Tensor, t: Tensor) -> Tensor:
        """`sigmoid(x) - t`."""
        return torch.sigmoid(x) - t


class CrossEntropyLoss(Loss):
    """`-sum_c t_c * log softmax(x)_c` for logits x: torch.nn.CrossEntropyLoss.

    The target is a class index for each sample, int64 `[B]` (`[R, B]` when stacked), or a
    probability for each class, shaped and typed like the logits. "mean" is over the batch.

    Raises:
        ValueError: as for every loss; a class index outside 0 … features - 1.
    """

    _axes = (-1,)

    def _entries(self, x: Tensor, t: Tensor) -> tuple[Tensor, Kept]:
        log_p = log_softmax(x)  # [R, B, features]
        if t.is_floating_point():
            return -(t * log_p).sum(-1), (log_p, t)  # [R, B]
        return -log_p.gather(-1, t.unsqueeze(-1)).squeeze(-1), (log_p, t)  # [R, B]

    def _derivative(self, log_p: Tensor, t: Tensor) -> Tensor:
        """`softmax(x) * sum_c t_c - t`."""
        p = torch.exp(log_p)
        if t.is_floating_point():
            return p * t.sum(-1, keepdim=True) - t
        index = t.unsqueeze(-1)
        return p.scatter_add_(-1, index, p.new_full((), -1).expand(index.shape))

    def _check(self, prediction: Tensor, target: Tensor) -> None:
        if target.is_floating_point():
            super()._check(prediction, target)
            return
        if target.dtype != torch.int64:
            raise TypeError(
                f"{self} takes class indices as int64, or probabilities, not {describe(target)}"
            )
        fits = prediction.dim() in (2, 3) and target.shape == prediction.shape[:-1]
        if not fits or target.device != prediction.device:
            raise ValueError(
                f"{self} got logits {describe(prediction)} and class indices {describe(target)}; "
                "takes [B, classes] and [B], or [R, B, classes] and [R, B] when stacked"
            )
        if target.numel():
            low, high = (int(bound) for bound in torch.aminmax(target))
            if low < 0 or high >= prediction.shape[-1]:
                raise ValueError(
                    f"{self} takes class indices from 0 to {prediction.shape[-1] - 1}, "
                    f"and got values from {low} to {high}"
                )
