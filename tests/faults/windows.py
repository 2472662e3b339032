"""Faults of convolution, pooling, normalization and embedding. Many more are in
`tests/subjects/wrong_layers.py`."""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from torch import Tensor

import scratch
from scratch.normalization import _BatchNorm, _OverFeatures
from tests.faults import Planting, fault, swap


@fault("the kernel is flipped", "layer.forward", "Conv2d", "uses the kernel flipped")
def _() -> Planting:
    right = scratch.Conv2d.forward

    def forward(self: Any, x: Tensor) -> Tensor:
        weight, self.weight = self.weight, self.weight.flip(-1, -2)
        y = right(self, x)
        self.weight = weight
        return y

    return swap(scratch.Conv2d, forward=forward)


@fault(
    "dx is by the kernel the wrong way round",
    "layer.input_grad",
    "Conv2d",
    "by the kernel the wrong way round",
)
def _() -> Planting:
    right = scratch.Conv2d.backward

    def backward(self: Any, dy: Tensor) -> Tensor:
        weight, self.weight = self.weight, self.weight.flip(-1, -2)
        dx = right(self, dy)
        self.weight = weight
        return dx

    return swap(scratch.Conv2d, backward=backward)


@fault(
    "the bias gradient is of one pixel",
    "layer.param_grad",
    "Conv2d",
    "is that of the last pixel alone",
)
def _() -> Planting:
    def _learned(self: Any, dy: Tensor) -> Any:
        if self.bias is not None:
            self.dbias.add_(dy[..., -1, -1].sum(0))
        bias, self.bias = self.bias, None
        rows = right(self, dy)
        self.bias = bias
        return rows

    right = scratch.Conv2d._learned
    return swap(scratch.Conv2d, _learned=_learned)


@fault(
    "overlapping windows overwrite each other",
    "layer.input_grad",
    "MaxPool2d-overlap",
    "is overwritten where windows overlap",
)
def _() -> Planting:
    def backward(self: Any, dy: Tensor) -> Tensor:
        place, shape = self._recall(dy)
        dx = dy.new_zeros(shape).flatten(2)
        for window in range(place[0, 0].numel()):
            own = place.flatten(2)[:, :, window, None]
            dx.scatter_(2, own, dy.flatten(2)[:, :, window, None])
        return dx.view(shape)

    return swap(scratch.MaxPool2d, backward=backward)


@fault("of a tie the last has it", "layer.kink", "MaxPool2d", "goes to the last of those")
def _() -> Planting:
    def forward(self: Any, x: Tensor) -> Tensor:
        windows = self._windows.view(x, -math.inf)
        y = x.new_full((*windows.shape[:2], *windows.shape[4:]), -math.inf)
        base, first = self._places(x)
        place = first.expand(y.shape)
        for i, j in itertools.product(range(self.kernel_size[0]), range(self.kernel_size[1])):
            step = i * self.dilation[0] * x.shape[3] + j * self.dilation[1]
            later = windows[:, :, i, j] >= y.clamp_min(torch.finfo(x.dtype).min)
            place = torch.where(later, base + step, place)
            y = torch.maximum(y, windows[:, :, i, j])
        self._keep(y, place, x.shape)
        return y

    return swap(scratch.MaxPool2d, forward=forward)


@fault("the axes are in another order", "layer.forward", "Flatten", "takes the axes in another")
def _() -> Planting:
    def forward(self: Any, x: Tensor) -> Tensor:
        return right(self, x.transpose(-1, -2).reshape(x.shape))

    right = scratch.Flatten.forward
    return swap(scratch.Flatten, forward=forward)


def _tracking(variance_of: Any, momentum_of: Any) -> Planting:
    """A BatchNorm that keeps something else of a batch."""

    def _track(self: Any, mean: Tensor, variance: Tensor, count: int) -> None:
        share = momentum_of(self.momentum)
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance_of(variance, count), share)

    return swap(_BatchNorm, _track=_track)


@fault(
    "the running variance is biased",
    "layer.statistics",
    "BatchNorm",
    "keeps the biased variance",
)
def _() -> Planting:
    return _tracking(lambda variance, count: variance, lambda momentum: momentum)


@fault(
    "momentum is the share of what is old",
    "layer.statistics",
    "BatchNorm",
    "has momentum the wrong way round",
)
def _() -> Planting:
    return _tracking(
        lambda variance, count: variance * count / (count - 1), lambda momentum: 1 - momentum
    )


@fault("nothing is kept", "layer.statistics", "BatchNorm", "as if nothing had been kept")
def _() -> Planting:
    return swap(_BatchNorm, _track=lambda self, *given: None)


@fault(
    "the statistics are constants in backward",
    "layer.input_grad",
    "BatchNorm2d",
    "takes the mean and the variance for constants",
)
def _() -> Planting:
    def backward(self: Any, dy: Tensor) -> Tensor:
        _, scale, _ = self._saved
        right(self, dy)
        factor = scale if self.weight is None else scale * self.weight.view(scale.shape)
        return dy * factor

    right = _BatchNorm.backward
    return swap(_BatchNorm, backward=backward)


@fault("eps is outside of the root", "layer.ranges", "LayerNorm", "eps added outside of the root",
       subtle="at inputs of an ordinary size")  # fmt: skip
def _() -> Planting:
    def forward(self: Any, x: Tensor) -> Tensor:
        rows = self._rows(x)
        xhat = rows - rows.mean(-1, keepdim=True)
        scale = 1 / (xhat.square().mean(-1, keepdim=True).sqrt() + self.eps)
        return self._scaled(xhat * scale, scale, x)

    return swap(scratch.LayerNorm, forward=forward)


@fault("the variance is by one pass", "layer.ranges", "LayerNorm", "loses digits where the mean",
       subtle="where the mean is not far from 0")  # fmt: skip
def _() -> Planting:
    def forward(self: Any, x: Tensor) -> Tensor:
        rows = self._rows(x)
        mean = rows.mean(-1, keepdim=True)
        variance = rows.square().mean(-1, keepdim=True) - mean.square()
        scale = (variance.clamp_min(0) + self.eps).rsqrt()
        return self._scaled((rows - mean) * scale, scale, x)

    return swap(scratch.LayerNorm, forward=forward)


@fault(
    "dweight is by the input", "layer.param_grad", "RMSNorm", "is multiplied by the input, not by"
)
def _() -> Planting:
    def _learned(self: Any, dy: Tensor) -> Any:
        _, scale = self._saved
        before = None if self.weight is None else self.dweight.clone()
        found = right(self, dy)
        if self.weight is not None:
            rows = dy.reshape(found[1].shape) * found[1] / scale
            self.dweight.copy_(before + rows.sum(0).view(self.dweight.shape))
        return found

    right = _OverFeatures._learned
    return swap(_OverFeatures, _learned=_learned)


@fault("the term of the root is left out", "layer.input_grad", "RMSNorm", "for a constant")
def _() -> Planting:
    def backward(self: Any, dy: Tensor) -> Tensor:
        dxhat, _, scale = self._learned(dy)
        return (dxhat * scale).view(dy.shape)

    return swap(scratch.RMSNorm, backward=backward)


@fault(
    "an index that comes twice is overwritten",
    "layer.param_grad",
    "Embedding",
    "keeps the last of an index that comes several times",
)
def _() -> Planting:
    def backward(self: Any, dy: Tensor) -> Tensor:
        (x,) = self._recall(dy)
        if self.padding_idx is not None:
            dy = dy.masked_fill((x == self.padding_idx).unsqueeze(-1), 0)
        for index, row in zip(x.flatten(), dy.reshape(-1, self.embedding_dim), strict=True):
            self.dweight[index] = row
        return dy.new_zeros(x.shape)

    return swap(scratch.Embedding, backward=backward)


@fault(
    "the padding row learns",
    "layer.param_grad",
    "Embedding-padding_idx",
    "has a gradient at padding_idx",
)
def _() -> Planting:
    def backward(self: Any, dy: Tensor) -> Tensor:
        (x,) = self._recall(dy)
        self.dweight.index_add_(0, x.flatten(), dy.reshape(-1, self.embedding_dim))
        return torch.zeros(x.shape, dtype=dy.dtype)

    return swap(scratch.Embedding, backward=backward)
