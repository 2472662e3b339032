"""`cs231n` with a convolution whose dx is overwritten where windows overlap, and a batch norm that
takes what it normalises by for constants."""

from __future__ import annotations

from typing import Any

import cs231n as own  # type: ignore[import-not-found]
import numpy as np


def conv_backward(dout: Any, cache: Any) -> Any:
    padded, w, param = cache
    stride, pad, k = param["stride"], param["pad"], w.shape[2]
    _, dw, db = own.conv_backward(dout, cache)
    dx = np.zeros_like(padded)
    for i in range(dout.shape[2]):
        for j in range(dout.shape[3]):
            place = np.s_[:, :, i * stride : i * stride + k, j * stride : j * stride + k]
            dx[place] = np.tensordot(dout[:, :, i, j], w, ([1], [0]))
    height, width = (n - pad for n in padded.shape[2:])
    return dx[:, :, pad:height, pad:width], dw, db


def batchnorm_backward(dout: Any, cache: Any) -> Any:
    _, dgamma, dbeta = own.batchnorm_backward(dout, cache)
    return dout * cache[1] / cache[2], dgamma, dbeta
