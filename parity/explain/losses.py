"""What people get wrong in losses."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from parity.catalogue.case import REDUCTIONS, Case, reduced
from parity.catalogue.values import Tensors
from parity.explain.mistakes import Mistake, Mistakes, simple


def of_loss(case: Case, inputs: Tensors, oracle: Tensors) -> Mistakes:
    """The mistakes that can be made of a loss, at `inputs` in float64."""
    how = case.how
    made: Mistakes = {name: simple(y) for name, y in oracle.items()}
    x, t = inputs["prediction"], inputs["target"]
    weighted = "weight" in case.options or "ignore_index" in case.options
    none = case.entry.reference(**case.options | {"reduction": "none"})
    if how != "none":
        for other in REDUCTIONS:
            value = reduced(none(x, t), len(x), other)
            sentence = (
                f"is the {other.replace('_', ' ')}, where {how.replace('_', ' ')} is declared"
                if not (weighted and how == "mean" and other in ("mean", "batch_mean"))
                else "is divided by the number of samples, and not by their weights, which are 0 "
                "for those that are ignored"
            )
            made["loss"].append(Mistake(other, sentence, value))
    derivative = made["prediction_grad"]
    count = _ratio_of(how, x, none(x, t))
    match case.entry.name:
        case "BCEWithLogitsLoss":
            y = torch.sigmoid(x)
            twice = count * (y - t) * y * (1 - y)
            derivative.append(Mistake("twice", "passes through the sigmoid twice", twice))
        case "CrossEntropyLoss" if not case.options.keys() - {"reduction"}:
            p = torch.softmax(x, -1)
            one_hot = nn.functional.one_hot(t, x.shape[-1]).to(x) if t.dim() < x.dim() else t
            derivative.append(Mistake("no target", "does not subtract the target", count * p))
            d = oracle["prediction_grad"]
            twice = p * (d - (p * d).sum(-1, keepdim=True))
            derivative.append(Mistake("twice", "passes through the softmax twice", twice))
            mistaken = count * (p - one_hot)
            sentence = "takes the targets of a sample to sum to 1"
            derivative.append(Mistake("sum of targets", sentence, mistaken))
        case "BCELoss":
            only = -count * t / x
            derivative.append(Mistake("one class", "has the positive class alone", only))
            made["loss"].append(
                Mistake("one class", "counts the positive class alone",
                        _scaled(-t * x.log(), how, len(x)))
            )  # fmt: skip
            _of_eps(made, x, t, how, count)
    options = case.entry.defaults()
    for option, value in case.options.items():
        default = options.get(option)
        if option != "reduction" and (isinstance(value, Tensor) or default != value):
            criterion = case.entry.reference(
                **case.options | {option: default, "reduction": "none"}
            )
            leaf = x.detach().requires_grad_()
            if option == "ignore_index" and not 0 <= value < x.shape[-1]:
                continue  # without it there is no such class
            wrong = _scaled(criterion(leaf, t), how, len(x))
            (gradient,) = torch.autograd.grad(wrong.sum(), leaf)
            number = isinstance(value, float)
            sentence = f"takes {option} to be {default:g}, not {value:g}" if number else (
                f"ignores {option}"
            )  # fmt: skip
            made["loss"].append(Mistake(f"no {option}", sentence, wrong.detach()))
            derivative.append(Mistake(f"no {option}", sentence, gradient))
    return made


def _of_eps(made: Mistakes, x: Tensor, t: Tensor, how: str, count: float) -> None:
    """A number added to the probabilities before their logarithms; near 0 it is no mistake of
    its own, so that it says nothing of what a pass is worth."""

    def same(value: Tensor) -> Callable[[Tensor], bool]:
        return lambda got: got.shape == value.shape and torch.allclose(got.to(value), value)

    for eps in (1e-1, 1e-2, 1e-3, 1e-4):
        entries = -t * (x + eps).log() - (1 - t) * (1 - x + eps).log()
        gradient = count * ((1 - t) / (1 - x + eps) - t / (x + eps))
        sentence = f"has {eps:g} added to the probabilities"
        for name, value in (("loss", _scaled(entries, how, len(x))), ("prediction_grad", gradient)):
            made[name].append(Mistake("eps", sentence, matches=same(value)))


def _scaled(entries: Tensor, how: str, batch: int) -> Tensor:
    return entries if how == "none" else reduced(entries, batch, how)


def _ratio_of(how: str, x: Tensor, entries: Tensor) -> float:
    """What the reduction multiplies each entry of a loss by."""
    if how == "none" or not entries.numel():
        return 1.0
    return float(_scaled(torch.ones_like(entries), how, len(x)) / entries.numel())
