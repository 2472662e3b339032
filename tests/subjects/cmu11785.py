"""Classes in the way of a course on deep learning: parameters in `W` and `b` `[out, 1]`, gradients
in `dLdW` and `dLdb`, made anew at each backward; targets one-hot."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


class Linear:
    def __init__(self, in_features: int, out_features: int) -> None:
        self.W = np.zeros((out_features, in_features))
        self.b = np.zeros((out_features, 1))

    def forward(self, A: Array) -> Array:
        self.A = A.copy()
        return A @ self.W.T + self.b.T

    def backward(self, dLdZ: Array) -> Array:
        self.dLdW = dLdZ.T @ self.A
        self.dLdb = dLdZ.T @ np.ones((len(dLdZ), 1))
        dLdA: Array = dLdZ @ self.W
        return dLdA


class Sigmoid:
    def forward(self, Z: Array) -> Array:
        self.A = 1 / (1 + np.exp(-Z))
        return self.A.copy()

    def backward(self, dLdA: Array) -> Array:
        return dLdA * self.A * (1 - self.A)


class ReLU:
    def forward(self, Z: Array) -> Array:
        self.A = np.maximum(Z, 0)
        return self.A.copy()

    def backward(self, dLdA: Array) -> Array:
        return np.where(self.A > 0, dLdA, 0)


class MSELoss:
    def forward(self, A: Array, Y: Array) -> Any:
        self.A, self.Y = A.copy(), Y.copy()
        return np.sum((A - Y) ** 2) / A.size

    def backward(self) -> Array:
        gradient: Array = 2 * (self.A - self.Y) / self.A.size
        return gradient


class CrossEntropyLoss:
    def forward(self, A: Array, Y: Array) -> Any:
        self.A, self.Y = A.copy(), Y.copy()
        shifted = A - A.max(1, keepdims=True)
        self.log_softmax = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
        return -np.sum(Y * self.log_softmax) / len(A)

    def backward(self) -> Array:
        gradient: Array = (np.exp(self.log_softmax) - self.Y) / len(self.A)
        return gradient
