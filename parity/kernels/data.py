"""What is known of a case, and of a finding, as plain values: two processes talk in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from parity.judge.outcome import Outcome
from parity.kernels.cases import Case
from parity.kernels.judging import KIND, Tried
from parity.kernels.report import SweepFinding
from parity.play.broken import legible
from parity.run.beside import from_data

LONGEST = 2000
"""How many characters of a text are taken over."""


def of_tried(one: Tried, name: str) -> dict[str, Any]:
    """A case that was tried, by its name."""
    return {
        "case": name,
        "outcomes": [_of_outcome(outcome) for outcome in one.outcomes],
        "why": one.why,
        "excused": one.excused,
        "moved": list(one.moved),
        "shown": list(one.shown),
    }


def _of_outcome(one: Outcome) -> dict[str, Any]:
    return {
        "cls": one.cls, "case": one.case, "dtype": one.dtype, "check": one.check,
        "verdict": one.verdict, "seconds": one.seconds, "reproduce": one.reproduce,
        "comparisons": [vars(comparison) for comparison in one.comparisons],
    }  # fmt: skip


def to_tried(data: Mapping[str, Any], case: Case) -> Tried:
    """What `of_tried` has made."""
    moved, shown = (tuple(_text(name) for name in data[key]) for key in ("moved", "shown"))
    outcomes = [_to_outcome(one) for one in data["outcomes"]]
    return Tried(case, outcomes, _text(data["why"]), float(data["excused"]), moved, shown)


def _to_outcome(data: Mapping[str, Any]) -> Outcome:
    cls, case, dtype, check = (_text(data[key]) for key in ("cls", "case", "dtype", "check"))
    return Outcome(
        f"{check}-{case}", cls, case, dtype, check, _text(data["verdict"]),
        from_data(data["comparisons"]), float(data["seconds"]),
        reproduce=_text(data["reproduce"]), kind=KIND,
    )  # fmt: skip


def of_finding(one: SweepFinding) -> dict[str, Any]:
    """A finding; its checks by their ids."""
    return {
        "cls": one.cls, "severity": one.severity, "said": dict(one.said), "place": one.place,
        "notes": list(one.notes), "evidence": vars(one.evidence),
        "first": _of_outcome(one.outcomes[0]), "ids": [outcome.id for outcome in one.outcomes],
    }  # fmt: skip


def to_finding(data: Mapping[str, Any], outcomes: Mapping[str, Outcome]) -> SweepFinding:
    """What `of_finding` has made; its checks are those of the judge."""
    (evidence,) = from_data([data["evidence"]])
    first = _to_outcome(data["first"])
    shown = [first, *(outcomes[i] for i in data["ids"] if i in outcomes and i != first.id)]
    said = {_text(name): _text(text) for name, text in data["said"].items()}
    return SweepFinding(
        _text(data["cls"]), shown, evidence, _text(data["severity"]),
        [_text(note) for note in data["notes"]], said, _text(data["place"]),
    )  # fmt: skip


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return legible(value, LONGEST)
