"""What people get wrong in layers and losses, as the results that they would get.

Each mistake is evaluated at the very inputs of a check. That serves twice: a result that is
wrong and equals one of them is explained by it (`diagnosis.py`), and the distance of the
nearest one from the truth says how much a pass is worth.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from parity.catalogue.case import Case
from parity.catalogue.values import Tensors


@dataclass(frozen=True)
class Mistake:
    """A wrong result.

    Args:
        name: in a word or two, for a certificate.
        sentence: what there is to say of a result that equals it.
        value: that result, in float64.
        says: what it says of a result that is this mistake, where that cannot be foretold, and ""
            of any other; it has no value then.
        scaled: whether a result is this mistake that is the value times some number.
        severity: the class of what equals it, if it is not simply wrong.
        shape: a result of this shape, which is not the right one, is this mistake, whatever is in
            it; it has no value then.
        hidden: whether ordinary inputs hardly show it: then a pass there proves nothing of it, and
            need not.
    """

    name: str
    sentence: str
    value: Tensor | None = None
    says: Callable[[Tensor], str] | None = None
    scaled: bool = False
    severity: str = ""
    hidden: bool = False
    shape: tuple[int, ...] = ()


Mistakes = dict[str, list[Mistake]]  # by the name of the result
Masks = list[Tensor | None]


def _sizes(x: Tensor, dy: Tensor, images: bool) -> dict[str, float]:
    """The numbers of a layer whose samples are more than a row."""
    found = {"the number of entries of a feature": math.prod(x.shape[:-1])}
    if images and dy.dim() == x.dim():
        pixels = math.prod(dy.shape[2:])
        found = {
            f"the number of {'places' if x.dim() == 3 else 'pixels'} of the output": pixels,
            "the number of entries of a channel": len(x) * pixels,
        }
    return {name: float(value) for name, value in found.items()}


def simple(right: Tensor) -> list[Mistake]:
    """What can be wrong with any result."""
    return [
        Mistake("zero", "is zero everywhere", torch.zeros_like(right)),
        Mistake("sign", "has the wrong sign", -right),
    ]


def constants(case: Case, inputs: Tensors) -> dict[str, float]:
    """The numbers that a result may be off by as a factor, by what they are."""
    x = inputs.get("x", inputs.get("prediction"))
    assert x is not None
    found = {"the batch size": float(len(x))}
    if x.dim() > 1:
        found["the number of features"] = float(x.shape[1])
        if case.target == "labels":
            steps, classes = map(float, x.shape[1:])
            found |= {"the number of steps": steps, "the number of classes": classes}
            del found["the number of features"]
        elif case.kind == "loss":
            found["the number of entries"] = float(x.numel())
        elif not x.is_floating_point():
            found = {"the batch size": float(len(x)), "the number of indices": float(x.numel())}
        elif x.dim() > 2:
            if case.entry.name in ("Linear", "LayerNorm", "RMSNorm"):  # over the last axis
                found["the number of features"] = float(x.shape[-1])
                found["the number of places of a sample"] = float(math.prod(x.shape[1:-1]))
            found |= _sizes(x, inputs["dy"], x.dim() > 3 or case.entry.images)
    for option, value in case.options.items():
        if isinstance(value, float) and option not in ("p", "lr"):
            found[option] = value
    if "p" in case.options:
        found["1 - p"] = 1 - case.options["p"]
    return {name: value for name, value in found.items() if value not in (0, 1)}
