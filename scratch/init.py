"""The distributions that initial weights and biases are drawn from."""

from __future__ import annotations

import math
from typing import TypeAlias

import torch
from torch import Tensor

from scratch.philox import Philox

#: Where initial values are drawn from.
Source: TypeAlias = torch.Generator | Philox | None


def draw(values: Tensor, init: str, fans: tuple[int, int], generator: Source = None) -> Tensor:
    """Fills `values` in place from the distribution called `init`, and returns it.

    Args:
        values: a weight or a bias of a layer.
        init: one of `INITS`; `Linear` says what each one is.
        fans: the layer's number of inputs and of outputs.
        generator: torch's, or a `Philox`. Default: torch's global generator.

    Raises:
        ValueError: there is no such `init`.
    """
    fan_in, fan_out = fans
    match init:
        case "uniform":
            bound = 1 / math.sqrt(fan_in)
            if isinstance(generator, Philox):
                return values.copy_(bound * (2 * generator.uniform(*values.shape) - 1))
            return values.uniform_(-bound, bound, generator=generator)
        case "xavier_normal":
            return _normal(values, math.sqrt(2 / (fan_in + fan_out)), generator)
        case "normal":
            return _normal(values, 1, generator)
        case "zeros":
            return values.zero_()
    raise ValueError(f"there is no initialisation {init!r}; there are {', '.join(INITS)}")


def _normal(values: Tensor, std: float, generator: Source) -> Tensor:
    if isinstance(generator, Philox):
        return values.copy_(std * generator.normal(*values.shape))
    return values.normal_(0, std, generator=generator)


INITS = ("uniform", "xavier_normal", "normal", "zeros")
