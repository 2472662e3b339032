"""The row of Dropout."""

from __future__ import annotations

from torch import nn

from parity.catalogue.entry import Entry

ROWS: tuple[Entry, ...] = (
    Entry(
        nn.Dropout,
        "layer",
        {"p=0.5": {"p": 0.5}, "p=0.2": {"p": 0.2}, "p=0": {"p": 0.0}, "p=1": {"p": 1.0}},
        positional=("p",),
    ),
)
