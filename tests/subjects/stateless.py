"""Layers that remember nothing: `backward(x, dy)` is given the input again.

Torch tensors, batch first; weights are tensors [out, in] with a `.grad`, to which gradients are
added; the loss is the mean absolute error.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Layer:
    """What all layers have in common."""

    parameters: tuple[Tensor, ...] = ()

    def forward(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def backward(self, x: Tensor, dy: Tensor) -> Tensor:
        raise NotImplementedError


class Linear(Layer):
    """`y = x wᵀ + b`."""

    def __init__(self, n_in: int, n_out: int) -> None:
        self.parameters = torch.randn(n_out, n_in) / n_in**0.5, torch.zeros(n_out)
        for p in self.parameters:
            p.grad = torch.zeros_like(p)

    def forward(self, x: Tensor) -> Tensor:
        w, b = self.parameters
        return x @ w.T + b

    def backward(self, x: Tensor, dy: Tensor) -> Tensor:
        w, b = self.parameters
        assert w.grad is not None
        assert b.grad is not None
        w.grad += dy.T @ x
        b.grad += dy.sum(0)
        return dy @ w


class SiLU(Layer):
    """`y = x σ(x)`; dy/dx = σ(x) (1 + x (1 - σ(x)))."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(x)

    def backward(self, x: Tensor, dy: Tensor) -> Tensor:
        s = torch.sigmoid(x)
        return dy * s * (1 + x * (1 - s))


class Sequential(Layer):
    """Layers in a row, which goes through them again for backward."""

    def __init__(self, *layers: Layer) -> None:
        self.layers = layers

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def backward(self, x: Tensor, dy: Tensor) -> Tensor:
        inputs = [x]
        for layer in self.layers[:-1]:
            inputs.append(layer.forward(inputs[-1]))
        for layer, seen in zip(self.layers[::-1], inputs[::-1], strict=True):
            dy = layer.backward(seen, dy)
        return dy


class AbsoluteError:
    """The mean of |y - t|."""

    def forward(self, y: Tensor, t: Tensor) -> Tensor:
        return (y - t).abs().mean()

    def backward(self, y: Tensor, t: Tensor) -> Tensor:
        return (y - t).sign() / y.numel()
