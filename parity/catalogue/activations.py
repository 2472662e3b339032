"""The rows of activations."""

from __future__ import annotations

from functools import partial

from torch import nn

from parity.catalogue.entry import Entry, Variants

_DIMS: Variants = {"": {"dim": -1}, "dim=0": {"dim": 0}, "dim=1": {"dim": 1}, "dim=-2": {"dim": -2}}

_softmax = partial(Entry, kind="layer", variants=_DIMS, mixes=("dim=0", "dim=-2"))

ROWS: tuple[Entry, ...] = (
    Entry(nn.ReLU, "layer"),
    Entry(nn.LeakyReLU, "layer", {"": {}, "slope=0.3": {"negative_slope": 0.3}}),
    Entry(nn.ELU, "layer", {"": {}, "alpha=0.01": {"alpha": 0.01}, "alpha=2": {"alpha": 2.0}}),
    Entry(nn.SELU, "layer"),
    Entry(
        nn.PReLU,
        "layer",
        {
            "": {},
            "init=0.1": {"init": 0.1},
            "channels": {"num_parameters": 5},
            "images": {"num_parameters": 3},
        },
        {"": (7, 5), "init=0.1": (7, 5), "channels": (7, 5), "images": (5, 3, 7, 3)},
        images=True,
        optional=("channels", "images"),
    ),
    Entry(nn.GELU, "layer", {"": {}, "tanh": {"approximate": "tanh"}}),
    Entry(nn.SiLU, "layer"),
    Entry(
        nn.Softplus, "layer", {"": {}, "beta=3": {"beta": 3.0}, "threshold=1": {"threshold": 1.0}}
    ),
    Entry(nn.Mish, "layer"),
    Entry(nn.Softsign, "layer"),
    Entry(nn.Hardtanh, "layer", {"": {}, "limits": {"min_val": -0.5, "max_val": 1.5}}),
    Entry(nn.ReLU6, "layer"),
    Entry(nn.Sigmoid, "layer"),
    Entry(nn.Tanh, "layer"),
    Entry(
        nn.GLU,
        "layer",
        {"": {"dim": -1}, "dim=1": {"dim": 1}},
        {"": (7, 6), "dim=1": (7, 4, 3)},
        optional=("dim=1",),
    ),
    _softmax(nn.Softmax),
    _softmax(nn.LogSoftmax),
)
