"""A report as JSON: all figures."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

from parity.judge.outcome import Outcome
from parity.run.report import Report


def as_json(report: Report) -> str:
    """All of it: every comparison with its certificate. Not-a-numbers and infinities are null."""
    data = {
        "name": report.name,
        "passed": report.passed,
        "stopped": report.stopped,
        "settings": report.settings,
        "strict": report.strict,
        "findings": [
            {
                "sentence": one.sentence,
                "class": one.severity,
                "fails": one in report.faults,
                "of": one.cls,
                "where": one.where,
                "due": one.due,
                "notes": list(dict.fromkeys(one.notes)),
                "checks": [outcome.id for outcome in one.outcomes],
            }
            for one in report.findings
        ],
        "counts": report.by_severity(),
        "errors": [{"check": one.id, "traceback": one.why} for one in report.errors],
        "outcomes": [_outcome(outcome) for outcome in report.outcomes],
        "not_offered": dict(report.missing),
        "not_checked": report.gaps,
        "waivers": report.waivers,
        "unused_waivers": report.unused,
        "habits": report.habits,
        "forbidden": list(report.forbidden),
        "used": report.used,
    }
    return json.dumps(_finite(data), indent=1, allow_nan=False) + "\n"


def _outcome(outcome: Outcome) -> dict[str, Any]:
    """All figures of a check; what its passes rule out is in none of them."""
    data = asdict(outcome) | {"diagnosis": outcome.diagnosis, "reproduce": outcome.reproduce}
    for comparison in data["comparisons"]:
        del comparison["refuted"]
    return data


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
