"""What came of one check."""

from __future__ import annotations

from dataclasses import dataclass

from parity.judge.comparison import Comparison

PASSED, FAILED, MISTRUSTED, WAIVED = "passed", "FAILED", "MISTRUSTED", "waived"
UNCHECKED = "not checked"


@dataclass(frozen=True)
class Outcome:
    """What came of one check.

    Args:
        id, cls, case, dtype, check: which one: `cls` is the torch class.
        verdict: `PASSED`, `FAILED`, `MISTRUSTED`, `WAIVED`; or `UNCHECKED`: the subject has no
            such thing.
        comparisons: all that was compared.
        seconds: how long it took.
        waiver: the pattern of the waiver that it falls under.
        reproduce: the command that runs this check alone.
        kind: of the case: "layer", "loss", …
        why: nothing was checked, if so.
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

    @property
    def ratio(self) -> float:
        """The worst error, over what is allowed; of what is inherited nothing is said."""
        return max((c.ratio for c in self.comparisons if not c.inherited), default=0.0)

    @property
    def failures(self) -> list[Comparison]:
        return [comparison for comparison in self.comparisons if not comparison.passed]

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
