"""Layers that move their weights [in, out] in `backward(dy, lr)`, and keep no gradient at all.

Torch tensors, batch first; the loss is a mean over the batch of sums over the features.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Linear:
    """`y = x w + b`."""

    def __init__(self, n_in: int, n_out: int) -> None:
        self.w = torch.randn(n_in, n_out) / n_in**0.5
        self.b = torch.zeros(n_out)
        self.weights = [self.w, self.b]

    def forward(self, x: Tensor) -> Tensor:
        self.x = x
        return x @ self.w + self.b

    def backward(self, dy: Tensor, lr: float) -> Tensor:
        dx = dy @ self.w.T
        self.w -= lr * (self.x.T @ dy)
        self.b -= lr * dy.sum(0)
        return dx


class Softplus:
    """`y = log(1 + exp(x))`; dy/dx = 1 / (1 + exp(-x))."""

    weights: tuple[Tensor, ...] = ()

    def forward(self, x: Tensor) -> Tensor:
        self.x = x
        return x.clamp(min=0) + torch.log1p(torch.exp(-x.abs()))

    def backward(self, dy: Tensor, lr: float) -> Tensor:
        return dy * torch.sigmoid(self.x)


class Distance:
    """The squared distance of prediction and target, averaged over the batch."""

    def forward(self, y: Tensor, t: Tensor) -> Tensor:
        self.difference = y - t
        return self.difference.square().sum() / len(y)

    def backward(self) -> Tensor:
        return 2 * self.difference / len(self.difference)
