"""Report A, Table II: Tanh with cross-entropy and with dropout, 20 rounds of 100 epochs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bench.paper import a_table_1
from bench.paper.a_table_1 import ROUNDS
from bench.paper.cells import Cell, Open

TITLE = "Report A, Table II: cross-entropy and dropout"

MSE_DROPOUT = replace(a_table_1.STATED, dropout=0.2, dropped=(1, 2, 3))
CROSS_ENTROPY = replace(a_table_1.STATED, loss="cross-entropy of one output", cut=0.0)
CROSS_ENTROPY_DROPOUT = replace(CROSS_ENTROPY, dropout=0.2, dropped=(1, 2, 3))

LAST = {"none": {"last": ""}, "as hidden": {"last": "tanh"}}
RATES = {f"{rate:g}": {"rate": rate} for rate in (0.05, 0.01, 0.1)}
OUTPUTS = {
    "one": {"loss": "cross-entropy of one output", "outputs": 1, "cut": 0.0},
    "two (the report has one)": {"loss": "cross-entropy", "outputs": 2},
}
PLACES: dict[str, dict[str, Any]] = {
    "after each hidden layer": {"dropped": (1, 2, 3)},
    "after the first": {"dropped": (1,)},
    "after the last": {"dropped": (3,)},
}
EVALUATED: dict[str, dict[str, Any]] = {
    "left out": {"evaluated": "without dropout"},
    "left on (the report leaves it out)": {"evaluated": "with dropout"},
}
#: The report prints that dropout's backward returns its input.
BACKWARD: dict[str, dict[str, Any]] = {
    "right": {},
    "as printed": {"published": ("dropout passing",)},
}

_DROPOUT: Open = {"place of dropout": PLACES, "dropout in evaluation": EVALUATED}
_PRINTED: Open = {"place of dropout": PLACES, "dropout's backward": BACKWARD}

CELLS = [
    Cell(
        "A, Table II", "Tanh, cross-entropy", {"train": 4.27, "test": 4.74, "std": 1.30}, ROUNDS,
        CROSS_ENTROPY,
        {
            "output activation": LAST, "outputs": OUTPUTS, "rate": RATES,
            "initial values": a_table_1.INIT,
        },
    ),
    Cell(
        "A, Table II", "Tanh, MSE, dropout 0.2", {"train": 4.38, "test": 4.49, "std": 0.85},
        ROUNDS, MSE_DROPOUT,
        {"output activation": LAST, "rate": RATES, **_DROPOUT},
        {"output activation": LAST, **_PRINTED},
    ),
    Cell(
        "A, Table II", "Tanh, cross-entropy, dropout 0.2",
        {"train": 5.75, "test": 6.39, "std": 1.13}, ROUNDS, CROSS_ENTROPY_DROPOUT,
        {"output activation": LAST, "outputs": OUTPUTS, "rate": RATES, **_DROPOUT},
        {"output activation": LAST, **_PRINTED},
    ),
]  # fmt: skip
