"""What the checks share: their setting, random inputs, and plain facts as verdicts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from parity import Comparison, Tensors


@dataclass(frozen=True)
class Setting:
    """One case, in one dtype, on one device, from one seed."""

    case: Any
    dtype: torch.dtype = torch.float32
    device: str = "cpu"
    seed: int = 0

    def generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)


def random(setting: Setting, *shape: int, generator: torch.Generator) -> Tensor:
    """Normal numbers, rounded to the dtype, none of them within 0.05 of a kink at 0."""
    x = torch.randn(shape, generator=generator, dtype=torch.float64)
    x = torch.where(x < 0, -1.0, 1.0) * x.abs().clamp_min(0.05)
    return x.to(setting.device, setting.dtype)


def strided(x: Tensor) -> Tensor:
    """The same values with other strides: a view that is not contiguous."""
    wide = torch.stack([x, x + 1], -1)
    return wide[..., 0]


def fact(name: str, holds: bool, reason: str) -> Comparison:
    """A verdict on something that is so or not so."""
    return Comparison(name, 0.0 if holds else math.inf, reason="" if holds else reason)


def untouched(before: Tensors, after: Tensors) -> list[Comparison]:
    """Whether tensors have the very bits that they had."""
    return [
        fact(f"{name} untouched", _same_bits(x, after[name]), "was modified in place")
        for name, x in before.items()
    ]


def _same_bits(x: Tensor, y: Tensor) -> bool:
    return bool(((x == y) | ((x != x) & (y != y))).all())


def equal(name: str, x: Tensor, y: Tensor) -> Comparison:
    """Whether two tensors are the same, bit for bit."""
    return fact(name, x.shape == y.shape and _same_bits(x, y), "differs")
