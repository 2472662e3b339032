"""Finite differences: a gradient held against its own forward, with torch out of the picture."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from parity.judge.comparison import DIGITS, GRADIENT_FACTOR, MISSING, Comparison

STEP = 1e-3

ROUNDINGS = 100
"""How many roundings of f's value each difference may be off by: of a sum of many terms that nearly
cancel, the terms round and not the sum. A mistake is a million times larger."""

FEW = 1e-5
"""How far lost digits may lead, of the largest: what is computed in float32 on its way, or by a
small number beside."""

MOST = 8
"""In how many directions a tensor is moved: of no more entries each by itself, else all of them at
once, at random. Each takes four evaluations, and sees a mistake in any entry."""


def compare_with_differences(
    name: str, f: Callable[[Tensor], Tensor], x: Tensor, gradient: Tensor | None
) -> Comparison:
    """Judges `gradient` as the derivative of the scalar `f` at `x`, in float64; None is wrong.

    Central differences at a step h and at h / 2 make Richardson's extrapolation, whose error
    is of order h^4; its distance from the better of the two, and the rounding of f, bound what
    the gradient may be off by. Keep x away from kinks, by 2 * `STEP` or more.

    Raises:
        TypeError: x is not float64.
    """
    if x.dtype != torch.float64:
        raise TypeError(f"finite differences take float64, not {x.dtype}")
    if gradient is None:
        return Comparison(name, float("inf"), reason=MISSING)
    if gradient.shape != x.shape:
        reason = f"shape {list(gradient.shape)}, that of its input is {list(x.shape)}"
        return Comparison(name, float("inf"), reason=reason)
    if not x.numel():
        return Comparison(name, 0.0, 0.0, 0.0, 0.0)
    ways = _directions(x)
    wide, narrow = (_central(f, x, ways, step) for step in (STEP, STEP / 2))
    extrapolated = (4 * narrow - wide) / 3
    rounding = torch.finfo(x.dtype).eps * max(float(f(x).abs()), 1.0) / STEP
    allowed = GRADIENT_FACTOR * ((extrapolated - narrow).abs().max() + ROUNDINGS * rounding)
    error = (ways.flatten(1) @ gradient.flatten() - extrapolated).abs().max()
    lost = float(error) < FEW * float(extrapolated.abs().max())
    return Comparison(
        name, float(error / allowed), float(error), 0.0, float(allowed),
        severity=DIGITS if lost and error > allowed else "",
    )  # fmt: skip


def _directions(x: Tensor) -> Tensor:
    """Unit vectors shaped like x, `[directions, …]`, the same for every x of a shape."""
    count = x.numel()
    if count <= MOST:
        return torch.eye(count, dtype=x.dtype).view(count, *x.shape)
    generator = torch.Generator().manual_seed(count)
    signs = torch.randint(2, (MOST, *x.shape), generator=generator) * 2 - 1
    return signs.to(x.dtype) / count**0.5


def _central(f: Callable[[Tensor], Tensor], x: Tensor, ways: Tensor, step: float) -> Tensor:
    slopes = [(f(x + step * way) - f(x - step * way)) / (2 * step) for way in ways]
    return torch.stack([slope.reshape(()) for slope in slopes])
