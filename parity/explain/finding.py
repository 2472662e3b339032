"""A finding: one thing that is wrong, with the checks that it shows in; and which are one."""

from __future__ import annotations

from dataclasses import dataclass, field

from parity.explain.clues import RUN, capital, like, result_of
from parity.explain.formulas import due
from parity.judge.comparison import CONVENTION, DIGITS, WRONG, Comparison
from parity.judge.outcome import FAILING, UNPROVEN, Outcome


@dataclass
class Finding:
    """One thing that is wrong.

    Args:
        cls: the torch class that it is of, or "network".
        outcomes: the checks that it shows in; the one that tells most comes first.
        evidence: the comparison that its sentence is about.
        severity: its class, one of `SEVERITIES`.
        notes: what else there is to know of it, each a sentence.
    """

    cls: str
    outcomes: list[Outcome]
    evidence: Comparison
    severity: str
    notes: list[str] = field(default_factory=list)
    said: dict[str, str] = field(default_factory=dict)  # by result: what is said of it

    @property
    def sentence(self) -> str:
        """What is wrong, without a full stop."""
        first, text = next(iter(self.said.items()))
        others = [name for name, other in self.said.items() if other == text and name != first]
        return capital(f"{first}{like(first, others)} {text}".strip())

    def __str__(self) -> str:
        return self.sentence

    @property
    def where(self) -> str:
        """The subject's own code that it is in: `Tanh.backward (course.py:57)`; "" if unknown."""
        if self.evidence.name == RUN:  # the exception's own place tells more
            return ""
        places = dict(self.outcomes[0].where)
        if "step" in places:
            return places["step"]
        backward = (
            result_of(self.evidence).endswith("grad")
            or "backward" in self.sentence
            or self.evidence.name.startswith(("dy ", "output "))  # backward writes into these
        )
        return places.get("backward" if backward else "forward", "")

    @property
    def due(self) -> str:
        """The formula that its result should be computed by; "" if it is not about one."""
        about = self.evidence.name if self.evidence.name.startswith("step ") else ""
        return due(self.cls, about or result_of(self.evidence))

    @property
    def fails(self) -> bool:
        """Whether it fails a run that is not strict."""
        return self.severity in FAILING

    def rests_on(self, outcome: Outcome, clue: Comparison) -> None:
        """A check that tells more than the first."""
        self.outcomes = [outcome, *(one for one in self.outcomes if one is not outcome)]
        self.evidence = clue

    def shows_in(self, outcome: Outcome) -> None:
        if not any(outcome is one for one in self.outcomes):
            self.outcomes.append(outcome)


def unproven(outcome: Outcome) -> Finding:
    """That a check passed, and proves too little."""
    near = outcome.nearest
    text = f"proves too little: the mistake {near.nearest!r} would hardly show"
    return Finding(outcome.cls, [outcome], near, UNPROVEN, said={outcome.cls: text})


def without_small_signs(found: list[Finding]) -> list[Finding]:
    """Lost digits are a small sign of what inputs of other sizes show to be a known mistake, of the
    same result in the same cases: one finding."""
    kept = []
    for one in found:
        cases = {outcome.case for outcome in one.outcomes}
        graver = [
            other
            for other in found
            if one.severity == DIGITS
            and other.cls == one.cls
            and other.severity in (WRONG, CONVENTION)
            and other.evidence.named
            and other.outcomes[0].check == "ranges"
            and result_of(other.evidence) == result_of(one.evidence)
            and cases <= {outcome.case for outcome in other.outcomes}
        ]
        if not graver:
            kept.append(one)
        for outcome in one.outcomes if graver else ():
            graver[0].shows_in(outcome)
    return kept


def merged(found: list[Finding]) -> list[Finding]:
    """Findings that say the same as one."""
    by_sentence: dict[str, Finding] = {}
    for one in found:
        first = by_sentence.setdefault(one.sentence, one)
        for outcome in one.outcomes:
            first.shows_in(outcome)
    return list(by_sentence.values())
