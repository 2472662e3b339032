"""`forgetful` under parity's conventions: its gradients are read off a step of the weights.

At a rate of 2**60 rounding leaves nothing of a weight, and all of the step.
"""

from typing import Any

import forgetful
import torch
from torch import nn

import parity

RATE = 2.0**60


def weights(layer: Any) -> list[torch.Tensor]:
    return [layer.w, layer.b] if isinstance(layer, forgetful.Linear) else []


def backward(layer: Any, dy: torch.Tensor) -> torch.Tensor:
    before = [p.clone() for p in weights(layer)]
    dx: torch.Tensor = layer.backward(dy, RATE)
    layer.gradients = [(old - p) / RATE for old, p in zip(before, weights(layer), strict=True)]
    for old, p in zip(before, weights(layer), strict=True):
        p.copy_(old)
    return dx


subject = parity.Subject(
    {nn.Linear: forgetful.Linear, nn.Softplus: forgetful.Softplus, nn.MSELoss: forgetful.Distance},
    weight="in_out",
    parameters=lambda layer: [
        (p, layer.gradients[i] if hasattr(layer, "gradients") else None)
        for i, p in enumerate(weights(layer))
    ],
    gradients="overwritten",
    reduction="batch_mean",
    backward=backward,
)
