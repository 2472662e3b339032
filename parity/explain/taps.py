"""A formula that is right but for one place: how a mistake in a long computation is evaluated.

A formula is written once, and passes what it computes on the way through a tap, by name. A mistake
replaces what comes through one tap. What is wrong in backward alone keeps the value and has
another derivative.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from parity.catalogue.values import Tensors
from parity.explain.mistakes import Mistake, Mistakes

Tap = Callable[..., Any]


@dataclass(frozen=True)
class Taps:
    """What is replaced, by the name of its tap: called with what is right, and what else the
    formula has at hand there."""

    replaced: Mapping[str, Tap] = field(default_factory=dict)

    def __call__(self, name: str, value: Any, *at_hand: Any) -> Any:
        tap = self.replaced.get(name)
        return value if tap is None else tap(value, *at_hand)


@dataclass(frozen=True)
class Slip:
    """A mistake at one place of a formula, or at several.

    Args:
        sentence: what there is to say of a result.
        severity: as of a `Mistake`.
        only: how the names of the results end that it is a mistake of, where the taps change more.
    """

    sentence: str
    taps: Mapping[str, Tap]
    severity: str = ""
    only: str = ""


def keeping(y: Tensor, *terms: Tensor) -> Tensor:
    """The value y, with the derivatives of the sum of these terms, whose values do not count."""
    value = y.detach()
    for term in terms:
        value = value + (term - term.detach())
    return value


def sloped(x: Tensor, y: Tensor, slope: Tensor | float) -> Tensor:
    """The value y, with this derivative with respect to x, and to nothing else."""
    return keeping(y, x * (slope.detach() if isinstance(slope, Tensor) else slope))


def cut(value: Tensor, *_: Any) -> Tensor:
    """A value of which nothing has a gradient."""
    return value.detach()


Formula = Callable[[Tensors, Taps], Tensors]
"""The outputs of a layer, by name, from its inputs and parameters."""


def put(made: Mistakes, formula: Formula, slips: list[Slip], inputs: Tensors) -> None:
    """Adds what comes of each slip to what is known of the results."""
    right = evaluated(formula, Taps(), inputs)
    for slip in slips:
        results = evaluated(formula, Taps(slip.taps), inputs)
        changed = {
            name: y
            for name, y in results.items()
            if name in made
            and name.endswith(slip.only)
            and not torch.allclose(y, right[name], 1e-9, 1e-12)
        }
        values = any(name.endswith("output") for name in changed)
        if not values and not any(bool(y.any()) for y in changed.values()):
            continue  # it is zero, which is said of any result
        for name, value in changed.items():
            made[name].append(Mistake(slip.sentence, slip.sentence, value, severity=slip.severity))


def evaluated(formula: Formula, taps: Taps, inputs: Tensors) -> Tensors:
    """A formula's outputs and gradients, by the names of `evaluate.layer`."""
    given = {
        name: value.detach().requires_grad_(value.is_floating_point())
        for name, value in inputs.items()
        if name != "dy" and not name.endswith(".dy")
    }
    outputs = formula(given, taps)
    dys = {n.removesuffix("dy") + "output": dy for n, dy in inputs.items() if _is_dy(n)}
    names = {"x": "input_grad"}
    names |= {n: f"{n[:-2]}.input_grad" for n in given if n.endswith(".x")}
    wanted = {n: x for n, x in given.items() if x.requires_grad}
    attached = [name for name in outputs if outputs[name].requires_grad]
    found = torch.autograd.grad(
        [outputs[name] for name in attached],
        list(wanted.values()),
        [dys[name] for name in attached],
        allow_unused=True,
    )
    gradients = {
        names.get(name, f"{name}.param_grad"): torch.zeros_like(x) if dx is None else dx
        for (name, x), dx in zip(wanted.items(), found, strict=True)
    }
    return {name: y.detach() for name, y in outputs.items()} | gradients


def _is_dy(name: str) -> bool:
    return name == "dy" or name.endswith(".dy")
