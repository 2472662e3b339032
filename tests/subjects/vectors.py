"""One sample at a time, as a vector [features]; parameters are objects with `.value` and `.grad`.

Single precision alone; gradients add up until `zero_grad`, a Sequential gets its layers by `add`,
and the loss takes the target first: half the sum of the squared errors.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Parameter:
    """A value, and the gradient of a loss with respect to it."""

    def __init__(self, value: Tensor) -> None:
        self.value = value.to(torch.float32)
        self.grad = torch.zeros_like(self.value)


class Layer:
    """What all layers have in common."""

    def __call__(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def backward(self, dy: Tensor) -> Tensor:
        raise NotImplementedError

    def parameters(self) -> list[Parameter]:
        return []


class Linear(Layer):
    """`y = w x + b`."""

    def __init__(self, n_in: int, n_out: int, bias: bool = True) -> None:
        self.w = Parameter(torch.randn(n_out, n_in) / n_in**0.5)
        self.b = Parameter(torch.zeros(n_out)) if bias else None

    def __call__(self, x: Tensor) -> Tensor:
        self.x = x
        y = self.w.value.mv(x)
        return y if self.b is None else y + self.b.value

    def backward(self, dy: Tensor) -> Tensor:
        self.w.grad = self.w.grad + dy.outer(self.x)
        if self.b is not None:
            self.b.grad = self.b.grad + dy
        return self.w.value.t().mv(dy)

    def parameters(self) -> list[Parameter]:
        return [self.w] if self.b is None else [self.w, self.b]


class LeakyReLU(Layer):
    """`y = x`, or a small share of it where it is negative."""

    def __init__(self, slope: float = 0.01) -> None:
        self.slope = slope

    def __call__(self, x: Tensor) -> Tensor:
        self.x = x
        return torch.where(x > 0, x, self.slope * x)

    def backward(self, dy: Tensor) -> Tensor:
        return torch.where(self.x > 0, dy, self.slope * dy)


class Sequential(Layer):
    """Layers in a row, in the order in which they were added."""

    def __init__(self) -> None:
        self.layers: list[Layer] = []

    def add(self, layer: Layer) -> Sequential:
        self.layers.append(layer)
        return self

    def __call__(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x

    def backward(self, dy: Tensor) -> Tensor:
        for layer in reversed(self.layers):
            dy = layer.backward(dy)
        return dy

    def parameters(self) -> list[Parameter]:
        return [p for layer in self.layers for p in layer.parameters()]


class SquaredError:
    """`(t - y)² / 2`, summed over the features."""

    def __call__(self, target: Tensor, prediction: Tensor) -> Tensor:
        self.error = prediction - target
        return self.error.dot(self.error) / 2

    def backward(self) -> Tensor:
        return self.error


class SGD:
    """Steps against the gradients of some parameters."""

    def __init__(self, parameters: list[Parameter], lr: float, weight_decay: float = 0) -> None:
        self.parameters, self.lr, self.weight_decay = parameters, lr, weight_decay

    def zero_grad(self) -> None:
        for p in self.parameters:
            p.grad = torch.zeros_like(p.value)

    def step(self) -> None:
        for p in self.parameters:
            p.value -= self.lr * (p.grad + self.weight_decay * p.value)
