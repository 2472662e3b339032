"""What the reports' formulas cost as they are printed, and what the harness says of each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bench.environment import code
from bench.paper import a_table_1, statistics
from bench.paper.a_table_2 import CROSS_ENTROPY_DROPOUT, MSE_DROPOUT
from bench.paper.as_published import VARIANTS, diagnosis
from bench.paper.b_table_1 import LISTING, MODEL_1, MODEL_2, PRINTED
from bench.paper.cells import Scale, many
from bench.paper.figures import BLACK, BLUE, GREY, RED, panels
from bench.paper.protocol import Protocol
from bench.paper.section import Canvas, Found, Section, Verdict, table
from bench.paper.training import VERSION, Task

TITLE = "Formulas as printed"
NOTICED = 1.0  # points of accuracy: a loss below it is not noticed

SIGMOID = replace(a_table_1.STATED, hidden=("sigmoid",) * 3)
AVERAGED = replace(MODEL_1, reduction="mean")

#: The protocols that a formula is tried in, with all else as the report states it.
TRIED: Mapping[str, Mapping[str, Protocol]] = {
    "dropout passing": {
        "A, MSE and dropout": MSE_DROPOUT, "A, cross-entropy and dropout": CROSS_ENTROPY_DROPOUT,
    },
    "dropout unscaled": {"B, Model 1's listing": LISTING, "B, Model 2": MODEL_2},
    "relu at 0": {"B, Model 1": MODEL_1},
    "selu of 1, 1": {"B, Model 2": MODEL_2},
    "selu without λ": {"B, Model 2": MODEL_2},
    "tanh of exponentials": {"B, Model 1": MODEL_1},
    "softmax diagonal": {"B, Model 2": MODEL_2},
    "mse summed": {"B, Model 1, with the mean": AVERAGED},
    "bce with eps": {"B, Model 2": MODEL_2},
    "cross-entropy printed": {"B, Model 2": MODEL_2},
    "adam lagging": {"B, Model 2": MODEL_2},
    "sigmoid of another slope": {"A, Sigmoid": SIGMOID},
}  # fmt: skip
TOGETHER = {"all of Model 2's at once": ("B, Model 2", MODEL_2, PRINTED)}


@dataclass(frozen=True)
class Diagnosis:
    """What the harness is to say of a variant: a task like a training."""

    variant: str

    @property
    def name(self) -> str:
        what = json.dumps([self.variant, VERSION, code("parity")])
        return f"{hashlib.sha256(what.encode()).hexdigest()[:20]}.json"

    @property
    def cost(self) -> float:
        return 4.0


def diagnose(task: Diagnosis) -> dict[str, Any]:
    """What it says."""
    return {"variant": task.variant, "faults": diagnosis(task.variant), "version": VERSION}


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


def tasks(scale: Scale) -> list[Task]:
    """The right one and the printed one, each."""
    return [many(one, scale) for trial in _trials() for one in trial[2:]]


def diagnoses() -> list[Diagnosis]:
    """A task for each formula."""
    return [Diagnosis(name) for name in VARIANTS]


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
    caught = sum(bool(said[name]) for name in VARIANTS)
    unnoticed = sum(cost["points"] < NOTICED for cost in costs[: -len(TOGETHER)])
    tried = len(costs) - len(TOGETHER)
    caption = (
        f"{TITLE}. Accuracy lost, in percentage points, to the formula as printed: the mean of "
        "paired runs with its 95 % interval. Left of the dotted line nobody would notice."
    )
    summary = (
        f"The harness catches {caught} of {len(VARIANTS)}, each by name. In {unnoticed} of {tried} "
        f"trainings the printed formula costs less than {NOTICED:g} point of accuracy: whoever "
        "looks at the accuracy alone does not notice."
    )
    text = "\n\n".join(
        (
            summary,
            table(formulas),
            canvas.picture("printed", _figure(costs), caption),
            table([{k: v for k, v in c.items() if k not in ("points", "half")} for c in costs]),
        )
    )
    verdict = Verdict(
        "A, B", "formulas as printed", f"{len(VARIANTS)} formulas",
        f"{caught} caught; {unnoticed} of {tried} trainings lose less than {NOTICED:g} point",
        "the reason for this project",
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
        "error, as printed": f"{np.mean(wrong):.2f} ± {np.std(wrong, ddof=1):.2f}",
        "accuracy lost [95 %]": f"{mean:+.2f} [{mean - half:+.2f}, {mean + half:+.2f}]",
        "noticed": "yes" if mean >= NOTICED else "no",
        "diverged": str(result["diverged"]),
        "runs": runs,
        "points": mean,
        "half": half,
    }


def _figure(costs: list[dict[str, Any]]) -> object:
    figure, axes = panels(1, size=(7.2, 0.33 * len(costs) + 0.9))
    axis = axes[0, 0]
    axis.axvline(NOTICED, color=GREY, linestyle=":", linewidth=1.2)
    axis.axvline(0, color=BLACK, linewidth=0.8)
    for place, cost in enumerate(costs):
        colour = RED if cost["points"] >= NOTICED else BLUE
        axis.errorbar(
            cost["points"], place, xerr=cost["half"], fmt="o", color=colour, capsize=2, markersize=5
        )
    names = [f"{cost['formula']} ({cost['in']})" for cost in costs]
    axis.set_yticks(range(len(costs)), names, fontsize=8)
    axis.set_ylim(len(costs) - 0.5, -0.5)
    axis.set_xscale("symlog", linthresh=1)
    ticks = (-30, -10, -3, -1, 0, 1, 3, 10, 30)
    axis.set_xticks(ticks, [str(tick) for tick in ticks])
    axis.set_xlabel("accuracy lost, percentage points (left of 0: gained)")
    return figure
