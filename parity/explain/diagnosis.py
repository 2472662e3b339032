"""What a wrong result says about its cause, and what a right one is worth.

A wrong result is explained if it equals that of one known mistake, or is a constant times the
right one. Where several explanations fit, only what they agree on is said.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from parity.catalogue.values import Tensors
from parity.explain.entries import factor, somewhere, worst_entries
from parity.explain.mistakes import Mistake, Mistakes
from parity.judge.comparison import (
    DIGITS,
    TRUSTED_FROM,
    TRUSTED_IN_HALF,
    Comparison,
    compare,
    compare_one,
)
from parity.judge.truth import HALF, Truth

#: How near to a mistake's result, relative to its largest entry, a wrong one is taken to equal it.
EQUAL = 1e-4

#: How near to the right result, likewise, a wrong one has lost digits and is not another thing.
NEAR = 1e-3

#: How near a factor is to a number that it is taken to be, at most: in half precision too.
SAME = 0.01

_UNREDUCED = re.compile(r"be: \d+ is the (batch size|number of entries)$")


def judge(
    subject: Tensors,
    truth: Truth,
    mistakes: Mistakes,
    constants: Mapping[str, float] | None = None,
    label: str = "",
    strict: bool = True,
    averages: bool = False,
    inputs: Mapping[str, Tensor] | None = None,
) -> list[Comparison]:
    """Compares results with the truth; explains what is wrong, and certifies what is right.

    Args:
        subject, truth: as for `compare`.
        mistakes: the results of known mistakes, by the name of the result.
        constants: numbers that a result may be off by as a factor, by what they are.
        label: what the results are of: begins each sentence.
        strict: whether a mistake that cannot be told from the truth here makes the check
            worthless. Not where it is so by nature: a saturated gradient is zero.
        averages: whether the loss, whose gradients these are, is a mean.
        inputs: at which they were computed.
    """
    judged = []
    for comparison in compare(subject, truth):
        name = comparison.name
        known = mistakes.get(name, [])
        if comparison.passed:
            judged.append(certified(comparison, truth, known, strict=strict))
            continue
        got, right = subject.get(name), truth.oracle.get(name)
        said = Explanation()
        if got is not None and right is not None:
            said = explain(got, right, known, constants, inputs)
        due = truth.reference[name].dtype if name in truth.reference else None
        if got is not None and due is not None and got.dtype != due:
            said = Explanation(f"is {got.dtype}, not {due}: has the adapter the right `dtypes`?")
        text = said.text
        if averages and name.endswith("grad") and _UNREDUCED.search(text):
            text += "; the loss averages, its backward does not"
        whose = f"{label}{_called(name)}".replace("'s.", "'s ")
        judged.append(
            replace(
                comparison, diagnosis=f"{whose} {text}" if text else "", named=said.named,
                candidates=tuple((f"{whose} {one}", of) for one, of in said.candidates),
                severity=said.severity, entries=worst_entries(got, right, inputs or {}),
            )
        )  # fmt: skip
    return judged


@dataclass(frozen=True)
class Explanation:
    """What a wrong result is.

    Args:
        text: to follow its name in a sentence; empty if nothing fits.
        named: whether it is a known mistake.
        severity: its class, if it is not simply wrong.
        candidates: the texts and classes of several known mistakes that it equals.
    """

    text: str = ""
    named: bool = False
    severity: str = ""
    candidates: tuple[tuple[str, str], ...] = ()


def certified(
    comparison: Comparison, truth: Truth, mistakes: Sequence[Mistake], *, strict: bool = True
) -> Comparison:
    """The comparison with the distance of the nearest mistake: of those that differ here at all."""
    name = comparison.name
    right, reference = truth.oracle[name], truth.reference[name]
    if not bool(right.isfinite().all()):
        return comparison
    refuted = []
    for mistake in mistakes:
        wrong = mistake.value
        if (
            wrong is None
            or mistake.scaled
            or mistake.hidden
            or wrong.shape != right.shape
            or alike(wrong, right, 1e-9)
        ):
            continue
        distance = compare_one(name, wrong.to(reference), truth).ratio
        if distance <= 1 and not strict:
            comparison = replace(comparison, blind=(*comparison.blind, mistake.name))
        elif distance < comparison.distance:
            comparison = replace(comparison, distance=distance, nearest=mistake.name)
        if distance > TRUSTED_FROM and mistake.sentence:
            refuted.append(mistake.sentence)
    half = reference.dtype in HALF
    least = TRUSTED_IN_HALF if half else TRUSTED_FROM
    return replace(comparison, refuted=tuple(refuted), trusted_from=least)


def explain(
    got: Tensor,
    right: Tensor,
    mistakes: Sequence[Mistake],
    constants: Mapping[str, float] | None = None,
    inputs: Mapping[str, Tensor] | None = None,
) -> Explanation:
    """What a wrong result is: a known mistake, if it equals one alone; the right result times a
    number, or with fewer digits; or wrong in some entries that have something in common."""
    if got.shape != right.shape:
        return _misshapen(got, right, mistakes)
    if not bool((got.isfinite() | ~right.isfinite()).all()) or not got.numel():
        return _infinite(got, mistakes)
    dtype = got.dtype
    tolerance = max(EQUAL, 8 * torch.finfo(dtype).eps)
    got = got.double()
    if not bool(right.isfinite().all()):
        return Explanation()
    known = [
        mistake
        for mistake in mistakes
        if not (mistake.value is not None and alike(mistake.value, right, 10 * tolerance))
    ]
    if near := _nearly_right(got, right, mistakes, dtype):
        return Explanation(near.sentence, named=True, severity=near.severity)
    for scaled in (False, True):
        alike_so = [mistake for mistake in known if mistake.scaled == scaled]
        told = _told(alike_so, got, tolerance)
        if len(told) > 1:  # one of them may be it to the last digits
            told = _told(alike_so, got, 64 * _eps(dtype)) or told
        if len(told) == 1:
            ((text, severity),) = told
            return Explanation(text, named=True, severity=severity)
        if told:
            return Explanation(candidates=tuple(told))
        if not scaled and (smaller := _rounded(got, right, dtype)):
            return Explanation(f"is rounded to {smaller} on its way", severity=DIGITS)
        if not scaled and _near(got, right):
            return Explanation(_digits(got, right), severity=DIGITS)
        if not scaled and (ratio := _ratio(got, right, tolerance, constants or {})):
            return ratio
    if got.numel() > 1 and bool((got == got.flatten()[0]).all()):
        return Explanation(f"is {float(got.flatten()[0]):.3g} everywhere")
    return Explanation(somewhere(got, right, inputs or {}, tolerance))


def _told(
    mistakes: Sequence[Mistake], got: Tensor, tolerance: float
) -> dict[tuple[str, str], None]:
    """What the mistakes say that a result is, and of which class, each once."""
    return dict.fromkeys(
        (text, mistake.severity) for mistake in mistakes if (text := _fits(mistake, got, tolerance))
    )


def _infinite(got: Tensor, mistakes: Sequence[Mistake]) -> Explanation:
    """The one mistake that makes infinities where a result has them, and elsewhere the same."""
    told = {
        one.sentence
        for one in mistakes
        if one.value is not None
        and one.value.shape == got.shape
        and bool(one.value.isinf().any())
        and torch.allclose(got.double(), one.value, EQUAL)
    }
    return Explanation(told.pop(), named=True) if len(told) == 1 else Explanation()


def _nearly_right(
    got: Tensor, right: Tensor, mistakes: Sequence[Mistake], dtype: torch.dtype
) -> Mistake | None:
    """A mistake that makes nearly what is right, such as an approximation, if a result is far
    nearer to what it makes, and to no other."""
    scale = float(right.abs().max())
    found = []
    for mistake in mistakes:
        value = mistake.value
        if value is None or value.shape != got.shape or mistake.scaled:
            continue
        off, apart = (float((value - one).abs().max()) for one in (got, right))
        if apart <= NEAR * scale and off <= apart / 20 and apart > 64 * _eps(dtype) * scale:
            found.append(mistake)
    return found[0] if len(found) == 1 else None


def _eps(dtype: torch.dtype) -> float:
    return torch.finfo(dtype).eps


def _near(got: Tensor, right: Tensor) -> bool:
    """Whether all that is wrong is digits: of each entry, or, of one that is far smaller than the
    largest, by what rounding to float32 makes of those."""
    scale = float(right.abs().max())
    return bool(((got - right).abs() <= NEAR * right.abs() + 1e-5 * scale).all())


def _rounded(got: Tensor, right: Tensor, dtype: torch.dtype) -> str:
    """The smaller dtype that a nearly right result has been through; "" if none."""
    for smaller in (torch.bfloat16, torch.float16, torch.float32):
        eps = torch.finfo(smaller).eps
        if eps > torch.finfo(dtype).eps and torch.equal(got, got.to(smaller).double()):
            return str(smaller).removeprefix("torch.") if alike(got, right, 4 * eps) else ""
    return ""


def _digits(got: Tensor, right: Tensor) -> str:
    """How far a result is right."""
    error = float((got - right).abs().max() / right.abs().max())
    if not error > 0:
        return ""
    return f"is right to {int(-math.log10(error))} digits alone"


def _fits(mistake: Mistake, got: Tensor, tolerance: float) -> str:
    """What a mistake says of a result; "" if it is not that."""
    if mistake.says is not None:
        return mistake.says(got)
    value = mistake.value
    if value is None or value.shape != got.shape:
        return ""
    if not mistake.scaled:
        return mistake.sentence if alike(got, value, tolerance) else ""
    power = float((value * value).sum())
    scale = float((got * value).sum()) / power if power else 0.0
    if scale == 0 or not alike(got, scale * value, tolerance):
        return ""
    times = "" if abs(scale - 1) < 10 * tolerance else f", times {factor(scale)}"
    return f"{mistake.sentence}{times}"


def alike(x: Tensor, y: Tensor, tolerance: float) -> bool:
    """Whether two results are the same, up to a share of the largest entry."""
    if x.shape != y.shape or not bool(y.isfinite().all()):
        return False
    scale = float(y.abs().max()) if y.numel() else 0.0
    return bool(((x - y).abs() <= tolerance * scale).all())


def _misshapen(got: Tensor, right: Tensor, mistakes: Sequence[Mistake]) -> Explanation:
    """What is to be said of another shape: a mistake that makes it, or how it differs."""
    told = {m.sentence: "" for m in mistakes if m.value is not None and alike(got, m.value, EQUAL)}
    told = told or {m.sentence: "" for m in mistakes if m.shape == tuple(got.shape)}
    if len(told) == 1:
        return Explanation(next(iter(told)), named=True)
    if told:
        return Explanation(candidates=tuple(told.items()))
    if right.dim() == 2 and got.shape == right.mT.shape:
        return Explanation("is shaped as its transpose")
    if got.dim() == right.dim() + 1 and got.shape[1:] == right.shape:
        return Explanation("is not summed over the batch: it has a row for each sample")
    if got.numel() == right.numel():
        return Explanation("has the right number of entries, in another shape")
    return Explanation()


def _ratio(
    got: Tensor, right: Tensor, tolerance: float, constants: Mapping[str, float]
) -> Explanation | None:
    """A constant that the result is off by, and what number it is, if only one is so large."""
    power = float((right * right).sum())
    ratio = float((got * right).sum()) / power if power else 0.0
    if abs(ratio - 1) <= tolerance or ratio == 0 or not alike(got, ratio * right, tolerance):
        return None  # next to 1 it is digits that are off, and no factor
    off = f"is {factor(ratio)} times what it should be"
    size = abs(ratio)
    named = [
        (name, value, inverse)
        for name, value in constants.items()
        for inverse in (False, True)
        if math.isclose(size, 1 / value if inverse else value, rel_tol=min(10 * tolerance, SAME))
    ]
    if len(named) != 1:  # any number is some times any other
        return Explanation(off) if got.numel() > 1 else None
    name, value, inverse = named[0]
    text = f"{off}: {f'1 / {value:g}, ' if inverse else ''}{value:g} is {name}"
    return Explanation(text, named=True)


def _called(name: str) -> str:
    """A result's name as a sentence has it: `.weight gradient` for `weight.param_grad`."""
    known = {
        "output": " output",
        "input_grad": " input gradient",
        "loss": " value",
        "prediction_grad": " gradient",
    }
    if name.endswith(".param_grad"):
        return f".{name.removesuffix('.param_grad')} gradient"
    if name.endswith((".input_grad", ".output")):
        whose, _, what = name.rpartition(".")
        return f" {whose} {'output' if what == 'output' else 'gradient'}"
    return known.get(name, f" {name}")
