"""What scratch's layers cost at the sizes of real use, beside torch's own: time and memory."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

import parity
from bench import measure
from bench.measure import Interval
from bench.torchs import torchs
from parity import Case, Comparison, Entry
from parity.catalogue.table import by_name
from parity.checks.passes import one_pass
from parity.play.several import flat
from reference import pairs

MOST = 3
ENOUGH = 20
"""How many rounds it takes to say that a layer is slower than that."""
TOO_FEW = f"Nobody is judged by their time: it takes {ENOUGH} rounds.\n"
"""How many times torch's time scratch's passes may take."""


@dataclass(frozen=True)
class Row:
    """A layer at one size.

    Args:
        name: torch's name of the class.
        shape: of its input.
        options: of its constructor.
        beside: the shapes of the inputs that come after the first.
    """

    name: str
    shape: tuple[int, ...]
    options: dict[str, Any] = field(default_factory=dict)
    beside: tuple[tuple[int, ...], ...] = ()

    def inputs(self, device: str) -> list[Tensor]:
        """Random numbers, or indices."""
        generator = torch.Generator().manual_seed(0)
        if self.name == "Embedding":
            most = self.options["num_embeddings"]
            return [torch.randint(most, self.shape, generator=generator).to(device)]
        made = [torch.randn(one, generator=generator) for one in (self.shape, *self.beside)]
        return [one.to(device) for one in made]

    def entry(self) -> Entry:
        """The catalogue's, at this size alone."""
        known = by_name(self.name)
        names = list(next(iter(known.beside.values()), ()))
        given = {"": dict(zip(names, self.beside, strict=False))} if self.beside else {}
        mixes = ("",) if known.mixes else ()
        return replace(known, variants={"": self.options}, shape=self.shape, beside=given,
                       mixes=mixes, optional=())  # fmt: skip

    def layer(self, side: str, device: str) -> Any:
        """Scratch's, or torch's own."""
        if side == "torch":
            return torchs(Case(self.entry(), "")).to(device)
        return self.build()(**self.options).to(device)

    def build(self) -> Any:
        """What makes scratch's."""
        pair = next(pair for pair in pairs.PAIRS if pair.entry.name == self.name)
        return pair.build or pair.cls

    def verdict(self, device: str) -> Comparison:
        """Of scratch's results at this size, in float32, the one that is farthest off for what is
        allowed."""
        subject = parity.Subject({self.entry(): self.build()}, dtypes=("float32",))
        session = parity.Local(subject)
        (case,) = session.description.cases
        judged = one_pass(parity.Trial(session, case, torch.float32, device))
        return max(judged, key=lambda one: one.ratio)


_RECURRENT = {"input_size": 64, "hidden_size": 96}
_IMAGES, _KERNELS = (8, 16, 32, 32), {"kernel_size": 3, "padding": 1}
ROWS = (
    Row("Linear", (256, 512), {"in_features": 512, "out_features": 384}),
    Row("Conv1d", (8, 24, 512), {"in_channels": 24, "out_channels": 48, **_KERNELS}),
    Row("Conv2d", _IMAGES, {"in_channels": 16, "out_channels": 32, **_KERNELS}),
    Row("ConvTranspose2d", (8, 32, 16, 16), {"in_channels": 32, "out_channels": 16, **_KERNELS,
                                             "stride": 2, "output_padding": 1}),
    Row("MaxPool2d", _IMAGES, {"kernel_size": 2}),
    Row("AvgPool2d", _IMAGES, {"kernel_size": 3, "stride": 2, "padding": 1}),
    Row("Upsample", _IMAGES, {"scale_factor": 2}),
    Row("Flatten", _IMAGES),
    Row("BatchNorm1d", (256, 384), {"num_features": 384}),
    Row("BatchNorm2d", _IMAGES, {"num_features": 16}),
    Row("GroupNorm", _IMAGES, {"num_groups": 4, "num_channels": 16}),
    Row("LayerNorm", (8, 130, 384), {"normalized_shape": 384}),
    Row("RMSNorm", (8, 130, 384), {"normalized_shape": 384}),
    Row("Embedding", (8, 130), {"num_embeddings": 900, "embedding_dim": 96}),
    Row("RNNCell", (128, 64), _RECURRENT, ((128, 96),)),
    Row("GRUCell", (128, 64), _RECURRENT, ((128, 96),)),
    Row("LSTMCell", (128, 64), _RECURRENT, ((128, 96), (128, 96))),
    Row("RNN", (16, 33, 64), _RECURRENT),
    Row("GRU", (16, 33, 64), _RECURRENT),
    Row("LSTM", (16, 33, 64), _RECURRENT),
    Row("ScaledDotProductAttention", (32, 130, 32), {"is_causal": True}, ((32, 130, 32),) * 2),
    Row("MultiheadAttention", (8, 130, 96), {"embed_dim": 96, "num_heads": 6, "causal": True}),
    Row("SwiGLU", (256, 96), {"in_features": 96, "hidden_features": 256}),
    Row("GeGLU", (256, 96), {"in_features": 96, "hidden_features": 256}),
    Row("RoPE", (8, 6, 130, 32)),
    Row("PReLU", (256, 384), {}),
    Row("GELU", (256, 384), {}),
    Row("SiLU", (256, 384), {}),
    Row("Softplus", (256, 384), {}),
)  # fmt: skip


def both_passes(row: Row, side: str, device: str) -> Callable[[], Any]:
    """Forward and backward of a row's layer, with a gradient for each output."""
    layer, inputs = row.layer(side, device), row.inputs(device)
    generator = torch.Generator().manual_seed(1)
    dys = [torch.randn(y.shape, generator=generator).to(device) for y in flat(layer(*inputs))]
    if side == "scratch":
        return partial(_by_hand, layer, inputs, dys)
    leaves = [one.clone().requires_grad_(one.is_floating_point()) for one in inputs]
    return partial(_by_autograd, layer, leaves, dys)


def _by_hand(layer: Any, inputs: list[Tensor], dys: list[Tensor]) -> Any:
    layer(*inputs)
    return layer.backward(*dys)


def _by_autograd(layer: Any, inputs: list[Tensor], dys: list[Tensor]) -> Any:
    ys = flat(layer(*inputs))
    if any(y.requires_grad for y in ys):
        torch.autograd.backward(ys, dys)
    return ys


def peak(function: Callable[[], object], device: str) -> int:
    """The bytes of tensors that a call holds at most at one time, above those from before it."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        function()
        return torch.cuda.max_memory_allocated() - before
    held = list(itertools.accumulate(measure.allocations(function)))
    return max(held, default=0)


@dataclass(frozen=True)
class Cost:
    """What was measured of a row: seconds of both sides, in turn, the bytes of each, and whether
    scratch is right there."""

    row: Row
    seconds: tuple[list[float], list[float]]
    bytes: tuple[int, int]
    parity: Comparison

    @property
    def ratio(self) -> Interval:
        """Of scratch's time to torch's."""
        return measure.median([a / b for a, b in zip(*self.seconds, strict=True)])


def costs(device: str, rounds: int) -> Iterator[Cost]:
    """What each row costs, the sides in turn."""
    for row in ROWS:
        ours, theirs = (both_passes(row, side, device) for side in ("scratch", "torch"))
        measure.interleaved(ours, theirs, -(-rounds // 8), device)
        times = measure.interleaved(ours, theirs, rounds, device)
        held = peak(ours, device), peak(theirs, device)
        yield Cost(row, times, held, row.verdict(device))
