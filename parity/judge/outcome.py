"""What came of one check."""

from __future__ import annotations

from dataclasses import dataclass

from parity.judge.comparison import CONVENTION, DIGITS, EDGE, MEMORY, WRONG, Comparison

PASSED, FAILED, MISTRUSTED, WAIVED = "passed", "FAILED", "MISTRUSTED", "waived"
UNCHECKED, ERROR = "not checked", "error"

UNPROVEN = "unproven"
SEVERITIES = (WRONG, MEMORY, UNPROVEN, CONVENTION, DIGITS, EDGE)
"""The classes of what is found, the gravest first."""
FAILING = (WRONG, MEMORY, UNPROVEN)
"""Those that fail a run; the others are remarks, and fail a strict one."""

OF_MEMORY = ("no_mutation", "aliasing", "uninitialised")
AT_EDGES = ("empty_batch", "extremes", "kink", "nan")
"""The checks whose failures are of memory, and those at inputs that training hardly meets."""


@dataclass(frozen=True)
class Outcome:
    """What came of one check.

    Args:
        id, cls, case, dtype, check: which one: `cls` is the torch class.
        verdict: `PASSED`, `FAILED`, `MISTRUSTED`, `WAIVED`; `UNCHECKED`: the subject has no such
            thing; `ERROR`: parity itself fell over it.
        comparisons: all that was compared.
        seconds: how long it took.
        waiver: the pattern of the waiver that it falls under.
        reproduce: the command that runs this check alone.
        kind: of the case: "layer", "loss", …
        why: nothing was checked, if so; of an error the traceback.
        parts: of a network the torch classes of its layers, its loss and its optimizer.
        where: the subject's methods by what they do, and where they are, such as
            `("backward", "Tanh.backward (course.py:57)")`.
    """

    id: str
    cls: str
    case: str
    dtype: str
    check: str
    verdict: str
    comparisons: list[Comparison]
    seconds: float = 0.0
    waiver: str = ""
    reproduce: str = ""
    kind: str = "layer"
    why: str = ""
    parts: tuple[str, ...] = ()
    where: tuple[tuple[str, str], ...] = ()

    @property
    def ratio(self) -> float:
        """The worst error, over what is allowed; of what is inherited nothing is said."""
        return max((c.ratio for c in self.comparisons if not c.inherited), default=0.0)

    @property
    def failures(self) -> list[Comparison]:
        return [comparison for comparison in self.comparisons if not comparison.passed]

    def severity_of(self, comparison: Comparison) -> str:
        """Of which class a failed comparison is: its own, or that of the check."""
        of_check = MEMORY if self.check in OF_MEMORY else EDGE if self.check in AT_EDGES else WRONG
        return comparison.severity or of_check

    @property
    def severity(self) -> str:
        """The gravest class of what failed, by this check alone; "" if nothing did."""
        if self.verdict == MISTRUSTED:
            return UNPROVEN
        found = [self.severity_of(one) for one in self.failures] if self.verdict == FAILED else []
        return min(found, key=SEVERITIES.index, default="")

    @property
    def nearest(self) -> Comparison:
        """The comparison whose nearest mistake is nearest."""
        return min(self.comparisons, key=lambda comparison: comparison.distance)

    @property
    def diagnosis(self) -> str:
        """What is wrong, in a sentence if the evidence singles one out, else in figures."""
        failures = self.failures
        told = next((c.diagnosis for c in failures if c.diagnosis), "")
        if told:
            return told[0].upper() + told[1:]
        if failures:
            return str(failures[0])
        if self.verdict == MISTRUSTED:
            near = self.nearest
            return (
                f"{near.nearest!r} would be {near.distance:.2g} times the error allowed: too near"
            )
        return ""
