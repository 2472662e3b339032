"""No classes: `f_forward` returns a result and a cache, `f_backward` takes both gradients back.

Numpy, batch first, weights [in, out]; the loss returns its value and its gradient at once.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


def affine_forward(x: Array, w: Array, b: Array) -> tuple[Array, Any]:
    return x.dot(w) + b, (x, w)


def affine_backward(dout: Array, cache: Any) -> tuple[Array, Array, Array]:
    x, w = cache
    return dout.dot(w.T), x.T.dot(dout), dout.sum(axis=0)


def relu_forward(x: Array) -> tuple[Array, Any]:
    return np.maximum(0, x), x


def relu_backward(dout: Array, cache: Any) -> tuple[Array]:
    return (np.where(cache > 0, dout, 0),)


def softmax_loss(scores: Array, labels: Array) -> tuple[float, Array]:
    """Cross-entropy of the labels, a mean over the batch; and its derivative by the scores."""
    shifted = scores - scores.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    rows = np.arange(len(scores))
    gradient = np.exp(log_p)
    gradient[rows, labels] -= 1
    return -log_p[rows, labels].mean(), gradient / len(scores)
