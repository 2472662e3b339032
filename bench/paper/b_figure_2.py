"""Report B, Figure 2: learning curves, two models by two implementations."""

from __future__ import annotations

import numpy as np

from bench.paper import statistics
from bench.paper.b_table_1 import MODEL_1, MODEL_2
from bench.paper.cells import Scale, pair
from bench.paper.figures import BLUE, ORANGE, panels
from bench.paper.section import Canvas, Found, Section, Verdict
from bench.paper.statistics import Array
from bench.paper.training import Task

TITLE = "Report B, Figure 2: learning curves"
MODELS = {"Model 1": MODEL_1, "Model 2": MODEL_2}
SIDES = {"scratch": "scratch", "torch": "torch.nn"}


def _tasks(scale: Scale) -> dict[tuple[str, str], list[Task]]:
    seeds = tuple(range(scale.pairs))
    return {
        (name, side): [Task(protocol.training, seeds, watch="errors")]
        if side == "scratch"
        else pair(protocol, scale, "errors")
        for name, protocol in MODELS.items()
        for side in SIDES
    }


def tasks(scale: Scale) -> list[Task]:
    """The same runs by both."""
    return [task for each in _tasks(scale).values() for task in each]


def section(scale: Scale, found: Found, canvas: Canvas) -> Section:
    """The four curves, and what the report says of them."""
    curves = {
        key: np.concatenate([_accuracies(found(task)) for task in each], axis=-1)
        for key, each in _tasks(scale).items()
    }  # [epochs, train and test, runs]
    figure, axes = panels(2, 2, size=(3.9, 2.7))
    for axis, ((model, side), own) in zip(axes.flat, curves.items(), strict=True):
        epochs = np.arange(1, len(own) + 1)
        for part, colour, style, label in ((0, ORANGE, "--", "training"), (1, BLUE, "-", "test")):
            low, high = np.quantile(own[:, part], [0.1, 0.9], axis=-1)
            axis.plot(epochs, own[:, part].mean(-1), style, color=colour, label=label)
            axis.fill_between(epochs, low, high, color=colour, alpha=0.2, linewidth=0)
        axis.set(title=f"{model}, {SIDES[side]}", ylim=(45, 100), xlabel="epoch", ylabel="%")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    caption = (
        f"{TITLE}. Accuracy after each epoch: means of {scale.pairs} runs, and from the 10th to "
        "the 90th percentile of runs; validation is on the test points, as in the report."
    )
    text = f"{canvas.picture('b-figure-2', figure, caption)}\n\n"
    verdicts = _verdicts(curves)
    return Section(TITLE, text + "\n\n".join(f"{v.what}: {v.ours}." for v in verdicts), verdicts)


def _accuracies(result: dict[str, object]) -> Array:
    return 100 - np.array(result["watched"])


def _verdicts(curves: dict[tuple[str, str], Array]) -> list[Verdict]:
    def claim(what: str, ours: Array, theirs: Array, unit: str) -> Verdict:
        mean, half = statistics.paired_difference(ours, theirs)
        return Verdict(
            "B, Figure 2", what, "said", f"{mean:+.2f} {unit} ± {half:.2f} (95 %)",
            "**reproduced**" if mean > half else "**not reproduced**",
        )  # fmt: skip

    one, two = (curves[name, "scratch"][:, 1] for name in MODELS)  # [epochs, runs]
    points = "points of accuracy, paired by seed"
    return [
        claim("Model 2 ends better than Model 1", two[-1], one[-1], points),
        claim("Model 2 converges faster: mean of all epochs", two.mean(0), one.mean(0), points),
        claim(
            "Model 1 converges more slowly in torch: mean of all epochs, scratch less torch",
            one.mean(0), curves["Model 1", "torch"][:, 1].mean(0), points,
        ),
    ]  # fmt: skip
