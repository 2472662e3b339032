"""All that was found of a subject, as data."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from parity.explain.candidates import settled
from parity.explain.causes import findings
from parity.explain.finding import Finding
from parity.judge.comparison import WRONG
from parity.judge.outcome import FAILED, SEVERITIES, WAIVED, Outcome


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
        strict: whether remarks fail it too.
        errors: the checks that parity itself fell over, of which nothing is known.
        forbidden: the modules that the subject may not use; nothing else was looked for.
        used: each use of one of them, with its place.
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
    strict: bool = False
    errors: list[Outcome] = field(default_factory=list)
    forbidden: tuple[str, ...] = ()
    used: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        object.__setattr__(self, "outcomes", settled(self.outcomes))

    def count(self, verdict: str) -> int:
        return sum(outcome.verdict == verdict for outcome in self.outcomes)

    @cached_property
    def findings(self) -> list[Finding]:
        """What is wrong, one for each cause, the gravest class first."""
        return findings(self.outcomes)

    @property
    def faults(self) -> list[Finding]:
        """The findings that fail the run: those of values and memory; if it is strict, all."""
        return [one for one in self.findings if one.fails or self.strict]

    @property
    def remarks(self) -> list[Finding]:
        """The findings that do not."""
        return [one for one in self.findings if not (one.fails or self.strict)]

    def by_severity(self) -> dict[str, int]:
        """How many findings there are of each class that has any, the gravest first."""
        found = [one.severity for one in self.findings]
        return {name: found.count(name) for name in SEVERITIES if name in found}

    @cached_property
    def waived(self) -> dict[str, list[Finding]]:
        """What each waiver that is used hides."""
        found: dict[str, list[Outcome]] = {}
        for one in self.outcomes:
            if one.verdict == WAIVED:
                found.setdefault(one.waiver, []).append(replace(one, verdict=FAILED))
        return {pattern: findings(ones) for pattern, ones in found.items()}

    @property
    def overreaching(self) -> list[str]:
        """The waivers that hide wrong values beside something of another class: their reason is of
        one of the two."""
        return [
            pattern
            for pattern, found in self.waived.items()
            if len({one.severity for one in found}) > 1 and found[0].severity == WRONG
        ]

    @property
    def passed(self) -> bool:
        """Whether every check was run, none found a fault, and every waiver was needed."""
        bad = self.faults or self.unused or self.overreaching or self.errors or self.stopped
        return bool(self.outcomes) and not bad and not self.used
