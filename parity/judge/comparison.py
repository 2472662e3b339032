"""The rule that judges: an error counts if it is larger than torch's own, or than the floor.

Let e be the largest distance from the oracle. A result passes when

    e_subject <= factor * max(e_reference, floor)

measured twice: over the whole tensor (largest error against largest floor), which no rounding
of a large entry upsets, and entry by entry (each error in units of its own floor, or of torch's
error there if that is larger), from which no small entry hides. The factor is 2 for values and 3
for gradients.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from parity.catalogue.values import Tensors
from parity.judge.moves import ULPS
from parity.judge.truth import Truth

VALUE_FACTOR, GRADIENT_FACTOR = 2.0, 3.0

WRONG, MEMORY, CONVENTION, DIGITS, EDGE = "wrong", "memory", "convention", "digits", "edge"
"""What a failure is of: values, gradients or steps that are wrong; memory that is written into or
shared; a choice that is not torch's; lost digits; inputs that training hardly meets."""

MOST_FLOORS = 2.0 * ULPS
"""How many floors torch's worst entry may be off by and still count for all the others."""

TRUSTED_FROM, TRUSTED_IN_HALF = 10.0, 2.0
"""How far outside what is allowed the nearest mistake must lie for a pass to mean anything. Half
precision has two or three digits, and what passes there is tried in single precision too."""


@dataclass(frozen=True)
class Comparison:
    """The verdict on one named result.

    Args:
        name: which result. Gradients have names that end in `grad`.
        ratio: the error over what is allowed; above 1 fails. Infinite where `reason` says why.
        error, reference_error, floor: what decides, in the result's own units: those of the
            entry that is worst, or the largest of the whole tensor.
        reason: what is wrong when it is not a matter of size: a shape, a NaN, nothing there.
        worst: the entry that is worst for its floor, and what it should be.
        distance: the ratio that the nearest known mistake would have had, here, and
            `nearest`, its name: how sure a pass is. Infinite where exact equality is asked for.
        blind: known mistakes that rounding alone could make of the result, here: no one could
            tell them from what is right, and another setting has to.
        trusted_from: the least distance that makes a pass mean anything.
        diagnosis: what the mistake is, in one sentence, if the evidence singles it out.
        named: whether that is a known mistake, and not a description of what is seen.
        candidates: what it may be, each with its class, where several known mistakes make the same
            of these inputs; other inputs may tell which (`explain.candidates`).
        refuted: what there would have been to say of the known mistakes that a pass rules out.
        inherited: it is wrong because of what came in; the fault lies elsewhere.
        severity: which class of failure it is, if that is not its check's.
        entries: those that are worst, each with what it is, what is due and the inputs there; of
            an exception the subject's own lines that led to it.
    """

    name: str
    ratio: float
    error: float = math.nan
    reference_error: float = math.nan
    floor: float = math.nan
    reason: str = ""
    worst: str = ""
    distance: float = math.inf
    nearest: str = ""
    blind: tuple[str, ...] = ()
    trusted_from: float = TRUSTED_FROM
    diagnosis: str = ""
    named: bool = False
    candidates: tuple[tuple[str, str], ...] = ()
    refuted: tuple[str, ...] = ()
    inherited: bool = False
    severity: str = ""
    entries: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return self.ratio <= 1 or self.inherited

    @property
    def trusted(self) -> bool:
        """Whether the nearest mistake would have been seen, and by far."""
        return self.distance >= self.trusted_from

    @property
    def headroom(self) -> float:
        """How many times larger the error could be and still pass."""
        return 1 / self.ratio if self.ratio else math.inf

    def __str__(self) -> str:
        diagnosis = f". {self.diagnosis}" if self.diagnosis else ""
        if self.reason:
            return f"{self.name}: {self.reason}{diagnosis}"
        if math.isnan(self.error):
            return f"{self.name}: ok{diagnosis}"
        judged = "ok" if self.passed else "WRONG"
        if self.passed and not self.trusted:
            judged = f"MISTRUSTED ({self.nearest!r} would be {self.distance:.3g})"
        return (
            f"{self.name}: {judged}, {self.ratio:.3g} times the error allowed{self.worst} "
            f"(error: subject {self.error:.3g}, torch {self.reference_error:.3g}, "
            f"rounding alone {self.floor:.3g}){diagnosis}"
        )


def compare(subject: Tensors, truth: Truth) -> list[Comparison]:
    """Judges every result of `truth`, in its order; one that the subject lacks has failed."""
    comparisons = [compare_one(name, subject.get(name), truth) for name in truth.oracle]
    if not comparisons:
        raise ValueError("nothing to compare: the truth has no results")
    extra = [name for name in subject if name not in truth.oracle]
    return comparisons + [
        Comparison(name, math.inf, reason="torch has no such result") for name in extra
    ]


def first_divergence(comparisons: Iterable[Comparison]) -> Comparison | None:
    """The first that failed, in the order of computation; None if all passed."""
    return next((comparison for comparison in comparisons if not comparison.passed), None)


def compare_one(name: str, subject: Tensor | None, truth: Truth) -> Comparison:
    """Judges one result of `truth` by the rule at the head of this module."""
    reference, oracle = truth.reference[name], truth.oracle[name]
    reason = _incomparable(subject, reference, oracle)
    if subject is None or reason:
        return Comparison(name, math.inf, reason=reason)
    if not subject.numel():
        return Comparison(name, 0.0, 0.0, 0.0, 0.0)
    factor = GRADIENT_FACTOR if name.endswith("grad") else VALUE_FACTOR
    error = (subject.double() - oracle).abs()
    reference_error, floor = truth.error[name], truth.floor[name]
    if not bool(error.isfinite().all()):  # where one of them is not, nothing is measured
        judged = subject.isfinite() & oracle.isfinite()
        error, reference_error = (torch.where(judged, e, 0) for e in (error, reference_error))
        floor = torch.where(judged, floor, floor.min())
    whole = _over(error.max(), torch.maximum(reference_error.max(), floor.max()))
    floors = (reference_error / floor).max().clamp(1, MOST_FLOORS)
    units = error / torch.maximum(floors * floor, reference_error)
    place = int(units.argmax())
    most = float(units.flatten()[place])
    if whole >= most:
        figures = [float(one.max()) for one in (error, reference_error, floor)]
    else:
        own = (error, reference_error, floors * floor)
        figures = [float(one.flatten()[place]) for one in own]
    ratio = max(whole, most) / factor
    return Comparison(
        name, ratio, figures[0], figures[1], figures[2], worst=_worst(subject, oracle, place)
    )


def _worst(subject: Tensor, oracle: Tensor, place: int) -> str:
    got, right = float(subject.flatten()[place]), float(oracle.flatten()[place])
    where: list[int] = []
    for size in reversed(subject.shape):
        place, index = divmod(place, size)
        where.insert(0, index)
    return f"; at {where} it is {got:.6g}, the oracle {right:.6g}"


MISSING = "the subject has no such result"


def _incomparable(subject: Tensor | None, reference: Tensor, oracle: Tensor) -> str:
    """Why the two cannot be measured against each other; empty if they can."""
    if subject is None:
        return MISSING
    if subject.shape != reference.shape:
        return f"shape {list(subject.shape)}, torch's is {list(reference.shape)}"
    if subject.dtype != reference.dtype:
        return f"dtype {subject.dtype}, torch's is {reference.dtype}"
    if bool(subject.isfinite().all()) and bool(reference.isfinite().all()):
        return ""
    broken = ~subject.isfinite() & reference.isfinite()
    if broken.any():
        count, of = int(broken.sum()), subject.numel()
        return f"NaN or infinite in {count} of {of} entries, where torch's are finite"
    # Where torch is not finite, a subject may be nearer to a finite oracle; else it must agree.
    open_ = ~reference.isfinite() & ~(subject.isfinite() & oracle.isfinite())
    alike = (subject == reference) | (subject.isnan() & reference.isnan())
    if (open_ & ~alike).any():
        return "NaN and infinities are not those that torch has"
    return ""


def _over(error: Tensor, allowed: Tensor) -> float:
    return float(error / allowed) if allowed > 0 else math.inf if error > 0 else 0.0
