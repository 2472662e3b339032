"""The rows of pooling, of its opposite, Upsample, and of Flatten, which follows it."""

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
    "ceil_mode,padding=1": {"kernel_size": 2, "padding": 1, "ceil_mode": True},
}

_AVG_POOL: Variants = {
    "": {"kernel_size": 2},
    "overlap": {"kernel_size": 3, "stride": 1},
    "stride=2,padding=1": {"kernel_size": 3, "stride": 2, "padding": 1},
    "padding_left_out": {
        "kernel_size": 3, "stride": 2, "padding": 1, "count_include_pad": False,
    },
    "kernel=(3,2)": {"kernel_size": (3, 2), "stride": (2, 1)},
    "ceil_mode": {"kernel_size": 2, "ceil_mode": True},
    "ceil_mode,padding=1": {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True},
    "divisor=3": {"kernel_size": 2, "divisor_override": 3},
}  # fmt: skip

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
    Entry(
        nn.AvgPool2d,
        "layer",
        _AVG_POOL,
        (5, 3, 7, 6),
        positional=("kernel_size",),
        images=True,
        optional=("kernel=(3,2)",),
    ),
    Entry(
        nn.AdaptiveAvgPool2d,
        "layer",
        {"": {"output_size": 1}},
        (5, 3, 7, 6),
        positional=("output_size",),
        images=True,
    ),
    Entry(
        nn.Upsample,
        "layer",
        {
            "": {"scale_factor": 2},
            "scale=3": {"scale_factor": 3},
            "scale=(2,3)": {"scale_factor": (2, 3)},
        },
        (5, 3, 7, 6),
        positional=("scale_factor",),
        images=True,
        optional=("scale=(2,3)",),
    ),
    Entry(nn.Flatten, "layer", shape=(5, 3, 4, 2)),
)
