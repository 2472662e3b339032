"""Report B, Table I: two models, hand-written and torch's, 10 runs of 30 epochs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bench.paper import a_table_1
from bench.paper.cells import Cell, Open
from bench.paper.protocol import Protocol
from bench.table import PUBLISHED

TITLE = "Report B, Table I: two models"

MODEL_1 = Protocol(
    hidden=("relu", "relu", "relu"), last="tanh", outputs=2,
    init="xavier_normal", bias_init="xavier_normal",
    loss="mse", reduction="sum", optimizer="sgd", rate=1e-3,
    batch_size=10, epochs=30,
    dropout=0.0, dropped=(), evaluated="without dropout",
)  # fmt: skip
MODEL_2 = Protocol(
    hidden=("relu", "selu", "relu"), last="softmax", outputs=2,
    init="xavier_normal", bias_init="xavier_normal",
    loss="bce", reduction="sum", optimizer="adam", rate=1e-3,
    batch_size=10, epochs=30,
    dropout=0.5, dropped=(2, 3), before=True, evaluated="without dropout",
)  # fmt: skip
RUNS = 10

#: What torch's own layers start from, where nobody says otherwise.
TORCH: dict[str, Any] = {"init": "uniform", "bias_init": "uniform"}

#: The third row is called 'Model 1 (mine)' a second time there.
ROWS = {
    "Model 1 (mine)": ("model_1", "scratch", MODEL_1),
    "Model 1 (torch)": ("model_1", "torch", replace(MODEL_1, **TORCH)),
    "Model 2 (mine)": ("model_2", "scratch", MODEL_2),
    "Model 2 (torch)": ("model_2", "torch", replace(MODEL_2, **TORCH)),
}

#: All that the report prints of Model 2, at once.
PRINTED = (
    "dropout unscaled", "relu at 0", "selu of 1, 1", "softmax diagonal", "bce with eps",
)  # fmt: skip

BATCH = {str(size): {"batch_size": size} for size in (10, 1, 100)}
REDUCTION = {"sum": {"reduction": "sum"}, "mean": {"reduction": "mean"}}
EVALUATED = {
    "left out": {"evaluated": "without dropout"},
    "left on": {"evaluated": "with dropout"},
}
_1: Open = {
    "batch size": BATCH,
    "error": REDUCTION,
    "dropout": {
        "none, as in the text": {},
        "0.5, as in the listing": {"dropout": 0.5, "dropped": (2,), "before": True},
        "0.5, left on in evaluation": {
            "dropout": 0.5, "dropped": (2,), "before": True, "evaluated": "with dropout",
        },
    },
}  # fmt: skip
_2: Open = {
    "batch size": BATCH,
    "error": REDUCTION,
    "dropout in evaluation": EVALUATED,
}
_2_PRINTED: Open = {
    "batch size": {size: BATCH[size] for size in ("10", "100")},
    "dropout in evaluation": EVALUATED,
    "formulas": {
        "right": {},
        "softmax's as printed": {"published": ("softmax diagonal",)},
        "all as printed": {"published": PRINTED},
    },
}


def _initial(first: str) -> dict[str, dict[str, Any]]:
    """Initial values, those of a row first."""
    return {first: a_table_1.INIT[first], **a_table_1.INIT}


def _cell(row: str) -> Cell:
    model, side, stated = ROWS[row]
    published = PUBLISHED["rows"][model][side]
    errors = {"test": round(100 * (1 - published["accuracy"]), 4), "std": 100 * published["std"]}
    first = "Xavier's normal" if side == "scratch" else "uniform, ±1/√inputs"
    return Cell(
        "B, Table I", row, errors, RUNS, stated,
        {"initial values": _initial(first), **(_1 if model == "model_1" else _2)},
        _2_PRINTED if row == "Model 2 (mine)" else {},
    )  # fmt: skip


CELLS = [_cell(row) for row in ROWS]

LISTING = replace(MODEL_1, dropout=0.5, dropped=(2,), before=True)
