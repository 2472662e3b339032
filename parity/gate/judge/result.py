"""What the gate says: rows with a verdict, in a section for each layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from parity.gate.data.broken import GATE_BROKEN
from parity.gate.judge.verdicts import FAIL, INCONCLUSIVE, PASS

BROKEN, FASTER, NOTE = "BROKEN", "FASTER", "NOTE"

PASSED, REGRESSION, UNDECIDED = 0, 1, 3
"""Exit codes, beside `GATE_BROKEN`, 2."""


@dataclass(frozen=True)
class Row:
    """A verdict on one thing.

    Args:
        verdict: BROKEN, FAIL, INCONCLUSIVE, PASS; or FASTER and NOTE, which pass.
        says: what was found, in words and figures.
        figures: what its section has columns for.
    """

    name: str
    verdict: str
    says: str = ""
    figures: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Section:
    """One layer of the gate.

    Args:
        summary: all of it in a sentence.
        rows: what is to be told; of what passed, as much as is worth a row.
        seconds: of it that it had the machine for itself.
        judged: whether there was anything to judge.
    """

    title: str
    summary: str
    rows: list[Row]
    seconds: float = 0.0
    judged: bool = True

    def of(self, *verdicts: str) -> list[Row]:
        return [row for row in self.rows if row.verdict in verdicts]

    @property
    def verdict(self) -> str:
        """The worst of its rows."""
        for verdict in (BROKEN, FAIL, INCONCLUSIVE):
            if self.of(verdict):
                return verdict
        return PASS if self.judged else NOTE


@dataclass(frozen=True)
class Result:
    """All that the gate found.

    Args:
        facts: what it was measured on and of: versions, commits, seeds, a command.
        data: for machines: every raw pair, and all figures.
        strict: whether what is inconclusive fails.
        again: the command that shows again what does not pass.
    """

    sections: list[Section]
    facts: dict[str, str]
    data: dict[str, Any] = field(default_factory=dict)
    strict: bool = False
    again: str = ""

    @property
    def code(self) -> int:
        """The exit code: what is broken outweighs what has failed, for it cannot be believed."""
        verdicts = {section.verdict for section in self.sections}
        if not self.sections or BROKEN in verdicts:
            return GATE_BROKEN
        if FAIL in verdicts:
            return REGRESSION
        if INCONCLUSIVE in verdicts:
            return REGRESSION if self.strict else UNDECIDED
        return PASSED

    def rows(self, *verdicts: str) -> list[tuple[Section, Row]]:
        return [(section, row) for section in self.sections for row in section.of(*verdicts)]


VERDICTS = (BROKEN, FAIL, INCONCLUSIVE, FASTER, NOTE, PASS)
"""In the order of their weight."""
