"""The rows of pooling, and of Flatten, which follows it."""

from __future__ import annotations

from torch import nn

from parity.catalogue.entry import Entry, Variants

_MAX_POOL: Variants = {
    "": {"kernel_size": 2},
    "overlap": {"kernel_size": 3, "stride": 1},
    "stride=2,padding=1": {"kernel_size": 3, "stride": 2, "padding": 1},
    "kernel=(3,2)": {"kernel_size": (3, 2), "stride": (2, 1)},
    "dilation=2": {"kernel_size": 2, "stride": 2, "dilation": 2},
    "ceil_mode": {"kernel_size": 2, "ceil_mode": True},
}

ROWS: tuple[Entry, ...] = (
    Entry(
        nn.MaxPool2d,
        "layer",
        _MAX_POOL,
        (5, 3, 7, 6),
        domain="apart",
        positional=("kernel_size",),
        images=True,
        optional=("kernel=(3,2)",),
    ),
    Entry(nn.Flatten, "layer", shape=(5, 3, 4, 2)),
)
