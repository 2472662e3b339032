"""Numpy and column vectors [features, 1], one at a time; `learn(dy, rate)` is the training.

Each layer moves its own weights [out, in] against the gradient as it passes it on; there is no
optimizer. The loss is a pair of functions, a mean over the features, and a matrix [1, 1].
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]


class Dense:
    """`y = W x + b`."""

    def __init__(self, inputs: int, outputs: int) -> None:
        self.W = np.random.randn(outputs, inputs) / np.sqrt(inputs)  # noqa: NPY002 - as many do
        self.b = np.zeros((outputs, 1))

    def feed(self, x: Array) -> Array:
        self.x = x
        return self.W @ x + self.b

    def learn(self, dy: Array, rate: float) -> Array:
        self.dW, self.db = dy @ self.x.T, dy.copy()
        dx = self.W.T @ dy
        self.W -= rate * self.dW
        self.b -= rate * self.db
        return dx


class Tanh:
    """`y = tanh(x)`; dy/dx = 1 - y²."""

    def feed(self, x: Array) -> Array:
        self.x = x
        return np.tanh(x)

    def learn(self, dy: Array, rate: float) -> Array:
        return dy * (1 - np.tanh(self.x) ** 2)


def mse(target: Array, prediction: Array) -> Array:
    return (target - prediction).T @ (target - prediction) / target.size


def mse_prime(target: Array, prediction: Array) -> Array:
    return 2 * (prediction - target) / target.size
