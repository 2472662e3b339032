"""A report as JUnit's XML, which CI systems read."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from parity.judge.outcome import ERROR, WAIVED
from parity.run.report import Report
from parity.show.plain import plain


def as_junit(report: Report) -> str:
    """A test suite as CI systems read it: a waived check is skipped, with its reason, and so is one
    that has remarks alone. The type of a failure is its class."""
    severity: dict[str, str] = {}
    sentences: dict[str, str] = {}
    for finding in report.findings:
        for outcome in finding.outcomes:
            severity.setdefault(outcome.id, finding.severity)
            sentences.setdefault(outcome.id, finding.sentence)
    failing = {outcome.id for finding in report.faults for outcome in finding.outcomes}
    suite = ET.Element(
        "testsuite",
        name=plain(f"parity of {report.name}"),
        tests=str(
            len(report.outcomes) + len(report.unused) + len(report.errors) + len(report.used)
        ),
        failures=str(len(failing) + len(report.unused) + len(report.used)),
        errors=str(len(report.errors) + bool(report.stopped)),
        skipped=str(report.count(WAIVED) + len(severity.keys() - failing)),
        time=f"{sum(outcome.seconds for outcome in report.outcomes):.3f}",
    )
    properties = ET.SubElement(suite, "properties")
    for name, count in report.by_severity().items():
        ET.SubElement(properties, "property", name=f"findings: {name}", value=str(count))
    for outcome in [*report.outcomes, *report.errors]:
        case = ET.SubElement(
            suite,
            "testcase",
            classname=plain(outcome.case),
            name=plain(outcome.id),
            time=f"{outcome.seconds:.4f}",
        )
        said = sentences.get(outcome.id, "")
        if outcome.id in failing:
            failure = ET.SubElement(case, "failure", type=severity[outcome.id], message=plain(said))
            failure.text = plain("\n".join(map(str, outcome.failures)) + "\n" + outcome.reproduce)
        elif outcome.id in severity:
            remark = f"a remark ({severity[outcome.id]}): {said}"
            ET.SubElement(case, "skipped", message=plain(remark))
        elif outcome.verdict == WAIVED:
            ET.SubElement(case, "skipped", message=plain(report.waivers[outcome.waiver]))
        elif outcome.verdict == ERROR:
            error = ET.SubElement(
                case, "error", message=plain(f"an error of parity's own: {outcome.why}")
            )
            error.text = plain(outcome.why)
    for pattern in report.unused:
        case = ET.SubElement(suite, "testcase", classname="waivers", name=plain(pattern))
        ET.SubElement(case, "failure", message="the waiver is not needed")
    for use in report.used:
        case = ET.SubElement(suite, "testcase", classname="forbidden", name=plain(use))
        ET.SubElement(case, "failure", message=plain(f"forbidden: {use}"))
    if report.stopped:
        case = ET.SubElement(suite, "testcase", classname="parity", name="all checks were run")
        ET.SubElement(case, "error", message=plain(report.stopped))
    suites = ET.Element("testsuites")
    suites.append(suite)
    ET.indent(suites)
    return ET.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"
