"""Layers as functions, in the way of a course on vision: `y, cache = f_forward(x, …)`,
`dx, … = f_backward(dout, cache)`, options in a dict, weights [in, out]."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


def affine_forward(x: Array, w: Array, b: Array) -> tuple[Array, Any]:
    return x.reshape(len(x), -1) @ w + b, (x.copy(), w)


def affine_backward(dout: Array, cache: Any) -> tuple[Array, Array, Array]:
    x, w = cache
    return (dout @ w.T).reshape(x.shape), x.reshape(len(x), -1).T @ dout, dout.sum(0)


def relu_forward(x: Array) -> tuple[Array, Any]:
    return np.maximum(0, x), x.copy()


def relu_backward(dout: Array, cache: Any) -> Array:
    return np.where(cache > 0, dout, 0)


def conv_forward(x: Array, w: Array, b: Array, conv_param: dict[str, int]) -> tuple[Array, Any]:
    stride, pad = conv_param["stride"], conv_param["pad"]
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    kh, kw = w.shape[2:]
    rows = 1 + (padded.shape[2] - kh) // stride
    columns = 1 + (padded.shape[3] - kw) // stride
    y = np.zeros((len(x), len(w), rows, columns), dtype=x.dtype)
    for i in range(rows):
        for j in range(columns):
            window = padded[:, :, i * stride : i * stride + kh, j * stride : j * stride + kw]
            y[:, :, i, j] = np.tensordot(window, w, ([1, 2, 3], [1, 2, 3])) + b
    return y, (padded, w, conv_param)


def conv_backward(dout: Array, cache: Any) -> tuple[Array, Array, Array]:
    padded, w, conv_param = cache
    stride, pad = conv_param["stride"], conv_param["pad"]
    kh, kw = w.shape[2:]
    dx, dw = np.zeros_like(padded), np.zeros_like(w)
    for i in range(dout.shape[2]):
        for j in range(dout.shape[3]):
            place = np.s_[:, :, i * stride : i * stride + kh, j * stride : j * stride + kw]
            dw += np.tensordot(dout[:, :, i, j], padded[place], ([0], [0]))
            dx[place] += np.tensordot(dout[:, :, i, j], w, ([1], [0]))
    height, width = (n - pad for n in padded.shape[2:])
    return dx[:, :, pad:height, pad:width], dw, dout.sum((0, 2, 3))


def batchnorm_forward(
    x: Array, gamma: Array, beta: Array, bn_param: dict[str, Any]
) -> tuple[Array, Any]:
    eps, momentum = bn_param["eps"], bn_param["momentum"]
    mean = bn_param.setdefault("running_mean", np.zeros(x.shape[1], dtype=x.dtype))
    var = bn_param.setdefault("running_var", np.ones(x.shape[1], dtype=x.dtype))
    if bn_param["mode"] == "test":
        normal = (x - mean) / np.sqrt(var + eps)
        return gamma * normal + beta, (normal, gamma, np.sqrt(var + eps), False)
    own_mean, own_var = x.mean(0), x.var(0)
    bn_param["running_mean"] = momentum * mean + (1 - momentum) * own_mean
    bn_param["running_var"] = momentum * var + (1 - momentum) * own_var
    root = np.sqrt(own_var + eps)
    normal = (x - own_mean) / root
    return gamma * normal + beta, (normal, gamma, root, True)


def batchnorm_backward(dout: Array, cache: Any) -> tuple[Array, Array, Array]:
    normal, gamma, root, training = cache
    d = dout * gamma
    if training:
        d = d - d.mean(0) - normal * (d * normal).mean(0)
    return d / root, (dout * normal).sum(0), dout.sum(0)


def dropout_forward(x: Array, dropout_param: dict[str, Any]) -> tuple[Array, Any]:
    """`p` is the probability to keep."""
    p, mode = dropout_param["p"], dropout_param["mode"]
    if mode == "test":
        return x.copy(), None
    mask = (np.random.rand(*x.shape) < p).astype(x.dtype)  # noqa: NPY002 (as the course has it)
    mask = mask / np.asarray(p or 1, dtype=x.dtype)
    return x * mask, mask


def dropout_backward(dout: Array, cache: Any) -> Array:
    return dout.copy() if cache is None else dout * cache


def softmax_loss(x: Array, y: Array) -> tuple[Any, Array]:
    shifted = x - x.max(1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    rows = np.arange(len(x))
    dx = np.exp(log_p)
    dx[rows, y] -= 1
    return -log_p[rows, y].mean(), dx / len(x)


def sgd_momentum(w: Array, dw: Array, config: dict[str, Any]) -> tuple[Array, dict[str, Any]]:
    v = config.get("velocity", np.zeros_like(w))
    v = config["momentum"] * v - config["learning_rate"] * dw
    config["velocity"] = v
    return w + v, config
