"""Report B, Figure 3: Model 2's test points, the wrong ones marked."""

from __future__ import annotations

import numpy as np

from bench.paper.b_table_1 import MODEL_2
from bench.paper.cells import Scale
from bench.paper.figures import RED, draw_points, panels
from bench.paper.section import Canvas, Found, Section, Verdict
from bench.paper.training import Task
from bench.problem import disks
from scratch.data import CENTER, RADIUS

TITLE = "Report B, Figure 3: test points of Model 2"
RUNS = 20
NEAR = 0.05  # of the circle
NEARLY_ALL = 90.0  # percent of the wrong points, from which on the claim holds


def _task(scale: Scale) -> Task:
    return Task(MODEL_2, tuple(range(min(RUNS, scale.decided))), watch="wrong")


def tasks(scale: Scale) -> list[Task]:
    """Some runs."""
    return [_task(scale)]


def section(scale: Scale, found: Found, canvas: Canvas) -> Section:
    """The first run's points, and how far from the circle the wrong ones of all runs lie."""
    task = _task(scale)
    wrong = found(task)["watched"]
    points, labels = disks(task.seeds, test=True)
    away = np.abs(np.hypot(*(points.double().numpy() - CENTER).transpose(2, 0, 1)) - RADIUS)
    missed = np.concatenate([away[run, own] for run, own in enumerate(wrong)])
    near, all_near = 100 * (missed <= NEAR).mean(), 100 * (away <= NEAR).mean()

    figure, axes = panels(1, size=(4.6, 4.6))
    axis = axes[0, 0]
    draw_points(axis, points[0], labels[0])
    axis.scatter(
        *points[0][wrong[0]].T.numpy(), s=46, color=RED, marker="x", linewidth=1.6, label="wrong"
    )
    figure.legend(loc="outside lower center", ncols=4)
    caption = f"{TITLE}, first run: {len(wrong[0])} of {len(labels[0])} are in the wrong class."
    ours = (
        f"{near:.0f} % of {len(missed)} wrong points of {len(wrong)} runs lie within {NEAR} of the "
        f"circle, and {all_near:.0f} % of all points; median distances {np.median(missed):.3f} and "
        f"{np.median(away):.3f}"
    )
    text = f"{canvas.picture('b-figure-3', figure, caption)}\n\n{ours}."
    verdict = Verdict(
        "B, Figure 3", "wrong points lie near the circle", "drawn", ours,
        "**reproduced**" if near >= NEARLY_ALL else "**not reproduced**",
    )  # fmt: skip
    return Section(TITLE, text, [verdict])
