"""What people get wrong in CTCLoss: which alignments there are, and the way back from their sum."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from parity.catalogue.case import REDUCTIONS, Case, reduced
from parity.catalogue.ctc import mass, negative_log_likelihood, states_of
from parity.catalogue.values import Tensors
from parity.explain.mistakes import Mistake, Mistakes, simple
from parity.explain.taps import Slip, Taps, keeping
from parity.judge.comparison import CONVENTION

Whole = Callable[[Tensor], Tensor]
"""Makes the loss of those of all sequences."""

MANY = 20
"""Of how many steps shorter sequences show the same, in less time."""
_SLIPS = [
    Slip("lets alignments skip the blank between two labels that are the same",
         {"skips": lambda skips, labels: labels & (torch.arange(skips.shape[1]) > 1)}),
    Slip("has no way from a label to the next one without a blank between",
         {"skips": lambda skips, labels: torch.zeros_like(skips)}),
    Slip("ends in the last label alone: the last two alpha are not added",
         {"loss": lambda loss, last, before: -before}),
    Slip("ends in the last blank alone: the last two alpha are not added",
         {"loss": lambda loss, last, before: -last}),
    Slip("starts in the first blank alone, and not in the first label", {"starts": lambda two: 1}),
    Slip("is that of the best alignment, not of the sum of all",
         {"sum": lambda following, ways: torch.stack(ways).amax(0),
          "loss": lambda loss, last, before: -torch.maximum(last, before)}),
    Slip("ignores input_lengths: it goes on to the last step",
         {"input lengths": lambda lengths: torch.full_like(lengths, 1 << 30)}),
    Slip("is, on the way back, from the last label alone",
         {"loss": lambda loss, last, before: keeping(loss, -_share(before, loss))}),
    Slip("is, on the way back, from the last blank alone",
         {"loss": lambda loss, last, before: keeping(loss, -_share(last, loss))}),
]  # fmt: skip


def _share(alpha: Tensor, loss: Tensor) -> Tensor:
    """What has the derivative of a state's own part of P, as a share of all of it."""
    return (alpha + loss.detach()).exp()


def of_ctc(case: Case, inputs: Tensors, oracle: Tensors) -> Mistakes:
    """The mistakes that can be made of CTCLoss, at `inputs` in float64."""
    made: Mistakes = {name: simple(y) for name, y in oracle.items()}
    how, options = case.how, case.options
    blank, zeroed = options.get("blank", 0), bool(options.get("zero_infinity"))
    ways = _reductions(inputs)

    def losses(x: Tensor, **changed: Any) -> Tensor:
        found = _losses(inputs | {"prediction": x}, **{"blank": blank} | changed)
        return torch.where(found == torch.inf, 0.0, found) if zeroed else found

    def add(sentence: str, whole: Whole, severity: str = "", **changed: Any) -> None:
        leaf = inputs["prediction"].clone().requires_grad_()
        value = whole(losses(leaf, **changed))
        (by_logs,) = torch.autograd.grad(value.sum(), leaf)
        made["loss"].append(Mistake(sentence, sentence, value.detach(), severity=severity))
        weights = _weights(whole, losses(leaf.detach(), **changed))
        for gradient in (by_logs, by_logs + _masses(inputs, weights)):
            if bool(gradient.isfinite().all()):
                made["prediction_grad"].append(Mistake(sentence, sentence, gradient))

    few = inputs["prediction"].shape[1] <= MANY
    for slip in _SLIPS if few else []:
        add(slip.sentence, ways[how], tap=Taps(slip.taps))
    most = torch.full_like(inputs["target_lengths"], inputs["target"].shape[1])
    add("takes what is behind a target's end for labels: it ignores target_lengths", ways[how],
        tap=Taps({"target lengths": lambda ends: most}))  # fmt: skip
    if blank:
        add(f"takes blank to be 0, not {blank}", ways[how], blank=0)
    for other, whole in ways.items():
        if other != how != "none" != other:
            add(_averaged(how, other), whole)
    if zeroed:
        _of_infinities(made, inputs, blank, ways[how])
    for sentence, value, gradient in _by_shares(inputs, blank, losses, ways[how]):
        if value is not None:
            made["loss"].append(Mistake(sentence, sentence, value, severity=CONVENTION))
        if gradient is not None:
            made["prediction_grad"].append(Mistake(sentence, sentence, gradient))
    return made


def _losses(inputs: Tensors, **options: Any) -> Tensor:
    names = ("prediction", "target", "input_lengths", "target_lengths")
    return negative_log_likelihood(*(inputs[name] for name in names), **options)


def _reductions(inputs: Tensors) -> dict[str, Whole]:
    """How losses may become one, by name."""
    lengths, ends = inputs["input_lengths"], inputs["target_lengths"]
    count = max(len(ends), 1)
    ways: dict[str, Whole] = {
        name: lambda losses, name=name: reduced(losses, count, name)  # type: ignore[misc]
        for name in REDUCTIONS
    }
    return ways | {
        "none": lambda losses: losses,
        "mean": lambda losses: (losses / ends.clamp_min(1)).mean(),
        "by steps": lambda losses: (losses / lengths).mean(),
        "by labels": lambda losses: losses.sum() / ends.sum().clamp_min(1),
    }


def _averaged(how: str, other: str) -> str:
    own = {
        "by steps": "is divided by the lengths of the predictions, not by those of the targets",
        "by labels": "is the sum, divided by the number of all labels",
    }
    if how == "mean" and other == "batch_mean":
        return "is not divided by the lengths of the targets before it is averaged"
    return own.get(other, f"is the {other.replace('_', ' ')}, where {how.replace('_', ' ')} is "
                          "declared")  # fmt: skip


def _weights(whole: Whole, losses: Tensor) -> Tensor:
    """What each sequence's loss counts in the whole: `[B]`, 0 where it is infinite."""
    leaf = torch.zeros_like(losses).requires_grad_()
    (weights,) = torch.autograd.grad(whole(leaf).sum(), leaf)
    return weights * losses.isfinite()


def _masses(inputs: Tensors, weights: Tensor) -> Tensor:
    """The part of the gradient that torch has of a log_softmax: the probabilities."""
    leaf = inputs["prediction"].clone().requires_grad_()
    whole = (mass(leaf, inputs["input_lengths"]) * weights).sum()
    return torch.autograd.grad(whole, leaf)[0]


def _of_infinities(made: Mistakes, inputs: Tensors, blank: int, whole: Whole) -> None:
    """Targets that have no alignment."""
    found = _losses(inputs, blank=blank)
    text = "is infinite for a target that has no alignment: it ignores zero_infinity"
    made["loss"].append(Mistake(text, text, whole(found)))


def _by_shares(
    inputs: Tensors, blank: int, losses: Callable[..., Tensor], whole: Whole
) -> Iterator[tuple[str, Tensor | None, Tensor | None]]:
    """Mistakes by gamma, the share of the alignments that pass through a state at a step: what is
    said, the value and the gradient."""
    x, states = inputs["prediction"], states_of(inputs["target"], blank)
    leaves: list[Tensor] = []

    def leaf(emitted: Tensor) -> Tensor:
        leaves.append(emitted.detach().requires_grad_())
        return leaves[0]

    found = losses(x, tap=Taps({"emitted": leaf}))
    weights = _weights(whole, losses(x))[:, None, None]
    (share,) = torch.autograd.grad(-found.sum(), leaves[0])
    gamma, logs = share * weights, leaves[0].detach()  # [B, T, 2 S + 1]
    own = 2 * inputs["target_lengths"][:, None] >= torch.arange(states.shape[1])
    p, p_of = _masses(inputs, weights[:, 0, 0]), (-found.detach()).exp()[:, None, None]

    def summed(shares: Tensor) -> Tensor:
        places = states[:, None].expand(shares.shape)
        return torch.zeros_like(x).scatter_add(2, places, shares)

    def last(shares: Tensor) -> Tensor:
        """Where a label stands twice, that of its last place."""
        kept = torch.zeros_like(x)
        for place in range(states.shape[1]):
            where = states[:, place, None, None].expand(-1, x.shape[1], 1)
            shown = torch.where(
                own[:, place, None], shares[..., place], kept.gather(2, where)[..., 0]
            )
            kept = kept.scatter(2, where, shown[..., None])
        return kept

    def both(sentence: str, wrong: Tensor) -> Iterator[tuple[str, None, Tensor]]:
        yield sentence, None, -wrong
        yield sentence, None, p - wrong

    yield ("is the mean of the alignments' own -log P, and not -log of the sum of theirs",
           whole(-(share * logs).sum((1, 2))), None)  # fmt: skip
    yield from both("is that of a label's last place alone, where it stands at several",
                    last(gamma))  # fmt: skip
    labels = (states != blank)[:, None]
    yield from both("is 0 for the blank: it has the labels alone", summed(gamma * labels))
    yield from both("is not divided by P", summed(gamma * p_of))
    yield from both("counts each step's own probability twice, once in alpha and once in beta",
                    summed(gamma * logs.exp()))  # fmt: skip
    yield ("is the derivative by the probabilities, not by their logarithms",
           None, -summed(gamma) / x.exp())  # fmt: skip
    yield ("is that by the log-probabilities alone, -gamma, where forward takes a softmax of its "
           "own: p - gamma", None, -summed(gamma))  # fmt: skip
    yield "lacks the target: it is the probabilities alone", None, p
    beyond = x.exp() * weights - summed(gamma)
    yield "goes on behind the end of a sequence", None, beyond
