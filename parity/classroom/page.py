"""The index of a class: who has what, and what several have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from parity.classroom.points import Points, said
from parity.classroom.result import NOT_THERE, PASSED, Result, classes_of, shared
from parity.judge.outcome import FAILING
from parity.show.html import Markup, count_of, document, h, join

MARKS = {PASSED: "✓", NOT_THERE: "– not there"}


def index(
    title: str,
    results: Sequence[Result],
    pages: Mapping[str, str],
    settings: Mapping[str, Any],
    points: Points | None = None,
) -> str:
    """The page of a class, for those who teach it.

    Args:
        results: one for each submission.
        pages: the address of each student's page, by name.
    """
    self = _Index(results, pages, points)
    sections = [
        ("class", "Student by student", self.matrix()),
        ("shared", "What several have in common", self.shared()),
        ("stopped", "Not checked to the end", self.stopped()),
        ("right", "Nothing was found", self.right()),
    ]
    stated = [h("div", h("dt", key), h("dd", value)) for key, value in settings.items()]
    state = "passed" if all(one.passed for one in results) else "failed"
    header = h(
        "header",
        h("p", h("strong", title), f" held against torch, {count_of(results, 'submission')}"),
        h("h1", h("span", {"passed": "✓", "failed": "✕"}[state]), h("span", self.sentence())),
        h("dl", *stated),
        class_=state,
    )
    return document(f"{title}: {self.sentence()}", header, [one for one in sections if one[2]])


class _Index:
    def __init__(
        self, results: Sequence[Result], pages: Mapping[str, str], points: Points | None
    ) -> None:
        self.results, self.pages, self.points = results, pages, points
        self.classes = classes_of(results)

    def sentence(self) -> str:
        right = sum(one.passed for one in self.results)
        cut = sum(bool(one.why) for one in self.results)
        said = f"{right} of {len(self.results)} have no fault"
        return said + f", {cut} could not be checked to the end" * bool(cut)

    def matrix(self) -> Markup:
        columns = [h("th", h("span", cls), scope="col") for cls in self.classes]
        if self.points is not None:
            columns.append(h("th", h("span", "points"), scope="col"))
        head = h("thead", h("tr", h("th", "student", scope="col"), *columns))
        rows = [h("tr", h("th", self.link(one.name), scope="row"), *self.cells(one))
                for one in self.results]  # fmt: skip
        caption = h("caption", "The gravest that was found of each class, for each student")
        return h("div", h("table", caption, head, h("tbody", *rows), class_="class"), class_="wide")

    def cells(self, result: Result) -> list[Markup]:
        if result.why and not result.classes:
            cells = [h("td", result.why, class_="why", colspan=str(len(self.classes)))]
        else:
            cells = [self.cell(result, cls) for cls in self.classes]
        if self.points is not None:
            cells.append(h("td", said(self.points.total(result)), class_="points"))
        return cells

    def cell(self, result: Result, cls: str) -> Markup:
        found = result.classes.get(cls, NOT_THERE)
        kind = {PASSED: "passed", NOT_THERE: "none"}.get(found)
        kind = kind or ("fails" if found in FAILING else "remark")
        said = [one.sentence for one in result.findings if one.cls == cls]
        return h("td", MARKS.get(found, found), class_=kind,
                 title="; ".join(said) or None)  # fmt: skip

    def link(self, name: str) -> Markup:
        page = self.pages.get(name)
        return h("a", name, href=page) if page else h("span", name)

    def shared(self) -> Markup:
        total = len(self.results)
        return join(
            h(
                "article",
                h("h3", h("span", f"{len(names)} of {total}", class_="number"),
                  h("span", one.sentence)),
                h("p", f"[{one.severity}] ", *self.links(names)),
                class_="failed" if one.fails else "remark",
            )
            for one, names in shared(self.results)
        )  # fmt: skip

    def links(self, names: Sequence[str]) -> list[object]:
        parts: list[object] = []
        for name in names:
            parts += [", "] * bool(parts) + [self.link(name)]
        return parts

    def stopped(self) -> Markup:
        return join(
            h("article", h("h3", h("span", self.link(one.name))), h("p", one.why), class_="failed")
            for one in self.results
            if one.why
        )

    def right(self) -> Markup | str:
        names = [one.name for one in self.results if one.passed and not one.findings]
        return h("p", *self.links(names)) if names else ""
