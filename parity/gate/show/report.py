"""The gate's result for people and machines: a table, Markdown, annotations, JSON."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from tabulate import tabulate

from parity.gate.judge.result import BROKEN, FASTER, NOTE, VERDICTS, Result, Row, Section
from parity.gate.judge.verdicts import FAIL, INCONCLUSIVE, PASS

ENDS = {
    0: "PASSED: no regression",
    1: "FAILED: a regression",
    2: "THE GATE IS BROKEN: nothing is known of the change",
    3: "INCONCLUSIVE: not passed, and not failed",
}
MARKER = "<!-- parity gate -->"
"""In the comment of a pull request, by which it is found and updated."""

ANNOTATIONS = 5
"""At most: more of them are not read."""

MOST = 100  # rows of a table in a comment, which takes 65,536 characters
WIDTH = 80  # of what is said, on the terminal

TOLD = (BROKEN, FAIL, INCONCLUSIVE, FASTER, NOTE)


def text(result: Result, *, verbose: bool = False) -> str:
    """What the terminal shows: a section for each layer, what is wrong first.

    Args:
        verbose: also what passed.
    """
    parts = []
    for section in result.sections:
        seconds = f", {section.seconds:.0f} s" if section.seconds >= 0.5 else ""
        parts.append(f"{section.title}: {section.verdict}{seconds}\n  {section.summary}")
        rows = _ordered(section.rows if verbose else section.of(*TOLD))
        if rows:
            parts.append(_wrapped(_table(rows)))
    again = [f"To see it again: {result.again}"] if result.again else []
    facts = "; ".join(f"{key} {value}" for key, value in result.facts.items())
    return "\n\n".join([*parts, *again, f"{end(result)}.\n({facts})"])


def end(result: Result) -> str:
    """The verdict on all of it; of a part, that it is one."""
    part = result.facts.get("layers")
    return ENDS[result.code] + (f" (of {part} alone)" if part else "")


def _wrapped(rows: Sequence[Mapping[str, str]]) -> str:
    """A table whose last column is wrapped; commands and paths in it stay whole."""
    wrapped = [
        {
            **row,
            "says": textwrap.fill(
                row["says"], WIDTH, break_long_words=False, break_on_hyphens=False
            ),
        }
        for row in rows
    ]
    return tabulate(wrapped, headers="keys", disable_numparse=True)


def _ordered(rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: VERDICTS.index(row.verdict))


def _table(rows: Sequence[Row]) -> list[dict[str, str]]:
    columns = list(dict.fromkeys(column for row in rows for column in row.figures))
    return [
        {
            "verdict": row.verdict,
            "what": row.name,
            **{column: row.figures.get(column, "") for column in columns},
            "says": row.says,
        }
        for row in rows
    ]


def markdown(result: Result) -> str:
    """For the job's summary and the comment: regressions first, details folded."""
    parts = [MARKER, f"## parity gate: {end(result)}"]
    head = [
        {"layer": section.title, "verdict": section.verdict, "": section.summary}
        for section in result.sections
    ]
    parts.append(_pipes(head))
    told = [row for _, row in result.rows(BROKEN, FAIL, INCONCLUSIVE)]
    if told:
        parts.append(_pipes(_table(_ordered(told)[:MOST])))
        parts += [f"and {len(told) - MOST} more"] if len(told) > MOST else []
        parts += [f"To see it again: `{result.again}`"] if result.again else []
    notes = [row for section, row in result.rows(NOTE) if section.title == "integrity"]
    parts += [_pipes(_table(notes[:MOST]))] if notes else []  # what was loosened, or left out
    for section in result.sections:
        rows = [row for row in section.of(FASTER, NOTE, PASS) if row not in notes]
        if rows:
            counted = {
                "that pass": len(section.of(FASTER, PASS)),
                "faster": len(section.of(FASTER)),
                "to note": len(rows) - len(section.of(FASTER, PASS)),
            }
            what = ", ".join(f"{count} {kind}" for kind, count in counted.items() if count)
            parts.append(
                f"<details><summary>{section.title}: {what}</summary>"
                f"\n\n{_pipes(_table(_ordered(rows)[:MOST]))}\n\n</details>"
            )
    facts = "; ".join(f"{key} {value}" for key, value in result.facts.items())
    return "\n\n".join([*parts, f"<sub>{facts}</sub>"]) + "\n"


def _pipes(rows: Sequence[Mapping[str, str]]) -> str:
    cleaned = [{key: _cell(value) for key, value in row.items()} for row in rows]
    return tabulate(cleaned, headers="keys", tablefmt="github", disable_numparse=True)


def _cell(value: str) -> str:
    return value.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def commands(result: Result) -> str:
    """GitHub's commands, one for a row, and few."""
    rows = result.rows(BROKEN, FAIL) or result.rows(INCONCLUSIVE)
    kind = "error" if result.rows(BROKEN, FAIL) else "warning"
    lines = [
        f"::{kind} title=parity gate: {_escaped(section.title, ':,')}::"
        + _escaped(f"{row.name}: {row.says}")
        for section, row in rows[:ANNOTATIONS]
    ]
    if len(rows) > ANNOTATIONS:
        lines.append(f"::{kind} title=parity gate::and {len(rows) - ANNOTATIONS} more")
    return "\n".join(lines)


def _escaped(value: str, more: str = "") -> str:
    for one in "%\r\n" + more:
        value = value.replace(one, f"%{ord(one):02X}")
    return value


def as_json(result: Result) -> str:
    """All figures, and every raw pair."""
    content: dict[str, Any] = {
        "exit code": result.code,
        "facts": result.facts,
        "sections": [_section(section) for section in result.sections],
        **_plain(result.data),
    }
    return json.dumps(content, indent=1, default=str) + "\n"


def _plain(value: Any) -> Any:
    """Data, with objects of ours as what they consist of."""
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return vars(value) if hasattr(value, "__dict__") else value


def _section(section: Section) -> dict[str, Any]:
    return {
        **vars(section),
        "verdict": section.verdict,
        "rows": [vars(row) for row in section.rows],
    }
