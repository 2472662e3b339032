"""What an artefact hands to the report: text, figures, and a verdict for each published row."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tabulate import tabulate

from bench.paper.figures import save
from bench.paper.training import Task

Found = Callable[[Task], dict[str, Any]]


@dataclass(frozen=True)
class Verdict:
    """A row of the table that the report begins with; all of it is text."""

    where: str
    what: str
    published: str
    ours: str
    verdict: str


@dataclass
class Section:
    """A part of the report, in Markdown."""

    title: str
    text: str
    verdicts: list[Verdict] = field(default_factory=list)


@dataclass(frozen=True)
class Canvas:
    """Where figures go.

    Args:
        folder: of the report; figures go to `figures` in it.
    """

    folder: Path

    def picture(self, name: str, figure: Any, caption: str) -> str:
        """Writes a figure as PNG and SVG; returns the Markdown that shows it."""
        save(figure, self.folder / "figures" / name)
        return f"![{caption}](figures/{name}.svg)\n\n*{caption}*"


def table(rows: Sequence[dict[str, Any]]) -> str:
    """A table in Markdown: a column for each key, its cells not padded."""
    text = tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True)
    return re.sub(r"-{4,}", "---", re.sub(r" {2,}", " ", text))
