"""Report B, Figure 2: learning curves, two models by two implementations."""

from __future__ import annotations

import numpy as np

from bench.paper import statistics
from bench.paper.b_table_1 import ROWS
from bench.paper.cells import Scale, pair
from bench.paper.figures import BLUE, ORANGE, panels
from bench.paper.section import Canvas, Found, Section, Verdict
from bench.paper.statistics import Array
from bench.paper.training import Task

TITLE = "Report B, Figure 2: learning curves"


def _tasks(scale: Scale) -> dict[str, list[Task]]:
    """By the row of Table I: its own protocol, by its own implementation."""
    seeds = tuple(range(scale.pairs))
    return {
        row: [Task(protocol.training, seeds, watch="errors")]
        if side == "scratch"
        else pair(protocol, scale, "errors")
        for row, (_, side, protocol) in ROWS.items()
    }


def tasks(scale: Scale) -> list[Task]:
    """The same runs by both."""
    return [task for each in _tasks(scale).values() for task in each]


def section(scale: Scale, found: Found, canvas: Canvas) -> Section:
    """The four curves, and what the report says of them."""
    curves = {
        row: np.concatenate([_accuracies(found(task)) for task in each], axis=-1)
        for row, each in _tasks(scale).items()
    }  # [epochs, train and test, runs]
    figure, axes = panels(2, 2, size=(3.9, 2.7))
    for axis, (row, own) in zip(axes.flat, curves.items(), strict=True):
        epochs = np.arange(1, len(own) + 1)
        for part, colour, style, label in ((0, ORANGE, "--", "training"), (1, BLUE, "-", "test")):
            low, high = np.quantile(own[:, part], [0.1, 0.9], axis=-1)
            axis.plot(epochs, own[:, part].mean(-1), style, color=colour, label=label)
            axis.fill_between(epochs, low, high, color=colour, alpha=0.2, linewidth=0)
        axis.set(title=row.replace("mine", "scratch"), ylim=(45, 100))
        axis.set(xlabel="epoch", ylabel="accuracy, %")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    caption = (
        f"{TITLE}. Accuracy after each epoch: means of {scale.pairs} runs, and from the 10th to "
        "the 90th percentile of runs; validation is on the test points, as in the report. Torch's "
        "start from its own initial values."
    )
    text = f"{canvas.picture('b-figure-2', figure, caption)}\n\n"
    verdicts = _verdicts(curves)
    return Section(TITLE, text + "\n\n".join(f"{v.what}: {v.ours}." for v in verdicts), verdicts)


def _accuracies(result: dict[str, object]) -> Array:
    return 100 - np.array(result["watched"])


def _verdicts(curves: dict[str, Array]) -> list[Verdict]:
    mine_1, torch_1, mine_2, torch_2 = (one[:, 1] for one in curves.values())  # [epochs, runs]
    verdicts = [
        _claim(f"Model 2 ends better than Model 1, {side}", two[-1], one[-1])
        for side, one, two in (("scratch", mine_1, mine_2), ("torch", torch_1, torch_2))
    ]
    verdicts += [
        _claim(f"Model 2 converges faster, {side}: mean of all epochs", two.mean(0), one.mean(0))
        for side, one, two in (("scratch", mine_1, mine_2), ("torch", torch_1, torch_2))
    ]
    slower = _claim(
        "Model 1 converges more slowly in torch: mean of all epochs",
        mine_1.mean(0), torch_1.mean(0), " only with torch's own initial values",
    )  # fmt: skip
    return [
        *verdicts,
        slower,
        _close("Model 1", mine_1, torch_1),
        _close("Model 2", mine_2, torch_2),
    ]


def _close(model: str, mine: Array, torchs: Array) -> Verdict:
    """Whether both end within a point of each other, each from its own initial values."""
    one = statistics.equivalence(mine[-1], torchs[-1])
    apart = one.low > statistics.MARGIN or one.high < -statistics.MARGIN
    verdict = "reproduced" if one.shown else "not reproduced" if apart else "not shown"
    ours = f"scratch {statistics.signed(one.mean)} points [{one.low:+.2f}, {one.high:+.2f}]"
    what = f"{model} ends close in both, each from its own initial values"
    return Verdict("B, Figure 2", what, "said", ours, f"**{verdict}**")


def _claim(what: str, better: Array, worse: Array, only: str = "") -> Verdict:
    """Whether the one is better than the other, run by run on the same data."""
    mean, half = statistics.paired_difference(better, worse)
    verdict = (
        f"reproduced{only}" if mean > half else "not reproduced" if mean < -half else "not shown"
    )
    ours = f"{mean:+.2f} ± {half:.2f} points of accuracy (95 %, {len(better)} pairs)"
    return Verdict("B, Figure 2", what, "said", ours, f"**{verdict}**")
