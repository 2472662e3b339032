"""The rows of normalization. Where eps stands, small inputs show, and a lost mean, large ones."""

from __future__ import annotations

from torch import nn

from parity.catalogue.entry import Entry, Options, Variants

RANGES = {"tiny": (1e-3, 0.0), "small": (1e-2, 0.0), "shifted": (1.0, 3.0), "far": (1.0, 100.0)}


def _with(first: Options, variants: Variants) -> Variants:
    return {name: first | options for name, options in variants.items()}


_BATCH: Variants = {
    "": {},
    "eps=0.1": {"eps": 0.1},
    "momentum=0.3": {"momentum": 0.3},
    "no_affine": {"affine": False},
}
_BATCH_1D = _with({"num_features": 5}, _BATCH | {"length": {}})
_BATCH_2D = _with({"num_features": 3}, _BATCH)
_LAYER = _with(
    {"normalized_shape": 5},
    {
        "": {},
        "eps=0.1": {"eps": 0.1},
        "no_affine": {"elementwise_affine": False},
        "no_bias": {"bias": False},
        "three_axes": {},
        "two_normalized": {"normalized_shape": (3, 5)},
    },
)
#: Torch's own eps is that of the dtype, of which there are several here.
_RMS = _with(
    {"normalized_shape": 5, "eps": 1e-5},
    {
        "": {},
        "eps=0.1": {"eps": 0.1},
        "no_affine": {"elementwise_affine": False},
        "three_axes": {},
    },
)
_GROUP = _with(
    {"num_groups": 2, "num_channels": 6},
    {
        "": {},
        "groups=1": {"num_groups": 1},
        "groups=6": {"num_groups": 6},
        "eps=0.1": {"eps": 0.1},
        "no_affine": {"affine": False},
        "length": {},
        "features": {},
    },
)
_INSTANCE = _with(
    {"num_features": 3},
    {"": {}, "affine": {"affine": True}, "eps=0.1": {"eps": 0.1}},
)
_OF_GROUPS = {"length": (5, 6, 4), "features": (5, 6)}
_THREE = {"three_axes": (7, 3, 5), "two_normalized": (7, 3, 5), "length": (7, 5, 3)}


def _norm(cls: type, variants: Variants, shape: tuple[int, ...], first: str, mixes: bool) -> Entry:
    shapes = {name: _THREE.get(name, shape) for name in variants}
    mixing = tuple(variants) if mixes else ()
    optional = tuple(name for name in variants if name in _THREE)
    return Entry(
        cls, "layer", variants, shapes, positional=(first,), mixes=mixing, ranges=RANGES,
        images=cls is nn.BatchNorm2d, optional=optional,
    )  # fmt: skip


ROWS: tuple[Entry, ...] = (
    _norm(nn.BatchNorm1d, _BATCH_1D, (7, 5), "num_features", mixes=True),
    _norm(nn.BatchNorm2d, _BATCH_2D, (5, 3, 7, 6), "num_features", mixes=True),
    _norm(nn.LayerNorm, _LAYER, (7, 5), "normalized_shape", mixes=False),
    _norm(nn.RMSNorm, _RMS, (7, 5), "normalized_shape", mixes=False),
    Entry(
        nn.GroupNorm,
        "layer",
        _GROUP,
        {name: _OF_GROUPS.get(name, (5, 6, 4, 3)) for name in _GROUP},
        positional=("num_groups", "num_channels"),
        ranges=RANGES,
        images=True,
        optional=tuple(_OF_GROUPS),
    ),
    Entry(
        nn.InstanceNorm2d,
        "layer",
        _INSTANCE,
        (5, 3, 4, 2),
        positional=("num_features",),
        ranges=RANGES,
        images=True,
        optional=("affine",),
    ),
)
