"""A report as the terminal shows it: a table, the faults, the verdict."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from tabulate import tabulate

from parity.judge.outcome import FAILED, MISTRUSTED, PASSED, SEVERITIES, WAIVED, Outcome
from parity.play.broken import legible
from parity.run.report import Report
from parity.subject.subject import waiver_for

SHOWN = 3
"""How many checks are named under a fault that shows in many."""
MANY = 10
"""How many cases of a sweep have a row of their own."""


def text(report: Report, *, verbose: bool = False) -> str:
    """What the terminal shows: a row for each case, the faults, the verdict.

    Args:
        verbose: a row for each check.
    """
    table = _checks(report) if verbose else _cases(report)
    parts = [table] if table else []
    parts += [*findings_said(report, verbose=verbose), *_errors(report, verbose=verbose)]
    if report.missing:
        parts.append("Not offered, and so not checked: " + _missing(report))
    if report.gaps:
        parts.append(f"Not checked: {'; '.join(report.gaps)}.")
    for pattern, reason in report.waivers.items():
        count = sum(outcome.waiver == pattern for outcome in report.outcomes)
        if count:
            parts.append(f"Waived, {count} checks {legible(pattern)}: {legible(reason)}")
        for finding in report.waived.get(pattern, []):
            parts[-1] += f"\n   [{finding.severity}] {finding.sentence}"
    for pattern in report.overreaching:
        parts.append(
            f"The waiver {pattern!r} hides findings of more than one class, and its reason is of "
            "one: give each its own, by the check's id, such as 'ReLU-*-no_mutation'."
        )
    for pattern in report.unused:
        any_check = any(waiver_for({pattern: ""}, one.id) for one in report.outcomes)
        why = "nothing that it is for fails" if any_check else "no check has such an id"
        parts.append(f"The waiver {pattern!r} is not needed: {why}. Take it out.")
    if report.used:
        parts.append(f"Forbidden, and used all the same: {'; '.join(report.used)}.")
    if report.habits:
        parts.append(f"Beside its work, the subject {'; '.join(report.habits)}.")
    if report.stopped:
        parts.append(f"Stopped: {report.stopped}.")
    return "\n\n".join([*parts, _verdict(report)])


def _cases(report: Report) -> str:
    """A row for each case: of its checks in every dtype the worst. Of a sweep's many cases those
    that did not pass."""
    rows: list[dict[str, object]] = []
    severity = _severities(report)
    for name, outcomes in _by_case(report).items():
        if outcomes[0].kind == "function" and _worst(outcomes, severity) == PASSED:
            continue
        worst = max(outcomes, key=lambda outcome: (outcome.verdict == FAILED, outcome.ratio))
        failed = sorted({o.check for o in outcomes if o.verdict == FAILED})
        mistrusted = sorted({o.check for o in outcomes if o.verdict == MISTRUSTED})
        shown = ", ".join(failed[:SHOWN]) + (f" and {len(failed) - SHOWN} more" * (len(failed) > 3))
        rows.append(
            {
                "case": legible(name),
                "checks": len(outcomes),
                "verdict": _worst(outcomes, severity),
                "worst error / allowed": _number(worst.ratio),
                "failed": shown or ", ".join(mistrusted),
            }
        )
    if len(rows) > MANY and report.outcomes[0].kind == "function":
        more = f"and {len(rows) - MANY} more; -v shows all"
        rows = [*rows[:MANY], {**dict.fromkeys(rows[0], ""), "case": more}]
    return tabulate(rows, headers="keys", disable_numparse=True)


def _severities(report: Report) -> dict[str, str]:
    """The gravest class of finding of each check that failed, by its id."""
    found: dict[str, str] = {}
    for finding in report.findings:
        for outcome in finding.outcomes:
            found.setdefault(outcome.id, finding.severity)
    return found


def _worst(outcomes: list[Outcome], severity: dict[str, str]) -> str:
    """The gravest verdict of a case, or the gravest class of what failed."""
    classes = [severity[outcome.id] for outcome in outcomes if outcome.id in severity]
    if classes:
        return min(classes, key=SEVERITIES.index)
    return WAIVED if any(outcome.verdict == WAIVED for outcome in outcomes) else PASSED


def _checks(report: Report) -> str:
    severity = _severities(report)
    rows = [
        {
            "check": legible(outcome.id),
            "verdict": severity.get(outcome.id, outcome.verdict),
            "error / allowed": _number(outcome.ratio),
            "nearest mistake": f"{outcome.nearest.nearest} {_number(outcome.nearest.distance)}"
            if outcome.nearest.nearest
            else "",
        }
        for outcome in report.outcomes
    ]
    return tabulate(rows, headers="keys", disable_numparse=True)


def findings_said(report: Report, *, verbose: bool) -> Iterator[str]:
    for number, finding in enumerate(report.findings, 1):
        names = [outcome.id for outcome in finding.outcomes]
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        remark = "" if finding in report.faults else ", a remark"
        lines = [
            f"{number}. [{finding.severity}{remark}] {finding.sentence}"
            + ("" if finding.sentence.endswith("?") else "."),
            *([f"   in {finding.where}"] if finding.where else []),
            *([f"   due: {finding.due}"] if finding.due else []),
            f"   seen in {', '.join(names[:SHOWN])}{more}",
            f"   {replace(finding.evidence, diagnosis='')}",
            *(f"   at {entry}" for entry in finding.evidence.entries if verbose),
            *(f"   {note}." for note in dict.fromkeys(finding.notes)),
            f"   reproduce: {finding.outcomes[0].reproduce}",
        ]
        yield "\n".join(lines)


def _errors(report: Report, *, verbose: bool) -> Iterator[str]:
    """What parity itself fell over: nothing of it is said of the subject."""
    found: dict[str, list[str]] = {}
    for outcome in report.errors:
        found.setdefault(outcome.why, []).append(outcome.id)
    for why, names in found.items():
        first, *traceback = why.splitlines()
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        yield "\n".join(
            [
                f"An error of parity's own, which says nothing of the subject: {first}",
                f"   not checked: {', '.join(names[:SHOWN])}{more}",
                *(f"   {line}" for line in (traceback if verbose else ["-v shows its traceback"])),
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
            (FAILED, "have a remark" if report.passed else "failed"),
            (MISTRUSTED, "not to be trusted"),
            (WAIVED, "waived"),
        )
        if report.count(verdict) or verdict == PASSED
    )
    remarks = ", ".join(f"{n} {name}" for name, n in report.by_severity().items()
                        if any(one.severity == name for one in report.remarks))  # fmt: skip
    told = f"{_count(len(report.remarks), 'remark')} ({remarks})" if report.remarks else ""
    faults = ", ".join(f"{n} {name}" for name, n in report.by_severity().items()
                       if any(one.severity == name for one in report.faults))  # fmt: skip
    words = []
    if report.passed:
        words.append("PASSED" + f", with {told}" * bool(told))
    elif report.faults:
        words.append(f"{_count(len(report.faults), 'fault')} ({faults})" + f", {told}" * bool(told))
    elif told:
        words.append(told)
    if report.used:
        words.append(f"{_count(len(report.used), 'use')} of what is forbidden")
    if report.errors:
        words.append(f"{_count(len(report.errors), 'check')} ended by an error of parity's own")
    if report.stopped:
        words.append("stopped")
    word = ", ".join(words) or "not passed"
    return f"{report.name}: {word}. {counts}, of {len(report.outcomes)} checks." + (
        f"\n({settings})" if settings else ""
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _by_case(report: Report) -> dict[str, list[Outcome]]:
    found: dict[str, list[Outcome]] = {}
    for outcome in report.outcomes:
        found.setdefault(outcome.case, []).append(outcome)
    return found


def _number(value: float) -> str:
    return "-" if math.isnan(value) else "wrong" if math.isinf(value) else f"{value:.2g}"
