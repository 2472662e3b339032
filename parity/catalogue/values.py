"""Named tensors, and random values for them."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

Tensors = dict[str, Tensor]


def normal(*shape: int, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    """Normal numbers, rounded to the dtype, none of them within 0.05 of a kink at 0."""
    x = torch.randn(shape, generator=generator, dtype=torch.float64)
    return (torch.where(x < 0, -1.0, 1.0) * x.abs().clamp_min(0.05)).to(dtype)


def weights_of(module: nn.Module, generator: torch.Generator, dtype: torch.dtype) -> Tensors:
    """Random values for a module's parameters: of a size that keeps what follows of order 1."""
    return {
        name: normal(*p.shape, generator=generator, dtype=dtype) / _terms(p) ** 0.5
        for name, p in module.named_parameters()
    }


def apart(*shape: int, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    """Numbers from -2 to 2 on an even grid, each once, in random order: no two of them are near
    each other, nor is one near 0."""
    count = math.prod(shape)
    places = torch.randperm(count, generator=generator).to(torch.float64)
    return ((places + 0.5) * (4 / max(count, 1)) - 2).reshape(shape).to(dtype)


def indices(*shape: int, of: int, generator: torch.Generator) -> Tensor:
    """Indices below `of`, the last of which never occurs, and others several times."""
    return torch.randint(max(of - 1, 1), shape, generator=generator)


def _terms(parameter: Tensor) -> int:
    """How many terms the sums have that a parameter's entries are factors in."""
    return parameter[0].numel() if parameter.dim() > 1 else len(parameter)
