"""What people get wrong when they clip gradients, as the gradients that they would get."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from parity.catalogue.case import Case
from parity.catalogue.values import Tensors
from parity.explain.diagnosis import EQUAL, NEAR, Explanation, alike
from parity.explain.mistakes import Mistake
from parity.judge.comparison import CONVENTION, DIGITS

Known = list[tuple[str, Tensors]]
"""What is said of a mistake, and the gradients that it makes, by name."""


def known(case: Case, gradients: Tensors) -> Known:
    """The gradients that each known mistake makes, in float64."""
    made = _by_norm if "max_norm" in case.options else _by_value
    return [
        (says, {name: rule(g) for name, g in gradients.items()})
        for says, rule in made(case, gradients)
    ]


Rules = list[tuple[str, Callable[[Tensor], Tensor]]]


def _norm(gradients: Sequence[Tensor], kind: float) -> Tensor:
    whole = torch.cat([g.flatten() for g in gradients])
    return torch.linalg.vector_norm(whole, kind)


def _by_norm(case: Case, gradients: Tensors) -> Rules:
    most, kind = case.options["max_norm"], case.options.get("norm_type", 2.0)
    norm = _norm(list(gradients.values()), kind)

    def scale(norm: Tensor) -> Tensor:
        return (most / (norm + 1e-6)).clamp(max=1)

    rules: Rules = [
        ("clips each tensor by its own norm, not by that of all of them together",
         lambda g: g * scale(_norm([g], kind))),
        ("scales gradients whose norm is below max_norm too", lambda g: g * most / (norm + 1e-6)),
        ("scales twice", lambda g: g * scale(norm) ** 2),
        ("clips the entries, and not the norm", lambda g: g.clamp(-most, most)),
        ("divides by the norm, and does not multiply by max_norm",
         lambda g: g if norm <= most else g / (norm + 1e-6)),
        ("takes the sum of the squares for the norm, without the root",
         lambda g: g * scale(norm * norm)),
    ]  # fmt: skip
    if kind != 2:
        two = _norm(list(gradients.values()), 2.0)
        rules.append(("takes norm_type to be 2, whatever it is", lambda g: g * scale(two)))
    return rules


def _by_value(case: Case, gradients: Tensors) -> Rules:
    most = case.options["clip_value"]
    norm = _norm(list(gradients.values()), 2.0)
    return [
        ("clips large entries alone, and no negative ones", lambda g: g.clamp(max=most)),
        ("clips negative entries alone, and no large ones", lambda g: g.clamp(min=-most)),
        ("clips the norm, and not the entries", lambda g: g * (most / (norm + 1e-6)).clamp(max=1)),
        ("clips to clip_value, and loses the sign", lambda g: g.abs().clamp(max=most)),
        ("sets to zero what it should clip", lambda g: torch.where(g.abs() <= most, g, 0.0)),
    ]


def explain(case: Case, got: Tensors, right: Tensors, gradients: Tensors) -> Explanation:
    """What wrong gradients are, to follow the function's name; nothing if nothing fits."""
    if any(g.shape != right[name].shape for name, g in got.items()):
        return Explanation()
    if not all(bool(g.isfinite().all()) for g in (*got.values(), *gradients.values())):
        return Explanation()

    def fits(made: Tensors, tolerance: float = EQUAL) -> bool:
        return all(alike(g.double(), made[name], tolerance) for name, g in got.items())

    if fits(right, NEAR):
        text = "is right to some digits alone: torch adds 1e-6 to the norm that it divides by"
        return Explanation(text, named=True, severity=DIGITS)
    every = [("leaves the gradients as they are", gradients), *known(case, gradients)]
    told = [says for says, made in every if fits(made)]
    if len(told) == 1:
        return Explanation(told[0], named=True)
    return Explanation(candidates=tuple((says, "") for says in told))


def of_norm(case: Case, right: Tensor) -> list[Mistake]:
    """What may be returned in the place of the norm of all gradients: `right`."""
    most = case.options["max_norm"]
    scale = (most / (right + 1e-6)).clamp(max=1)
    return [
        Mistake("after", "is the norm after clipping; torch returns that before", scale * right,
                severity=CONVENTION),
        Mistake("factor", "is the factor that gradients are multiplied by, not their norm", scale,
                severity=CONVENTION),
        Mistake("squared", "is the square of the norm", right * right),
    ]  # fmt: skip
