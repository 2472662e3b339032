"""The distributions that initial weights and biases are drawn from."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def draw(
    values: Tensor, init: str, fans: tuple[int, int], generator: torch.Generator | None = None
) -> Tensor:
    """Fills `values` in place from the distribution called `init`, and returns it.

    Args:
        values: a weight or a bias of a layer.
        init: one of `INITS`; `Linear` says what each one is.
        fans: the layer's number of inputs and of outputs.
        generator: Default: torch's global generator.

    Raises:
        ValueError: there is no such `init`.
    """
    fan_in, fan_out = fans
    match init:
        case "uniform":
            bound = 1 / math.sqrt(fan_in)
            return values.uniform_(-bound, bound, generator=generator)
        case "xavier_normal":
            return values.normal_(0, math.sqrt(2 / (fan_in + fan_out)), generator=generator)
        case "normal":
            return values.normal_(0, 1, generator=generator)
        case "zeros":
            return values.zero_()
    raise ValueError(f"there is no initialisation {init!r}; there are {', '.join(INITS)}")


INITS = ("uniform", "xavier_normal", "normal", "zeros")
