"""What the reports' formulas cost as they are printed, and what the harness says of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from bench.paper import a_table_1, statistics
from bench.paper.a_table_2 import CROSS_ENTROPY_DROPOUT, MSE_DROPOUT
from bench.paper.as_published import VARIANTS
from bench.paper.b_table_1 import LISTING, MODEL_1, MODEL_2, PRINTED
from bench.paper.cells import Scale, many
from bench.paper.figures import BLACK, BLUE, GREY, RED, panels
from bench.paper.protocol import Protocol
from bench.paper.section import Canvas, Found, Section, Verdict, table
from bench.paper.training import Task

TITLE = "Formulas as printed"
NOTICED = 1.0  # points of accuracy: a difference below it is not noticed

SIGMOID = replace(a_table_1.STATED, hidden=("sigmoid",) * 3)
LEFT_ON_1 = replace(LISTING, evaluated="with dropout")
LEFT_ON_2 = replace(MODEL_2, evaluated="with dropout")
AVERAGED = replace(MODEL_1, reduction="mean")

#: The protocols that a formula is tried in, with all else as the report states it.
TRIED: Mapping[str, Mapping[str, Protocol]] = {
    "dropout passing": {
        "A, MSE and dropout": MSE_DROPOUT, "A, cross-entropy and dropout": CROSS_ENTROPY_DROPOUT,
    },
    "dropout unscaled": {
        "B, Model 1's listing": LISTING, "B, Model 1's listing, left on in evaluation": LEFT_ON_1,
        "B, Model 2": MODEL_2, "B, Model 2, left on in evaluation": LEFT_ON_2,
    },
    "relu at 0": {"B, Model 1": MODEL_1},
    "selu of 1, 1": {"B, Model 2": MODEL_2},
    "selu without λ": {"B, Model 2": MODEL_2},
    "tanh of exponentials": {"B, Model 1": MODEL_1},
    "softmax diagonal": {"B, Model 2": MODEL_2},
    "mse summed": {"B, Model 1, with the mean": AVERAGED},
    "bce with eps": {"B, Model 2": MODEL_2},
    "adam lagging": {"B, Model 2": MODEL_2},
    "sigmoid of another slope": {"A, Sigmoid": SIGMOID},
}  # fmt: skip
TOGETHER = {"all of Model 2's at once": ("B, Model 2", MODEL_2, PRINTED)}


def _trials() -> list[tuple[str, str, Protocol, Protocol]]:
    """What is printed, where it is tried, and the protocol with the right and the printed one."""
    single = [
        (VARIANTS[name].title, where, protocol, replace(protocol, published=(name,)))
        for name, each in TRIED.items()
        for where, protocol in each.items()
    ]
    together = [
        (title, where, protocol, replace(protocol, published=names))
        for title, (where, protocol, names) in TOGETHER.items()
    ]
    return single + together


#: What a row of the second table has for the figure alone.
HIDDEN = ("points", "half", "own")


def tasks(scale: Scale) -> list[Task]:
    """The right one and the printed one, each."""
    return [many(one, scale) for trial in _trials() for one in trial[2:]]


def section(scale: Scale, found: Found, canvas: Canvas, said: Mapping[str, list[str]]) -> Section:
    """Two tables and a figure.

    Args:
        said: by variant, what the harness says of it.
    """
    costs = [_cost(scale, found, *trial) for trial in _trials()]
    formulas = [
        {
            "formula": variant.title, "report": variant.source, "printed": f"`{variant.printed}`",
            "right": f"`{variant.right}`",
            "the harness says": f"{said[name][0]}" if said[name] else "**nothing**",
        }
        for name, variant in VARIANTS.items()
    ]  # fmt: skip
    own = [name for name, variant in VARIANTS.items() if variant.printed_so]
    caught = sum(bool(said[name]) for name in own)
    counts = Counter(cost["noticed"] for cost in costs if cost["own"])
    tried = sum(counts.values())
    caption = (
        f"{TITLE}. Accuracy lost, in percentage points, to the formula as printed: the mean of "
        "paired runs with its 95 % interval. Between the dotted lines nobody would notice."
    )
    summary = (
        f"The harness catches {caught} of the {len(own)} formulas that the reports print so, and "
        f"{sum(bool(said[n]) for n in said) - caught} of the {len(VARIANTS) - len(own)} below them "
        "that are a reading or a conjecture of ours. Whoever looks at the accuracy alone would, of "
        f"{tried} trainings with a printed formula, notice {counts['yes']}; in {counts['no']} the "
        f"accuracy differs by less than {NOTICED:g} point, in {counts['gains']} it gains more, and "
        f"{counts['undecided']} are undecided (by the 95 % interval)."
    )
    text = "\n\n".join(
        (
            summary,
            table(formulas),
            canvas.picture("printed", _figure(costs), caption),
            table([{k: v for k, v in c.items() if k not in HIDDEN} for c in costs]),
        )
    )
    verdict = Verdict(
        "A, B", "formulas that are not torch's", f"{len(own)} printed",
        f"{counts['yes']} of {tried} trainings lose {NOTICED:g} point of accuracy or more",
        f"**{caught} caught by the harness**",
    )  # fmt: skip
    return Section(TITLE, text, [verdict])


def _cost(
    scale: Scale, found: Found, title: str, where: str, right: Protocol, printed: Protocol
) -> dict[str, Any]:
    result = found(many(printed, scale))
    wrong = result["errors"][printed.evaluation]["test"]
    own = found(many(right, scale))["errors"][right.evaluation]["test"]
    runs = min(len(wrong), len(own))
    mean, half = statistics.paired_difference(wrong[:runs], own[:runs])
    return {
        "formula": title,
        "in": where,
        "error, right": f"{np.mean(own[:runs]):.2f} ± {np.std(own[:runs], ddof=1):.2f}",
        "error, as printed": f"{np.mean(wrong[:runs]):.2f} ± {np.std(wrong[:runs], ddof=1):.2f}",
        "accuracy lost [95 %]": f"{mean:+.2f} [{mean - half:+.2f}, {mean + half:+.2f}]",
        "noticed": _noticed(mean - half, mean + half),
        "diverged": str(result["diverged"]),
        "runs": runs,
        "points": mean,
        "half": half,
        "own": all(VARIANTS[name].printed_so for name in printed.published),
    }


def _noticed(low: float, high: float) -> str:
    """Whether accuracy would tell, by the interval of what is lost."""
    if low >= NOTICED:
        return "yes"
    if high <= -NOTICED:
        return "gains"
    return "no" if low > -NOTICED and high < NOTICED else "undecided"


def _figure(costs: list[dict[str, Any]]) -> object:
    figure, axes = panels(1, size=(7.2, 0.33 * len(costs) + 0.9))
    axis = axes[0, 0]
    for limit in (-NOTICED, NOTICED):
        axis.axvline(limit, color=GREY, linestyle=":", linewidth=1.2)
    axis.axvline(0, color=BLACK, linewidth=0.8)
    for place, cost in enumerate(costs):
        colour = RED if cost["noticed"] == "yes" else BLUE
        axis.errorbar(
            cost["points"], place, xerr=cost["half"], fmt="o", color=colour, capsize=2, markersize=5
        )
    names = [f"{cost['formula']} ({cost['in']})" for cost in costs]
    axis.set_yticks(range(len(costs)), names, fontsize=8)
    axis.set_ylim(len(costs) - 0.5, -0.5)
    axis.set_xscale("symlog", linthresh=1)
    ticks = (-30, -10, -3, -1, 0, 1, 3, 10, 30)
    axis.set_xlim(-45, 45)
    axis.set_xticks(ticks, [str(tick) for tick in ticks])
    axis.set_xlabel("accuracy lost, percentage points (left of 0: gained)")
    return figure
