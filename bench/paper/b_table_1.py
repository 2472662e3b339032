"""Report B, Table I: two models, hand-written and torch's, 10 runs of 30 epochs."""

from __future__ import annotations

from dataclasses import replace

from bench.paper import a_table_1
from bench.paper.cells import Cell, Open
from bench.paper.protocol import Protocol

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
    loss="bce", reduction="mean", optimizer="adam", rate=1e-3,
    batch_size=10, epochs=30,
    dropout=0.5, dropped=(2, 3), before=True, evaluated="without dropout",
)  # fmt: skip
RUNS = 10

#: Mean and standard deviation of the accuracy, as printed; the third row is called 'Model 1
#: (mine)' a second time there.
PUBLISHED = {
    "Model 1 (mine)": (0.925, 0.036),
    "Model 1 (torch)": (0.927, 0.067),
    "Model 2 (mine)": (0.952, 0.028),
    "Model 2 (torch)": (0.949, 0.015),
}

#: All that the report prints of Model 2, at once.
PRINTED = (
    "dropout unscaled", "relu at 0", "selu of 1, 1", "softmax diagonal", "cross-entropy printed",
    "adam lagging",
)  # fmt: skip

INIT = {
    "Xavier's normal": a_table_1.INIT["Xavier's normal"],
    "Xavier's normal, biases 0": a_table_1.INIT["Xavier's normal, biases 0"],
    "uniform, ±1/√inputs": a_table_1.INIT["uniform, ±1/√inputs"],
}
BATCH = {str(size): {"batch_size": size} for size in (10, 1, 100)}
REDUCTION = {"sum": {"reduction": "sum"}, "mean": {"reduction": "mean"}}
EVALUATED = {
    "left out": {"evaluated": "without dropout"},
    "left on": {"evaluated": "with dropout"},
}
_1: Open = {
    "initial values": INIT,
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
    "initial values": INIT,
    "batch size": BATCH,
    "error": dict(reversed(REDUCTION.items())),
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


def _cell(row: str) -> Cell:
    mean, std = PUBLISHED[row]
    published = {"test": round(100 * (1 - mean), 4), "std": 100 * std}
    first = "Model 1" in row
    return Cell(
        "B, Table I", row, published, RUNS, MODEL_1 if first else MODEL_2, _1 if first else _2,
        _2_PRINTED if row == "Model 2 (mine)" else {},
    )  # fmt: skip


CELLS = [_cell(row) for row in PUBLISHED]

#: What the report says of the seconds: its framework's over torch's.
SECONDS = {"model_1": (23.98, 18.32), "model_2": (37.11, 29.86)}
LISTING = replace(MODEL_1, dropout=0.5, dropped=(2,), before=True)
