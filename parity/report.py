"""A report in the forms that people and machines read: a table, JSON, JUnit's XML."""

from __future__ import annotations

import json
import math
import os
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tabulate import tabulate

from parity import causes
from parity.outcome import FAILED, MISTRUSTED, PASSED, WAIVED, Outcome
from parity.run import Report
from parity.subject import AdapterError, waiver_for

SHOWN = 3
"""How many checks are named under a fault that shows in many."""


def text(report: Report, *, verbose: bool = False) -> str:
    """What the terminal shows: a row for each case, the faults, the verdict.

    Args:
        verbose: a row for each check.
    """
    parts = [_checks(report) if verbose else _cases(report), *_faults(report)]
    if report.missing:
        parts.append("Not offered, and so not checked: " + _missing(report))
    if report.gaps:
        parts.append(f"Not checked: {'; '.join(report.gaps)}.")
    for pattern, reason in report.waivers.items():
        count = sum(outcome.waiver == pattern for outcome in report.outcomes)
        if count:
            parts.append(f"Waived, {count} checks {pattern}: {reason}")
    for pattern in report.unused:
        any_check = any(waiver_for({pattern: ""}, one.id) for one in report.outcomes)
        why = "nothing that it is for fails" if any_check else "no check has such an id"
        parts.append(f"The waiver {pattern!r} is not needed: {why}. Take it out.")
    if report.habits:
        parts.append(f"Beside its work, the subject {'; '.join(report.habits)}.")
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
                "case": name,
                "checks": len(outcomes),
                "verdict": FAILED if failed else MISTRUSTED if mistrusted else PASSED,
                "worst error / allowed": _number(worst.ratio),
                "failed": shown or ", ".join(mistrusted),
            }
        )
    return tabulate(rows, headers="keys", disable_numparse=True)


def _checks(report: Report) -> str:
    rows = [
        {
            "check": outcome.id,
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
        word = f"{faults} fault{'s' * (faults != 1)}"
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


def as_json(report: Report) -> str:
    """All of it: every comparison with its certificate. Not-a-numbers and infinities are null."""
    data = {
        "name": report.name,
        "passed": report.passed,
        "settings": report.settings,
        "faults": {why: [o.id for o in outcomes] for why, outcomes in report.faults().items()},
        "outcomes": [
            asdict(outcome) | {"diagnosis": outcome.diagnosis, "reproduce": outcome.reproduce}
            for outcome in report.outcomes
        ],
        "not_offered": dict(report.missing),
        "not_checked": report.gaps,
        "waivers": report.waivers,
        "unused_waivers": report.unused,
        "habits": report.habits,
    }
    return json.dumps(_finite(data), indent=1, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def as_junit(report: Report) -> str:
    """A test suite as CI systems read it: a waived check is skipped, with its reason."""
    failures = report.count(FAILED) + report.count(MISTRUSTED) + len(report.unused)
    suite = ET.Element(
        "testsuite",
        name=f"parity of {report.name}",
        tests=str(len(report.outcomes) + len(report.unused)),
        failures=str(failures),
        skipped=str(report.count(WAIVED)),
        time=f"{sum(outcome.seconds for outcome in report.outcomes):.3f}",
    )
    for outcome in report.outcomes:
        case = ET.SubElement(
            suite,
            "testcase",
            classname=outcome.case,
            name=outcome.id,
            time=f"{outcome.seconds:.4f}",
        )
        if outcome.verdict in (FAILED, MISTRUSTED):
            failure = ET.SubElement(case, "failure", message=_plain(outcome.diagnosis))
            failure.text = _plain("\n".join(map(str, outcome.failures)) + "\n" + outcome.reproduce)
        if outcome.verdict == WAIVED:
            ET.SubElement(case, "skipped", message=_plain(report.waivers[outcome.waiver]))
    for pattern in report.unused:
        case = ET.SubElement(suite, "testcase", classname="waivers", name=_plain(pattern))
        ET.SubElement(case, "failure", message="the waiver is not needed")
    suites = ET.Element("testsuites")
    suites.append(suite)
    ET.indent(suites)
    return ET.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def _plain(text: str) -> str:
    """Without the characters that XML cannot have."""
    return "".join(c for c in text if c in "\n\t" or ord(c) >= 32)


def writable(path: str | Path) -> Path:
    """A path that `write` can write to; its folder is made if it is missing.

    Raises:
        AdapterError: it is a folder itself, or may not be written to.
    """
    target = Path(path)
    if not str(path) or target.is_dir():
        raise AdapterError(f"a report is written to a file, and {str(path)!r} is none")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AdapterError(f"{path} cannot be written: {error}") from None
    if not os.access(target if target.exists() else target.parent, os.W_OK):
        raise AdapterError(f"{path} cannot be written: permission denied")
    return target


def write(path: str | Path, content: str) -> None:
    """Writes a file whole or not at all; through a link, to what it stands for."""
    target = Path(path).resolve()
    if target.exists() and not target.is_file():  # a pipe, or a device: not to be replaced
        target.write_text(content, encoding="utf-8")
        return
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(content)
        Path(name).chmod(0o644)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
