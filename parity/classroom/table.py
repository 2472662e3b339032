"""The results of a class as text, and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

from tabulate import tabulate

from parity.classroom.points import Points, said
from parity.classroom.result import NOT_THERE, PASSED, Result, classes_of, shared

SHOWN = 12
"""How many names of a finding that many have are listed."""

FORMULA = ("=", "+", "-", "@", "\t")
"""What a spreadsheet takes a cell that begins with it for a formula."""


def text(results: Sequence[Result], points: Points | None = None, *, verbose: bool = False) -> str:
    """A row for each student, what several have in common, and who could not be checked."""
    lines = [tabulate(list(_rows(results, points)), headers="keys", disable_numparse=True), ""]
    for one, names in shared(results):
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        lines.append(f"{len(names)} of {len(results)}: [{one.severity}] {one.sentence}")
        lines.append(f"   {', '.join(names[:SHOWN])}{more}")
    for result in results if verbose else ():
        lines += [f"{result.name}: [{one.severity}] {one.sentence}" for one in result.findings]
    lines += [f"{result.name}: {result.why}" for result in results if result.why]
    right = sum(one.passed for one in results)
    return "\n".join([*lines, "", f"{right} of {len(results)} submissions have no fault."])


def _rows(results: Sequence[Result], points: Points | None) -> Iterator[dict[str, str]]:
    classes = classes_of(results)
    for one in results:
        row = {"student": one.name}
        for cls in classes:
            found = one.classes.get(cls, "" if one.why else NOT_THERE)
            row[cls] = "" if found == PASSED else found
        yield row | ({} if points is None else {"points": said(points.total(one))})


def as_csv(results: Sequence[Result], points: Points | None = None) -> str:
    """A row for each student, a column for each class: its points, or the gravest thing found."""
    classes = classes_of(results) if points is None else list(points.of)
    file = io.StringIO()
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(["student", *classes, *(["total"] * (points is not None)), "note"])
    for one in results:
        if points is None:
            cells = [one.classes.get(cls, "not checked" if one.why else NOT_THERE)
                     for cls in classes]  # fmt: skip
        else:
            cells = [said(points.earned(one, cls)) for cls in points.of]
            cells.append(said(points.total(one)))
        rows.writerow([_cell(one.name), *cells, _cell(one.why)])
    return file.getvalue()


def _cell(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA) else text
