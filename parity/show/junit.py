"""A report as JUnit's XML, which CI systems read."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from parity.judge.outcome import FAILED, MISTRUSTED, WAIVED
from parity.run.report import Report


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
