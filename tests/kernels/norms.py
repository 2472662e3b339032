"""RMSNorm, with and without a residual, and LayerNorm, as kernels do them; `bug` is what is wrong.

They compute in float32, or in float64 if that is what comes in, and round once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

EPS = 1e-5
BLOCK, PROGRAMS = 64, 8


def rms_reference(x: Tensor, weight: Tensor) -> Tensor:
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + EPS) * weight


def residual_reference(x: Tensor, residual: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    total = x + residual
    return rms_reference(total, weight), total


def layer_reference(x: Tensor, weight: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred * torch.rsqrt((centred * centred).mean(-1, keepdim=True) + EPS) * weight


def wide(x: Tensor) -> Tensor:
    """The dtype that a kernel computes in."""
    return x if x.dtype == torch.float64 else x.float()


def raw(x: Tensor, strides: tuple[int, ...] | None = None) -> Tensor:
    """What lies in memory from the tensor's first entry on, as if it were contiguous."""
    if strides is None and x.is_contiguous():
        return x
    own = torch.empty(x.shape, device="meta").stride() if strides is None else strides
    places = torch.zeros(x.shape, dtype=torch.int64) + x.storage_offset()
    for axis, (size, step) in enumerate(zip(x.shape, own, strict=True)):
        shape = [1] * x.dim()
        shape[axis] = size
        places = places + (torch.arange(size) * step).view(shape)
    flat = torch.empty(0, dtype=x.dtype).set_(x.untyped_storage())
    return flat[places % len(flat)]


def summed(rows: Tensor, dtype: torch.dtype, bug: str) -> Tensor:
    """The sum over rows `[M, N]`, by blocks of them."""
    count, width = rows.shape
    match bug:
        case "last partial block left out of dw":
            return rows[: count - count % BLOCK if count > BLOCK else count].sum(0)
        case "dw added up in half precision" if dtype != rows.dtype:
            total = torch.zeros(width, dtype=dtype)
            for block in rows.split(4):
                total = total + block.sum(0).to(dtype)
            return total
        case "partial sums unwritten for few rows":
            partial = torch.empty(PROGRAMS, width, dtype=rows.dtype)
            for program in range(min(count, PROGRAMS)):
                partial[program] = rows[program::PROGRAMS].sum(0)
            return partial.sum(0)
    return rows.sum(0)


def rms_norm(bug: str = "") -> Callable[..., Tensor]:
    class RMSNorm(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
            given = raw(x) if bug == "x as contiguous" else x
            factor = raw(weight) if bug == "weight as contiguous" else weight
            width = x.shape[-1]
            root = torch.rsqrt((wide(given) ** 2).mean(-1, keepdim=True) + EPS)
            ctx.save_for_backward(given, factor, root)
            ctx.width, ctx.strides = width, x.stride()
            scaled = wide(given) * root
            rows = scaled.reshape(-1, width)
            if bug == "all rows written to row 0" and len(rows):
                out = torch.zeros_like(rows)
                out[0] = rows[-1]
                rows = out
            if bug == "rows broadcast as columns" and len(rows) >= 1024 and width < 64:
                rows = rows * rows[:, :1].abs()
            return (rows.view(x.shape) * wide(factor)).to(x.dtype)

        @staticmethod
        def backward(ctx: Any, *dys: Tensor) -> Any:
            (dy,) = dys
            x, weight, root = ctx.saved_tensors
            given = raw(dy) if bug == "dy as contiguous" else dy
            given = raw(dy, ctx.strides) if bug == "stride of x used for dy" else given
            given = torch.ones_like(dy) if bug == "upstream ignored" else given
            d, normal = wide(given), wide(x) * root
            g = d if bug == "dx lacks the weight" else d * wide(weight)
            dx = root * (g - normal * (g * normal).mean(-1, keepdim=True))
            if bug == "rank 3 alone" and dy.dim() != 3:
                dx = root * g
            if bug == "backward overwrites dy":
                dy.copy_(dx)
            if bug == "weight gradient None":
                return dx.to(x.dtype), None
            rows = (d * normal).reshape(-1, ctx.width)
            if bug == "rank 2 alone" and dy.dim() > 2:
                rows = (d * normal).sum(0).reshape(-1, ctx.width)[:1]
            return dx.to(x.dtype), summed(rows, x.dtype, bug).to(weight.dtype)

    if bug == "detached":
        return lambda x, weight: RMSNorm.apply(x, weight).detach()  # type: ignore[no-untyped-call]
    return RMSNorm.apply


def residual_rms_norm(bug: str = "") -> Callable[..., tuple[Tensor, Tensor]]:
    class ResidualRMSNorm(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, residual: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
            total = x + residual
            root = torch.rsqrt((wide(total) ** 2).mean(-1, keepdim=True) + EPS)
            ctx.save_for_backward(total, weight, root)
            return (wide(total) * root * wide(weight)).to(x.dtype), total

        @staticmethod
        def backward(ctx: Any, *dys: Tensor) -> Any:
            dy, dtotal = map(wide, dys)
            total, weight, root = ctx.saved_tensors
            normal = wide(total) * root
            before = bug == "dy of the second output added before"
            g = dy * wide(weight) + (dtotal if before else 0)
            dx = root * (g - normal * (g * normal).mean(-1, keepdim=True))
            dx = (dx if before else dx + dtotal).to(total.dtype)
            dweight = (dy * normal).reshape(-1, total.shape[-1]).sum(0)
            return dx, dx, dweight.to(weight.dtype)

    return ResidualRMSNorm.apply


def layer_norm(bug: str = "") -> Callable[..., Tensor]:
    class LayerNorm(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
            width = x.shape[-1]
            mean = wide(x).mean(-1, keepdim=True)
            centred = wide(x) - mean
            total = (centred**2).sum(-1, keepdim=True)
            if bug == "padded lanes enter the variance":
                padding = (1 << (width - 1).bit_length()) - width
                total = total + padding * mean**2
            root = torch.rsqrt(total / width + EPS)
            ctx.save_for_backward(centred, weight, root)
            return (centred * root * wide(weight)).to(x.dtype)

        @staticmethod
        def backward(ctx: Any, *dys: Tensor) -> Any:
            centred, weight, root = ctx.saved_tensors
            d, normal = wide(dys[0]), centred * root
            g = d * wide(weight)
            if bug != "mean of dy left out":
                g = g - g.mean(-1, keepdim=True)
            dx = root * (g - normal * (d * wide(weight) * normal).mean(-1, keepdim=True))
            dweight = (d * normal).reshape(-1, normal.shape[-1]).sum(0)
            return dx.to(dys[0].dtype), dweight.to(weight.dtype)

    return LayerNorm.apply
