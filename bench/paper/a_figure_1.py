"""Report A, Figure 1: a training set, and the circle."""

from __future__ import annotations

from bench.paper.cells import Scale
from bench.paper.figures import draw_points, panels
from bench.paper.section import Canvas, Found, Section, Verdict
from bench.paper.statistics import share
from bench.paper.training import Task
from bench.problem import POINTS, disks

TITLE = "Report A, Figure 1: a training set"
SETS = 200


def tasks(scale: Scale) -> list[Task]:
    """Nothing is trained."""
    return []


def section(scale: Scale, found: Found, canvas: Canvas) -> Section:
    """The figure, and whether the classes are as large as report B says."""
    x, labels = disks(range(SETS))
    figure, axes = panels(1, size=(4.6, 4.6))
    draw_points(axes[0, 0], x[0], labels[0])
    figure.legend(loc="outside lower center", ncols=3)
    inside, every = int(labels.sum()), labels.numel()
    low, high = share(inside, every)
    caption = (
        f"{TITLE}, of the first run: {POINTS} points drawn uniformly from the unit square, label 1 "
        "within 1/√(2π) of its centre."
    )
    ours = f"{inside / every:.4f} of {every} points, 95 % interval {low:.4f} to {high:.4f}"
    drawn = f"{int(labels[0].sum())} of {POINTS} points in the disk"
    verdicts = [
        Verdict("A, Figure 1", "a training set with the circle", "drawn", drawn, "**reproduced**"),
        Verdict(
            "B, I", "both labels are equally likely", "0.5", ours,
            "**reproduced**" if low <= 0.5 <= high else "**not reproduced**",
        ),
    ]  # fmt: skip
    picture = canvas.picture("a-figure-1", figure, caption)
    return Section(TITLE, f"{picture}\n\nIn the disk lie {ours}.", verdicts)
