"""What is kept of the report of a submission."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from parity.judge.comparison import WRONG
from parity.judge.outcome import SEVERITIES
from parity.run.report import Report

NOT_THERE, PASSED = "not there", "passed"
"""What a class can be beside `SEVERITIES`: the submission has none of it; nothing was found."""

ORDER = (*SEVERITIES, NOT_THERE, PASSED)
"""The gravest first."""

RULES = "rules"
"""What stands for a class where modules are forbidden."""

VALUES = ("forward", "value")
"""The checks of values alone, with no gradient."""


@dataclass(frozen=True)
class Found:
    """A finding: of which class of torch, how grave, whether it fails, and what it says."""

    cls: str
    severity: str
    fails: bool
    sentence: str
    where: str = ""


@dataclass(frozen=True)
class Result:
    """A submission's.

    Args:
        name: the student's.
        digest: of all that it depends on.
        why: the submission could not be checked, if so.
        passed: whether nothing was found that fails.
        classes: the gravest thing found of each class, one of `ORDER`.
        values: the classes whose values are right.
        findings: all that was found, the gravest first.
        checks, seconds: how many were run, and how long that took.
        page: the report as HTML.
    """

    name: str
    digest: str
    why: str = ""
    passed: bool = False
    classes: dict[str, str] = field(default_factory=dict)
    values: tuple[str, ...] = ()
    findings: tuple[Found, ...] = ()
    checks: int = 0
    seconds: float = 0.0
    page: str = ""

    def failed(self, cls: str) -> bool:
        """Whether something of a class was found that fails, or it is not there."""
        at_fault = any(one.fails for one in self.findings if one.cls == cls)
        return at_fault or self.classes.get(cls, NOT_THERE) == NOT_THERE

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Result:
        """What `to_json` gave.

        Raises:
            ValueError: it is something else.
        """
        try:
            data: dict[str, Any] = json.loads(text)
            findings = tuple(Found(**one) for one in data.pop("findings"))
            return Result(**data | {"findings": findings, "values": tuple(data["values"])})
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"no result: {error}") from None


def result_of(name: str, digest: str, report: Report, seconds: float, page: str) -> Result:
    """What a report says, class by class."""
    stopped = report.stopped or (f"{len(report.errors)} checks ended by an error of parity's own"
                                 if report.errors else "")  # fmt: skip
    findings = tuple(
        Found(one.cls, one.severity, one in report.faults, one.sentence, one.where)
        for one in report.findings
    )
    classes = {one.cls: PASSED for one in report.outcomes}
    if report.forbidden:
        classes[RULES] = WRONG if report.used else PASSED
        findings += tuple(Found(RULES, WRONG, True, one) for one in report.used)
    for one in report.findings:  # the gravest first
        if classes.get(one.cls, PASSED) == PASSED:
            classes[one.cls] = one.severity
    wrong = {one.cls for one in report.outcomes if one.check in VALUES and one.failures}
    right = {one.cls for one in report.outcomes if one.check in VALUES} - wrong
    return Result(
        name, digest, stopped, report.passed, classes, tuple(sorted(right)), findings,
        len(report.outcomes), seconds, page,
    )  # fmt: skip


def classes_of(results: Iterable[Result]) -> list[str]:
    """The classes that any submission has, in the order of the checks."""
    return list(dict.fromkeys(cls for one in results for cls in one.classes))


def shared(results: Iterable[Result]) -> list[tuple[Found, list[str]]]:
    """Findings that several submissions have, with their names: the most frequent first."""
    found: dict[tuple[str, str], tuple[Found, list[str]]] = {}
    for result in results:
        for one in result.findings:
            names = found.setdefault((one.cls, one.sentence), (one, []))[1]
            if result.name not in names:
                names.append(result.name)
    several = [(one, names) for one, names in found.values() if len(names) > 1]
    return sorted(several, key=lambda one: (-len(one[1]), ORDER.index(one[0].severity)))
