"""The look of all figures, and how they are written."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from bench.storage import write
from scratch.data import CENTER, RADIUS

#: Okabe and Ito's colours, which the colour-blind tell apart.
BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, RED, PINK = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
GREY = "#767676"

_STYLE: dict[Any, Any] = {
    "figure.dpi": 100,
    "savefig.dpi": 160,
    "savefig.bbox": "tight",
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "svg.hashsalt": "torch-parity",  # the same figure, the same file
}
mpl.rcParams.update(_STYLE)


def panels(columns: int, rows: int = 1, size: tuple[float, float] = (4.2, 3.4)) -> Any:
    """A figure and its axes `[rows, columns]`, of a size in inches each."""
    figure = Figure(figsize=(columns * size[0], rows * size[1]), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def save(figure: Figure, file: Path) -> None:
    """Writes `file`.png and `file`.svg, each whole or not at all."""
    for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
        content = io.BytesIO()
        figure.savefig(content, format=kind, metadata=metadata)
        write(file.with_name(f"{file.name}.{kind}"), content.getvalue())


def draw_points(axis: Axes, x: Tensor, labels: Tensor) -> None:
    """The problem's points `[N, 2]` by their labels, and the circle."""
    for label, colour, marker in ((0, ORANGE, "o"), (1, BLUE, "s")):
        own = x[labels == label]
        x1, x2 = own.T.numpy()
        axis.scatter(x1, x2, s=9, color=colour, marker=marker, label=f"label {label}")
    unit_square(axis)


def unit_square(axis: Axes) -> None:
    """Axes of the problem's points, with the circle."""
    turn = np.linspace(0, 2 * np.pi, 200)
    axis.plot(
        CENTER[0] + RADIUS * np.cos(turn), CENTER[1] + RADIUS * np.sin(turn),
        color=BLACK, linewidth=1.2, label="circle",
    )  # fmt: skip
    axis.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel="$x_1$", ylabel="$x_2$")
    axis.grid(visible=False)
