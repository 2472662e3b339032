"""What a sweep found, as a report: failing cases that have one cause are one finding."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

from parity.explain.clues import like
from parity.explain.finding import Finding
from parity.judge.comparison import DIGITS, EDGE, WRONG, Comparison
from parity.judge.outcome import FAILED, FAILING, MISTRUSTED, SEVERITIES, UNPROVEN, Outcome
from parity.kernels.cases import Case
from parity.kernels.judging import OR, Tried
from parity.kernels.spec import Sweep
from parity.kernels.where import Where, narrowed, shared
from parity.run.report import Report

MOST = 4
"""How many causes of one wrong result are looked for."""

Try = Callable[[Case], Tried]


@dataclass
class SweepFinding(Finding):
    """One thing that is wrong with a function.

    Args:
        place: the file and line of the function.
    """

    place: str = ""

    @property
    def sentence(self) -> str:
        first, text = next(iter(self.said.items()))
        others = [name for name, other in self.said.items() if other == text and name != first]
        return f"{first}{like(first, others)} {text}".strip()

    @property
    def where(self) -> str:
        return self.place

    @property
    def due(self) -> str:
        return ""

    @property
    def fails(self) -> bool:
        """Digits that are lost fail a function: to keep them is what it is for."""
        return self.severity in (*FAILING, DIGITS)


@dataclass(frozen=True)
class SweepReport(Report):
    """A report of functions that were swept.

    Args:
        found: what is wrong, one for each cause.
    """

    found: list[SweepFinding] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Its findings are known: none is to be settled."""

    @cached_property
    def findings(self) -> list[Finding]:
        """What is wrong, one for each cause, the gravest class first."""
        return sorted(self.found, key=lambda one: SEVERITIES.index(one.severity))

    def __repr__(self) -> str:
        """The verdict, and what was found, in short."""
        lines = [f"{one.severity}: {one.sentence}" for one in self.findings]
        word = "passed" if self.passed else "not passed"
        return "\n".join([f"<{self.name}: {word}, {len(self.outcomes)} checks>", *lines])


@dataclass
class _Cause:
    """A finding under way: which result, where it shows, and what it is."""

    result: str
    where: Where
    clue: Comparison
    outcome: Outcome
    severity: str
    outcomes: list[Outcome] = field(default_factory=list)
    cases: list[Case] = field(default_factory=list)


def findings_of(
    sweep: Sweep,
    tries: list[Tried],
    again: Try | None,
    *,
    place: str = "",
    command: str = "",
) -> list[SweepFinding]:
    """What is wrong, one for each cause.

    Args:
        tries: all cases that were tried.
        again: tries another case; None where none can be tried.
    """
    causes = list(_causes(sweep, tries, again))
    found: list[SweepFinding] = []
    for cause in causes:
        text = _text(sweep, cause)
        for one in found:  # the same of another result
            if text in one.said.values() and one.severity == cause.severity:
                if not next(iter(one.said)).endswith(f" {cause.result}"):
                    one.said[cause.result] = text
                for outcome in cause.outcomes:
                    one.shows_in(outcome)
                break
        else:
            shown = replace(cause.outcome, reproduce=command.format(cause.outcome.id))
            outcomes = [shown, *(o for o in cause.outcomes if o.id != shown.id)]
            found.append(
                SweepFinding(sweep.name, outcomes, cause.clue, cause.severity,
                             said={_called(sweep, cause.result): text}, place=place)
            )  # fmt: skip
    return found


def with_the_rest(
    cls: str, outcomes: Iterable[Outcome], found: list[SweepFinding]
) -> list[SweepFinding]:
    """The findings, and those of failures that none of them tells, one for each result: no failure
    is lost, whatever is made of it."""
    told = {outcome.id for one in found for outcome in one.outcomes}
    rest: dict[str, SweepFinding] = {}
    for outcome in outcomes:
        if outcome.verdict != FAILED or outcome.id in told:
            continue
        clue = outcome.failures[0]
        if outcome.check not in rest:
            name = cls if clue.name == "run" else f"{cls}: {clue.name}"
            said = {name: clue.diagnosis or clue.reason or "is wrong"}
            severity = _severity(outcome)
            rest[outcome.check] = SweepFinding(cls, [outcome], clue, severity, said=said)
        rest[outcome.check].shows_in(outcome)
    return [*found, *rest.values()]


def proving_too_little(cls: str, outcomes: list[Outcome]) -> list[SweepFinding]:
    """A finding for each mistake of the user's that no case shows."""
    return [
        SweepFinding(
            cls, [one], one.nearest, UNPROVEN,
            said={"the sweep": f"proves too little: no case shows the mistake "
                  f"{one.nearest.nearest!r}"},
        )
        for one in outcomes if one.verdict == MISTRUSTED
    ]  # fmt: skip


def _causes(sweep: Sweep, tries: list[Tried], again: Try | None) -> Iterator[_Cause]:
    """Each cause, with the outcomes that it explains: what is written into first, then outputs,
    then gradients."""
    plain = sweep.axes.plain()
    failed: dict[str, list[tuple[Case, Outcome]]] = {}
    for one in tries:
        for outcome in one.outcomes:
            if outcome.verdict == FAILED:
                failed.setdefault(outcome.check, []).append((one.case, outcome))
    causes: list[_Cause] = []
    for result in sorted(failed, key=lambda name: _order(sweep, name)):
        left = failed[result]
        for cause in causes:
            follow = [pair for pair in left if _follows(sweep, pair, cause, failed)]
            cause.outcomes += [outcome for _, outcome in follow]
            left = [pair for pair in left if pair not in follow]
        for _ in range(MOST):
            if not left:
                break
            left = sorted(left, key=lambda pair: _gravity(pair, plain))
            if again is None or _ended(left[0][1]):
                cases = [case for case, _ in left]
                where = shared(plain, cases, [one.case for one in tries if one.case not in cases])
                outcome = left[0][1]
                cause = _Cause(result, where, outcome.failures[0], outcome, _severity(outcome))
            else:
                cause = _cause(sweep, result, *left[0], again)
            taken = [(c, o) for c, o in left if c == left[0][0] or _is_of(cause, c, o)]
            cause.outcomes = [outcome for _, outcome in taken]
            cause.cases = [case for case, _ in taken]
            left = [pair for pair in left if pair not in taken]
            causes.append(cause)
        if left and causes:
            causes[-1].outcomes += [outcome for _, outcome in left]
    yield from causes


def _follows(
    sweep: Sweep,
    pair: tuple[Case, Outcome],
    cause: _Cause,
    failed: dict[str, list[tuple[Case, Outcome]]],
) -> bool:
    """Whether a failure is due to the cause of another result's."""
    case, outcome = pair
    clue = outcome.failures[0]
    cases = [other for other, _ in failed[cause.result]]
    if cause.result.endswith(WRITTEN):  # what is read after it has been overwritten
        name = cause.result.removesuffix(WRITTEN)
        raised = clue.name == "run" and case.get("layout", name) == "expanded"
        return raised or (not clue.named and case in cases)
    if cause.severity != WRONG:
        return False
    if outcome.check.startswith("again "):
        return cause.result == outcome.check.removeprefix("again ")
    if outcome.check.endswith("_grad") and cause.result in sweep.outputs:
        own = clue.named and not _alike(clue, cause.clue)  # it is wrong by itself
        return not own and (case in cases or cause.where.covers(case))
    return False


def _ended(outcome: Outcome) -> bool:
    """Whether a failure ended the process, or hung: what would do so again is not tried."""
    clue = outcome.failures[0]
    return clue.name == "run" and clue.reason.startswith(ENDED)


ENDED = ("hangs", "crashed the interpreter", "ended the process", "takes, with", "not run")
"""How is told what has taken the process with it."""

WRITTEN = " untouched"
"""How the name of a check ends that says whether a tensor was written into."""


def _severity(outcome: Outcome) -> str:
    return outcome.severity or WRONG


def _order(sweep: Sweep, result: str) -> int:
    """What is written into first, then exceptions, outputs and gradients as the function has them,
    then all else."""
    order = ["run", *sweep.outputs, *(f"{name}_grad" for name in sweep.wanted)]
    if result.endswith(WRITTEN):
        return -1
    return order.index(result) if result in order else len(order)


def _gravity(pair: tuple[Case, Outcome], plain: Case) -> tuple[int, bool, bool, bool, bool, int]:
    """The gravest first; of these what says most of its cause, and then the plainest."""
    case, outcome = pair
    named = any(one.named for one in outcome.failures)
    unwritten = any("torch.empty" in one.diagnosis for one in outcome.failures)
    apart = len(case.apart_from(plain))
    several = any(OR in one.diagnosis for one in outcome.failures)
    gravity = SEVERITIES.index(_severity(outcome))
    return gravity, not unwritten, several, apart > 0, not named, apart


def _is_of(cause: _Cause, case: Case, outcome: Outcome) -> bool:
    """Whether a failure has the cause of another of the same result."""
    clue = outcome.failures[0]
    if cause.clue.named and clue.named:
        return _alike(clue, cause.clue)
    if cause.severity == outcome.severity == DIGITS and not clue.named:
        return True
    lesser = SEVERITIES.index(outcome.severity) >= SEVERITIES.index(cause.severity)
    return lesser and cause.where.covers(case)


def _alike(one: Comparison, other: Comparison) -> bool:
    """Whether two failures are one mistake, or each may be it."""
    texts = [set(_plainly(clue.diagnosis).split(_plainly(OR))) for clue in (one, other)]
    return bool(texts[0] & texts[1])


def _plainly(text: str) -> str:
    """A text without its numbers: of another size they are others."""
    return re.sub(r"[\d.,\s\[\]()-]+", " ", text)


def _cause(sweep: Sweep, result: str, case: Case, outcome: Outcome, again: Try) -> _Cause:
    """The cause of a failure, by narrowing it down."""
    severity, first = _severity(outcome), outcome.failures[0]

    def fails(other: Case) -> bool | None:
        one = again(other)
        if one.why or (result != "run" and any(other.check == "run" for other in one.outcomes)):
            return None
        found = [outcome for outcome in one.outcomes if outcome.check == result]
        graver = SEVERITIES[: SEVERITIES.index(severity) + 1]
        same = [one for one in found if one.verdict == FAILED and one.severity in graver]
        if result == "run":
            return any(_plainly(one.failures[0].reason) == _plainly(first.reason) for one in same)
        if first.named and same and same[0].failures[0].named:
            return _alike(same[0].failures[0], first)
        return bool(same)

    plain = sweep.axes.plain()
    if severity == EDGE:
        where = Where(case, tuple(axis for axis in case.apart_from(plain) if axis[0] == "mode"))
    else:
        unwritten = [("memory", "")] if "torch.empty" in first.diagnosis else []
        where = narrowed(sweep, case, fails, unwritten, exact=severity == DIGITS)
    shown = next((o for o in again(where.case).outcomes if o.check == result
                  and o.verdict == FAILED), outcome)  # fmt: skip
    clue = shown.failures[0]
    if first.named and OR not in first.diagnosis and OR in clue.diagnosis:
        clue = replace(clue, diagnosis=first.diagnosis)  # the case that failed told one of them
    return _Cause(result, where, clue, shown, shown.severity or severity)


def _text(sweep: Sweep, cause: _Cause) -> str:
    """What there is to say of a cause, to follow the name of the result."""
    clue = cause.clue
    where = cause.where.said(cause.cases, slight=not clue.named)
    open_ = clue.diagnosis.count(OR) > 1  # too many mistakes make the same for one to be told
    text = "" if open_ else clue.diagnosis
    text = text or (clue.reason and f"is wrong ({clue.reason})") or _vaguely(cause)
    if clue.name == "run":
        text = clue.reason
    said = where and not _implied(cause, text)
    return f"{text}, where {where}" if said else text


def _vaguely(cause: _Cause) -> str:
    if cause.severity == DIGITS:
        half = cause.where.case.dtype in ("bfloat16", "float16")
        why = f": as if it were added up in {cause.where.case.dtype}" if half else ""
        return f"has lost digits, {cause.clue.ratio:.3g} times the error allowed{why}"
    return "is wrong"


def _implied(cause: _Cause, text: str) -> bool:
    """Whether the text says already where it is so."""
    layouts = [name for kind, name in cause.where.needed if kind == "layout"]
    return bool(layouts) and ("contiguous" in text or "strides" in text)


def _called(sweep: Sweep, result: str) -> str:
    """A result as a sentence has it."""
    if result in ("run", "attached", "repeat", "mistake") or result.endswith(
        (WRITTEN, " released")
    ):
        return sweep.name
    return f"{sweep.name}: {result.removeprefix('again ')}"
