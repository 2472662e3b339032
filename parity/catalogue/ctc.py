"""The row of CTCLoss, torch's side of it, and what it is tried at.

Connectionist temporal classification: A. Graves et al. (2006). A target is a sequence of labels
that is shorter than the prediction; the loss is -log P of it, summed over all alignments.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from parity.catalogue.entry import Entry, Options, Variants, reductions
from parity.catalogue.values import Tensors, normal

Tap = Callable[..., Any]


def _as_it_is(name: str, value: Any, *at_hand: Any) -> Any:
    return value


def states_of(target: Tensor, blank: int) -> Tensor:
    """What an alignment passes through: the labels, and a blank before, between and behind them:
    `[B, 2 S + 1]` for a target `[B, S]`."""
    blanks = torch.full_like(target, blank)
    return torch.cat([torch.stack([blanks, target], -1).flatten(-2), blanks[:, :1]], 1)


def _log_sum(*terms: Tensor) -> Tensor:
    """log of the sum of e^x; -inf, with a gradient of 0, where all of them are -inf."""
    x = torch.stack(terms)
    most = x.detach().amax(0)
    most = torch.where(most == -torch.inf, 0.0, most)
    total = (x - most).exp().sum(0)
    none = total == 0
    return torch.where(none, -torch.inf, torch.where(none, 1.0, total).log() + most)


def _behind(alpha: Tensor, places: int) -> Tensor:
    """Each state's number at the state that is so many places on; -inf at the first ones."""
    return torch.cat([torch.full_like(alpha[:, :places], -torch.inf), alpha[:, :-places]], 1)


def negative_log_likelihood(
    prediction: Tensor,
    target: Tensor,
    input_lengths: Tensor,
    target_lengths: Tensor,
    *,
    blank: int = 0,
    tap: Tap = _as_it_is,
) -> Tensor:
    """-log P of each target, `[B]`, by the forward variables alpha, in logarithms.

    Args:
        prediction: log-probabilities `[B, T, C]`; the others as for `CTCLoss`.
        tap: what passes on the steps on the way, by name.
    """
    states = states_of(target, blank)  # [B, 2 S + 1]
    steps, ends = tap("input lengths", input_lengths), tap("target lengths", target_lengths)
    places = states[:, None].expand(-1, prediction.shape[1], -1)
    emitted = tap("emitted", prediction.gather(2, places))  # [B, T, 2 S + 1]
    labels = states != blank
    changes = torch.cat([0 * states[:, :2] > 0, states[:, 2:] != states[:, :-2]], 1)
    skips = tap("skips", labels & changes, labels)
    first = torch.arange(states.shape[1]) < tap("starts", 2)
    alpha = torch.where(first, emitted[:, 0], -torch.inf)
    for time in range(1, prediction.shape[1]):
        over = torch.where(skips, _behind(alpha, 2), -torch.inf)
        ways = alpha, _behind(alpha, 1), over
        following = tap("sum", _log_sum(*ways), ways) + emitted[:, time]
        alpha = torch.where(time < steps[:, None], following, alpha)
    last = alpha.gather(1, 2 * ends[:, None])[:, 0]
    before = alpha.gather(1, (2 * ends[:, None] - 1).clamp_min(0))[:, 0]
    before = torch.where(ends > 0, before, -torch.inf)
    return tap("loss", -_log_sum(last, before), last, before)


class CTCLoss(nn.CTCLoss):
    """torch.nn.CTCLoss as sums and products, which one operation hides.

    Of a prediction `[B, T, C]`, where torch's is `[T, B, C]`; a target `[B, S]`, and the lengths
    of both, `[B]`.

    Its gradient is torch's, p - gamma, p the probabilities and gamma the share of alignments: that
    of a log_softmax before it too. Where `by_logits` is not set, it is -gamma, the derivative of
    the loss by log-probabilities as any numbers. A log_softmax makes the same of both.
    """

    by_logits = True

    def forward(
        self, prediction: Tensor, target: Tensor, input_lengths: Tensor, target_lengths: Tensor
    ) -> Tensor:
        if prediction.dtype not in (torch.float32, torch.float64):
            raise RuntimeError(f"torch has no CTCLoss of {prediction.dtype}")
        given = prediction, target, input_lengths, target_lengths
        losses = negative_log_likelihood(*given, blank=self.blank)
        if self.by_logits:
            whole = mass(prediction, input_lengths)
            losses = losses + (whole - whole.detach()).nan_to_num()  # no value of its own
        if self.zero_infinity:
            losses = torch.where(losses == torch.inf, 0.0, losses)
        match self.reduction:
            case "none":
                return losses
            case "sum":
                return losses.sum()
        return (losses / target_lengths.clamp_min(1)).mean()


def mass(prediction: Tensor, input_lengths: Tensor) -> Tensor:
    """The sum of all probabilities of a sequence, whose derivative they are: `[B]`."""
    inside = torch.arange(prediction.shape[1]) < input_lengths[:, None]
    return (prediction.exp().sum(-1) * inside).sum(-1)


def drawn(
    rows: int, shape: tuple[int, ...], variant: str, options: Options,
    generator: torch.Generator, dtype: torch.dtype,
) -> Tensors:  # fmt: skip
    """A prediction, labels and lengths. The first sequence is as long as there is room; of every
    second one the first two labels are the same; what is behind a target's end is blank.

    Where infinite losses are to be zeroed, the second sequence is too short for its target.
    """
    steps, classes = shape[1:]
    count, blank = steps // 3, options.get("blank", 0)
    logits = normal(rows, steps, classes, generator=generator, dtype=torch.float64)
    target = torch.randint(classes - 1, (rows, count), generator=generator)
    target[::2, 1] = target[::2, 0]
    target = target + (target >= blank)
    number = torch.arange(rows)
    lengths, ends = steps - number % 3, count - number % count
    if variant.startswith(("equal", "blank")):
        lengths, ends = torch.full((rows,), steps), torch.full((rows,), count)
    if options.get("zero_infinity"):
        lengths[1:2] = 1
    target = torch.where(torch.arange(count) < ends[:, None], target, blank)
    prediction = torch.log_softmax(logits, -1).to(dtype)
    return {
        "prediction": prediction, "target": target, "input_lengths": lengths,
        "target_lengths": ends,
    }  # fmt: skip


_KINDS: Variants = {"": {}, "equal": {}, "zero_infinity": {"zero_infinity": True}}
_VARIANTS = reductions(**_KINDS) | {
    "blank=4_mean": {"blank": 4, "reduction": "mean"},
    "long_mean": {"reduction": "mean"},
}
_SHAPES = {name: (2, 65, 5) if name.startswith("long") else (6, 9, 5) for name in _VARIANTS}

ROWS: tuple[Entry, ...] = (
    Entry(
        CTCLoss,
        "loss",
        _VARIANTS,
        _SHAPES,
        target="labels",
        sequence=True,
        beside={
            name: dict.fromkeys(("input_lengths", "target_lengths"), (shape[0],))
            for name, shape in _SHAPES.items()
        },
        stands_for=nn.CTCLoss,
    ),
)
