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
    _reductions: tuple[str, ...] = ("mean", "sum", "none")

    def __init__(self, reduction: str = "mean") -> None:
        if reduction not in self._reductions:
            *others, last = map(repr, self._reductions)
            raise ValueError(f"reduction is {', '.join(others)} or {last}, not {reduction!r}")
        self.reduction = reduction
        self._kept: Kept | None = None
        self._shape = torch.Size()
        self._total: Tensor | None = None  # what a run's mean divides by, if not by its entries

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        return self.forward(prediction, target)

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Returns the loss, and keeps what `backward` needs. Neither argument is modified."""
        self._check(prediction, target)
        entries, kept = self._entries(prediction, target)
        if self.reduction == "none":
            loss = entries
        elif self.reduction == "sum" or self._total is not None:
            loss = entries.sum(self._axes)
        else:
            loss = entries.mean(self._axes)
        if self._averages and self._total is not None:
            loss = loss / self._total
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
        if self._averages and self._total is not None:
            dx = dx / self._total.reshape(reduced + (1,) * (dx.dim() - len(reduced)))
        elif self._averages:
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

    @property
    def _averages(self) -> bool:
        """Whether its reduction is some mean."""
        return self.reduction not in ("sum", "none")

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


class HuberLoss(Loss):
    """`(x - t)^2 / 2` up to delta, and `delta * (|x - t| - delta / 2)` beyond: torch.nn.HuberLoss.

    Huber 1964, section 2.

    Args:
        reduction: as for every loss.
        delta: default 1.

    Raises:
        ValueError: as for every loss; a delta of 0 or below.
    """

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        if not delta > 0:
            raise ValueError(f"HuberLoss takes a delta above 0, not {delta!r}")
        self.delta = delta

    def _entries(self, x: Tensor, t: Tensor) -> tuple[Tensor, Kept]:
        difference = x - t
        size = difference.abs()
        near = size.square().mul(0.5)
        return torch.where(size <= self.delta, near, self.delta * (size - 0.5 * self.delta)), (
            difference, t,
        )  # fmt: skip

    def _derivative(self, difference: Tensor, t: Tensor) -> Tensor:
        """`x - t`, and beyond delta its sign times delta."""
        return difference.clamp(-self.delta, self.delta)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, delta={self.delta}"


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


class KLDivLoss(Loss):
    """`t * (log t - x)` for logarithms of probabilities x: torch.nn.KLDivLoss, 0 where t is 0.

    Kullback and Leibler 1951. The sum over the features of a sample is its divergence: "batchmean"
    is the mean of those, "mean" that over all entries.

    Args:
        reduction: as for every loss, or "batchmean", the sum divided by the number of samples.
        log_target: whether the target is of logarithms too. Default: probabilities.

    Raises:
        ValueError: as for every loss.
    """

    _reductions = (*Loss._reductions, "batchmean")

    def __init__(self, reduction: str = "mean", log_target: bool = False) -> None:
        super().__init__(reduction)
        self.log_target = log_target

    def _entries(self, x: Tensor, t: Tensor) -> tuple[Tensor, Kept]:
        self._total = None
        if self.reduction == "batchmean":
            self._total = x.new_full(x.shape[:-2], x.shape[-2])  # of each run, its samples
        if self.log_target:
            p = torch.exp(t)
            return p * (t - x), (p, t)
        own = torch.where(t == 0, t, t * torch.log(t))
        return own - t * x, (t, t)

    def _derivative(self, p: Tensor, t: Tensor) -> Tensor:
        """`-t`; of logarithms `-e^t`."""
        return -p

    def extra_repr(self) -> str:
        return super().extra_repr() + ", log_target=True" * self.log_target


def _range(t: Tensor) -> tuple[int, int]:
    """The least and the largest of some integers; 0 of none."""
    if not t.numel():
        return 0, 0
    low, high = torch.aminmax(t)
    return int(low), int(high)


class _OfClasses(Loss):
    """What losses of class indices share: a weight for each class, and an index that is ignored.

    The mean is over the weights of the samples that are not ignored.
    """

    _axes = (-1,)

    def __init__(
        self, weight: Tensor | None = None, ignore_index: int = -100, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction)
        if weight is not None and weight.dim() != 1:
            raise ValueError(
                f"{type(self).__name__} takes a weight for each class, [classes], not "
                f"{describe(weight)}"
            )
        self.weight, self.ignore_index = weight, ignore_index
        self._ignores = False  # whether any of the targets is ignored

    @property
    def plain(self) -> bool:
        """Whether every sample of the last targets counts, and all alike."""
        return self.weight is None and not self._ignores

    def _weights(self, t: Tensor, like: Tensor) -> Tensor:
        """Of each sample, 0 of one that is ignored: `[R, B]`."""
        kept = (t != self.ignore_index).to(like.dtype)
        return kept if self.weight is None else kept * self.weight.to(like)[self._index(t)]

    def _index(self, t: Tensor) -> Tensor:
        """The classes, 0 of what is ignored."""
        return torch.where(t == self.ignore_index, 0, t)

    def _check_indices(self, prediction: Tensor, target: Tensor, what: str) -> None:
        fits = prediction.dim() in (2, 3) and target.shape == prediction.shape[:-1]
        if not fits or target.device != prediction.device:
            raise ValueError(
                f"{self} got {what} {describe(prediction)} and class indices {describe(target)}; "
                "takes [B, classes] and [B], or [R, B, classes] and [R, B] when stacked"
            )
        self._check_weight(prediction)
        low, high = _range(target)
        self._ignores = False
        if low <= self.ignore_index <= high:
            ignored = target == self.ignore_index
            self._ignores = bool(ignored.any())
            low, high = _range(target[~ignored])
        if low < 0 or high >= prediction.shape[-1]:
            raise ValueError(
                f"{self} takes class indices from 0 to {prediction.shape[-1] - 1}, "
                f"and got values from {low} to {high}"
            )

    def _check_weight(self, prediction: Tensor) -> None:
        if self.weight is not None and len(self.weight) != prediction.shape[-1]:
            raise ValueError(
                f"{self} has weights of {len(self.weight)} classes, and got a prediction "
                f"{describe(prediction)}"
            )

    def extra_repr(self) -> str:
        parts = [f"weight={self.weight.tolist()}"] if self.weight is not None else []
        parts += [f"ignore_index={self.ignore_index}"] * (self.ignore_index != -100)
        return ", ".join([*parts, super().extra_repr()])


class NLLLoss(_OfClasses):
    """`-weight_c * x_c`, c the target, for logarithms of probabilities x: torch.nn.NLLLoss.

    The target is a class index for each sample, int64 `[B]` (`[R, B]` when stacked). "mean" is over
    the weights of the samples.

    Args:
        weight: of each class, `[classes]`. Default: 1.
        ignore_index: a target that counts for nothing. Default: -100.
        reduction: as for every loss.

    Raises:
        ValueError: as for every loss; a class index outside 0 … features - 1.
    """

    def _entries(self, x: Tensor, t: Tensor) -> tuple[Tensor, Kept]:
        weights = self._weights(t, x)
        self._total = weights.sum(-1)
        own = x.gather(-1, self._index(t).unsqueeze(-1)).squeeze(-1)
        return torch.where(t == self.ignore_index, 0, -weights * own), (x, t)

    def _derivative(self, x: Tensor, t: Tensor) -> Tensor:
        """`-weight_c` at the target's class, else 0."""
        dx = torch.zeros_like(x)
        return dx.scatter_(-1, self._index(t).unsqueeze(-1), -self._weights(t, x).unsqueeze(-1))

    def _check(self, prediction: Tensor, target: Tensor) -> None:
        if target.dtype != torch.int64:
            raise TypeError(f"{self} takes class indices as int64, not {describe(target)}")
        self._check_indices(prediction, target, "logarithms of probabilities")


class CrossEntropyLoss(_OfClasses):
    """`-sum_c t_c * log softmax(x)_c` for logits x: torch.nn.CrossEntropyLoss.

    The target is a class index for each sample, int64 `[B]` (`[R, B]` when stacked), or a
    probability for each class, shaped and typed like the logits. "mean" is over the batch; of
    indices over the weights of the samples that are not ignored.

    Args:
        weight: of each class, `[classes]`. Default: 1.
        ignore_index: a target index that counts for nothing. Default: -100.
        reduction: as for every loss.
        label_smoothing: a share of each target that is spread over all classes, from 0 to 1.
            Szegedy et al. 2016, section 7. Default: 0.

    Raises:
        ValueError: as for every loss; a class index outside 0 … features - 1; a label_smoothing
            outside 0 to 1.
    """

    def __init__(
        self,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(weight, ignore_index, reduction)
        if not 0 <= label_smoothing <= 1:
            raise ValueError(
                f"CrossEntropyLoss takes a label_smoothing from 0 to 1, not {label_smoothing!r}"
            )
        self.label_smoothing = label_smoothing

    def _entries(self, x: Tensor, t: Tensor) -> tuple[Tensor, Kept]:
        log_p = log_softmax(x)  # [R, B, features]
        self._total = None
        if t.is_floating_point():
            return -(self._targets(t, log_p) * log_p).sum(-1), (log_p, t)  # [R, B]
        if not self.plain:
            self._total = self._weights(t, log_p).sum(-1)
        if self.plain and not self.label_smoothing:
            return -log_p.gather(-1, t.unsqueeze(-1)).squeeze(-1), (log_p, t)  # [R, B]
        return -(self._targets(t, log_p) * log_p).sum(-1), (log_p, t)

    def _derivative(self, log_p: Tensor, t: Tensor) -> Tensor:
        """`softmax(x) * sum_c t_c - t`, t with its weights and smoothing."""
        p = torch.exp(log_p)
        if t.is_floating_point() or self.label_smoothing or not self.plain:
            targets = self._targets(t, log_p)
            return p * targets.sum(-1, keepdim=True) - targets
        index = t.unsqueeze(-1)
        return p.scatter_add_(-1, index, p.new_full((), -1).expand(index.shape))

    def _targets(self, t: Tensor, like: Tensor) -> Tensor:
        """A number for each class, smoothed and weighted: `[R, B, features]`, 0 if ignored."""
        if not t.is_floating_point():
            kept = (t != self.ignore_index).unsqueeze(-1).to(like.dtype)
            t = torch.zeros_like(like).scatter_(-1, self._index(t).unsqueeze(-1), kept)
        else:
            kept = constant(1, t.dtype)
        if self.label_smoothing:
            t = (1 - self.label_smoothing) * t + kept * (self.label_smoothing / t.shape[-1])
        return t if self.weight is None else t * self.weight.to(like)

    def _check(self, prediction: Tensor, target: Tensor) -> None:
        if target.is_floating_point():
            super()._check(prediction, target)
            self._check_weight(prediction)
            return
        if target.dtype != torch.int64:
            raise TypeError(
                f"{self} takes class indices as int64, or probabilities, not {describe(target)}"
            )
        self._check_indices(prediction, target, "logits")

    def extra_repr(self) -> str:
        smoothing = f", label_smoothing={self.label_smoothing}" * (self.label_smoothing > 0)
        return super().extra_repr() + smoothing
