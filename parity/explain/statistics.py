"""What people get wrong in what a batch normalization keeps of its batches, and goes by later."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from parity.catalogue.values import Tensors
from parity.explain.mistakes import Mistake, Mistakes, simple
from parity.explain.normalization import BATCH_NORMS, OWN_BATCH, Norm, of
from parity.judge.comparison import CONVENTION

CHOICES = ("biased", "unbiased", "swapped", "swapped and biased", "from zero",
           "from zero, biased")  # fmt: skip
"""What others choose otherwise than torch."""


def of_statistics(
    module: nn.Module, inputs: Tensors, oracle: Tensors, batches: int, biased_is_due: bool = False
) -> Mistakes:
    """What people get wrong in what a layer keeps, as it shows in evaluation after batches."""
    made: Mistakes = {name: simple(y) for name, y in oracle.items()}
    if not isinstance(module, BATCH_NORMS) or "output" not in oracle:
        return made
    norm = of(module, inputs)
    momentum = 0.1 if module.momentum is None else module.momentum
    given = [of(module, inputs | {"x": inputs[f"x {n}"]}) for n in range(1, batches + 1)]

    def kept(
        share: float = momentum,
        change: Callable[[Norm], Tensor] = lambda one: one.unbiased,
        first: float = 1.0,
        batches: Sequence[Norm] = given,
    ) -> tuple[Tensor, Tensor]:
        mean, variance = norm.mean(norm.x) * 0, norm.mean(norm.x) * 0 + first
        for one in batches:
            mean = (1 - share) * mean + share * one.mean(one.x)
            variance = (1 - share) * variance + share * change(one)
        return mean, variance

    def biased(one: Norm) -> Tensor:
        return one.variance

    last = given[-1]
    swapped = "has momentum the wrong way round: it is the share of what is new, in torch"
    no_bias = 'keeps the biased variance, and torch the unbiased one: running_variance="biased"'
    other = "keeps the unbiased variance, where the adapter says that it is the biased one"
    from_zero = "begins with a variance of 0, and torch with 1"
    beside = "" if biased_is_due else f"; and {no_bias}"
    mean_of = [torch.stack([f(one) for one in given]).mean(0)
               for f in (lambda one: one.mean(one.x), biased)]  # fmt: skip
    listed = [
        ("biased", no_bias, kept(change=biased)),
        ("unbiased", other, kept()),
        ("swapped", swapped, kept(1 - momentum)),
        ("swapped and biased", swapped + beside, kept(1 - momentum, biased)),
        ("never", "is as if nothing had been kept of the batches", kept(batches=())),
        ("last batch", "keeps the last batch's statistics alone", kept(1.0)),
        ("last batch, biased", "keeps the last batch's statistics alone",
         (last.mean(last.x), last.variance)),
        ("updated", "updates the statistics in evaluation too", kept(batches=[*given, norm])),
        ("updated, biased", "updates the statistics in evaluation too" + beside,
         kept(change=biased, batches=[*given, norm])),
        ("from zero", from_zero, kept(first=0.0)),
        ("from zero, biased", from_zero + beside, kept(change=biased, first=0.0)),
        ("mean of batches", "keeps the mean of the batches' statistics", (mean_of[0], mean_of[1])),
    ]  # fmt: skip
    for text, change in (
        ("keeps the deviation in place of the variance", lambda v: v.sqrt()),
        ("keeps 1 / the deviation in place of the variance", lambda v: 1 / v.sqrt()),
        ("keeps 1 / the deviation in place of the variance", lambda v: 1 / (v + norm.eps).sqrt()),
        ("keeps the deviation in place of the variance", lambda v: (v + norm.eps).sqrt()),
    ):
        for way in range(3):

            def changed(one: Norm, change: Any = change, way: int = way) -> Tensor:
                value: Tensor = change(one.unbiased if way == 1 else one.variance)
                return value * one.count / (one.count - 1) if way == 2 else value

            listed.append((text, text, kept(change=changed)))
    if momentum != 0.1:
        text = f"takes momentum to be 0.1, not {momentum:g}"
        listed.append(("momentum=0.1", text, kept(0.1)))
    made["output"].append(Mistake("own batch", OWN_BATCH, norm.over(norm.root)))
    made["input_grad"].append(Mistake("own batch", OWN_BATCH, norm.back()))
    right = kept(change=biased) if biased_is_due else kept()
    for name, sentence, (mean, variance) in listed:
        root = (variance + norm.eps).sqrt()
        output = (norm.x - mean) / root * norm.weight + norm.bias
        severity = CONVENTION if name in CHOICES else ""
        for result, value in (("output", output), ("input_grad", norm.dy * norm.weight / root)):
            made[result].append(Mistake(name, sentence, value, severity=severity))
    _of_parts(made, norm, *right)
    return made


def _of_parts(made: Mistakes, norm: Norm, mean: Tensor, variance: Tensor) -> None:
    """What else is wrong in evaluation, with the right statistics."""
    root = (variance + norm.eps).sqrt()
    normal = (norm.x - mean) / root
    made["output"] += [
        Mistake("no weight and bias", "lacks the weight and the bias", normal),
        Mistake("no bias", "lacks the bias", normal * norm.weight),
        Mistake("no weight", "lacks the weight", normal + norm.bias),
    ]
    d = norm.dy * norm.weight
    text = "is that of training: what is kept of the batches does not depend on the input"
    of_training = (d - norm.mean(d) - normal * norm.mean(d * normal)) / root
    made["input_grad"].append(Mistake("of training", text, of_training))
