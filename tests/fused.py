"""The fused engine as a subject of `parity`: each layer and loss as the compiled code computes it.

The adapter takes the place of scratch's `forward` and `backward`; values that the engine has no
need of, such as the loss itself, and evaluation, are scratch's own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

import parity
import scratch
from reference import pairs
from scratch.engines import fused


class Layer(scratch.Module):
    """A scratch layer, or a chain of them, in the engine."""

    def __init__(self, inside: scratch.Module) -> None:
        super().__init__()
        self.inside = inside

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return self.inside(x)
        self.seed = int(torch.randint(2**62, ()))
        self.x = x
        self._kept = y = fused.trace(self.inside, x, seed=self.seed).outputs[-1]
        return y

    def backward(self, dy: Tensor) -> Tensor:
        if not self.training:
            return self.inside.backward(dy)
        self._take(dy)
        traced = fused.trace(self.inside, self.x, dy=dy, seed=self.seed)
        for (_, gradient), new in zip(self.inside.param(), traced.gradients, strict=True):
            gradient += new
        return traced.dx


class Loss:
    """A scratch loss: its derivative as the engine has it, of the output of a layer that does
    nothing."""

    def __init__(self, inside: scratch.Loss) -> None:
        self.inside = inside

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        self.given = prediction, target
        return self.inside(prediction, target)

    def backward(self) -> Tensor:
        x, t = self.given
        same = scratch.LeakyReLU(negative_slope=1.0)
        return fused.trace(same, x, criterion=self.inside, t=t).dys[-1]


def _made(wrap: Callable[[Any], Any], make: Callable[..., Any], *args: Any, **options: Any) -> Any:
    return wrap(make(*args, **options))


SUBJECT = parity.Subject(
    {
        pair.entry: partial(
            _made, Layer if pair.entry.kind == "layer" else Loss, pair.build or pair.cls
        )
        for pair in pairs.PAIRS
        if pair.entry.kind in ("layer", "loss")
    },
    name="fused",
    targets=("index", "one_hot", "distribution"),
)
