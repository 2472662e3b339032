"""A loss that belongs to a model: `loss.backward()` runs the model's backward and returns nothing.

Torch tensors in double precision, batch first; parameters are objects with `.data` and `.grad`;
the optimizer takes the model.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Weight:
    """Some numbers that are learned, and the gradient of the loss with respect to them."""

    def __init__(self, *shape: int) -> None:
        self.data = torch.randn(shape, dtype=torch.float64) * 0.3
        self.grad = torch.zeros(shape, dtype=torch.float64)


class Layer:
    """What all layers have in common."""

    def __init__(self) -> None:
        self.parameters: list[Weight] = []

    def __call__(self, x: Tensor) -> Tensor:
        return self.forward(x)

    def forward(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def backward(self, dy: Tensor) -> Tensor:
        raise NotImplementedError


class Linear(Layer):
    """`y = x wᵀ + b`."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.w, self.b = Weight(n_out, n_in), Weight(n_out)
        self.parameters = [self.w, self.b]

    def forward(self, x: Tensor) -> Tensor:
        self.x = x
        return torch.addmm(self.b.data, x, self.w.data.T)

    def backward(self, dy: Tensor) -> Tensor:
        self.w.grad += torch.einsum("bo,bi->oi", dy, self.x)
        self.b.grad += torch.einsum("bo->o", dy)
        return torch.einsum("bo,oi->bi", dy, self.w.data)


class ELU(Layer):
    """`y = x where x > 0, else alpha (exp(x) - 1)`."""

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        self.alpha = alpha

    def forward(self, x: Tensor) -> Tensor:
        self.x = x
        return torch.where(x > 0, x, self.alpha * torch.expm1(x))

    def backward(self, dy: Tensor) -> Tensor:
        return torch.where(self.x > 0, dy, dy * self.alpha * self.x.exp())


class Model(Layer):
    """Layers in a row."""

    def __init__(self, *layers: Layer) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x

    def backward(self, dy: Tensor) -> Tensor:
        for layer in reversed(self.layers):
            dy = layer.backward(dy)
        return dy


class LogitLoss:
    """Binary cross-entropy of logits, a mean over all entries, for one model."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        self.logits, self.target = logits, target
        softplus = logits.clamp(min=0) + torch.log1p(torch.exp(-logits.abs()))
        return (softplus - target * logits).mean()

    def backward(self) -> None:
        self.model.backward((torch.sigmoid(self.logits) - self.target) / self.logits.numel())


class Adam:
    """Adam over all layers of a model."""

    def __init__(self, model: Model, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999)):
        self.weights = [w for layer in model.layers for w in layer.parameters]
        self.lr, self.betas, self.steps = lr, betas, 0
        self.m = [torch.zeros_like(w.data) for w in self.weights]
        self.v = [torch.zeros_like(w.data) for w in self.weights]

    def zero_grad(self) -> None:
        for w in self.weights:
            w.grad.zero_()

    def step(self) -> None:
        self.steps += 1
        one, two = self.betas
        for w, m, v in zip(self.weights, self.m, self.v, strict=True):
            m.mul_(one).add_(w.grad, alpha=1 - one)
            v.mul_(two).addcmul_(w.grad, w.grad, value=1 - two)
            root = (v / (1 - two**self.steps)).sqrt() + 1e-8
            w.data -= self.lr * (m / (1 - one**self.steps)) / root
