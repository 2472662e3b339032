"""Report A, Figure 2: what a trained network says of every point of the square.

The report's text says that it is of LeakyReLU, its caption that it is of Tanh: both are drawn.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bench.paper.a_table_2 import CROSS_ENTROPY
from bench.paper.cells import Scale
from bench.paper.figures import panels, unit_square
from bench.paper.section import Canvas, Found, Section, Verdict
from bench.paper.training import SIDE, Task, square
from scratch.data import CENTER, RADIUS

TITLE = "Report A, Figure 2: probability map"
PROTOCOLS = {
    "Tanh (caption)": CROSS_ENTROPY,
    "LeakyReLU (text)": replace(CROSS_ENTROPY, hidden=("leaky_relu",) * 3),
}
RUNS = 20
AGREES = 90.0  # percent of the square, from which on a map counts as the disk


def _tasks(scale: Scale) -> dict[str, Task]:
    seeds = tuple(range(min(RUNS, scale.decided)))
    return {name: Task(one, seeds, watch="map") for name, one in PROTOCOLS.items()}


def tasks(scale: Scale) -> list[Task]:
    """A map for each activation."""
    return list(_tasks(scale).values())


def section(scale: Scale, found: Found, canvas: Canvas) -> Section:
    """Both maps, and how much of the square they have right."""
    figure, axes = panels(len(PROTOCOLS), size=(4.3, 4.2))
    points = square().double().numpy()
    inside = ((points - CENTER) ** 2).sum(1) <= RADIUS**2
    said, image = [], None
    for axis, (name, task) in zip(axes[0], _tasks(scale).items(), strict=True):
        maps = np.array(found(task)["watched"])  # [runs, SIDE * SIDE]
        right = 100 * ((maps > 0.5) == inside).mean(1)
        said.append((name, right))
        image = axis.imshow(
            maps[0].reshape(SIDE, SIDE), origin="lower", extent=(0, 1, 0, 1), cmap="cividis",
            vmin=0, vmax=1, interpolation="nearest",
        )  # fmt: skip
        unit_square(axis)
        axis.set_title(name)
    figure.colorbar(image, ax=axes, label="probability of label 1", shrink=0.8)
    caption = f"{TITLE}: the sigmoid of the output after training with cross-entropy, first run."
    figures = "; ".join(
        f"{name} {right.mean():.1f} ± {right.std(ddof=1):.1f} %" for name, right in said
    )
    text = (
        f"{canvas.picture('a-figure-2', figure, caption)}\n\nOf the square, on the right side of "
        f"1/2 (mean and standard deviation of {len(said[0][1])} runs): {figures}. The report's "
        "text and its caption name different activations, so that both are drawn."
    )
    agrees = all(right.mean() >= AGREES for _, right in said)
    verdict = Verdict(
        "A, Figure 2", "the map shows the disk", "drawn",
        f"right in the square: {figures}; {AGREES:g} % asked for",
        "**reproduced**" if agrees else "**not reproduced**",
    )  # fmt: skip
    return Section(TITLE, text, [verdict])
