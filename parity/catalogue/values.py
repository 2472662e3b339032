"""Named tensors, and random values for them."""

from __future__ import annotations

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
        name: normal(*p.shape, generator=generator, dtype=dtype) / p.shape[-1] ** 0.5
        for name, p in module.named_parameters()
    }
