"""All that was found of a subject, as data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from parity.explain import causes
from parity.judge.outcome import FAILED, MISTRUSTED, Outcome


@dataclass(frozen=True)
class Report:
    """All that is known of a subject.

    Args:
        name: the subject's.
        outcomes: one for each check that was run.
        missing: what the subject does not offer, with the reason.
        unused: waivers that nothing needed.
        waivers: all waivers, with their reasons.
        habits: what the subject does to the state of its process.
        settings: device, seed, versions, …
        gaps: what could not be checked, for want of something in the adapter.
        stopped: why some checks were not run any more; "" where all were.
    """

    name: str
    outcomes: list[Outcome]
    missing: list[tuple[str, str]] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    waivers: dict[str, str] = field(default_factory=dict)
    habits: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    gaps: list[str] = field(default_factory=list)
    stopped: str = ""

    def count(self, verdict: str) -> int:
        return sum(outcome.verdict == verdict for outcome in self.outcomes)

    @property
    def passed(self) -> bool:
        """Whether every check was run and passed, and every waiver was needed."""
        bad = self.count(FAILED) + self.count(MISTRUSTED) + len(self.unused)
        return bool(self.outcomes) and not bad and not self.stopped

    def faults(self) -> dict[str, list[Outcome]]:
        """What is wrong, by the sentence that says it, with the checks that it shows in."""
        return causes.faults(self.outcomes)
