"""A published table: its cells judged, and both implementations held against each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.paper import statistics
from bench.paper.cells import Cell, Judgement, Scale, judged, many, pair
from bench.paper.figures import BLUE, GREY, ORANGE, panels
from bench.paper.protocol import Protocol
from bench.paper.section import Canvas, Found, Section, Verdict, table
from bench.paper.statistics import Equivalence, Simulated, signed
from bench.paper.training import Task

NAMED = 6  # protocols that agree, at most
FIGURES = {"train": "train", "test": "test", "std": "std of test"}


def tasks(cells: Sequence[Cell], scale: Scale, watch: str = "") -> list[Task]:
    """What is computed before anything is decided."""
    return [
        task
        for cell in cells
        for task in (
            many(cell.stated, scale),
            *cell.tried(scale).values(),
            *pair(cell.stated, scale, watch),
        )
    ]


def decisive(cells: Sequence[Cell], scale: Scale, found: Found) -> list[Task]:
    """What is computed then."""
    return [task for cell in cells for task in cell.decisive(scale, found).values()]


def section(
    title: str, cells: Sequence[Cell], scale: Scale, found: Found, canvas: Canvas, watch: str = ""
) -> Section:
    """The table's part of the report."""
    judgements = [judged(cell, scale, found) for cell in cells]
    sameness = [same(cell, scale, found, watch) for cell in cells]
    name = title.lower().split(":")[0].replace(" ", "-").replace(",", "")
    picture = canvas.picture(name, _figure(judgements), _caption(title))
    stated = "\n".join(f"- {cell.row}, as stated: {described(cell.stated)}." for cell in cells)
    parts = [
        stated,
        _overview(judgements),
        picture,
        *map(_detail, judgements),
        _sameness(cells, sameness),
    ]
    verdicts = [_verdict(judgement) for judgement in judgements]
    for cell, one in zip(cells, sameness, strict=True):
        verdicts.append(
            Verdict(
                cell.table,
                f"{cell.row}: scratch as torch",
                "said" if cell.table.startswith("B") else "-",
                f"{signed(one.mean)} points [{signed(one.low)}, {signed(one.high)}], "
                f"{one.pairs} pairs",
                "**equivalent**" if one.shown else "**not shown**",
            )
        )
    return Section(title, "\n\n".join(parts), verdicts)


def described(protocol: Protocol) -> str:
    """A protocol in words."""
    same = len(set(protocol.hidden)) == 1
    hidden = protocol.hidden[0] if same else "-".join(protocol.hidden)
    drops = (
        f"dropout {protocol.dropout:g} {'before' if protocol.before else 'after'} the activation "
        f"of hidden layers {', '.join(map(str, protocol.dropped))}"
        if protocol.dropped
        else "no dropout"
    )
    return (
        f"{hidden}, output activation {protocol.last or 'none'}, outputs {protocol.outputs}, "
        f"{protocol.init} initial values, {protocol.loss} ({protocol.reduction}), "
        f"{protocol.optimizer} at {protocol.rate:g}, batches of {protocol.batch_size}, "
        f"{protocol.epochs} epochs, {drops}"
    )


def same(cell: Cell, scale: Scale, found: Found, watch: str = "") -> Equivalence:
    """Scratch's errors on test points less torch's, run by run."""
    way = cell.stated.evaluation
    theirs = [
        error
        for task in pair(cell.stated, scale, watch)
        for error in found(task)["errors"][way]["test"]
    ]
    ours = found(many(cell.stated, scale))["errors"][way]["test"][: len(theirs)]
    return statistics.equivalence(ours, theirs)


def figures(one: Simulated | Mapping[str, float]) -> str:
    """Errors as the reports print them: train / test ± std."""
    mean = one.mean if isinstance(one, Simulated) else one
    if "train" not in mean:  # report B prints accuracies
        return f"{mean['test']:.2f} ± {mean['std']:.2f} (accuracy {1 - mean['test'] / 100:.3f})"
    return f"{mean['train']:.2f} / {mean['test']:.2f} ± {mean['std']:.2f}"


def _verdict(one: Judgement) -> Verdict:
    low, high = one.stated.interval("test", len(one.cell.published))
    return Verdict(
        one.cell.table, one.cell.row, figures(one.cell.published),
        f"{figures(one.stated)}; mean of {one.cell.rounds}: {low:.2f} to {high:.2f}; "
        f"p {statistics.said(one.stated_p, '= ')}",
        f"**{one.verdict}**",
    )  # fmt: skip


def _overview(judgements: Sequence[Judgement]) -> str:
    return "Errors in percent, train / test ± standard deviation of test.\n\n" + table(
        [
            {
                "row": one.cell.row,
                "published": figures(one.cell.published),
                "ours, as stated": figures(one.stated),
                "p": statistics.said(one.stated_p),
                "ours, nearest": figures(one.nearest_simulated),
                "p of nearest": statistics.said(one.nearest_p),
                "tried, decided on, agree": f"{one.tried}, {one.decided}, {len(one.fits)}",
            }
            for one in judgements
        ]
    )


def _detail(one: Judgement) -> str:
    """The intervals of a cell."""
    rows = []
    for title, what in (("as stated", one.stated), ("nearest", one.nearest_simulated)):
        p_values = what.p_values(one.cell.published)
        for figure, value in one.cell.published.items():
            low, high = what.interval(figure, len(one.cell.published))
            rows.append(
                {
                    "protocol": title,
                    "figure": FIGURES[figure],
                    "published": f"{value:.2f}",
                    "ours": f"{what.mean[figure]:.2f}",
                    "95 % prediction interval, all at once": f"{low:.2f} to {high:.2f}",
                    "inside": "yes" if low <= value <= high else "no",
                    "p alone": statistics.said(p_values[figure]),
                }
            )
    lines = [f"**{one.cell.row}.** Nearest: {one.describe(one.nearest)}.", table(rows)]
    for setting, need in one.needed.items():
        lines.append(
            f"No protocol that was tried agrees without *{setting} = {' or '.join(need.levels)}*: "
            f"the best has p {statistics.said(need.without, '= ')}. Had one of those without it "
            "made the row, a search as wide would still have said so in "
            f"{100 * need.wrongly:.1f} % of cases."
        )
    if len(one.fits) > 1:
        named = [f"{one.describe(point)} (p = {p:.2g})" for point, p in one.fits.items()]
        more = f" | and {len(named) - NAMED} more" if len(named) > NAMED else ""
        lines.append(f"Agree, the least changes first: {' | '.join(named[:NAMED])}{more}.")
    return "\n\n".join(lines)


def _sameness(cells: Sequence[Cell], sameness: Sequence[Equivalence]) -> str:
    text = (
        "**Both implementations**, by the protocol as stated, from the same weights, data, orders "
        f"and masks: scratch's error less torch's, in percentage points. Equivalent: both "
        f"one-sided tests reject at 5 % that the mean differs by {statistics.MARGIN:g} point."
    )
    rows = [
        {
            "row": cell.row,
            "pairs": one.pairs,
            "mean difference": signed(one.mean),
            "90 % interval": f"{signed(one.low)} to {signed(one.high)}",
            "p": statistics.said(one.p),
            "verdict": "equivalent" if one.shown else "not shown",
        }
        for cell, one in zip(cells, sameness, strict=True)
    ]
    return f"{text}\n\n{table(rows)}"


def _caption(title: str) -> str:
    return (
        f"{title}. Published means of the error on test points (diamonds), and where the mean of "
        "as many new runs lies by our runs (95 %, together with the row's other figures): by the "
        "protocol as stated, and by the one that agrees and changes the least, or is nearest."
    )


def _figure(judgements: Sequence[Judgement]) -> object:
    figure, axes = panels(1, size=(7.2, 0.62 * len(judgements) + 1.1))
    axis = axes[0, 0]
    for place, one in enumerate(judgements):
        for shift, what, colour, label in (
            (-0.16, one.stated, GREY, "as stated: where new means lie"),
            (0.16, one.nearest_simulated, BLUE, "nearest: where new means lie"),
        ):
            low, high = what.interval("test", len(one.cell.published))
            axis.plot(
                [low, high], [place + shift] * 2, color=colour, linewidth=5,
                solid_capstyle="butt", label=label if place == 0 else None,
            )  # fmt: skip
        axis.plot(
            one.cell.published["test"], place, "D", color=ORANGE, markeredgecolor="black",
            markersize=7, label="published" if place == 0 else None,
        )  # fmt: skip
    axis.set_yticks(range(len(judgements)), [one.cell.row for one in judgements])
    axis.set_ylim(len(judgements) - 0.5, -0.5)
    axis.set_xlabel("error on test points, %")
    axis.set_xlim(left=0)
    figure.legend(loc="outside lower center", ncols=3, fontsize=8)
    return figure
