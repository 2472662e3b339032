"""`functions` under parity's conventions: what keeps the parameters and the cache in between."""

from typing import Any

import functions
import numpy as np
from torch import nn

import parity


class Layer:
    def __init__(self, name: str, *shapes: tuple[int, ...]) -> None:
        self.run, self.back = (getattr(functions, f"{name}_{way}") for way in ("forward", "backward"))
        self.params, self.grads = [np.zeros(s) for s in shapes], [np.zeros(s) for s in shapes]

    def forward(self, x: Any) -> Any:
        y, self.cache = self.run(x, *self.params)
        return y

    def backward(self, dy: Any) -> Any:
        dx, *self.grads = self.back(dy, self.cache)
        return dx


class Loss:
    def forward(self, scores: Any, labels: Any) -> float:
        value, self.gradient = functions.softmax_loss(scores, labels)
        return value

    def backward(self) -> Any:
        return self.gradient


subject = parity.Subject(
    {
        nn.Linear: lambda n_in, n_out: Layer("affine", (n_in, n_out), (n_out,)),
        nn.ReLU: lambda: Layer("relu"),
        nn.CrossEntropyLoss: Loss,
    },
    array="numpy",
    weight="in_out",
    parameters=lambda layer: list(zip(layer.params, layer.grads, strict=True)),
    gradients="overwritten",
    dtypes=("float64",),
)
