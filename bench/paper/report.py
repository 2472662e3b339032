"""The report of both papers: what is computed for it, in which order, and how it is written."""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

from bench import pool
from bench.environment import caption, environment
from bench.paper import (
    a_figure_1,
    a_figure_2,
    a_table_1,
    a_table_2,
    b_figure_2,
    b_figure_3,
    b_seconds,
    b_table_1,
    claims,
    dying_relu,
    printed,
    statistics,
    tables,
    training,
)
from bench.paper.as_published import VARIANTS
from bench.paper.cells import QUICK, Scale
from bench.paper.section import Canvas, Section, table
from bench.paper.training import Diagnosis, Task
from bench.storage import write
from bench.table import Results

FOLDER = Path(__file__).parent

TABLES = {a_table_1: "", a_table_2: "", b_table_1: "errors"}  # and what torch's runs watch
FIGURES = (a_figure_1, a_figure_2, b_figure_2, b_figure_3, dying_relu)

#: What a worker is given.
Work = Task | Diagnosis

HOW = """\
- A *run* is the training of one network from its own seed: of data, initial weights, orders and
  dropout masks. Scratch trains all runs of a protocol at once (by engine: {engines}), torch.nn one
  after another. Each run draws its own training set; report A may have used one for all.
- *As stated* is the protocol as the report has it; where it says nothing, what its table's file
  (`bench/paper/a_table_1.py` and so on) has first. Rows of torch start from torch's own initial
  values; scratch's runs stand for them too, since both implementations are held to be equivalent.
  The third row of report B's table is printed as "Model 1 (mine)" again; it is read as Model 2's.
- *Prediction intervals* are for the mean, and the spread, of as many new runs as the report made:
  runs are drawn from ours, anew each time, {draws} times. No distribution is assumed. They are of
  all figures of a row at once (Bonferroni), and so is *p*: a row agrees with a protocol where all
  of its figures lie inside, which is where p is {level:g} or more. The protocol that was used is
  refused in {percent:g} % of rows.
- The more protocols are tried, the more agree by chance. So all are tried with {tried} runs; those
  whose mean is not {refuted:g} standard errors or more away are decided on with {decided} other
  runs (formulas as printed: {printed}); and of each setting that a verdict needs it is simulated
  how often a search as wide would have found it to be needed though one of the protocols without
  it was used. Where the stated protocol agrees, only the nearest is decided on besides it.
- *Equivalent* means that two one-sided tests on paired runs reject a difference of {margin:g}
  point; that no difference was found would not be enough.
"""


@dataclass
class Plan:
    """What is to be computed, and what has been.

    Args:
        scale: how much. workers: processes. folder: of results that are stored.
    """

    scale: Scale
    workers: int
    folder: Path
    results: dict[str, dict[str, Any]] = field(default_factory=dict)

    def first(self) -> list[Work]:
        """All that does not depend on a result: diagnoses, then trainings, the longest first."""
        tasks: list[Work] = [*map(Diagnosis, VARIANTS), *printed.tasks(self.scale)]
        tasks += claims.tasks(self.scale)
        for one, watch in TABLES.items():
            tasks += tables.tasks(one.CELLS, self.scale, watch)
        for artefact in FIGURES:
            tasks += artefact.tasks(self.scale)
        return _ordered(tasks)

    def second(self) -> list[Work]:
        """What then remains to be decided."""
        return _ordered(
            [t for one in TABLES for t in tables.decisive(one.CELLS, self.scale, self.found)]
        )

    def missing(self, tasks: Sequence[Work]) -> list[Work]:
        return [task for task in tasks if pool.stored(task, self.folder, training.VERSION) is None]

    def compute(self, tasks: Sequence[Work], progress: Callable[[Work], object]) -> None:
        """Computes tasks, but for what is stored.

        Raises:
            pool.Lost: workers die before they have done anything.
        """
        done = pool.compute(
            tasks, training.run, lambda: pool.processes(self.workers), self.folder, progress,
            training.VERSION,
        )  # fmt: skip
        self.results.update(zip([task.name for task in tasks], done, strict=True))

    def found(self, task: Work) -> dict[str, Any]:
        return self.results[task.name]


def _ordered(tasks: Sequence[Work]) -> list[Work]:
    return sorted(dict.fromkeys(tasks), key=lambda task: (isinstance(task, Task), -task.cost))


def written(plan: Plan, seconds: Results, folder: Path) -> list[Path]:
    """Writes REPORT.md, its figures, and REPORT.html, the same in one file."""
    parts = list(_sections(plan, seconds, Canvas(folder)))
    text = _markdown(plan, parts)
    write(folder / "REPORT.md", text)
    write(folder / "REPORT.html", page(text, folder))
    return [folder / "REPORT.md", folder / "REPORT.html"]


def _sections(plan: Plan, seconds: Results, canvas: Canvas) -> Iterator[Section]:
    scale, found = plan.scale, plan.found
    for one, watch in TABLES.items():
        yield tables.section(one.TITLE, one.CELLS, scale, found, canvas, watch)
    yield b_seconds.section(scale, seconds)
    yield dying_relu.section(scale, found, canvas)
    said = {name: found(Diagnosis(name))["faults"] for name in VARIANTS}
    yield printed.section(scale, found, canvas, said)
    for artefact in FIGURES[:-1]:
        yield artefact.section(scale, found, canvas)
    yield claims.section(scale, found)


def _markdown(plan: Plan, parts: Sequence[Section]) -> str:
    scale = plan.scale
    verdicts = [verdict for part in parts for verdict in part.verdicts]
    rows = [
        {
            "where": v.where, "what": v.what, "published": v.published, "ours": v.ours,
            "verdict": v.verdict,
        }
        for v in verdicts
    ]  # fmt: skip
    quick = (
        "> **This is the quick version** (`--quick`): too few runs, and of each grid one setting "
        "after another. Its verdicts are worth nothing; it shows that all parts work.\n\n"
        if scale == QUICK
        else ""
    )
    engines = Counter(r["engine"] for r in plan.results.values() if "engine" in r)
    processors = {r["processor"] for r in plan.results.values() if "processor" in r}
    facts = environment("cpu") | {"threads": 1, "processor": " and ".join(sorted(processors))}
    how = HOW.format(
        draws=statistics.DRAWS, level=statistics.LEVEL,
        percent=100 * statistics.LEVEL, tried=scale.tried, decided=scale.decided,
        printed=scale.printed, refuted=statistics.REFUTED, margin=statistics.MARGIN,
        engines=", ".join(f"{name} {count}" for name, count in sorted(engines.items())),
    )  # fmt: skip
    trained = sum(len(r["task"].get("seeds", ())) for r in plan.results.values())
    text = [
        "# Two reports, reproduced",
        quick + "Which numbers of two course reports on a deep-learning framework written by hand "
        "hold, and what explains those that do not? Report A is A. Orgiazzi, G. Villa and "
        "L. Karsunky, *Deep learning framework for 2D point classification problem*; report B is "
        "X. Zhou, *Deep Learning Miniproject 2*; both of EPFL's EE-559. All of this page is "
        f"written by `python -m bench paper`, from {trained} trainings ({caption(facts)}).",
        "## Verdicts",
        "Errors are in percent of points, on training / test points ± the standard deviation on "
        "test points; after them, where the mean of as many new runs lies (95 %, together with the "
        "row's other figures), and p, of all its figures. Each row is fitted by itself. What is "
        "published is what the report prints, draws or says.",
        table(rows),
        *(f"## {part.title}\n\n{part.text}" for part in parts),
        "## How it is judged",
        how,
    ]
    return "\n\n".join(text).rstrip() + "\n"


def page(text: str, folder: Path) -> str:
    """The report as one HTML file that needs no other."""
    body = MarkdownIt("commonmark").enable("table").render(text)

    def inlined(match: re.Match[str]) -> str:
        content = base64.b64encode((folder / match[1]).read_bytes()).decode()
        return f'src="data:image/svg+xml;base64,{content}"'

    body = re.sub(r'src="(figures/[\w-]+\.svg)"', inlined, body)
    body = re.sub(r"<p><em>(.*?)</em></p>", r'<p class="caption">\1</p>', body)
    body = body.replace("<table>", '<div class="table"><table>').replace(
        "</table>", "</table></div>"
    )
    style = (FOLDER / "page.css").read_text()
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Two reports, reproduced</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n<main>\n{body}</main>\n</body>\n</html>\n"
    )
