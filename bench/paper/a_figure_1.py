"""Report A, Figure 1: a training set, and the circle."""

from __future__ import annotations

from bench.paper.cells import Scale
from bench.paper.figures import BLUE, ORANGE, panels, unit_square
from bench.paper.section import Canvas, Found, Section, Verdict
from bench.paper.statistics import share
from bench.paper.training import Task
from bench.problem import POINTS, disks

TITLE = "Report A, Figure 1: a training set"
SEED = 0


def tasks(scale: Scale) -> list[Task]:
    """Nothing is trained."""
    return []


def section(scale: Scale, found: Found, canvas: Canvas) -> Section:
    """The figure, and whether the classes are as large as the report says."""
    x, labels = (part[0] for part in disks([SEED]))
    figure, axes = panels(1, size=(4.6, 4.6))
    axis = axes[0, 0]
    for label, colour, marker in ((0, ORANGE, "o"), (1, BLUE, "s")):
        own = x[labels == label]
        axis.scatter(*own.T.numpy(), s=9, color=colour, marker=marker, label=f"label {label}")
    unit_square(axis)
    figure.legend(loc="outside lower center", ncols=3)
    inside = int(labels.sum())
    low, high = share(inside, POINTS)
    caption = (
        f"{TITLE}, of seed {SEED}: {POINTS} points drawn uniformly from the unit square, label 1 "
        f"within 1/√(2π) of its centre."
    )
    text = (
        f"{canvas.picture('a-figure-1', figure, caption)}\n\nThe disk's area is 1/2: {inside} of "
        f"these {POINTS} points lie in it, a share of {inside / POINTS:.3f} "
        f"[{low:.3f}, {high:.3f}]."
    )
    verdict = Verdict(
        "A, Figure 1", "half of the points lie in the disk", "drawn",
        f"{inside} of {POINTS}, 95 % interval {low:.3f} to {high:.3f}",
        "**reproduced**" if low <= 0.5 <= high else "**not reproduced**",
    )  # fmt: skip
    return Section(TITLE, text, [verdict])
