"""The row of Conv2d. No two numbers of a shape are alike where that can be."""

from __future__ import annotations

from torch import nn

from parity.catalogue.entry import Entry, Variants

_CONV: Variants = {
    "": {"kernel_size": 3},
    "padding=1": {"kernel_size": 3, "padding": 1},
    "stride=2": {"kernel_size": 3, "stride": 2},
    "stride=3,padding=2": {"kernel_size": 2, "stride": 3, "padding": 2},
    "dilation=2": {"kernel_size": 3, "dilation": 2, "padding": 1},
    "kernel=1": {"kernel_size": 1},
    "kernel=(3,2)": {"kernel_size": (3, 2), "stride": (1, 2), "padding": (2, 1)},
    "groups=2": {"kernel_size": 3, "in_channels": 4, "out_channels": 6, "groups": 2},
    "depthwise": {"kernel_size": 3, "out_channels": 3, "groups": 3, "padding": 1},
    "same_channels": {"kernel_size": 3, "out_channels": 3},
    "one_output": {"kernel_size": 2, "out_channels": 1},
    "no_bias": {"kernel_size": 3, "bias": False},
    "small_input": {"kernel_size": 3, "padding": 1},
}

CONV2D: Variants = {
    name: {"in_channels": 3, "out_channels": 4} | options for name, options in _CONV.items()
}

#: The height leaves a remainder at stride 3, and the width at stride 2.
SHAPES = dict.fromkeys(CONV2D, (5, 3, 7, 6)) | {
    "small_input": (5, 3, 2, 1), "groups=2": (5, 4, 7, 6),
}  # fmt: skip

ROWS: tuple[Entry, ...] = (
    Entry(
        nn.Conv2d,
        "layer",
        CONV2D,
        SHAPES,
        positional=("in_channels", "out_channels", "kernel_size"),
        images=True,
        optional=("kernel=(3,2)",),
    ),
)
