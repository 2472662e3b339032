"""The rows of convolutions and padding. No two numbers of a shape are alike where that can be."""

from __future__ import annotations

from torch import nn

from parity.catalogue.entry import Entry, Variants

_CONV: Variants = {
    "": {"kernel_size": 3},
    "padding=1": {"kernel_size": 3, "padding": 1},
    "stride=2": {"kernel_size": 3, "stride": 2},
    "stride=3,padding=2": {"kernel_size": 2, "stride": 3, "padding": 2},
    "dilation=2": {"kernel_size": 3, "dilation": 2, "padding": 1},
    "stride=2,dilation=2": {"kernel_size": 2, "stride": 2, "dilation": 2, "padding": 1},
    "dilation=(2,1)": {"kernel_size": 2, "dilation": (2, 1)},
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

_SEQUENCE: Variants = {
    "": {"kernel_size": 3},
    "padding=1": {"kernel_size": 3, "padding": 1},
    "stride=2": {"kernel_size": 4, "stride": 2},
    "stride=3,padding=2": {"kernel_size": 2, "stride": 3, "padding": 2},
    "dilation=2": {"kernel_size": 3, "dilation": 2, "padding": 1},
    "stride=2,dilation=2": {"kernel_size": 3, "stride": 2, "dilation": 2, "padding": 1},
    "kernel=1": {"kernel_size": 1},
    "groups=2": {"kernel_size": 3, "in_channels": 4, "out_channels": 6, "groups": 2},
    "depthwise": {"kernel_size": 3, "out_channels": 3, "groups": 3, "padding": 1},
    "same_channels": {"kernel_size": 3, "out_channels": 3},
    "one_output": {"kernel_size": 2, "out_channels": 1},
    "no_bias": {"kernel_size": 3, "bias": False},
    "small_input": {"kernel_size": 3, "padding": 1},
}

CONV1D: Variants = {
    name: {"in_channels": 3, "out_channels": 4} | options for name, options in _SEQUENCE.items()
}

#: Strides 2 and 3 leave a remainder.
LENGTHS = dict.fromkeys(CONV1D, (7, 3, 11)) | {"small_input": (7, 3, 2), "groups=2": (7, 4, 11)}

_TRANSPOSED: Variants = {
    "": {"kernel_size": 3},
    "stride=2": {"kernel_size": 3, "stride": 2},
    "stride=2,padding=1": {"kernel_size": 3, "stride": 2, "padding": 1},
    "output_padding=1": {"kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1},
    "dilation=2": {"kernel_size": 3, "dilation": 2, "padding": 1},
    "kernel=2,stride=2": {"kernel_size": 2, "stride": 2},
    "kernel=2,stride=3": {"kernel_size": 2, "stride": 3},
    "kernel=(3,2)": {"kernel_size": (3, 2), "stride": (1, 2), "padding": (2, 1)},
    "groups=2": {"kernel_size": 3, "in_channels": 4, "out_channels": 6, "groups": 2},
    "same_channels": {"kernel_size": 3, "out_channels": 3},
    "one_output": {"kernel_size": 2, "out_channels": 1},
    "no_bias": {"kernel_size": 3, "bias": False},
}

CONV_TRANSPOSE2D: Variants = {
    name: {"in_channels": 3, "out_channels": 4} | options for name, options in _TRANSPOSED.items()
}

_CHANNELS = ("in_channels", "out_channels", "kernel_size")

ROWS: tuple[Entry, ...] = (
    Entry(
        nn.Conv2d,
        "layer",
        CONV2D,
        SHAPES,
        positional=_CHANNELS,
        images=True,
        optional=("kernel=(3,2)", "dilation=(2,1)"),
    ),
    Entry(nn.Conv1d, "layer", CONV1D, LENGTHS, positional=_CHANNELS, images=True),
    Entry(
        nn.ConvTranspose2d,
        "layer",
        CONV_TRANSPOSE2D,
        dict.fromkeys(CONV_TRANSPOSE2D, (5, 3, 7, 6)) | {"groups=2": (5, 4, 7, 6)},
        positional=_CHANNELS,
        images=True,
        optional=("kernel=(3,2)",),
    ),
    Entry(
        nn.ZeroPad2d,
        "layer",
        {"": {"padding": 1}, "padding=2": {"padding": 2}, "sides": {"padding": (1, 2, 0, 3)}},
        (5, 3, 4, 2),
        positional=("padding",),
        images=True,
        optional=("sides",),
    ),
)
