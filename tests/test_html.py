"""The HTML page of a report, opened in a real browser: what it says, shows, and does not do."""

from __future__ import annotations

import math
import re
import zlib
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn

import parity
import scratch
from parity import Comparison, Report, Subject
from parity.judge.outcome import FAILED, MISTRUSTED, PASSED, UNPROVEN, WAIVED, Outcome
from parity.show.html import page
from tests.browser import Browser, Node, Tree, found_browser

NASTY = '<script>document.title="taken"</script><img src=x onerror=alert(1)> "a" & \'b\' &amp;'


def test_a_browser_that_is_required_and_missing_is_a_failure() -> None:
    assert found_browser({}, lambda name: f"/bin/{name}") == "/bin/chromium"
    with pytest.raises(pytest.skip.Exception, match="no browser"):
        found_browser({}, lambda name: None)
    with pytest.raises(pytest.fail.Exception, match="required"):
        found_browser({"PARITY_BROWSER": "required"}, lambda name: None)


# Two reports: one of a framework with a known mistake, and one made by hand of all that is rare.


class Tanh(scratch.Module):
    """Lacks the square in its derivative."""

    def forward(self, x: Tensor) -> Tensor:
        self._kept = y = torch.tanh(x)
        return y

    def backward(self, dy: Tensor) -> Tensor:
        return dy * (1 - self._take(dy))


@pytest.fixture(scope="module")
def real() -> Report:
    subject = Subject(
        {
            nn.Linear: scratch.Linear,
            nn.ReLU: scratch.ReLU,
            nn.Tanh: Tanh,
            nn.MSELoss: scratch.MSELoss,
            torch.optim.SGD: lambda parameters, lr: scratch.SGD(parameters, lr),
        },
        name="group-07",
        dtypes=("float32",),
    )
    return parity.check(subject, only=("forward", "*_grad", "kink", "value", "*_step", "layer_by"))


def outcome(check: str, verdict: str, *comparisons: Comparison, **more: str) -> Outcome:
    case = more.get("case", "ReLU")
    identity = f"{case}-float32-{check}"
    return Outcome(identity, case.split("-")[0], case, "float32", check, verdict,
                   list(comparisons), waiver=more.get("waiver", ""),
                   reproduce=more.get("reproduce", ""), kind=more.get("kind", "layer"))  # fmt: skip


GOOD = Comparison("output", 0.25, 1e-7, 2e-7, 2e-7, distance=1e5, nearest="zero", blind=(NASTY,))
WRONG = Comparison("input_grad", 4e5, 2.0, 1e-7, 1e-6, diagnosis=f"ReLU {NASTY} is wrong")


def handmade() -> Report:
    outcomes = [
        outcome("forward", PASSED, GOOD),
        outcome("input_grad", FAILED, GOOD, replace(WRONG, ratio=2.0, diagnosis=""), WRONG,
                reproduce=f"parity check {NASTY} --only ReLU"),
        outcome("kink", WAIVED, replace(WRONG, diagnosis=""), waiver="ReLU-*-kink"),
        outcome("extremes", MISTRUSTED, replace(GOOD, distance=1.5, nearest=f"near {NASTY}")),
        outcome("forward", PASSED, Comparison("output", 0.0), case="ReLU-" + "long_" * 40),
        outcome(f"own {NASTY}", FAILED, Comparison("run", math.inf, reason="hangs\ud800\0"),
                case=f"Mine-{NASTY}"),
        outcome("training", FAILED, replace(WRONG, diagnosis=""), case="network", kind="network"),
    ]  # fmt: skip
    return Report(
        NASTY,
        outcomes,
        missing=[("SGD-momentum=0.9", f"takes no momentum {NASTY}"), ("SGD-x", "takes no x")],
        unused=["Tanh-*"],
        waivers={"ReLU-*-kink": f"our convention {NASTY}", "Tanh-*": "not yet done"},
        habits=[f"seeds torch's global generator {NASTY}"],
        settings={"date": "2026-01-31", "seed": 7, "versions": {"torch": "2.13.0", NASTY: NASTY}},
    )


@dataclass(frozen=True)
class Opened:
    report: Report
    text: str
    dom: Node
    console: list[str]

    @property
    def cells(self) -> dict[tuple[str, str], Node]:
        """Every cell of the heat map, by case and check."""
        found: dict[tuple[str, str], Node] = {}
        for table in self.dom.every("table", "heat"):
            checks = [one.text for one in table.first("thead").every("th")]
            for row in table.every("tr"):
                case = "".join(row.first("th").text.split())
                cells = list(row.every("td"))
                if row.first("th").attributes["scope"] == "row":
                    assert len(cells) == len(checks)
                    found |= {(case, c): cell for c, cell in zip(checks, cells, strict=True)}
        return found

    def section(self, name: str) -> Node:
        return next(one for one in self.dom.every("section") if one.attributes["id"] == name)


@pytest.fixture(scope="module", params=["real", "handmade"])
def opened(request: pytest.FixtureRequest, browser: Browser, real: Report) -> Opened:
    report = real if request.param == "real" else handmade()
    text = page(report)
    return Opened(report, text, *browser.opened(text))


@pytest.fixture(scope="module")
def by_hand(browser: Browser) -> Opened:
    text = page(handmade())
    return Opened(handmade(), text, *browser.opened(text))


def shown(text: str) -> str:
    """A text as a page shows it: runs of space are one, what is no character is escaped."""
    return " ".join(text.replace("\ud800", "\\ud800").replace("\0", "\\x00").split())


# What it says.


def test_the_verdict_comes_first(opened: Opened) -> None:
    header = next(one for one in opened.dom.first("body").inside if isinstance(one, Node))
    faults = [one for one in opened.report.faults if one.severity != UNPROVEN]
    classes = list(dict.fromkeys(one.cls for one in faults))
    assert header.tag == "header"
    assert header.first("strong").text == shown(opened.report.name)
    told = re.fullmatch(r"✕ ?(\d+) faults? in (\d) of (\d) classes: (.*)", header.first("h1").text)
    assert told is not None
    assert told[1] == str(len(faults))
    assert told[2] == str(len(classes))
    assert told[3] == str(len({one.cls for one in opened.report.outcomes}))
    assert told[4].split(", ") == classes
    classes_of, tally_of = header.every("ul")
    tally = {one.text for one in tally_of.every("li")}
    report = opened.report
    found = {one.text for one in classes_of.every("li")}
    assert found == {f"{count} {name}" for name, count in report.by_severity().items()}
    counts = {f"{report.count(v)} {v.lower()}" for v in (PASSED, FAILED, MISTRUSTED, WAIVED)}
    assert tally == counts | {f"{len(report.missing)} not offered"}


def test_the_real_fault_has_its_name(browser: Browser, real: Report) -> None:
    dom, _ = browser.opened(page(real))
    assert "Tanh" in dom.first("h1").text
    assert (
        "Tanh input gradient lacks the square in 1 - y^2" in dom.first("article").first("h3").text
    )


def test_settings_stand_in_the_header(by_hand: Opened) -> None:
    stated = by_hand.dom.first("header").first("dl")
    names, values = ([one.text for one in stated.every(tag)] for tag in ("dt", "dd"))
    assert dict(zip(names, values, strict=True)) == {
        "date": "2026-01-31",
        "seed": "7",
        "versions": shown(f"torch 2.13.0, {NASTY} {NASTY}"),
    }


PASS = outcome("forward", PASSED, GOOD)
WAIVE = outcome("kink", WAIVED, WRONG, waiver="ReLU-*")
DOUBT = outcome("extremes", MISTRUSTED, replace(GOOD, distance=2.0))
OTHER = outcome("value", PASSED, GOOD, case="MSELoss-sum", kind="loss")


@pytest.mark.parametrize(
    ("report", "sentence", "state"),
    [
        (Report("s", [PASS]), "Passed: 1 check of 1 class", "passed"),
        (Report("s", [PASS, OTHER]), "Passed: 2 checks of 2 classes", "passed"),
        (
            Report("s", [PASS, OTHER, WAIVE]),
            "Passed: 2 of 3 checks, the others waived, of 2 classes",
            "passed",
        ),
        (
            Report("s", [PASS, DOUBT]),
            "Nothing failed, but 1 of 2 checks prove too little",
            "mistrusted",
        ),
        (
            Report("s", [PASS], unused=["x"]),
            "Nothing failed, but 1 waiver went unused",
            "mistrusted",
        ),
        (Report("s", []), "Nothing was checked", "mistrusted"),
    ],
)
def test_verdicts_without_a_failure(report: Report, sentence: str, state: str) -> None:
    text = page(report)
    assert f"<title>s: {sentence}</title>" in text
    assert f"<span>{sentence}</span></h1>" in text
    assert f'<header class="{state}">' in text


def test_each_fault_is_told_with_its_checks(opened: Opened) -> None:
    articles = list(opened.dom.every("article"))
    told = {one.first("h3").text.split(" ", 1)[1]: one for one in articles}
    faults = opened.report.findings
    assert {shown(str(one)) for one in faults} == set(told)
    assert len(articles) == len(faults)
    for finding in faults:
        article = told[shown(str(finding))]
        ids = [shown(one.id) for one in finding.outcomes]
        assert ids[0] in [code.text for code in article.every("code")]
        if len(ids) > 1:
            *_, listed = article.every("ul")
            assert [one.first("code").text for one in listed.every("li")] == ids
            assert article.first("details").attributes.get("open") is None


def test_a_fault_has_its_figures_and_the_command_that_shows_it(by_hand: Opened) -> None:
    article = by_hand.dom.first("article")
    assert shown(str(replace(WRONG, diagnosis=""))) in article.first("p").text
    commands = [one.text for one in by_hand.dom.every("pre")]
    assert commands == [shown(f"parity check {NASTY} --only ReLU")]


def test_every_check_has_its_cell(opened: Opened) -> None:
    cells = opened.cells
    mark = {PASSED: r"<?[\d.]+", FAILED: "✕", MISTRUSTED: r"\?", WAIVED: "w"}
    for one in opened.report.outcomes:
        cell = cells.pop(("".join(shown(one.case).split()), shown(one.check)))
        assert shown(one.id) in shown(cell.attributes["title"])
        assert one.verdict.lower() in cell.classes
        assert re.fullmatch(mark[one.verdict], cell.text)
    assert all(not one.text and not one.attributes for one in cells.values())


def test_the_colour_of_a_cell_is_the_ratio(by_hand: Opened) -> None:
    steps = {
        check: cell.classes[0]
        for (case, check), cell in by_hand.cells.items()
        if case == "ReLU" and cell.classes
    }
    assert steps == {"forward": "r3", "input_grad": "r7", "kink": "r7", "extremes": "r3"}
    legend = by_hand.dom.first("ul", "scale")
    assert [one.text for one in legend.every("li")][3:5] == ["≤ 0.3", "≤ 1"]
    assert [one.classes for one in legend.every("li")] == [[f"r{i}"] for i in range(8)]


def test_of_many_precisions_a_cell_shows_the_worst() -> None:
    worse = replace(PASS, id="other", dtype="float64", comparisons=[replace(GOOD, ratio=0.75)])
    failed = replace(PASS, id="third", dtype="bfloat16", verdict=FAILED, comparisons=[WRONG])
    for outcomes, text, state in (
        ([PASS, worse], "0.75", "passed"),
        ([PASS, failed, worse], "✕", "failed"),
    ):
        tree = Tree(page(Report("s", outcomes))).open[0]
        cell = next(one for one in tree.every("td") if one.attributes)
        assert cell.text == text
        assert state in cell.classes
        assert all(one.id in cell.attributes["title"] for one in outcomes)


def test_what_a_result_has_inherited_is_not_its_own_error() -> None:
    inherited = replace(GOOD, name="7.output", ratio=1e6, inherited=True)
    tree = Tree(page(Report("s", [outcome("forward", PASSED, GOOD, inherited)]))).open[0]
    assert next(one for one in tree.every("td") if one.attributes).text == "0.25"


def test_each_kind_has_its_own_columns(real: Report) -> None:
    tree = Tree(page(real)).open[0]
    headings = [one.text for one in tree.every("h3")]
    assert [one for one in headings if one in ("Layers", "Losses", "Optimizers", "Networks")] == [
        "Layers", "Losses", "Optimizers", "Networks",
    ]  # fmt: skip
    columns = [
        [one.text for one in t.first("thead").every("th")] for t in tree.every("table", "heat")
    ]
    assert columns[0][:2] == ["forward", "input_grad"]
    assert columns[1][0] == "value"
    assert columns[2] == ["first_step", "twenty_steps"]
    assert columns[3] == ["layer_by_layer"]


def test_optimizers_have_a_table_each_and_losses_share_one() -> None:
    kinds = {"SGD": "optimizer", "MSELoss": "loss", "Adam": "optimizer", "L1Loss": "loss"}
    report = Report("s", [outcome("x", PASSED, GOOD, case=c, kind=k) for c, k in kinds.items()])
    captions = [one.text for one in Tree(page(report)).open[0].every("caption")]
    assert [one.partition(": ")[2] for one in captions] == ["MSELoss, L1Loss", "SGD", "Adam"]


def test_marks_lead_to_what_is_said_of_them(opened: Opened) -> None:
    ids = [one.attributes["id"] for one in opened.dom.every() if "id" in one.attributes]
    links = [one.attributes["href"] for one in opened.dom.every("a")]
    assert len(set(ids)) == len(ids)
    assert {link.removeprefix("#") for link in links} <= set(ids)
    faults = {one.attributes["id"]: one for one in opened.dom.every("article")}
    for one in opened.report.outcomes:
        cell = opened.cells["".join(shown(one.case).split()), shown(one.check)]
        if one.verdict in (FAILED, MISTRUSTED):
            target = faults[cell.first("a").attributes["href"].removeprefix("#")]
            assert shown(one.id) in [code.text for code in target.every("code")]


def test_every_check_has_its_certificate(opened: Opened) -> None:
    rows = {
        row.first("code").text: [cell.text for cell in row.every("td")]
        for row in opened.section("certificates").every("tr")
        if list(row.every("code"))
    }
    assert set(rows) == {shown(one.id) for one in opened.report.outcomes}
    assert all(
        one.tag == "details"
        for one in opened.section("certificates").inside[2:]
        if isinstance(one, Node)
    )
    if opened.report.name == NASTY:
        assert rows["ReLU-float32-forward"] == [
            "output", "1e-07", "2e-07", "2e-07", "0.25", "4", "zero, in output", "1e+05",
            shown(NASTY),
        ]  # fmt: skip
        assert rows["ReLU-float32-input_grad"][:6] == [
            "input_grad", "2", "1e-07", "1e-06", "4e+05", "–",
        ]  # fmt: skip


def test_what_the_verdict_leaves_out(by_hand: Opened) -> None:
    section, report = by_hand.section("left-out"), by_hand.report
    rows = [
        [cell.text for cell in row.every() if cell.tag in ("th", "td")]
        for row in section.every("tr")
    ]
    assert ["ReLU-*-kink", shown(f"our convention {NASTY}"), "1 check"] in rows
    (unused,) = [row for row in rows if row[0] == "Tanh-*"]
    assert unused[2].startswith("unused")
    assert ["SGD", shown(f"takes no momentum {NASTY}"), "SGD-momentum=0.9"] in rows
    assert ["SGD", "takes no x", "SGD-x"] in rows
    assert shown(report.habits[0]) in [one.text for one in section.every("li")]
    assert 'id="left-out"' not in page(Report("s", [PASS]))


def test_it_says_how_it_judges(by_hand: Opened) -> None:
    text = by_hand.section("rule").text
    for word in (
        "oracle: torch in float64",
        "reference",
        "floor",
        "at most 2 times (a gradient: 3",
    ):
        assert word in text


def test_tables_are_tables_for_those_who_cannot_see_them(opened: Opened) -> None:
    for table in opened.dom.every("table"):
        scopes = [one.attributes["scope"] for one in table.first("thead").every("th")]
        assert set(scopes) == {"col"}
        for body in table.every("tbody"):
            for row in body.every("tr"):
                assert [one.attributes["scope"] for one in row.every("th")] == ["row"]
    assert opened.dom.first("html").attributes["lang"] == "en"
    assert len(list(opened.dom.every("h1"))) == 1


# What it does not do.


def test_what_a_subject_writes_stays_text(by_hand: Opened) -> None:
    dom = by_hand.dom
    assert not list(dom.every("script"))
    assert not list(dom.every("img"))
    assert not [a for one in dom.every() for a in one.attributes if a.startswith("on")]
    assert dom.first("title").text.startswith(shown(NASTY))
    assert shown(NASTY) in dom.first("article").text
    assert "hangs\\ud800\\x00" in dom.text
    by_hand.text.encode("utf-8")


def test_nothing_is_loaded_and_nothing_complained_of(opened: Opened, browser: Browser) -> None:
    loading = ("src", "srcset", "data", "poster", "action", "background")
    assert not [one for one in opened.dom.every() if any(a in one.attributes for a in loading)]
    assert all(one.attributes["href"].startswith("#") for one in opened.dom.every("a"))
    assert not list(opened.dom.every("link"))
    assert "url(" not in opened.text
    assert "@import" not in opened.text
    assert opened.console == []


def test_the_policy_stops_what_would_load_or_run(browser: Browser) -> None:
    """Which is also how the test above would come to know of it."""
    more = '<img src="http://parity.invalid/x.png"><script>document.title = "taken"</script>'
    dom, console = browser.opened(page(handmade()).replace("<main>", f"<main>{more}"))
    assert dom.first("title").text != "taken"
    assert len(console) == 2
    assert all("Content Security Policy" in line for line in console)


# What it looks like.


def pixels(png: bytes) -> tuple[int, int, bytes]:
    """Width, height and the raw lines of a PNG."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")
    data, place = b"", 8
    while place < len(png):
        length = int.from_bytes(png[place : place + 4], "big")
        if png[place + 4 : place + 8] == b"IDAT":
            data += png[place + 8 : place + 8 + length]
        place += length + 12
    return width, height, zlib.decompress(data)


def test_there_is_something_to_see_in_light_and_dark(browser: Browser) -> None:
    text = page(handmade())
    blank = browser.shot("<!DOCTYPE html><title>blank</title>")
    light, dark = browser.shot(text), browser.shot(text, dark=True)
    assert pixels(light)[:2] == pixels(dark)[:2] == (1400, 1000)
    assert pixels(light)[2] != pixels(dark)[2]
    assert min(len(light), len(dark)) > 5 * len(blank)


WIDTHS = """
return [innerWidth, document.documentElement.scrollWidth];
"""


@pytest.mark.parametrize("width", [1400, 700, 500])
def test_nothing_sticks_out(width: int, browser: Browser, real: Report) -> None:
    for text in (page(handmade()), page(real)):
        assert browser.measured(text, WIDTHS, width=width) == [width, width]
    wide = text.replace("<main>", '<main><div style="width: 3000px">wide</div>')
    assert browser.measured(wide, WIDTHS, width=width) != [width, width]


SCROLLED = """
const table = document.querySelector("table.heat");
const before = table.tHead.querySelector("th").getBoundingClientRect().top;
table.rows[1].scrollIntoView();
return [before > 0, table.getBoundingClientRect().top < 0,
        table.tHead.querySelector("th").getBoundingClientRect().top];
"""


def test_the_names_of_the_checks_stay_in_sight(browser: Browser, real: Report) -> None:
    assert browser.measured(page(real), SCROLLED) == [True, True, 0]


CONTRASTS = """
const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
const light = (colour) => {
  const [r, g, b] = numbers(colour).slice(0, 3).map((v) => v / 255)
    .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const ground = (one) => {
  const colour = getComputedStyle(one).backgroundColor;
  return (numbers(colour)[3] ?? 1) > 0 ? colour : ground(one.parentElement);
};
const found = {};
for (const one of document.body.querySelectorAll("*:not(script)")) {
  if (![...one.childNodes].some((n) => n.nodeType === 3 && n.data.trim())) continue;
  const colours = [getComputedStyle(one).color, ground(one)];
  const [low, high] = colours.map(light).sort((a, b) => a - b);
  found[colours] = (high + 0.05) / (low + 0.05);
}
return found;
"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_all_text_stands_out_from_its_ground(dark: bool, browser: Browser) -> None:
    """By 4.5 to 1, as WCAG 2 has it (1.4.3), in every colour of the heat map."""
    ratios = (0.0005, 0.005, 0.05, 0.2, 0.5, 2.0, 100.0, 1e4)
    verdicts = [PASSED] * 5 + [FAILED] * 3
    every = [
        outcome(f"check {i}", verdict, replace(GOOD, ratio=ratio))
        for i, (ratio, verdict) in enumerate(zip(ratios, verdicts, strict=True))
    ]
    report = replace(handmade(), outcomes=[*handmade().outcomes, *every])
    found = browser.measured(page(report), CONTRASTS, dark=dark)
    assert isinstance(found, dict)
    assert len(found) >= 12
    assert {colours: ratio for colours, ratio in found.items() if ratio < 4.5} == {}
