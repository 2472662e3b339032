"""A report as the terminal shows it: a table, the faults, the verdict."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from tabulate import tabulate

from parity.explain import causes
from parity.judge.outcome import FAILED, MISTRUSTED, PASSED, WAIVED, Outcome
from parity.play.broken import legible
from parity.run.report import Report
from parity.subject.subject import waiver_for

SHOWN = 3
"""How many checks are named under a fault that shows in many."""


def text(report: Report, *, verbose: bool = False) -> str:
    """What the terminal shows: a row for each case, the faults, the verdict.

    Args:
        verbose: a row for each check.
    """
    table = _checks(report) if verbose else _cases(report)
    parts = [*filter(None, [table]), *_faults(report)]
    if report.missing:
        parts.append("Not offered, and so not checked: " + _missing(report))
    if report.gaps:
        parts.append(f"Not checked: {'; '.join(report.gaps)}.")
    for pattern, reason in report.waivers.items():
        count = sum(outcome.waiver == pattern for outcome in report.outcomes)
        if count:
            parts.append(f"Waived, {count} checks {legible(pattern)}: {legible(reason)}")
    for pattern in report.unused:
        any_check = any(waiver_for({pattern: ""}, one.id) for one in report.outcomes)
        why = "nothing that it is for fails" if any_check else "no check has such an id"
        parts.append(f"The waiver {pattern!r} is not needed: {why}. Take it out.")
    if report.habits:
        parts.append(f"Beside its work, the subject {'; '.join(report.habits)}.")
    if report.stopped:
        parts.append(f"Stopped: {report.stopped}.")
    return "\n\n".join([*parts, _verdict(report)])


def _cases(report: Report) -> str:
    """A row for each case: of its checks in every dtype the worst."""
    rows = []
    for name, outcomes in _by_case(report).items():
        worst = max(outcomes, key=lambda outcome: (outcome.verdict == FAILED, outcome.ratio))
        failed = sorted({o.check for o in outcomes if o.verdict == FAILED})
        mistrusted = sorted({o.check for o in outcomes if o.verdict == MISTRUSTED})
        shown = ", ".join(failed[:SHOWN]) + (f" and {len(failed) - SHOWN} more" * (len(failed) > 3))
        rows.append(
            {
                "case": legible(name),
                "checks": len(outcomes),
                "verdict": _worst(outcomes),
                "worst error / allowed": _number(worst.ratio),
                "failed": shown or ", ".join(mistrusted),
            }
        )
    return tabulate(rows, headers="keys", disable_numparse=True)


def _worst(outcomes: list[Outcome]) -> str:
    """The gravest verdict of a case."""
    found = {outcome.verdict for outcome in outcomes}
    return next(one for one in (FAILED, MISTRUSTED, WAIVED, PASSED) if one in found)


def _checks(report: Report) -> str:
    rows = [
        {
            "check": legible(outcome.id),
            "verdict": outcome.verdict,
            "error / allowed": _number(outcome.ratio),
            "nearest mistake": f"{outcome.nearest.nearest} {_number(outcome.nearest.distance)}"
            if outcome.nearest.nearest
            else "",
        }
        for outcome in report.outcomes
    ]
    return tabulate(rows, headers="keys", disable_numparse=True)


def _faults(report: Report) -> Iterator[str]:
    for number, (sentence, outcomes) in enumerate(report.faults().items(), 1):
        names = [outcome.id for outcome in outcomes]
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        first = causes.evidence(sentence, outcomes[0])
        yield "\n".join(
            [
                f"{number}. {sentence}.",
                f"   seen in {', '.join(names[:SHOWN])}{more}"
                + ("; at an edge alone" if all(o.check in causes.EDGES for o in outcomes) else ""),
                f"   {replace(first, diagnosis='')}",
                f"   reproduce: {outcomes[0].reproduce}",
            ]
        )


def _missing(report: Report) -> str:
    """The options that a class does not take, and how many cases that is."""
    options: dict[str, list[str]] = {}
    for name, reason in report.missing:
        options.setdefault(name.split("-")[0], []).append(reason.removeprefix("takes no "))
    return "; ".join(
        f"{cls} with {', '.join(dict.fromkeys(found))}" for cls, found in options.items()
    )


def _verdict(report: Report) -> str:
    settings = ", ".join(f"{key} {value}" for key, value in report.settings.items())
    counts = ", ".join(
        f"{report.count(verdict)} {word}"
        for verdict, word in (
            (PASSED, "passed"),
            (FAILED, "failed"),
            (MISTRUSTED, "not to be trusted"),
            (WAIVED, "waived"),
        )
        if report.count(verdict) or verdict == PASSED
    )
    faults = sum(ones[0].verdict == FAILED for ones in report.faults().values())
    if report.passed:
        word = "PASSED"
    elif faults:
        word = f"{faults} fault{'s' * (faults != 1)}" + ", stopped" * bool(report.stopped)
    elif report.stopped:
        word = "stopped"
    else:
        word = "not passed"
    return f"{report.name}: {word}. {counts}, of {len(report.outcomes)} checks.\n({settings})"


def _by_case(report: Report) -> dict[str, list[Outcome]]:
    found: dict[str, list[Outcome]] = {}
    for outcome in report.outcomes:
        found.setdefault(outcome.case, []).append(outcome)
    return found


def _number(value: float) -> str:
    return "-" if math.isnan(value) else "wrong" if math.isinf(value) else f"{value:.2g}"
