"""A report as one HTML page, for readers who have never seen this tool. Nothing is loaded from
elsewhere, and no script runs.

Names and sentences come from whoever wrote the subject: all text that is not `Markup` is escaped
where it enters an element.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sized
from dataclasses import dataclass, replace
from functools import cached_property
from html import escape
from importlib import resources
from typing import TypeVar

from parity.checks.kinds import KINDS
from parity.explain.finding import Finding
from parity.judge.comparison import (
    GRADIENT_FACTOR,
    TRUSTED_FROM,
    TRUSTED_IN_HALF,
    VALUE_FACTOR,
    Comparison,
)
from parity.judge.outcome import FAILED, MISTRUSTED, PASSED, UNPROVEN, WAIVED, Outcome
from parity.run.report import Report
from parity.show.plain import characters

META = """
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; \
style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
"""
"""The policy makes the browser itself see to it that nothing is loaded and no script runs."""

STEPS = (0.001, 0.01, 0.1, 0.3, 1.0, 10.0, 1000.0)
"""Where the heat map's colours change, in errors over what is allowed."""

MARKS = {FAILED: "✕", MISTRUSTED: "?", WAIVED: "w", PASSED: ""}
"""The gravest first. Nothing is said by colour alone."""

RULE = f"""\
Every result, be it an output, a gradient or a parameter after a step, is measured against the
oracle: torch in float64, on the same inputs. Two errors say how large a subject's may be. One is
that of the reference, which is torch in the precision under test. The other is the floor, which
is what rounding alone does to the result: the oracle is evaluated again and again, with every
number on its way moved by a few units in the last place.

A result passes when its error is at most {VALUE_FACTOR:g} times (a gradient: \
{GRADIENT_FACTOR:g} times) torch's own error or the floor, whichever is larger, over the whole
tensor and entry by entry. No tolerance is typed by hand.

A pass is worth something only if a mistake would have been seen. So known mistakes are put in the
subject's place: a wrong sign, a missing factor, a sum for a mean. The nearest of them has to lie
at least {TRUSTED_FROM:g} times beyond what is allowed, in half precision {TRUSTED_IN_HALF:g} times,
or the check counts as mistrusted. Headroom
is how many times larger the subject's error could be and still pass. A blind spot is a mistake
that, on these inputs, cannot be told from rounding: another setting has to show it."""


T = TypeVar("T")
K = TypeVar("K")


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def h(name: str, *inside: object, **attributes: object) -> Markup:
    """An element; text in it and in its attributes is escaped. None is an attribute left out."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_escaped(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{given}>{join(inside)}</{name}>")


def join(parts: Iterable[object]) -> Markup:
    """Parts one after another; what is no `Markup` is escaped."""
    return Markup("".join(part if isinstance(part, Markup) else _escaped(part) for part in parts))


def _escaped(value: object) -> str:
    return escape(characters(str(value)))


def page(report: Report) -> str:
    """The report as one file of HTML."""
    self = _Page(report)
    sections = [
        ("faults", "What was found", join([*map(self.finding, report.findings), *self.errors()])),
        ("map", "Layer by layer", self.maps()),
        ("certificates", "Certificates", self.certificates()),
        ("left-out", "Waived, not offered, noticed", self.left_out()),
        ("rule", "How it judges", join(h("p", part) for part in RULE.split("\n\n"))),
    ]
    sections = [one for one in sections if one[2]]
    return document(f"{report.name}: {self.sentence()}", self.header(), sections)


def document(title: str, header: Markup, sections: Iterable[tuple[str, str, object]]) -> str:
    """A page: a header, links to its sections, and each with its id, heading and content."""
    sections = list(sections)
    links = [h("a", heading, href=f"#{name}") for name, heading, _ in sections]
    main = [h("section", h("h2", heading), inside, id=name) for name, heading, inside in sections]
    style = Markup(resources.files("parity.show").joinpath("report.css").read_text("utf-8"))
    head = h("head", Markup(META), h("title", title), h("style", style))
    body = h("body", header, h("nav", *links, aria_label="Sections"), h("main", *main))
    return f'<!DOCTYPE html>\n<html lang="en">{head}\n{body}</html>\n'


@dataclass(frozen=True)
class _Page:
    report: Report

    @cached_property
    def classes(self) -> dict[str, list[Outcome]]:
        return _grouped(self.report.outcomes, lambda one: one.cls)

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The number of the gravest finding that a check shows, by the check's id."""
        found: dict[str, int] = {}
        for number, finding in enumerate(self.report.findings, 1):
            for outcome in finding.outcomes:
                found.setdefault(outcome.id, number)
        return found

    def sentence(self) -> str:
        """The verdict, and why it is not the last word."""
        errors, stopped = self.report.errors, self.report.stopped
        own = f"; {count_of(errors, 'check')} ended by an error of parity's own" * bool(errors)
        return self._sentence() + own + f"; stopped: {stopped}" * bool(stopped)

    def _sentence(self) -> str:
        count, outcomes = self.report.count, self.report.outcomes
        if self.report.used and not self.report.faults:
            return f"It uses what is forbidden: {self.report.used[0]}"
        remarks = self.report.remarks
        also = f", with {count_of(remarks, 'remark')}" if remarks else ""
        if failed := [one for one in self.report.faults if one.severity != UNPROVEN]:
            names = list(dict.fromkeys(one.cls for one in failed))
            more = f" and {len(names) - 6} more" if len(names) > 6 else ""
            where = (
                f"{len(names)} of {count_of(self.classes, 'class')}: {', '.join(names[:6])}{more}"
            )
            return f"{count_of(failed, 'fault')} in {where}"
        if count(MISTRUSTED):
            checks = count_of(outcomes, "check")
            return f"Nothing failed, but {count(MISTRUSTED)} of {checks} prove too little"
        if self.report.unused:
            return f"Nothing failed, but {count_of(self.report.unused, 'waiver')} went unused"
        if not outcomes:
            return "Nothing was checked"
        if self.report.stopped:
            return f"{count_of(outcomes, 'check')} passed"
        passed = f"{count(PASSED)} of {count_of(outcomes, 'check')}, the others waived,"
        checks = passed if count(WAIVED) else count_of(outcomes, "check")
        return f"Passed: {checks} of {count_of(self.classes, 'class')}{also}"

    def header(self) -> Markup:
        report, count = self.report, self.report.count
        wrong = bool(report.used) or any(one.severity != UNPROVEN for one in report.faults)
        state = FAILED if wrong else PASSED if report.passed else MISTRUSTED
        tally = {verdict.lower(): count(verdict) for verdict in (PASSED, *MARKS)}
        items = [
            h("li", h("b", n), " ", name, class_=name if n else "none")
            for name, n in (tally | {"not offered": len(report.missing)}).items()
        ]
        classes = [
            h("li", h("b", n), f" {name}", class_="remark" if self.is_remark(name) else "failed")
            for name, n in report.by_severity().items()
        ]
        stated = [h("div", h("dt", k), h("dd", _said(v))) for k, v in report.settings.items()]
        return h(
            "header",
            h("p", h("strong", report.name or "unnamed"), f" held against torch, {self.how()}"),
            h("h1", h("span", MARKS[state] or "✓", aria_hidden="true"), h("span", self.sentence())),
            h("ul", *classes, class_="tally", aria_label="Findings by class") if classes else "",
            h("ul", *items, class_="tally", aria_label="Checks by verdict"),
            h("dl", *stated) if stated else "",
            class_=state.lower(),
        )

    def how(self) -> str:
        """By what it is held against torch."""
        swept = any(one.kind == "function" for one in self.report.outcomes)
        return "at every case of a sweep" if swept else "layer by layer"

    def is_remark(self, severity: str) -> bool:
        """Whether findings of that class do not fail the run."""
        return any(one.severity == severity for one in self.report.remarks)

    def finding(self, finding: Finding) -> Markup:
        """A finding: what is wrong, where, what is due, what it rests on, where else it shows."""
        outcomes, notes = finding.outcomes, dict.fromkeys(finding.notes)
        entries = [h("code", entry) for entry in finding.evidence.entries]
        title = "Where it was raised" if finding.evidence.name == "run" else "The worst entries"
        shown, number = outcomes[0], self.report.findings.index(finding) + 1
        remark = "" if finding in self.report.faults else ", a remark"
        kind = f"{finding.severity}{remark}"
        rows = [join([h("code", one.id), " ", _briefly(one)]) for one in outcomes]
        facts = [
            h("div", h("dt", name), h("dd", h("code", value)))
            for name, value in (("in", finding.where), ("due", finding.due))
            if value
        ]
        return h(
            "article",
            h("h3", h("span", number, class_="number"), " ", h("span", finding.sentence)),
            h("p", h("b", kind), " · ", h("code", shown.id), " ", _figures(finding.evidence)),
            h("dl", *facts, class_="facts") if facts else "",
            *(h("p", note, ".") for note in notes),
            _folded(title, _list(entries)) if entries else "",
            h("pre", h("code", shown.reproduce), title="Runs it again") if shown.reproduce else "",
            _folded(f"Shows in {len(rows)} checks", _list(rows)) if len(rows) > 1 else "",
            id=f"fault-{number}",
            class_="remark" if remark else shown.verdict.lower(),
        )

    def errors(self) -> list[Markup]:
        """What parity itself fell over."""
        groups = _grouped(self.report.errors, lambda one: one.why)
        text = "An error of parity's own, which says nothing of the subject: "
        return [
            h(
                "article",
                h("h3", text, why.splitlines()[0]),
                h("p", "Not checked: ", join([h("code", one.id, " ") for one in ones])),
                _folded("Its traceback", h("pre", why)),
                class_="mistrusted",
            )
            for why, ones in groups.items()
        ]

    # The heat map.

    def maps(self) -> Markup:
        present = [kind for kind in KINDS if any(o.kind == kind for o in self.report.outcomes)]
        return join([self.legend(), *map(self.map, present)]) if present else Markup()

    def legend(self) -> Markup:
        dtypes = ", ".join(dict.fromkeys(one.dtype for one in self.report.outcomes))
        steps = [f"≤ {step:g}" for step in STEPS] + [f"> {STEPS[-1]:g}"]
        scale = [h("li", text, class_=f"r{i}") for i, text in enumerate(steps)]
        marks = [join([h("b", mark), " ", v.lower()]) for v, mark in MARKS.items() if mark]
        text = f"""A cell is the largest error of a check over what is allowed, in {dtypes}: 1 is
            the limit. It is empty where the check does not apply, and a mark leads to what is
            said of it."""
        scale_is = "Error over what is allowed"
        lists = [h("ul", *scale, class_="scale", aria_label=scale_is), _list(marks)]
        return h("div", h("p", text), *lists, class_="legend")

    def map(self, kind: str) -> Markup:
        """The tables of one kind: one, or for optimizers, which have many variants, one each."""
        classes = [cls for cls, ones in self.classes.items() if ones[0].kind == kind]
        present = dict.fromkeys(one.check for cls in classes for one in self.classes[cls])
        known = [name for name in KINDS[kind].CHECKS if name in present]
        checks = list(dict.fromkeys([*known, *present]))
        groups = [[cls] for cls in classes] if kind == "optimizer" else [classes]
        tables = [self.table(group, checks) for group in groups]
        told = [h("div", h("dt", h("code", c)), h("dd", _told(kind, c))) for c in checks]
        what = _folded("What these checks are", h("dl", *told))
        return join([h("h3", _plural(kind).capitalize()), h("div", *tables, class_="maps"), what])

    def table(self, classes: list[str], checks: list[str]) -> Markup:
        groups = []
        for cls in classes:
            rows = []
            for case, ones in _grouped(self.classes[cls], lambda one: one.case).items():
                by_check = _grouped(ones, lambda one: one.check)
                cells = [self.cell(by_check.get(check, [])) for check in checks]
                rows.append(h("tr", h("th", _breakable(case), scope="row"), *cells))
            groups.append(h("tbody", *rows))
        names = [h("th", h("span", check), scope="col") for check in checks]
        caption = h("caption", f"Error over what is allowed: {', '.join(classes)}")
        head = h("thead", h("tr", h("td"), *names))
        return h("table", caption, head, *groups, class_="heat", style=f"--columns: {len(checks)}")

    def cell(self, outcomes: list[Outcome]) -> Markup:
        """The worst of a check's outcomes over dtypes, and in its tooltip all."""
        if not outcomes:
            return h("td")
        gravity = list(MARKS)
        shown = min(outcomes, key=lambda o: (gravity.index(o.verdict), -_worst(o).ratio))
        ratio, mark = _worst(shown).ratio, MARKS[shown.verdict]
        number = self.numbers.get(shown.id)
        link = h("a", mark, href=f"#fault-{number}" if number else "#left-out")
        title = "\n".join(f"{one.id}: {one.verdict.lower()}. {_briefly(one)}" for one in outcomes)
        text = link if mark else "<.01" if 0 < ratio < 0.005 else f"{ratio:.2f}" if ratio else "0"
        kind = f"r{bisect_left(STEPS, ratio)} {shown.verdict.lower()}"
        return h("td", text, class_=kind, title=title)

    # What the verdicts rest on, and what they leave out.

    def certificates(self) -> Markup:
        tables = [
            _folded(f"{cls}: {count_of(ones, 'check')}", _table(COLUMNS, map(_certificate, ones)))
            for cls, ones in self.classes.items()
        ]
        text = """What each verdict rests on: of every check, the result that came nearest to
            failing, or failed by most, and the known mistake that came nearest to passing."""
        return join([h("p", text), *tables]) if tables else Markup()

    def left_out(self) -> Markup:
        report, parts = self.report, []
        if report.forbidden:
            names = h("p", f"Forbidden: {', '.join(report.forbidden)}.")
            none = h("p", "No use of these was seen.")
            parts += [h("h3", "Forbidden"), names, _list(report.used) if report.used else none]
        if report.waivers:
            rows = [(h("code", w), why, self.use(w)) for w, why in report.waivers.items()]
            parts += [h("h3", "Waived"), _table(("checks", "reason", "use"), rows)]
        if report.missing:
            groups = _grouped(report.missing, lambda one: (one[0].split("-")[0], one[1]))
            listed = [(*key, _list(case for case, _ in ones)) for key, ones in groups.items()]
            parts += [h("h3", "Not offered"), _table(("class", "reason", "not checked"), listed)]
        if report.gaps:
            parts += [h("h3", "Not checked"), _list(report.gaps)]
        if report.habits:
            text = "What the subject does to the state of its process, which others share:"
            parts += [h("h3", "Noticed"), h("p", text), _list(report.habits)]
        return join(parts)

    def use(self, waiver: str) -> object:
        if waiver in self.report.unused:
            return h("strong", "unused: what it is for passes, or there is no such check")
        used = [one for one in self.report.outcomes if one.waiver == waiver]
        return count_of(used, "check") if used else "none of the checks that were run"


COLUMNS = (
    "check", "worst result", "subject's error", "torch's", "floor", "ratio", "headroom",
    "nearest mistake", "its distance", "blind to",
)  # fmt: skip


def _certificate(outcome: Outcome) -> list[object]:
    worst, nearest = _worst(outcome), outcome.nearest
    blind = dict.fromkeys(name for one in outcome.comparisons for name in one.blind)
    mark = h("b", MARKS[outcome.verdict], " ") if MARKS[outcome.verdict] else ""
    headroom = worst.headroom if worst.passed else math.nan
    figures = (worst.error, worst.reference_error, worst.floor, worst.ratio, headroom)
    return [
        join([mark, h("code", outcome.id)]),
        f"{worst.name}: {worst.reason}" if worst.reason else worst.name,
        *map(_number, figures),
        f"{nearest.nearest}, in {nearest.name}" if nearest.nearest else "–",
        _number(nearest.distance),
        ", ".join(blind) or "–",
    ]


def _table(heads: Iterable[str], rows: Iterable[Iterable[object]]) -> Markup:
    """A table whose first column names its rows."""
    body = []
    for first, *others in rows:
        body.append(h("tr", h("th", first, scope="row"), *(h("td", one) for one in others)))
    top = h("thead", h("tr", *(h("th", name, scope="col") for name in heads)))
    return h("div", h("table", top, h("tbody", *body), class_="plain"), class_="wide")


def _folded(summary: str, inside: Markup) -> Markup:
    return h("details", h("summary", summary), inside)


def _grouped(ones: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    found: dict[K, list[T]] = {}
    for one in ones:
        found.setdefault(key(one), []).append(one)
    return found


def _worst(outcome: Outcome) -> Comparison:
    """The result that failed by most, or that passed by least, on its own account."""
    own = [one for one in outcome.comparisons if not one.inherited] or outcome.comparisons
    return max(own, key=lambda one: (not one.passed, one.ratio, not math.isnan(one.error)))


def _briefly(outcome: Outcome) -> str:
    return _figures(outcome.nearest if outcome.verdict == MISTRUSTED else _worst(outcome))


def _figures(comparison: Comparison) -> str:
    """All but the diagnosis."""
    if comparison.passed and math.isnan(comparison.error):  # something that is so or not so
        return f"{comparison.name}: ok"
    return str(replace(comparison, diagnosis=""))


def _number(x: float) -> str:
    return "–" if math.isnan(x) else "∞" if math.isinf(x) else f"{x:.3g}"


def count_of(ones: Sized, noun: str) -> str:
    return f"{len(ones)} {noun if len(ones) == 1 else _plural(noun)}"


def _plural(noun: str) -> str:
    return f"{noun}es" if noun.endswith("s") else f"{noun}s"


def _said(value: object) -> str:
    """A setting: some are lists, some have names inside."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {one}" for key, one in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _list(parts: Iterable[object]) -> Markup:
    return h("ul", *(h("li", part) for part in parts))


def _breakable(case: str) -> Markup:
    """A case's name, which may be broken between its options."""
    return Markup(_escaped(case).replace(",", ",<wbr>"))


def _told(kind: str, check: str) -> Markup:
    """What a check is, by its docstring."""
    doc = getattr(KINDS[kind].CHECKS.get(check), "__doc__", None) or "One of the subject's own."
    text = doc.split("\n\n")[0]
    return Markup(re.sub(r"`(.+?)`", r"<code>\1</code>", _escaped(text)))
