"""Layers whose `params()` is one flat list [w, b, dw, db]; weights are [in, out].

Each backward makes new gradients, which replace the old ones; a loss takes prediction and target
twice, a Sequential its layers as a list, the optimizer the whole model.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Layer:
    """What all layers have in common."""

    __slots__: tuple[str, ...] = ()

    def forward(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def backward(self, dy: Tensor) -> Tensor:
        raise NotImplementedError

    def params(self) -> list[Tensor]:
        return []


class Linear(Layer):
    """`y = x w + b`, with b as a row of its own."""

    def __init__(self, n_in: int, n_out: int) -> None:
        self.w = torch.randn(n_in, n_out) / n_in**0.5
        self.b = torch.zeros(1, n_out)
        self.dw, self.db = torch.zeros(n_in, n_out), torch.zeros(1, n_out)

    def forward(self, x: Tensor) -> Tensor:
        self.x = x
        return x.mm(self.w) + self.b

    def backward(self, dy: Tensor) -> Tensor:
        self.dw = self.x.t().mm(dy)
        self.db = dy.sum(0, keepdim=True)
        return dy.mm(self.w.t())

    def params(self) -> list[Tensor]:
        return [self.w, self.b, self.dw, self.db]


class Sigmoid(Layer):
    """`y = 1 / (1 + exp(-x))`; dy/dx = y (1 - y)."""

    __slots__ = ("x",)

    def forward(self, x: Tensor) -> Tensor:
        self.x = x
        return torch.sigmoid(x)

    def backward(self, dy: Tensor) -> Tensor:
        y = torch.sigmoid(self.x)
        return dy * y * (1 - y)


class Sequential(Layer):
    """A list of layers in a row."""

    def __init__(self, layers: list[Layer]) -> None:
        self.layers = layers

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def backward(self, dy: Tensor) -> Tensor:
        for layer in self.layers[::-1]:
            dy = layer.backward(dy)
        return dy


class SquaredError:
    """The sum of the squared differences: keeps nothing from forward to backward."""

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        return ((prediction - target) ** 2).sum()

    def backward(self, prediction: Tensor, target: Tensor) -> Tensor:
        return 2 * (prediction - target)


class SGD:
    """Steps against the gradients that the model's layers have when it steps."""

    def __init__(self, model: Sequential, lr: float) -> None:
        self.model, self.lr = model, lr

    def step(self) -> None:
        for layer in self.model.layers:
            values = layer.params()
            half = len(values) // 2
            for p, gradient in zip(values[:half], values[half:], strict=True):
                p -= self.lr * gradient
