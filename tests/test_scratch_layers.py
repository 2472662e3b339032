"""Layers for images and sequences beside torch's: values, gradients, statistics, edges, errors."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import scratch
from scratch import runs
from scratch.engines import Unsupported

DTYPES = [torch.float64, torch.float32]
IMAGES = (3, 4, 7, 9)
SEQUENCES = (3, 4, 11)

#: For each class: the constructor's arguments, by name, and the shape of x.
ROWS: dict[str, list[tuple[str, dict[str, Any], tuple[int, ...]]]] = {
    "Conv2d": [
        ("plain", {"out_channels": 5, "kernel_size": 3}, IMAGES),
        ("kernel 3x2", {"out_channels": 5, "kernel_size": (3, 2)}, IMAGES),
        ("kernel 1", {"out_channels": 5, "kernel_size": 1}, IMAGES),
        ("padding", {"out_channels": 3, "kernel_size": 3, "padding": 1}, IMAGES),
        ("padding 2x0", {"out_channels": 3, "kernel_size": 3, "padding": (2, 0)}, IMAGES),
        ("stride with a remainder", {"out_channels": 5, "kernel_size": 2, "stride": 3}, IMAGES),
        ("dilation", {"out_channels": 5, "kernel_size": 3, "dilation": 2, "padding": 1}, IMAGES),
        ("groups", {"out_channels": 6, "kernel_size": 3, "groups": 2}, IMAGES),
        ("depthwise", {"out_channels": 8, "kernel_size": 3, "groups": 4, "stride": 2}, IMAGES),
        ("no bias", {"out_channels": 5, "kernel_size": 3, "bias": False}, IMAGES),
        ("all", {"out_channels": 6, "kernel_size": (2, 3), "stride": (2, 1), "padding": (0, 2),
                 "dilation": (1, 3), "groups": 2, "bias": False}, IMAGES),
        ("one sample", {"out_channels": 5, "kernel_size": 3}, (1, 4, 7, 9)),
        ("no samples", {"out_channels": 5, "kernel_size": 3, "padding": 1}, (0, 4, 7, 9)),
    ],
    "MaxPool2d": [
        ("plain", {"kernel_size": 2}, IMAGES),
        ("kernel 3x2", {"kernel_size": (3, 2)}, IMAGES),
        ("overlap", {"kernel_size": 3, "stride": 1}, IMAGES),
        ("padding", {"kernel_size": 3, "stride": 2, "padding": 1}, IMAGES),
        ("padding 0x1", {"kernel_size": 2, "padding": (0, 1)}, IMAGES),
        ("dilation", {"kernel_size": 2, "stride": 1, "dilation": (2, 3), "padding": (1, 0)},
         IMAGES),
        ("gaps", {"kernel_size": 1, "stride": 2}, IMAGES),
        ("ceil", {"kernel_size": 2, "ceil_mode": True}, IMAGES),
        ("ceil drops", {"kernel_size": 2, "stride": 3, "padding": 1, "ceil_mode": True}, IMAGES),
        ("ceil padded", {"kernel_size": 3, "stride": 3, "padding": 1, "ceil_mode": True}, IMAGES),
        ("ceil of a small image", {"kernel_size": 4, "stride": 3, "ceil_mode": True}, (2, 2, 2, 3)),
        ("no samples", {"kernel_size": 2}, (0, 4, 7, 9)),
    ],
    "BatchNorm1d": [
        ("plain", {}, (6, 5)),
        ("sequences", {}, (4, 5, 3)),
        ("one sequence", {}, (1, 5, 3)),
        ("cumulative", {"momentum": None}, (6, 5)),
        ("momentum", {"momentum": 0.7, "eps": 0.1}, (6, 5)),
        ("not affine", {"affine": False}, (6, 5)),
        ("untracked", {"track_running_stats": False}, (6, 5)),
        ("neither", {"affine": False, "track_running_stats": False}, (4, 5, 3)),
        ("no samples", {}, (0, 5)),
    ],
    "BatchNorm2d": [
        ("plain", {}, IMAGES),
        ("cumulative", {"momentum": None}, IMAGES),
        ("not affine", {"affine": False}, IMAGES),
        ("untracked", {"track_running_stats": False}, IMAGES),
    ],
    "LayerNorm": [
        ("plain", {"normalized_shape": 5}, (6, 5)),
        ("two axes", {"normalized_shape": [3, 5]}, (4, 2, 3, 5)),
        ("whole", {"normalized_shape": (4, 5)}, (4, 5)),
        ("eps", {"normalized_shape": 5, "eps": 0.1}, (2, 3, 5)),
        ("no bias", {"normalized_shape": 5, "bias": False}, (6, 5)),
        ("not affine", {"normalized_shape": 5, "elementwise_affine": False}, (6, 5)),
        ("no samples", {"normalized_shape": 5}, (0, 5)),
    ],
    "RMSNorm": [
        ("plain", {"normalized_shape": 5}, (6, 5)),
        ("two axes", {"normalized_shape": [3, 5]}, (4, 2, 3, 5)),
        ("eps", {"normalized_shape": 5, "eps": 0.1}, (2, 3, 5)),
        ("not affine", {"normalized_shape": 5, "elementwise_affine": False}, (6, 5)),
        ("no samples", {"normalized_shape": 5}, (0, 5)),
    ],
    "Embedding": [
        ("plain", {"num_embeddings": 7, "embedding_dim": 3}, (5,)),
        ("sequences", {"num_embeddings": 7, "embedding_dim": 3}, (4, 6)),
        ("padding", {"num_embeddings": 3, "embedding_dim": 2, "padding_idx": 1}, (4, 6)),
        ("padding from the end", {"num_embeddings": 3, "embedding_dim": 2, "padding_idx": -1},
         (4, 6)),
        ("one index", {"num_embeddings": 7, "embedding_dim": 3}, ()),
        ("no indices", {"num_embeddings": 7, "embedding_dim": 3}, (0, 6)),
    ],
    "Flatten": [
        ("plain", {}, IMAGES),
        ("some", {"start_dim": 1, "end_dim": 2}, IMAGES),
        ("from the end", {"start_dim": -3, "end_dim": -2}, IMAGES),
        ("no samples", {}, (0, 4, 7, 9)),
    ],
    "Conv1d": [
        ("plain", {"out_channels": 5, "kernel_size": 3}, SEQUENCES),
        ("kernel 1", {"out_channels": 5, "kernel_size": 1}, SEQUENCES),
        ("kernel of the length", {"out_channels": 5, "kernel_size": 11}, SEQUENCES),
        ("padding", {"out_channels": 3, "kernel_size": 3, "padding": 2}, SEQUENCES),
        ("stride with a remainder", {"out_channels": 5, "kernel_size": 3, "stride": 3}, SEQUENCES),
        ("gaps", {"out_channels": 5, "kernel_size": 2, "stride": 4}, SEQUENCES),
        ("dilation", {"out_channels": 5, "kernel_size": 3, "dilation": 3, "padding": 1}, SEQUENCES),
        ("groups", {"out_channels": 6, "kernel_size": 3, "groups": 2}, SEQUENCES),
        ("depthwise", {"out_channels": 8, "kernel_size": 3, "groups": 4, "stride": 2}, SEQUENCES),
        ("no bias", {"out_channels": 5, "kernel_size": 3, "bias": False}, SEQUENCES),
        ("all", {"out_channels": 6, "kernel_size": (3,), "stride": (2,), "padding": (3,),
                 "dilation": (2,), "groups": 2, "bias": False}, SEQUENCES),
        ("padding alone beside", {"out_channels": 5, "kernel_size": 3, "padding": 3}, (2, 4, 1)),
        ("one sample", {"out_channels": 5, "kernel_size": 3}, (1, 4, 11)),
        ("no samples", {"out_channels": 5, "kernel_size": 3, "padding": 1}, (0, 4, 11)),
    ],
    "ConvTranspose2d": [
        ("plain", {"out_channels": 5, "kernel_size": 3}, IMAGES),
        ("kernel 3x2", {"out_channels": 5, "kernel_size": (3, 2)}, IMAGES),
        ("kernel 1", {"out_channels": 5, "kernel_size": 1}, IMAGES),
        ("padding", {"out_channels": 3, "kernel_size": 3, "padding": 1}, IMAGES),
        ("padding 2x0", {"out_channels": 3, "kernel_size": 3, "padding": (2, 0)}, IMAGES),
        ("stride", {"out_channels": 3, "kernel_size": 3, "stride": 2}, IMAGES),
        ("gaps", {"out_channels": 3, "kernel_size": 2, "stride": 3}, IMAGES),
        ("output padding", {"out_channels": 3, "kernel_size": 3, "stride": 2, "padding": 1,
                            "output_padding": 1}, IMAGES),
        ("output padding 2x0", {"out_channels": 3, "kernel_size": 2, "stride": (3, 1),
                                "output_padding": (2, 0)}, IMAGES),
        ("output padding by dilation", {"out_channels": 3, "kernel_size": 2, "dilation": 3,
                                        "output_padding": (1, 2)}, IMAGES),
        ("dilation", {"out_channels": 3, "kernel_size": 3, "dilation": 2, "padding": 1}, IMAGES),
        ("groups", {"out_channels": 6, "kernel_size": 3, "groups": 2}, IMAGES),
        ("depthwise", {"out_channels": 8, "kernel_size": 3, "groups": 4, "stride": 2}, IMAGES),
        ("no bias", {"out_channels": 5, "kernel_size": 3, "bias": False}, IMAGES),
        ("all", {"out_channels": 6, "kernel_size": (2, 3), "stride": (3, 1), "padding": (1, 2),
                 "output_padding": (2, 1), "dilation": (1, 2), "groups": 2, "bias": False}, IMAGES),
        ("one pixel is left", {"out_channels": 3, "kernel_size": 3, "padding": 1}, (2, 4, 1, 1)),
        ("one sample", {"out_channels": 5, "kernel_size": 3}, (1, 4, 7, 9)),
        ("no samples", {"out_channels": 5, "kernel_size": 3, "stride": 2}, (0, 4, 7, 9)),
    ],
    "AvgPool2d": [
        ("plain", {"kernel_size": 2}, IMAGES),
        ("kernel 3x2", {"kernel_size": (3, 2)}, IMAGES),
        ("kernel 1", {"kernel_size": 1}, IMAGES),
        ("overlap", {"kernel_size": 3, "stride": 1}, IMAGES),
        ("gaps", {"kernel_size": 2, "stride": (3, 4)}, IMAGES),
        ("padding", {"kernel_size": 3, "stride": 2, "padding": 1}, IMAGES),
        ("padding 0x1", {"kernel_size": 2, "padding": (0, 1)}, IMAGES),
        ("padding left out", {"kernel_size": 3, "stride": 2, "padding": 1,
                              "count_include_pad": False}, IMAGES),
        ("ceil", {"kernel_size": 2, "ceil_mode": True}, IMAGES),
        ("ceil drops", {"kernel_size": 2, "stride": 3, "padding": 1, "ceil_mode": True}, IMAGES),
        ("ceil padded", {"kernel_size": 4, "stride": 3, "padding": 1, "ceil_mode": True}, IMAGES),
        ("ceil padded, left out", {"kernel_size": 4, "stride": 3, "padding": (1, 2),
                                   "ceil_mode": True, "count_include_pad": False}, IMAGES),
        ("ceil of a small image", {"kernel_size": 4, "stride": 3, "ceil_mode": True}, (2, 2, 2, 3)),
        ("divisor", {"kernel_size": 3, "divisor_override": 5}, IMAGES),
        ("divisor padded", {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True,
                            "count_include_pad": False, "divisor_override": 2}, IMAGES),
        ("no samples", {"kernel_size": 2}, (0, 4, 7, 9)),
    ],
    "Upsample": [
        ("plain", {"scale_factor": 2}, IMAGES),
        ("factors 2x3", {"scale_factor": (2, 3)}, IMAGES),
        ("factors 3x1", {"scale_factor": (3, 1)}, IMAGES),
        ("factor 1", {"scale_factor": 1}, IMAGES),
        ("one pixel", {"scale_factor": 3}, (2, 4, 1, 1)),
        ("one row", {"scale_factor": (2, 1)}, (2, 4, 1, 9)),
        ("no samples", {"scale_factor": 2}, (0, 4, 7, 9)),
    ],
    "GroupNorm": [
        ("plain", {"num_groups": 2}, IMAGES),
        ("one group", {"num_groups": 1}, IMAGES),
        ("each channel", {"num_groups": 4}, IMAGES),
        ("features", {"num_groups": 2}, (5, 6)),
        ("sequences", {"num_groups": 2}, SEQUENCES),
        ("volumes", {"num_groups": 2}, (2, 4, 3, 2, 3)),
        ("eps", {"num_groups": 2, "eps": 0.1}, IMAGES),
        ("not affine", {"num_groups": 2, "affine": False}, IMAGES),
        ("one sample", {"num_groups": 2}, (1, 4, 7, 9)),
        ("no samples", {"num_groups": 2}, (0, 4, 7, 9)),
        ("no features' samples", {"num_groups": 2}, (0, 6)),
    ],
    "PReLU": [
        ("plain", {}, (6, 5)),
        ("init", {"init": -0.5}, (6, 5)),
        ("number", {}, ()),
        ("row", {}, (5,)),
        ("images", {}, IMAGES),
        ("channels", {"num_parameters": 5}, (6, 5)),
        ("channels of sequences", {"num_parameters": 4}, SEQUENCES),
        ("channels of images", {"num_parameters": 4, "init": 0.1}, IMAGES),
        ("channels of volumes", {"num_parameters": 4}, (2, 4, 3, 2, 3)),
        ("no samples", {"num_parameters": 4}, (0, 4, 7, 9)),
    ],
}  # fmt: skip


class Case:
    """One row: makes the layer on both sides, and inputs."""

    def __init__(self, name: str, says: str, options: dict[str, Any], shape: Any) -> None:
        self.name, self.says, self.options, self.shape = name, says, options, shape
        if name.startswith("Conv"):
            self.options = {"in_channels": shape[1], **options}
        if name == "GroupNorm":
            self.options = {"num_channels": shape[1], **options}
        if name.startswith("BatchNorm"):
            self.options = {"num_features": shape[1], **options}

    def __str__(self) -> str:
        return f"{self.name}-{self.says.replace(' ', '_')}"

    def both(self, dtype: torch.dtype) -> tuple[Any, Any]:
        """scratch's and torch's, with the same parameters, none of which is 0 or 1."""
        torch.manual_seed(0)
        theirs = getattr(nn, self.name)(**self.options).to(dtype)
        with torch.no_grad():
            for parameter in theirs.parameters():
                parameter.add_(torch.rand_like(parameter))
        ours = getattr(scratch, self.name)(**self.options).to(dtype)
        ours.load_state_dict(theirs.state_dict())
        return ours, theirs

    def x(self, dtype: torch.dtype, seed: int = 0) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        if self.name == "Embedding":
            return torch.randint(self.options["num_embeddings"], self.shape, generator=generator)
        return torch.randn(self.shape, generator=generator, dtype=dtype) * 2 + seed


CASES = [Case(name, *row) for name, rows in ROWS.items() for row in rows]
FIRST = [next(case for case in CASES if case.name == name) for name in ROWS]  # one of each class


def passed(layer: Any, x: Tensor) -> dict[str, Tensor]:
    """One forward and backward, of scratch's layer or of torch's."""
    if isinstance(layer, nn.Module):
        x = x.clone().requires_grad_(x.is_floating_point())
        y = layer(x)
        y.backward(upstream(y))
        dx = torch.zeros(x.shape, dtype=y.dtype) if x.grad is None else x.grad
        pairs: dict[str, Any] = {name: (p, p.grad) for name, p in layer.named_parameters()}
    else:
        y = layer(x)
        dx = layer.backward(upstream(y))
        pairs = layer.named_param()
    gradients = {f"d{name}": gradient.clone() for name, (_, gradient) in pairs.items()}
    return {"y": y.detach(), "dx": dx} | gradients | layer.state_dict()


def upstream(y: Tensor) -> Tensor:
    """The same values in every dtype."""
    values = torch.randn(y.shape, generator=torch.Generator().manual_seed(9))
    return values.bfloat16().to(y.dtype)


def close(got: dict[str, Tensor], due: dict[str, Tensor], terms: int) -> None:
    """Demands equality up to the rounding of sums of so many terms, for each name."""
    assert got.keys() == due.keys()
    for name, value in due.items():
        assert got[name].shape == value.shape, name
        assert got[name].dtype == value.dtype, name
        eps = torch.finfo(value.dtype).eps if value.is_floating_point() else 0
        largest = float(value.abs().max()) if value.numel() else 0
        torch.testing.assert_close(
            got[name], value, rtol=0, atol=max(terms, 16) * eps * max(1, largest),
            msg=f"{name} is {got[name]}, not {value}",
        )  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_passes_are_torchs(case: Case, dtype: torch.dtype) -> None:
    """Three batches whose gradients and statistics add up, two in evaluation, and one more."""
    ours, theirs = case.both(dtype)
    for seed, training in enumerate((True, True, True, False, False, True)):
        ours.train(training)
        theirs.train(training)
        x = case.x(dtype, seed)
        close(passed(ours, x), passed(theirs, x), 4 * x.numel())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_backward_param_leaves_the_gradients_of_backward(case: Case) -> None:
    ours, _ = case.both(torch.float64)
    due = passed(ours, case.x(torch.float64))
    ours.zero_grad()
    ours.backward_param(upstream(ours(case.x(torch.float64))))
    pairs = ours.named_param()
    assert all(gradient.equal(due[f"d{name}"]) for name, (_, gradient) in pairs.items())


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_x_dy_and_results_are_apart(case: Case, training: bool) -> None:
    """Neither x nor dy is modified; writing into them and the results changes no later pass."""
    ours, _ = case.both(torch.float64)
    ours.train(training)
    x = case.x(torch.float64)
    x_before, state = x.clone(), ours.state_dict()
    y = ours(x)
    if case.name != "Flatten" and y.numel():
        assert y.untyped_storage().data_ptr() != x.untyped_storage().data_ptr()
    dy = upstream(y)
    dx = ours.backward(dy)
    assert x.equal(x_before)
    assert dy.equal(upstream(y))
    first = {"y": y.clone(), "dx": dx.clone()}
    for tensor in (x, dy, y, dx):
        tensor.fill_(0)
    ours.load_state_dict(state)
    again = passed(ours, x_before)
    assert all(again[name].equal(value) for name, value in first.items())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_how_x_and_dy_lie_in_memory_changes_nothing(case: Case) -> None:
    ours, _ = case.both(torch.float64)
    x, state = case.x(torch.float64), ours.state_dict()
    y = ours(x)
    due = {"y": y, "dx": ours.backward(upstream(y))}
    ours.load_state_dict(state)
    dy = upstream(y)
    got = {"y": ours(torch.stack([x, x], -1)[..., 0])}
    got["dx"] = ours.backward(dy.mT.contiguous().mT if dy.dim() > 1 else dy)
    close(got, due, x.numel())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_states_copies_and_moves(case: Case) -> None:
    """`state_dict` crosses both ways with torch's keys; deepcopy and `to` keep what is in it."""
    ours, theirs = case.both(torch.float32)
    passed(ours, case.x(torch.float32))
    theirs.load_state_dict(ours.state_dict())
    state = {name: value.clone() for name, value in theirs.state_dict().items()}
    assert list(ours.state_dict()) == list(state)
    assert [p.shape for p, _ in ours.param()] == [p.shape for p in theirs.parameters()]
    twin = copy.deepcopy(ours)
    wide = copy.deepcopy(ours).to(torch.float64)
    for layer in (ours, twin, wide):
        assert all(value.equal(state[name].to(value)) for name, value in layer.state_dict().items())
    theirs.double()
    assert [v.dtype for v in wide.state_dict().values()] == [
        v.dtype for v in theirs.state_dict().values()
    ]
    for layer in (wide, theirs):
        layer.zero_grad()
    close(passed(wide, case.x(torch.float64)), passed(theirs, case.x(torch.float64)), 200)
    passed(twin, case.x(torch.float32, seed=1))
    assert all(value.equal(state[name]) for name, value in ours.state_dict().items())


@pytest.mark.parametrize("case", FIRST, ids=str)
def test_repr_begins_as_torchs(case: Case) -> None:
    ours, theirs = case.both(torch.float32)
    assert repr(ours).split(",")[0] == repr(theirs).split(",")[0].replace("=2", "=(2").removesuffix(
        ".0"
    )


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("value", [0.0, -math.inf, math.nan])
def test_pooling_of_ties_infinities_and_nan(
    dtype: torch.dtype, ceil_mode: bool, padding: int, value: float
) -> None:
    """Of equal entries the first has the gradient; -inf still beats the padding; NaN wins."""
    options: Any = {"kernel_size": 3, "stride": 2, "padding": padding, "ceil_mode": ceil_mode}
    ours, theirs = scratch.MaxPool2d(**options), nn.MaxPool2d(**options)
    x = torch.randint(3, (2, 3, 6, 8), generator=torch.Generator().manual_seed(0)).to(dtype)
    x[0, 0] = value
    x[1, :, 2:4, 3:6] = value
    got, due = passed(ours, x), passed(theirs, x)
    for name in ("y", "dx"):
        torch.testing.assert_close(got[name], due[name], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(
    ("name", "args"), [("BatchNorm1d", (32,)), ("LayerNorm", (32,)), ("GroupNorm", (2, 32))]
)
def test_a_large_mean_leaves_the_variance_its_digits(name: str, args: Any) -> None:
    """mean(x^2) - mean(x)^2 would be 0, or negative, in float32 here."""
    x = torch.randn(64, 32, generator=torch.Generator().manual_seed(0)) + 1e4
    got = getattr(scratch, name)(*args)(x)
    due = getattr(nn, name)(*args).double()(x.double()).detach()
    assert float((got - due).abs().max()) < 4 * 1e4 * torch.finfo(torch.float32).eps


@pytest.mark.parametrize(
    ("name", "args"),
    [("BatchNorm1d", (8,)), ("LayerNorm", (8,)), ("RMSNorm", (8,)), ("GroupNorm", (2, 8))],
)
def test_half_precision_has_its_statistics_in_float32(name: str, args: Any) -> None:
    x = torch.randn(200, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    got = passed(getattr(scratch, name)(*args, eps=1e-5).to(torch.bfloat16), x)
    due = passed(getattr(scratch, name)(*args, eps=1e-5).to(torch.float64), x.double())
    eps = torch.finfo(torch.bfloat16).eps
    for key in ("y", "dx"):
        assert got[key].dtype == torch.bfloat16
        assert float((got[key] - due[key]).abs().max()) < eps * float(due[key].abs().max())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(
    ("name", "options", "shape"),
    [
        ("Conv1d", {"in_channels": 4, "out_channels": 3, "kernel_size": 5}, (8, 4, 64)),
        ("ConvTranspose2d", {"in_channels": 4, "out_channels": 3, "kernel_size": 3}, IMAGES),
        ("AvgPool2d", {"kernel_size": 3, "stride": 2, "padding": 1}, IMAGES),
        ("AvgPool2d", {"kernel_size": 17}, (2, 2, 34, 34)),
        ("Upsample", {"scale_factor": 16}, IMAGES),
        ("GroupNorm", {"num_groups": 2, "num_channels": 4}, IMAGES),
        ("PReLU", {}, (200, 8)),
        ("PReLU", {"num_parameters": 8}, (200, 8)),
    ],
)
def test_half_precision_is_near_float64(
    name: str, options: dict[str, Any], shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    """By a few roundings, as torch; at a positive mean, so that sums grow."""
    x = (torch.randn(shape, generator=torch.Generator().manual_seed(0)) + 1).to(dtype)
    narrow = getattr(scratch, name)(**options).to(dtype)
    wide = getattr(scratch, name)(**options).to(torch.float64)
    wide.load_state_dict(narrow.state_dict())
    got, due = passed(narrow, x), passed(wide, x.double())
    for key, value in due.items():
        assert got[key].dtype == dtype, key
        error = float((got[key] - value).abs().max())
        assert error <= 3 * torch.finfo(dtype).eps * float(value.abs().max()), key


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("value", [1.0, 10_000.0])
def test_the_mean_of_equal_entries_is_that_entry_in_half_precision(
    dtype: torch.dtype, value: float
) -> None:
    """Their sum is more than float16 holds, or than bfloat16 can add a 1 to."""
    x = torch.full((1, 1, 17, 17), value).to(dtype)
    assert scratch.AvgPool2d(17)(x).equal(nn.AvgPool2d(17)(x))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("slopes", [1, 4])
def test_slopes_at_zeros_infinities_and_nan(dtype: torch.dtype, slopes: int) -> None:
    """At 0 and -0 the slope holds, which learns nothing there."""
    ours, theirs = scratch.PReLU(slopes).to(dtype), nn.PReLU(slopes).to(dtype)
    numbers = [0.0, -0.0, math.inf, -math.inf, math.nan, 1.0, -1.0, 1e-45]
    for value in numbers:
        x = torch.full((3, 4), value, dtype=dtype)
        for layer in (ours, theirs):
            layer.zero_grad()
        got, due = passed(ours, x), passed(theirs, x)
        for name in due:
            torch.testing.assert_close(got[name], due[name], equal_nan=True)


@pytest.mark.parametrize("value", [math.inf, math.nan])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("AvgPool2d", {"kernel_size": 2, "padding": 1}),
        ("Upsample", {"scale_factor": 2}),
        ("ConvTranspose2d", {"in_channels": 4, "out_channels": 2, "kernel_size": 2, "stride": 2}),
    ],
)
def test_one_infinite_or_nan_pixel_stays_where_it_is(
    name: str, options: dict[str, Any], value: float
) -> None:
    theirs = getattr(nn, name)(**options)
    ours = getattr(scratch, name)(**options)
    ours.load_state_dict(theirs.state_dict())
    x = torch.ones(IMAGES)
    x[0, 1, 2, 3] = value
    got, due = passed(ours, x), passed(theirs, x)
    for key in ("y", "dx"):
        torch.testing.assert_close(got[key], due[key], equal_nan=True)


def test_evaluation_holds_statistics_constant_and_the_mode_is_that_of_forward() -> None:
    layer = scratch.BatchNorm1d(3)
    x = torch.randn(8, 3) + 2
    layer(x)
    layer.eval()
    before, y = layer.state_dict(), layer(x)
    layer.train()  # between a forward and its backward
    dx = layer.backward(torch.ones_like(y))
    assert layer.running_var is not None
    torch.testing.assert_close(dx, (layer.running_var + layer.eps).rsqrt().expand(8, 3))
    assert all(value.equal(before[name]) for name, value in layer.state_dict().items())


def test_predict_leaves_running_statistics_alone() -> None:
    model = scratch.Sequential(scratch.BatchNorm1d(2), scratch.Linear(2, 1))
    before = model.state_dict()
    scratch.train.predict(model, torch.randn(5, 2))
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("Conv2d", (4, 6, (3, 2), 1, 0, 1, 2)),
        ("Conv1d", (4, 6, 3, 1, 0, 1, 2)),
        ("ConvTranspose2d", (4, 6, (3, 2), 2, 1, 1, 2)),
        ("Embedding", (5, 3)),
        ("Embedding", (5, 3, 2)),
    ],
)
def test_the_same_seed_gives_torchs_initial_parameters(name: str, args: Any) -> None:
    torch.manual_seed(0)
    ours = getattr(scratch, name)(*args, generator=torch.Generator().manual_seed(3))
    torch.manual_seed(3)
    theirs = getattr(nn, name)(*args)
    for key, value in ours.state_dict().items():
        torch.testing.assert_close(value, theirs.state_dict()[key])
    philox = getattr(scratch, name)(*args, generator=scratch.Philox(0), dtype=torch.float64)
    assert all(value.dtype == torch.float64 for value in philox.state_dict().values())


@pytest.mark.parametrize(
    ("name", "args"), [("GroupNorm", (2, 4)), ("PReLU", ()), ("PReLU", (3, -0.5))]
)
def test_what_is_not_drawn_begins_as_torchs(name: str, args: Any) -> None:
    ours = getattr(scratch, name)(*args, device="cpu", dtype=torch.float64)
    due = getattr(nn, name)(*args, dtype=torch.float64).state_dict()
    assert all(value.equal(due[key]) for key, value in ours.state_dict().items())
    assert not any(gradient.any() for _, gradient in ours.param())


X = torch.ones(4, 3, 5, 5)
REFUSED: list[tuple[str, type[Exception], str, Callable[[], Any]]] = [
    ("conv rank", ValueError, r"Conv2d\(3, 2, .*float32 \[3, 5, 5\].*\[B, 3, H, W\] on cpu",
     lambda: scratch.Conv2d(3, 2, 3)(X[0])),
    ("conv channels", ValueError, r"\[4, 2, 5, 5\].*\[B, 3, H, W\]",
     lambda: scratch.Conv2d(3, 2, 3)(X[:, :2])),
    ("conv dtype", TypeError, "float64.*takes float32",
     lambda: scratch.Conv2d(3, 2, 3)(X.double())),
    ("conv device", ValueError, "on meta, takes .* on cpu",
     lambda: scratch.Conv2d(3, 2, 3)(X.to("meta"))),
    ("conv small", ValueError, "at least 6 x 4", lambda: scratch.Conv2d(3, 2, (6, 4))(X)),
    ("conv groups", ValueError, "groups=2 divides, not 3 in",
     lambda: scratch.Conv2d(3, 2, 3, groups=2)),
    ("conv kernel", ValueError, r"pair of them, as kernel_size, not \(3, 3, 3\)",
     lambda: scratch.Conv2d(3, 2, (3, 3, 3))),  # type: ignore[arg-type]
    ("conv padding", ValueError, "as padding, not 'same'",
     lambda: scratch.Conv2d(3, 2, 3, padding="same")),  # type: ignore[arg-type]
    ("conv stride", ValueError, "at least 1, .* as stride, not 0",
     lambda: scratch.Conv2d(3, 2, 3, stride=0)),
    ("conv width", ValueError, "positive integer as out_channels", lambda: scratch.Conv2d(3, 0, 3)),
    ("pool rank", ValueError, r"MaxPool2d\(.*\[3, 5, 5\].*floating-point \[B, C, H, W\]",
     lambda: scratch.MaxPool2d(2)(X[0])),
    ("pool dtype", TypeError, "int64.*takes floating-point",
     lambda: scratch.MaxPool2d(2)(X.long())),
    ("pool small", ValueError, "at least 6 x 1", lambda: scratch.MaxPool2d((6, 1))(X)),
    ("pool padding", ValueError, "at most half", lambda: scratch.MaxPool2d(3, padding=2)),
    ("pool of padding", ValueError, "nothing but padding",
     lambda: scratch.MaxPool2d(2, dilation=2, padding=1)(X[..., :1])),
    ("batch norm width", ValueError, r"BatchNorm1d\(3, .*\[B, 3\] or \[B, 3, L\] on cpu",
     lambda: scratch.BatchNorm1d(3)(X[0, 0])),
    ("batch norm rank", ValueError, r"\[4, 3\] .*takes float32 \[B, 3, H, W\]",
     lambda: scratch.BatchNorm2d(3)(X[..., 0, 0])),
    ("batch norm dtype", TypeError, "float64", lambda: scratch.BatchNorm2d(3)(X.double())),
    ("batch norm of one", ValueError, r"\[1, 3\].*more than one value for each channel",
     lambda: scratch.BatchNorm1d(3)(torch.ones(1, 3))),
    ("batch norm of none", ValueError, "positive integer as num_features",
     lambda: scratch.BatchNorm1d(0)),
    ("layer norm shape", ValueError, r"LayerNorm\(\(3, 5\), .*takes float32 \[\*, 3, 5\]",
     lambda: scratch.LayerNorm((3, 5))(X)),
    ("layer norm rank", ValueError, r"got float32 \[5\]",
     lambda: scratch.LayerNorm((3, 5))(torch.ones(5))),
    ("layer norm axes", ValueError, "normalized_shape, not 0", lambda: scratch.LayerNorm(())),
    ("rms norm dtype", TypeError, r"RMSNorm\(.*float64", lambda: scratch.RMSNorm(5)(X.double())),
    ("embedding high", ValueError, r"Embedding\(4, 2\).*index 4, takes indices from 0 to 3",
     lambda: scratch.Embedding(4, 2)(torch.arange(5))),
    ("embedding low", ValueError, "index -1", lambda: scratch.Embedding(4, 2)(torch.tensor(-1))),
    ("embedding dtype", TypeError, "float32.*int64", lambda: scratch.Embedding(4, 2)(X)),
    ("embedding device", ValueError, "on meta",
     lambda: scratch.Embedding(4, 2)(torch.ones(3, dtype=torch.int64, device="meta"))),
    ("embedding padding", ValueError, "padding_idx from -4 to 3, not 4",
     lambda: scratch.Embedding(4, 2, 4)),
    ("flatten", ValueError, r"Flatten\(start_dim=1, end_dim=-1\).*float32 \[3\]",
     lambda: scratch.Flatten()(torch.ones(3))),
    ("conv1d rank", ValueError, r"Conv1d\(3, 2, .*\[4, 3, 5, 5\].*float32 \[B, 3, L\] on cpu",
     lambda: scratch.Conv1d(3, 2, 3)(X)),
    ("conv1d sample", ValueError, r"float32 \[3, 5\].*\[B, 3, L\]",
     lambda: scratch.Conv1d(3, 2, 3)(X[0, :, 0])),
    ("conv1d channels", ValueError, r"\[4, 2, 5\].*\[B, 3, L\]",
     lambda: scratch.Conv1d(3, 2, 3)(X[:, :2, 0])),
    ("conv1d dtype", TypeError, "float64.*takes float32",
     lambda: scratch.Conv1d(3, 2, 3)(X[..., 0].double())),
    ("conv1d device", ValueError, "on meta, takes .* on cpu",
     lambda: scratch.Conv1d(3, 2, 3)(X[..., 0].to("meta"))),
    ("conv1d small", ValueError, "a length of at least 7",
     lambda: scratch.Conv1d(3, 2, 4, dilation=2)(X[..., 0])),
    ("conv1d empty", ValueError, "a length of at least 1",
     lambda: scratch.Conv1d(3, 2, 2, padding=1)(X[..., :0, 0])),
    ("conv1d groups", ValueError, "Conv1d .*groups=2 divides, not 3 in",
     lambda: scratch.Conv1d(3, 2, 3, groups=2)),
    ("conv1d kernel", ValueError, r"Conv1d takes an integer of at least 1 as kernel_size, not \(3,",
     lambda: scratch.Conv1d(3, 2, (3, 3))),  # type: ignore[arg-type]
    ("conv1d padding", ValueError, "at least 0 as padding, not 'same'",
     lambda: scratch.Conv1d(3, 2, 3, padding="same")),  # type: ignore[arg-type]
    ("conv1d stride", ValueError, "at least 1 as stride, not 0",
     lambda: scratch.Conv1d(3, 2, 3, stride=0)),
    ("conv1d dilation", ValueError, "at least 1 as dilation, not 1.5",
     lambda: scratch.Conv1d(3, 2, 3, dilation=1.5)),  # type: ignore[arg-type]
    ("conv1d width", ValueError, "Conv1d .*positive integer as in_channels",
     lambda: scratch.Conv1d(0, 2, 3)),
    ("transpose rank", ValueError, r"ConvTranspose2d\(3, 2, .*\[3, 5, 5\].*\[B, 3, H, W\] on cpu",
     lambda: scratch.ConvTranspose2d(3, 2, 3)(X[0])),
    ("transpose channels", ValueError, r"\[4, 2, 5, 5\].*\[B, 3, H, W\]",
     lambda: scratch.ConvTranspose2d(3, 2, 3)(X[:, :2])),
    ("transpose dtype", TypeError, "float64.*takes float32",
     lambda: scratch.ConvTranspose2d(3, 2, 3)(X.double())),
    ("transpose device", ValueError, "on meta, takes .* on cpu",
     lambda: scratch.ConvTranspose2d(3, 2, 3)(X.to("meta"))),
    ("transpose of padding", ValueError, "something is left when the padding is cut off",
     lambda: scratch.ConvTranspose2d(3, 2, 1, padding=(0, 1))(X[..., :2])),
    ("transpose output padding", ValueError, r"output_padding below .*, not \(0, 2\) at stride",
     lambda: scratch.ConvTranspose2d(3, 2, 3, 2, output_padding=(0, 2))),
    ("transpose output padding at stride 1", ValueError, "output_padding below its stride or its",
     lambda: scratch.ConvTranspose2d(3, 2, 3, output_padding=1)),
    ("transpose negative output padding", ValueError, "at least 0, .* as output_padding, not -1",
     lambda: scratch.ConvTranspose2d(3, 2, 3, 2, output_padding=-1)),
    ("transpose groups", ValueError, "groups=2 divides, not 4 in and 3 out",
     lambda: scratch.ConvTranspose2d(4, 3, 3, groups=2)),
    ("transpose stride", ValueError, "ConvTranspose2d .*at least 1, .* as stride, not 0",
     lambda: scratch.ConvTranspose2d(3, 2, 3, 0)),
    ("transpose width", ValueError, "positive integer as out_channels",
     lambda: scratch.ConvTranspose2d(3, 0, 3)),
    ("average rank", ValueError, r"AvgPool2d\(.*\[3, 5, 5\].*floating-point \[B, C, H, W\]",
     lambda: scratch.AvgPool2d(2)(X[0])),
    ("average dtype", TypeError, "int64.*takes floating-point",
     lambda: scratch.AvgPool2d(2)(X.long())),
    ("average small", ValueError, "at least 1 x 6", lambda: scratch.AvgPool2d((1, 6))(X)),
    ("average padding", ValueError, r"AvgPool2d .* at most half .* \(3, 3\), not \(2, 0\)",
     lambda: scratch.AvgPool2d(3, padding=(2, 0))),
    ("average stride", ValueError, "at least 1, .* as stride, not 0",
     lambda: scratch.AvgPool2d(2, 0)),
    ("average divisor of 0", ValueError, "positive integer as divisor_override, not 0",
     lambda: scratch.AvgPool2d(2, divisor_override=0)),
    ("average divisor", ValueError, "positive integer as divisor_override, not 2.5",
     lambda: scratch.AvgPool2d(2, divisor_override=2.5)),  # type: ignore[arg-type]
    ("upsample rank", ValueError, r"Upsample\(.*\[3, 5, 5\].*floating-point \[B, C, H, W\]",
     lambda: scratch.Upsample(2)(X[0])),
    ("upsample dtype", TypeError, "int64.*takes floating-point",
     lambda: scratch.Upsample(2)(X.long())),
    ("upsample by 0", ValueError, "positive integer as scale_factor, not 0",
     lambda: scratch.Upsample((2, 0))),
    ("upsample by a part", ValueError, "positive integer as scale_factor, not 1.5",
     lambda: scratch.Upsample(1.5)),  # type: ignore[arg-type]
    ("upsample by three", ValueError, r"as scale_factor, not \(2, 2, 2\)",
     lambda: scratch.Upsample((2, 2, 2))),  # type: ignore[arg-type]
    ("group norm channels", ValueError, r"GroupNorm\(2, 4, .*\[4, 3, 5, 5\].*\[B, 4, \*, \*\] on",
     lambda: scratch.GroupNorm(2, 4)(X)),
    ("group norm rank", ValueError, r"float32 \[4\].*takes \[B, 4, \*\]",
     lambda: scratch.GroupNorm(2, 4)(torch.ones(4))),
    ("group norm dtype", TypeError, "float64.*takes float32",
     lambda: scratch.GroupNorm(1, 3)(X.double())),
    ("group norm integers", TypeError, "int64.*takes floating-point",
     lambda: scratch.GroupNorm(1, 3, affine=False)(X.long())),
    ("group norm device", ValueError, "on meta, takes .* on cpu",
     lambda: scratch.GroupNorm(1, 3)(X.to("meta"))),
    ("group norm of one", ValueError, "more than one value in a group of one sample",
     lambda: scratch.GroupNorm(3, 3)(X[:1, :, 0, 0])),
    ("group norm groups", ValueError, "groups divide, not 4 channels in 3 groups",
     lambda: scratch.GroupNorm(3, 4)),
    ("group norm of none", ValueError, "GroupNorm .*positive integer as num_groups, not 0",
     lambda: scratch.GroupNorm(0, 4)),
    ("prelu channels", ValueError, r"PReLU\(num_parameters=2\).*\[4, 3,.*\[B, 2, \*, \*\] on cpu",
     lambda: scratch.PReLU(2)(X)),
    ("prelu rank", ValueError, r"float32 \[5\].*\[B, 5\]",
     lambda: scratch.PReLU(5)(torch.ones(5))),
    ("prelu dtype", TypeError, "float64.*takes float32", lambda: scratch.PReLU()(X.double())),
    ("prelu device", ValueError, "on meta, takes .* on cpu",
     lambda: scratch.PReLU()(X.to("meta"))),
    ("prelu of none", ValueError, "PReLU .*positive integer as num_parameters, not 0",
     lambda: scratch.PReLU(0)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("error", "words", "action"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_what_does_not_fit_is_one_clear_error(
    error: type[Exception], words: str, action: Callable[[], Any]
) -> None:
    with pytest.raises(error, match=words) as caught:
        action()
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("case", FIRST, ids=str)
def test_backward_refuses_what_is_not_like_the_output(case: Case) -> None:
    """Before a forward, twice, and by another shape, dtype or device; nothing is half done."""
    ours, _ = case.both(torch.float32)
    with pytest.raises(RuntimeError, match=rf"{case.name}.*without a forward"):
        ours.backward(torch.ones(1))
    y = ours(case.x(torch.float32))
    takes = rf"{case.name}.*backward got .*, takes float32 \[.*\] on cpu"
    for dy in (y[:1], y.sum(), y.unsqueeze(0), y.to("meta")):
        with pytest.raises(ValueError, match=takes):
            ours.backward(dy)
    with pytest.raises(TypeError, match=takes):
        ours.backward(y.double())
    assert not any(bool(gradient.any()) for _, gradient in ours.param())
    ours.backward(y)
    with pytest.raises(RuntimeError, match="without a forward"):
        ours.backward(y)


@pytest.mark.parametrize("case", FIRST, ids=str)
def test_stack_refuses_them(case: Case) -> None:
    models = [scratch.Sequential(scratch.ReLU(), case.both(torch.float32)[0]) for _ in range(2)]
    with pytest.raises(ValueError, match=f"model 0 holds {case.name}.*cannot be stacked"):
        runs.stack(models)


@pytest.mark.parametrize("case", FIRST, ids=str)
def test_a_copy_has_not_what_forward_kept(case: Case) -> None:
    ours, _ = case.both(torch.float32)
    y = ours(case.x(torch.float32))
    twin = copy.deepcopy(ours)
    with pytest.raises(RuntimeError, match="without a forward"):
        twin.backward(y)
    ours.to(torch.float64)
    with pytest.raises(RuntimeError, match="without a forward"):
        ours.backward(y.double())


def test_buffers_of_ones_own_module() -> None:
    class Counting(scratch.Module):
        seen: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("seen", torch.zeros(2))

    layer = Counting()
    assert layer.param() == []
    model = scratch.Sequential(layer, scratch.Linear(2, 2))
    assert list(model.state_dict()) == ["0.seen", "1.weight", "1.bias"]
    for change, words in (({}, "0.seen is missing"), ({"0.seen": torch.ones(3)}, "0.seen is")):
        state = {k: v + 1 for k, v in model.state_dict().items() if k != "0.seen"} | change
        with pytest.raises(ValueError, match=f"nothing loaded.*{words}"):
            model.load_state_dict(state)
    assert not model.state_dict()["0.seen"].any()
    with pytest.raises(ValueError, match="cannot be stacked"):
        runs.stack([layer])
    layer.seen = torch.ones(2)
    with pytest.raises(RuntimeError, match=r"Counting.seen was replaced, and the buffer.*copy_"):
        model.state_dict()


def images(of: Any) -> Any:
    """A network of scratch's layers, or of torch's."""
    return of.Sequential(
        of.Conv2d(2, 4, 3, padding=1), of.BatchNorm2d(4), of.ReLU(),
        of.MaxPool2d(2), of.Flatten(), of.LayerNorm(24), of.Linear(24, 3),
    )  # fmt: skip


def sequences(of: Any) -> Any:
    return of.Sequential(of.Embedding(5, 4), of.RMSNorm(4), of.Flatten(), of.Linear(12, 3))


def resized(of: Any) -> Any:
    return of.Sequential(
        of.ConvTranspose2d(2, 4, 3, stride=2, padding=1, output_padding=1), of.GroupNorm(2, 4),
        of.PReLU(4), of.AvgPool2d(3, 2, padding=1), of.Upsample(scale_factor=2),
        of.Flatten(), of.Linear(384, 3),
    )  # fmt: skip


def signals(of: Any) -> Any:
    return of.Sequential(
        of.Conv1d(4, 6, 3, stride=2, padding=1), of.GroupNorm(3, 6), of.PReLU(),
        of.Conv1d(6, 2, 2, dilation=2, groups=2), of.Flatten(), of.Linear(4, 3),
    )  # fmt: skip


DATA: dict[str, tuple[Callable[[Any], Any], Tensor]] = {
    "images": (images, torch.randn(10, 2, 4, 6, generator=torch.Generator().manual_seed(0))),
    "sequences": (sequences, torch.arange(30).view(10, 3) % 5),
    "resized": (resized, torch.randn(10, 2, 4, 6, generator=torch.Generator().manual_seed(1))),
    "signals": (signals, torch.randn(10, 4, 7, generator=torch.Generator().manual_seed(2))),
}
LABELS = torch.arange(10) % 3


@pytest.mark.parametrize("name", DATA)
def test_networks_train_as_torchs(name: str) -> None:
    make, x = DATA[name]
    model, twin = make(scratch).to(torch.float64), make(nn).double()
    x = x.double() if x.is_floating_point() else x
    twin.load_state_dict(model.state_dict())
    ours, theirs = scratch.SGD(model.param(), 0.1), torch.optim.SGD(twin.parameters(), 0.1)
    for _ in range(5):
        scratch.train.step(model, scratch.CrossEntropyLoss(), ours, x, LABELS)
        theirs.zero_grad()
        nn.CrossEntropyLoss()(twin(x), LABELS).backward()
        theirs.step()
    close(model.state_dict(), twin.state_dict(), x.numel())
    close({"y": scratch.train.predict(model, x)}, {"y": twin.eval()(x).detach()}, x.numel())


@pytest.mark.parametrize("name", DATA)
def test_the_fused_engine_names_them_and_auto_trains_in_eager(name: str) -> None:
    make, x = DATA[name]
    model, trained = make(scratch), {}
    first, start = type(model[0]).__name__, model.state_dict()

    def train(engine: str) -> None:
        model.load_state_dict(start)
        optimizer = scratch.SGD(model.param(), 0.1)
        scratch.fit(model, scratch.CrossEntropyLoss(), optimizer, x, LABELS,
                    epochs=2, batch_size=4, seed=0, engine=engine)  # fmt: skip
        trained[engine] = model.state_dict()

    train("eager")
    with pytest.raises(Unsupported, match=f"engine 'fused' takes no {first} in a model"):
        train("fused")
    with pytest.warns(UserWarning, match=f"engine 'auto' trains in eager: .* takes no {first}"):
        train("auto")
    assert all(value.equal(trained["eager"][key]) for key, value in trained["auto"].items())
    assert not trained["auto"]["0.weight"].equal(start["0.weight"])
    assert scratch.train.accuracy(model, x, LABELS).shape == ()


def test_fits_dropout_draws_for_each_entry_of_an_image() -> None:
    dropout = scratch.Dropout(0.5)
    model = scratch.Sequential(
        scratch.Conv2d(2, 3, 1), dropout, scratch.Flatten(), scratch.Linear(72, 1)
    )
    seen = []
    scratch.fit(
        model, scratch.MSELoss(), scratch.SGD(model.param()), DATA["images"][1], torch.zeros(10, 1),
        epochs=1, batch_size=6, seed=0, on_epoch=lambda _: seen.append(dropout.mask),
    )  # fmt: skip
    (mask,) = seen
    assert mask is not None
    assert mask.shape == (4, 3, 4, 6)
    assert not mask[0].equal(mask[1])
    assert not mask[:, 0].equal(mask[:, 1])
