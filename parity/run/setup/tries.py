"""Whether what a layer gives is what is due, once a setting is another."""

from __future__ import annotations

from torch import Tensor

NEAR = 1e-4
"""How far values may be off that are the same but for rounding."""


def near(y: Tensor, due: Tensor) -> bool:
    return y.shape == due.shape and bool((y - due).abs().max() < NEAR)
