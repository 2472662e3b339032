"""How a tensor lies in memory, other than one entry after another from the beginning."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

LAYOUTS = ("strided", "transposed", "sliced", "offset", "expanded", "channels_last")
"""With gaps between the entries of a row; column after column; rows of a larger tensor, from its
middle; one entry after another, but not from the beginning, so that no address is a multiple of 16;
one row in place of all; the channels of images last."""


def layouts_of(rank: int) -> tuple[str, ...]:
    """The layouts that a tensor of so many axes can have."""
    found = ["strided", "offset", "expanded"] if rank else ["expanded"]
    if rank > 1:
        found += ["transposed", "sliced"]
    if rank == 4:
        found.append("channels_last")
    return tuple(found)


def expanded(x: Tensor) -> Tensor:
    """The values of an expanded tensor: those of its first row everywhere."""
    return x[:1].expand(x.shape) if x.dim() and len(x) else x


def laid(x: Tensor, how: str) -> Tensor:
    """A copy of `x` that lies so; what is beside it in the same memory are other numbers."""
    if not x.dim() or not x.numel():
        return x.clone()
    match how:
        case "strided":
            return torch.stack([x, _other(x)], -1)[..., 0]
        case "transposed" if x.dim() > 1:
            return x.mT.clone(memory_format=torch.contiguous_format).mT
        case "sliced" if x.dim() > 1:
            larger = _other(x.flatten()[0]).expand(len(x) + 2, *x.shape[1:-1], x.shape[-1] + 3)
            inside = larger.clone(memory_format=torch.contiguous_format)[1:-1, ..., 1:-2]
            inside.copy_(x)
            return inside
        case "offset":
            flat = torch.cat([_other(x.reshape(-1)[:1]), x.reshape(-1)])
            return flat[1:].view(x.shape)
        case "expanded":
            return x[:1].clone().expand(x.shape)
        case "channels_last" if x.dim() == 4:
            return x.clone(memory_format=torch.channels_last)
    return x.clone(memory_format=torch.contiguous_format)


def _other(x: Tensor) -> Tensor:
    """Numbers like those of `x`, and not the same."""
    return x + 1 if x.is_floating_point() else x.clone()


def plain_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """The strides of a tensor that lies one entry after another."""
    strides: list[int] = []
    step = 1
    for size in reversed(shape):
        strides.insert(0, step)
        step *= size
    return tuple(strides)


def read_by(x: Tensor, strides: tuple[int, ...]) -> Tensor | None:
    """What one reads from the first entry of `x` on by other strides than its own; None where that
    is what there is, or the memory is too short."""
    if not x.numel():
        return None
    last = sum((size - 1) * step for size, step in zip(x.shape, strides, strict=True))
    there = x.untyped_storage().nbytes() // x.element_size()
    if x.storage_offset() + last >= there:
        return None
    read = torch.as_strided(x, x.shape, strides, x.storage_offset()).clone()
    return None if torch.equal(read, x) else read
