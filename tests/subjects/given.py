"""A Sequential that is given its loss, and whose `backward(target)` begins there.

Numpy, batch first; each layer has dicts `params` and `grads` by name, weights [in, out], and is
told in `forward` whether it trains. Targets are one-hot, or weights of all classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]


class Layer:
    """Something with named parameters, and gradients by the same names."""

    def __init__(self, **params: Array) -> None:
        self.params, self.grads = params, {k: np.zeros_like(v) for k, v in params.items()}

    def forward(self, x: Array, training: bool) -> Array:
        raise NotImplementedError

    def backward(self, dout: Array) -> Array:
        raise NotImplementedError


class Affine(Layer):
    """`out = x W + b`."""

    def __init__(self, inputs: int, outputs: int) -> None:
        W = np.random.default_rng(1).normal(0, inputs**-0.5, (inputs, outputs))
        super().__init__(W=W, b=np.zeros(outputs))

    def forward(self, x: Array, training: bool) -> Array:
        self.x = x
        return x @ self.params["W"] + self.params["b"]

    def backward(self, dout: Array) -> Array:
        self.grads["W"] += self.x.T @ dout
        self.grads["b"] += dout.sum(axis=0)
        return dout @ self.params["W"].T


class Dropout(Layer):
    """Zero with probability p, else x / (1 - p); where nothing is trained, x."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Array, training: bool) -> Array:
        kept = np.random.random(x.shape) >= self.p  # noqa: NPY002 - as many do
        scale = 1 / (1 - self.p) if self.p < 1 else 0.0
        self.factor = kept * scale if training else np.ones_like(x)
        return x * self.factor

    def backward(self, dout: Array) -> Array:
        return dout * self.factor


class CrossEntropy:
    """Softmax and cross-entropy: a mean over the batch."""

    def forward(self, logits: Array, target: Array) -> float:
        shifted = logits - logits.max(axis=1, keepdims=True)
        log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        return -float((target * log_p).sum()) / len(target) if len(target) else float("nan")

    def backward(self, logits: Array, target: Array) -> Array:
        e = np.exp(logits - logits.max(axis=1, keepdims=True))
        p = e / e.sum(axis=1, keepdims=True)
        return (p * target.sum(axis=1, keepdims=True) - target) / len(target)


class Sequential:
    """Layers in a row and a loss at their end."""

    def __init__(self, layers: Sequence[Layer], loss: Any) -> None:
        self.layers, self.loss = layers, loss

    def forward(self, x: Array, training: bool) -> Array:
        for layer in self.layers:
            x = layer.forward(x, training)
        self.output = x
        return x

    def backward(self, target: Array) -> Array:
        dout: Array = self.loss.backward(self.output, target)
        for layer in reversed(self.layers):
            dout = layer.backward(dout)
        return dout
