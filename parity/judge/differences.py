"""Finite differences: a gradient held against its own forward, with torch out of the picture."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from parity.judge.comparison import GRADIENT_FACTOR, Comparison

STEP = 1e-3

MOST = 64
"""How many entries of a tensor are tried, evenly spread over it: each takes four evaluations."""


def compare_with_differences(
    name: str, f: Callable[[Tensor], Tensor], x: Tensor, gradient: Tensor
) -> Comparison:
    """Judges `gradient` as the derivative of the scalar `f` at `x`, in float64.

    Central differences at a step h and at h / 2 make Richardson's extrapolation, whose error
    is of order h^4; its distance from the better of the two, and the rounding of f, bound what
    the gradient may be off by. Keep x away from kinks, by 2 * `STEP` or more.

    Raises:
        TypeError: x is not float64.
    """
    if x.dtype != torch.float64:
        raise TypeError(f"finite differences take float64, not {x.dtype}")
    if gradient.shape != x.shape:
        reason = f"shape {list(gradient.shape)}, that of its input is {list(x.shape)}"
        return Comparison(name, float("inf"), reason=reason)
    if not x.numel():
        return Comparison(name, 0.0, 0.0, 0.0, 0.0)
    places = torch.linspace(0, x.numel() - 1, min(x.numel(), MOST)).long()
    wide, narrow = (_central(f, x, places, step) for step in (STEP, STEP / 2))
    extrapolated = (4 * narrow - wide) / 3
    rounding = torch.finfo(x.dtype).eps * max(float(f(x).abs()), 1.0) / STEP
    allowed = GRADIENT_FACTOR * ((extrapolated - narrow).abs().max() + 10 * rounding)
    error = (gradient.flatten()[places] - extrapolated).abs().max()
    return Comparison(name, float(error / allowed), float(error), 0.0, float(allowed))


def _central(f: Callable[[Tensor], Tensor], x: Tensor, places: Tensor, step: float) -> Tensor:
    slopes = torch.zeros(len(places), dtype=x.dtype)
    for n, place in enumerate(places):
        plus, minus = x.clone(), x.clone()
        plus.view(-1)[place] += step
        minus.view(-1)[place] -= step
        slopes[n] = (f(plus) - f(minus)) / (2 * step)
    return slopes
