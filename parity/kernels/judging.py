"""Judges a function at a case of a sweep: an outcome for each result, and for what else it does."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from parity.catalogue.values import Tensors
from parity.explain.diagnosis import EQUAL, explain
from parity.explain.entries import worst_entries
from parity.judge.comparison import (
    DIGITS,
    EDGE,
    MISSING,
    TRUSTED_FROM,
    WRONG,
    Comparison,
    compare_one,
)
from parity.judge.outcome import FAILED, MISTRUSTED, PASSED, Outcome
from parity.judge.truth import HALF, Refused, Truth
from parity.kernels.cases import Case
from parity.kernels.inputs import SPECIAL
from parity.kernels.mistakes import OF_USER, constants, known, of_user
from parity.kernels.player import Played, Zeroed, played
from parity.kernels.reference import MOST_FLOORS, truth_of
from parity.kernels.spec import DTYPES, Sweep, Unsuited
from parity.play.broken import Broken
from parity.run.plan import one_thread

KIND = "function"

OR = ", or "
"""What stands between mistakes that make the same of the inputs of a case."""

SMALL = 10.0
"""In half precision, what is off by less than so many times what is allowed has lost digits."""

ROUNDINGS = 8
"""Or by less than so many roundings of the largest entry."""

NARROW, MORE = 3.0, 8
"""What fails by less than so many times what is allowed is judged again, by a floor from so many
times as many draws: of some 100,000 results that are right one lies above the floor of a few."""

AT_EDGES = ("empty", *SPECIAL)
"""The modes whose inputs training hardly meets."""

TIMES = 1e-3
"""In other dtypes: by less than this share of itself, or by `EQUAL` of the largest entry."""


@dataclass(frozen=True)
class Tried:
    """A case that was tried.

    Args:
        outcomes: one for each result.
        why: nothing was checked, if so.
        excused: torch itself is off by more than `MOST_FLOORS` floors.
        moved: the results that have other bits each time.
        shown: the mistakes of the user's that it would have shown, by far.
    """

    case: Case
    outcomes: list[Outcome]
    why: str = ""
    excused: float = 0.0
    moved: tuple[str, ...] = ()
    shown: tuple[str, ...] = ()


@functools.lru_cache(maxsize=256)
def _truth(sweep: Sweep, case: Case, times: int = 1) -> tuple[Tensors, Truth]:
    inputs = sweep.drawn(case) | sweep.gradients_of(case)
    return inputs, truth_of(sweep, case, inputs, times)


def _narrowly(case: Case, results: Tensors, truth: Truth) -> bool:
    """Whether a result fails by so little that too few draws for its floor may be the reason."""
    ratios = (
        compare_one(name, _comparable(case, results.get(name), truth.reference[name]), truth).ratio
        for name in truth.oracle
    )
    return any(1 < ratio < NARROW for ratio in ratios)


def tried(sweep: Sweep, subject: Any, case: Case, command: str = "") -> Tried:
    """What comes of a case; `command` runs it again, where `{}` stands for the id."""
    begun = time.perf_counter()
    if case.dtype == "tf32" and not sweep.device.startswith("cuda"):
        return Tried(case, [], "TensorFloat-32 needs a CUDA device")
    with one_thread():
        try:
            inputs, truth = _truth(sweep, case)
        except (Refused, Unsuited) as refused:
            return Tried(case, [], f"torch's function does not take it ({refused})")
        try:
            found = played(sweep, subject, case, inputs)
        except Broken as broken:
            if broken.meant and case != sweep.axes.plain():
                return Tried(case, [], f"it refuses that itself ({broken})")
            if case.get("rank", default=0):
                return Tried(case, [], f"it takes no input of that rank ({broken})")
            fact = Comparison("run", math.inf, reason=str(broken), diagnosis=str(broken),
                              named=True, severity=_edge(case),
                              entries=broken.trace)  # fmt: skip
            return Tried(case, [_outcome(sweep, case, "run", [fact], begun, command)])
        if _narrowly(case, found.results, truth):
            truth = _truth(sweep, case, MORE)[1]
        comparisons = list(_compared(sweep, subject, case, inputs, truth, found))
    outcomes = [_outcome(sweep, case, one.name, [one], begun, command) for one in comparisons]
    error = {n: float((truth.error[n] / truth.floor[n]).max()) for n in truth.error
             if truth.error[n].numel()}  # fmt: skip
    worst = max(error.values(), default=0.0)
    moved = tuple(found.again and [name for name in found.results if name in found.again])
    return Tried(case, outcomes, excused=worst if worst >= MOST_FLOORS else 0.0, moved=moved,
                 shown=_shown(sweep, case, inputs, truth))  # fmt: skip


def _shown(sweep: Sweep, case: Case, inputs: Tensors, truth: Truth) -> tuple[str, ...]:
    """The mistakes of the user's that lie far beyond what is allowed here."""
    if not sweep.mistakes:
        return ()
    found = of_user(sweep, case, inputs, truth)
    return tuple({
        one.name: None
        for name, ones in found.items()
        for one in ones
        if one.value is not None
        and compare_one(name, one.value.to(truth.reference[name]), truth).ratio > TRUSTED_FROM
    })  # fmt: skip


def _outcome(
    sweep: Sweep, case: Case, check: str, comparisons: list[Comparison], begun: float, command: str
) -> Outcome:
    failed = any(not one.passed for one in comparisons)
    identity = f"{check}-{case}"
    return Outcome(
        identity, sweep.name, str(case), case.dtype, check, FAILED if failed else PASSED,
        comparisons, time.perf_counter() - begun, reproduce=command.format(identity), kind=KIND,
    )  # fmt: skip


def _compared(
    sweep: Sweep,
    subject: Any,
    case: Case,
    inputs: Tensors,
    truth: Truth,
    found: Played,
) -> Iterator[Comparison]:
    """What is compared at a case: the facts, each result, and again where it has other bits."""
    detached = any(one.name == "attached" for one in found.facts)
    yield from found.facts
    mistakes = functools.cache(lambda: known(sweep, case, inputs, truth))
    for name in truth.oracle:
        if detached and name.endswith("_grad"):
            continue
        one = _judged(sweep, case, name, found.results.get(name), truth)
        if not one.passed:
            got = found.results.get(name)
            one = _explained(sweep, subject, case, one, got, truth, inputs, mistakes)
        yield one
    if found.again and not sweep.deterministic:
        for name in found.again:
            again = _judged(sweep, case, name, found.again[name], truth)
            first = _judged(sweep, case, name, found.results.get(name), truth)
            if first.passed and not again.passed:
                text = "is another at the second call with the same inputs"
                yield replace(again, name=f"again {name}", diagnosis=text, named=True)
    elif found.again:
        text = "has other bits at the second call with the same inputs"
        yield Comparison("repeat", math.inf, reason=text, diagnosis=text, named=True)


def _judged(sweep: Sweep, case: Case, name: str, got: Tensor | None, truth: Truth) -> Comparison:
    """One result by the rule, with the class of failure that it is."""
    got = _comparable(case, got, truth.reference[name])
    one = compare_one(name, got, truth)
    if one.passed:
        return one
    if got is None:
        text = "is None: backward does not return it"
        return replace(one, diagnosis=text, named=True, severity=_edge(case) or WRONG)
    return replace(one, severity=_edge(case) or _severity(case, one, got, truth.oracle[name]))


def _comparable(case: Case, got: Tensor | None, reference: Tensor) -> Tensor | None:
    """A result on the CPU; under autocast, which decides on dtypes, in torch's."""
    if got is None:
        return None
    return got.detach().cpu().to(reference.dtype if case.get("mode") == "autocast" else got.dtype)


def _edge(case: Case) -> str:
    return EDGE if case.get("mode") in AT_EDGES else ""


def _severity(case: Case, one: Comparison, got: Tensor, right: Tensor) -> str:
    """Whether lost digits are all that is wrong."""
    if one.reason or got.shape != right.shape or not right.numel():
        return WRONG
    off = (got.double() - right).abs()
    if DTYPES[case.dtype] in HALF:
        few = off.max() <= ROUNDINGS * torch.finfo(got.dtype).eps * right.abs().max()
        return DIGITS if one.ratio < SMALL or bool(few) else WRONG
    small = off <= TIMES * right.abs() + EQUAL * float(right.abs().max())
    return DIGITS if bool(small.all()) else WRONG


def _explained(
    sweep: Sweep,
    subject: Any,
    case: Case,
    one: Comparison,
    got: Tensor | None,
    truth: Truth,
    inputs: Tensors,
    mistakes: Callable[[], Any],
) -> Comparison:
    """The comparison with what is wrong, where a known mistake makes the same."""
    right = truth.oracle[one.name]
    got = _comparable(case, got, truth.reference[one.name])
    if got is None or one.reason == MISSING:
        return one
    due = truth.reference[one.name].dtype
    if got.dtype != due:
        return replace(one, diagnosis=f"is {_short(got.dtype)}, where torch's is {_short(due)}",
                       named=True)  # fmt: skip
    if got.shape != right.shape:
        return replace(one, diagnosis=f"has the shape {list(got.shape)}, where {list(right.shape)} "
                       "is due", named=True)  # fmt: skip
    if one.severity == EDGE:
        return one
    if not bool(got.isfinite().all()) and bool(right.isfinite().all()):
        return _not_finite(sweep, subject, case, one, inputs, got)
    given = inputs if {"x", "dy"} <= inputs.keys() else {}
    said = explain(got, right, mistakes()[one.name], constants(sweep, case, inputs), given)
    entries = worst_entries(got, right, inputs)
    if one.severity == DIGITS and not said.named:
        return replace(one, entries=entries)
    text, is_named = said.text, said.named
    if said.candidates:
        text, is_named = _candidates([text for text, _ in said.candidates]), True
    severity = WRONG if is_named else one.severity
    return replace(one, diagnosis=text, named=is_named, entries=entries, severity=severity)


def _candidates(texts: list[str]) -> str:
    """Several mistakes that make the same here: one of the user's, else all of them."""
    own = [text for text in texts if text.startswith(OF_USER)]
    return own[0] if own else OR.join(texts)


def _not_finite(
    sweep: Sweep, subject: Any, case: Case, one: Comparison, inputs: Tensors, got: Tensor
) -> Comparison:
    """The comparison of a result that is not finite where torch's is; whether that is since memory
    is read that nobody has written to, the same shows where such memory is full of zeros."""
    count = int((~got.isfinite()).sum())
    text = f"is NaN or infinite in {count} of {got.numel()} entries, where torch's are finite"
    if case.get("memory") == "poisoned":
        with Zeroed():
            plain = played(sweep, subject, case.at({("memory", ""): ""}), inputs).results
        if one.name in plain and bool(plain[one.name].isfinite().all()):
            text = "uses memory from torch.empty that it has not written to"
            return replace(one, diagnosis=text, named=True)
    return replace(one, diagnosis=text)


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def mistrusted_of(cls: str, mistakes: Iterable[str], seen: set[str]) -> list[Outcome]:
    """An outcome for each mistake of the user's, of which a sweep that shows none of it proves too
    little."""
    found = []
    for name in mistakes:
        text = f"no case of the sweep shows the mistake {name!r}"
        one = Comparison("mistake", 0.0, 0.0, 0.0, 0.0,
                         distance=math.inf if name in seen else 0.0, nearest=name)  # fmt: skip
        verdict = PASSED if name in seen else MISTRUSTED
        found.append(
            Outcome(f"mistake-{name}", cls, f"the mistake {name!r}", "", "mistake", verdict,
                    [replace(one, diagnosis="" if name in seen else text)], kind=KIND)
        )  # fmt: skip
    return found
