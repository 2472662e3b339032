"""The row of Linear."""

from __future__ import annotations

from torch import nn

from parity.catalogue.entry import Entry, Variants

LINEAR: Variants = {
    "": {"in_features": 5, "out_features": 3},
    "square": {"in_features": 5, "out_features": 5},
    "no_bias": {"in_features": 5, "out_features": 3, "bias": False},
    "one_output": {"in_features": 5, "out_features": 1},
}

ROWS: tuple[Entry, ...] = (
    Entry(nn.Linear, "layer", LINEAR, positional=("in_features", "out_features")),
)
