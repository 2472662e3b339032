"""A network that cannot be taken apart: widths and an activation go in, and it trains itself.

Numpy, batch first, weights [in, out]; `fit` owns the loop, the loss and the rate. The loss is half
the squared distance, averaged over the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]

FUNCTIONS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "tanh": (np.tanh, lambda y: 1 - y**2),
    "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), lambda y: y * (1 - y)),
}


class Network:
    """Fully connected layers with one activation after each but the last."""

    def __init__(self, widths: list[int], activation: str) -> None:
        random = np.random.default_rng(0)
        self.f, self.slope = FUNCTIONS[activation]
        self.W = [random.normal(0, n**-0.5, (n, m)) for n, m in pairwise(widths)]
        self.b = [random.normal(0, 0.1, m) for m in widths[1:]]

    def predict(self, x: Array) -> Array:
        self.kept = [x]
        for W, b in zip(self.W, self.b, strict=True):
            last = len(self.kept) == len(self.W)
            y = self.kept[-1] @ W + b
            self.kept.append(y if last else self.f(y))
        return self.kept[-1]

    def loss(self, y: Array, t: Array) -> float:
        return float(((y - t) ** 2).sum() / 2 / len(t))

    def loss_slope(self, y: Array, t: Array) -> Array:
        return (y - t) / len(t)

    def backward(self, dy: Array) -> None:
        self.dW, self.db = [np.zeros(0)] * len(self.W), [np.zeros(0)] * len(self.b)
        for i in reversed(range(len(self.W))):
            self.dW[i], self.db[i] = self.kept[i].T @ dy, dy.sum(axis=0)
            if i:
                dy = (dy @ self.W[i].T) * self.slope(self.kept[i])

    def fit(self, x: Array, t: Array, rate: float, epochs: int = 1) -> list[float]:
        """Trains on all samples at once; returns the loss of each epoch."""
        losses = []
        for _ in range(epochs):
            y = self.predict(x)
            losses.append(self.loss(y, t))
            self.backward(self.loss_slope(y, t))
            for p, gradient in zip(self.W + self.b, self.dW + self.db, strict=True):
                p -= rate * gradient
        return losses
