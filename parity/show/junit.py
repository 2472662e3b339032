"""A report as JUnit's XML, which CI systems read."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from parity.judge.outcome import FAILED, MISTRUSTED, WAIVED
from parity.run.report import Report
from parity.show.plain import plain


def as_junit(report: Report) -> str:
    """A test suite as CI systems read it: a waived check is skipped, with its reason."""
    failures = report.count(FAILED) + report.count(MISTRUSTED) + len(report.unused)
    suite = ET.Element(
        "testsuite",
        name=plain(f"parity of {report.name}"),
        tests=str(len(report.outcomes) + len(report.unused)),
        failures=str(failures),
        skipped=str(report.count(WAIVED)),
        time=f"{sum(outcome.seconds for outcome in report.outcomes):.3f}",
    )
    for outcome in report.outcomes:
        case = ET.SubElement(
            suite,
            "testcase",
            classname=plain(outcome.case),
            name=plain(outcome.id),
            time=f"{outcome.seconds:.4f}",
        )
        if outcome.verdict in (FAILED, MISTRUSTED):
            failure = ET.SubElement(case, "failure", message=plain(outcome.diagnosis))
            failure.text = plain("\n".join(map(str, outcome.failures)) + "\n" + outcome.reproduce)
        if outcome.verdict == WAIVED:
            ET.SubElement(case, "skipped", message=plain(report.waivers[outcome.waiver]))
    for pattern in report.unused:
        case = ET.SubElement(suite, "testcase", classname="waivers", name=plain(pattern))
        ET.SubElement(case, "failure", message="the waiver is not needed")
    if report.stopped:
        case = ET.SubElement(suite, "testcase", classname="parity", name="all checks were run")
        ET.SubElement(case, "error", message=plain(report.stopped))
        suite.set("errors", "1")
    suites = ET.Element("testsuites")
    suites.append(suite)
    ET.indent(suites)
    return ET.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"
