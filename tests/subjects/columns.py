"""Numpy with the features first: a batch is [features, B]; `params()` is (parameters, gradients).

Weights are [out, in] and a bias is a column [out, 1]; gradients add up until `clear()`; the loss
is half the squared distance, averaged over the batch.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]


class Dense:
    """`Y = W X + b`."""

    def __init__(self, inputs: int, outputs: int) -> None:
        self.W = np.random.default_rng(0).normal(0, inputs**-0.5, (outputs, inputs))
        self.b = np.zeros((outputs, 1))
        self.dW, self.db = np.zeros_like(self.W), np.zeros_like(self.b)

    def forward(self, X: Array) -> Array:
        self.X = X
        return self.W @ X + self.b

    def backward(self, dY: Array) -> Array:
        self.dW += dY @ self.X.T
        self.db += dY.sum(axis=1, keepdims=True)
        return self.W.T @ dY

    def params(self) -> tuple[list[Array], list[Array]]:
        return [self.W, self.b], [self.dW, self.db]

    def clear(self) -> None:
        self.dW[:] = 0
        self.db[:] = 0


class Activation:
    """A function of each entry, which has no parameters."""

    def params(self) -> tuple[list[Array], list[Array]]:
        return [], []

    def clear(self) -> None:
        pass


class ReLU(Activation):
    """`Y = max(X, 0)`."""

    def forward(self, X: Array) -> Array:
        self.positive = X > 0
        return np.maximum(X, 0)

    def backward(self, dY: Array) -> Array:
        return np.where(self.positive, dY, 0)


class Softmax(Activation):
    """`Y = exp(X) / Σ exp(X)`, each column by itself."""

    def forward(self, X: Array) -> Array:
        E = np.exp(X - X.max(axis=0))
        self.Y = E / E.sum(axis=0)
        return self.Y.copy()

    def backward(self, dY: Array) -> Array:
        return self.Y * (dY - (dY * self.Y).sum(axis=0))


class Quadratic:
    """Half of the squared distance of prediction and target: a mean over the columns."""

    def forward(self, A: Array, T: Array) -> float:
        self.difference = A - T
        return float((self.difference**2).sum() / (2 * A.shape[1]))

    def backward(self) -> Array:
        return self.difference / self.difference.shape[1]


class GradientDescent:
    """Steps along given gradients: they must stay the same arrays."""

    def __init__(self, held: tuple[list[Array], list[Array]], eta: float) -> None:
        self.parameters, self.gradients = held
        self.eta = eta

    def step(self) -> None:
        for p, gradient in zip(self.parameters, self.gradients, strict=True):
            p -= self.eta * gradient
