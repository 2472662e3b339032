"""Attention, cross-entropy, RoPE, embedding, dropout as kernels do them; `bug` is what is wrong."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from tests.kernels.norms import wide

IGNORED, PADDING = -100, 0


def attention_reference(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
    """Heads first, `[H, T, D]`; keys and values may have fewer, each for several of q's."""
    k, v = (x.repeat_interleave(len(q) // len(k), 0) for x in (k, v))
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    if causal:  # the last query sees all keys
        seen = torch.ones(scores.shape[-2:], dtype=torch.bool).tril(k.shape[-2] - q.shape[-2])
        return masked(scores, seen) @ v
    return scores.softmax(-1) @ v


def masked(scores: Tensor, seen: Tensor) -> Tensor:
    """Softmax over what is seen; zeros where that is nothing."""
    return scores.masked_fill(~seen, torch.finfo(scores.dtype).min).softmax(-1) * seen


def attention(bug: str = "") -> Callable[..., Tensor]:
    """As kernels have it: kept is the logarithm of the sum, and no probabilities."""

    def scored(q: Tensor, k: Tensor, causal: bool) -> Tensor:
        scores = wide(q) @ wide(k).mT / math.sqrt(q.shape[-1])
        if not causal:
            return scores
        off = 0 if bug == "causal alignment at Tq != Tk" else k.shape[-2] - q.shape[-2]
        seen = torch.ones(scores.shape[-2:], dtype=torch.bool).tril(off)
        return scores.masked_fill(~seen, -math.inf)

    def shares(scores: Tensor, total: Tensor) -> Tensor:
        p = torch.exp(scores - total).nan_to_num(0.0)  # a row that sees nothing
        if bug == "tail of a block of 128" and p.shape[-1] > 128:
            p = torch.cat([p[..., :128], torch.zeros_like(p[..., 128:])], -1)
        return p

    class Attention(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
            times = len(q) // len(k)
            if bug == "heads tiled, not repeated":
                many = [x.repeat(times, 1, 1) for x in (k, v)]
            else:
                many = [x.repeat_interleave(times, 0) for x in (k, v)]
            scores = scored(q, many[0], causal)
            total = scores.logsumexp(-1, keepdim=True)
            values = wide(many[1])
            if bug == "value dimensions above 64 lost":
                values = torch.cat([values[..., :64], torch.zeros_like(values[..., 64:])], -1)
            y = shares(scores, total) @ values
            ctx.save_for_backward(q, *many, y, total)
            ctx.causal, ctx.heads = causal, len(k)
            return y.to(q.dtype)

        @staticmethod
        def backward(ctx: Any, *dys: Tensor) -> Any:
            q, k, v, y, total = ctx.saved_tensors
            d, scale = wide(dys[0]), 1 / math.sqrt(q.shape[-1])
            scores = scored(q, k, ctx.causal and bug != "causal ignored in backward")
            p = shares(scores, total)
            ds = p * (d @ wide(v).mT - (d * y).sum(-1, keepdim=True))
            ds = ds if bug == "scale missing in dq and dk" else ds * scale
            dk, dv = ds.mT @ wide(q), p.mT @ d
            each = (ctx.heads, -1) if bug != "heads tiled, not repeated" else (-1, ctx.heads)
            axis = 1 if bug != "heads tiled, not repeated" else 0
            dk, dv = (x.view(*each, *x.shape[1:]).sum(axis) for x in (dk, dv))
            return (ds @ wide(k)).to(q.dtype), dk.to(k.dtype), dv.to(v.dtype), None

    return Attention.apply


def entropy_reference(logits: Tensor, target: Tensor, reduction: str) -> Tensor:
    return functional.cross_entropy(logits, target, ignore_index=IGNORED, reduction=reduction)


def cross_entropy(bug: str = "") -> Callable[..., Tensor]:
    class CrossEntropy(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, logits: Tensor, target: Tensor, reduction: str) -> Tensor:
            kept = target != IGNORED
            log = torch.log_softmax(wide(logits), -1)
            own = target.where(kept, 0)[:, None]
            losses = -log.gather(-1, own)[:, 0] * kept
            count = float(kept.sum()) if bug != "mean over ignored entries" else len(target)
            ctx.count = count if reduction == "mean" else 1.0
            ctx.reduction = reduction
            gradient = (log.exp() - torch.zeros_like(log).scatter(-1, own, 1.0)) * kept[:, None]
            if bug == "gradient written into logits":
                logits.detach().copy_(gradient)
            ctx.save_for_backward(gradient)
            found = losses if reduction == "none" else losses.sum() / ctx.count
            return found.to(logits.dtype)

        @staticmethod
        def backward(ctx: Any, *dys: Tensor) -> Any:
            (gradient,) = ctx.saved_tensors
            dy = wide(dys[0])
            if ctx.reduction == "none":
                first = bug == "reduction none takes the first entry of dy"
                dy = dy[:1, None] if first else dy[:, None]
            return (gradient * dy / ctx.count).to(dys[0].dtype), None, None

    return CrossEntropy.apply


def rope_reference(x: Tensor) -> Tensor:
    a, b = x.chunk(2, -1)
    cos, sin = _angles(x)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


def _angles(x: Tensor) -> tuple[Tensor, Tensor]:
    half = x.shape[-1] // 2
    places = torch.arange(x.shape[-2], dtype=torch.float64)[:, None]
    angles = places * 100.0 ** (-torch.arange(half, dtype=torch.float64) / half)
    return angles.cos().to(x.dtype), angles.sin().to(x.dtype)


def rope(bug: str = "") -> Callable[..., Tensor]:
    def turned(x: Tensor, sign: int) -> Tensor:
        a, b = wide(x).chunk(2, -1)
        cos, sin = _angles(wide(x))
        return torch.cat([a * cos - sign * b * sin, sign * a * sin + b * cos], -1).to(x.dtype)

    class RoPE(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            y = turned(x, 1)
            if bug == "rotation in place":
                x.detach().copy_(y)
            return y

        @staticmethod
        def backward(ctx: Any, *dys: Tensor) -> Any:
            return turned(dys[0], 1 if bug == "not turned back" else -1)

    return RoPE.apply


def embedding_reference(places: Tensor, weight: Tensor) -> Tensor:
    return functional.embedding(places, weight, padding_idx=PADDING)


def embedding(bug: str = "") -> Callable[..., Tensor]:
    class Embedding(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, places: Tensor, weight: Tensor) -> Tensor:
            ctx.save_for_backward(places)
            ctx.rows = len(weight)
            return weight[places]

        @staticmethod
        def backward(ctx: Any, *dys: Tensor) -> Any:
            (places,) = ctx.saved_tensors
            dy = wide(dys[0]).reshape(-1, dys[0].shape[-1])
            flat = places.flatten()
            dweight = torch.zeros(ctx.rows, dy.shape[-1], dtype=dy.dtype)
            if bug == "duplicates overwritten":
                for place, row in zip(flat, dy, strict=True):
                    dweight[place] = row
            else:
                dweight.index_add_(0, flat, dy)
            if not (bug == "padding forgotten above 768 indices" and len(flat) > 768):
                dweight[PADDING] = 0
            return None, dweight.to(dys[0].dtype)

    return Embedding.apply


def dropout_reference(x: Tensor, seed: int) -> Tensor:
    return x * _mask(x.shape, seed).to(x) * 2


def _mask(shape: torch.Size, seed: int) -> Tensor:
    """What is kept: by a hash of the place, so that no generator is needed."""
    places = torch.arange(shape.numel(), dtype=torch.int64) + 7919 * seed
    return ((places * 2654435761 >> 7) % 2 == 0).view(shape)


def dropout(bug: str = "") -> Callable[..., Tensor]:
    class Dropout(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, seed: int) -> Tensor:
            ctx.seed = seed
            return (wide(x) * _mask(x.shape, seed) * 2).to(x.dtype)

        @staticmethod
        def backward(ctx: Any, *dys: Tensor) -> Any:
            seed = ctx.seed + (bug == "backward redraws the mask")
            return (wide(dys[0]) * _mask(dys[0].shape, seed) * 2).to(dys[0].dtype), None

    return Dropout.apply
