"""Report A, Table I: five activations, squared error, 20 rounds of 100 epochs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bench.paper.cells import Cell, Open
from bench.paper.protocol import Protocol

TITLE = "Report A, Table I: activations"

STATED = Protocol(
    hidden=("tanh", "tanh", "tanh"), last="", outputs=1,
    init="uniform", bias_init="uniform",
    loss="mse", reduction="mean", optimizer="sgd", rate=0.05,
    batch_size=10, epochs=100,
    dropout=0.0, dropped=(), cut=0.5, evaluated="without dropout",
)  # fmt: skip
ROUNDS = 20

#: Errors in percent, as printed.
PUBLISHED = {
    "ReLU": ("relu", {"train": 30.36, "test": 33.15, "std": 22.11}),
    "Sigmoid (slope 3)": ("sigmoid", {"train": 12.08, "test": 13.69, "std": 13.83}),
    "ELU (alpha 0.01)": ("elu", {"train": 4.13, "test": 5.19, "std": 1.37}),
    "LeakyReLU (0.01)": ("leaky_relu", {"train": 3.62, "test": 4.45, "std": 1.08}),
    "Tanh": ("tanh", {"train": 3.59, "test": 4.43, "std": 1.28}),
}

INIT: dict[str, dict[str, Any]] = {
    "uniform, ±1/√inputs": {"init": "uniform", "bias_init": "uniform"},
    "Xavier's normal": {"init": "xavier_normal", "bias_init": "xavier_normal"},
    "Xavier's normal, biases 0": {"init": "xavier_normal", "bias_init": "zeros"},
}
RATES = {f"{rate:g}": {"rate": rate} for rate in (0.05, 0.01, 0.02, 0.1)}
CUT = {"0.5": {"cut": 0.5}, "0": {"cut": 0.0}}


def left_open(activation: str) -> Open:
    """What the report does not say."""
    return {
        "output activation": {"none": {"last": ""}, "as hidden": {"last": activation}},
        "initial values": INIT,
        "rate": RATES,
        "cut": CUT,
    }


def _cell(row: str) -> Cell:
    activation, published = PUBLISHED[row]
    opened, also = left_open(activation), {}
    if activation == "sigmoid":
        also = {
            "output activation": opened["output activation"],
            "rate": RATES,
            "Sigmoid's derivative": {
                "right": {},
                "with a slope forgotten": {"published": ("sigmoid of another slope",)},
            },
        }
    stated = replace(STATED, hidden=(activation,) * 3)
    return Cell("A, Table I", row, published, ROUNDS, stated, opened, also)


CELLS = [_cell(row) for row in PUBLISHED]
