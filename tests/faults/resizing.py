"""Faults of the layers of sequences, of images made larger or smaller, of groups, of PReLU. Many
more are in `tests/subjects/more_wrong.py`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

import scratch
from tests.faults import Planting, fault, swap


@fault(
    "the stride is ignored in dweight",
    "layer.param_grad",
    "Conv1d",
    "ignores the stride",
    subtle="at stride 1",
)
def _() -> Planting:
    right = scratch.Conv1d._learned

    def _learned(self: Any, dy: Tensor) -> Any:
        before, windows = self.dweight.clone(), self._windows
        rows, image = right(self, dy)
        self._windows = replace(windows, stride=(1, 1))
        columns = self._columns(image, (1, dy.shape[-1]))
        self._windows = windows
        self.dweight.copy_(before + torch.bmm(rows, columns.mT).view(before.shape))
        return rows, image

    return swap(scratch.Conv1d, _learned=_learned)


@fault(
    "the bias gradient is of one place",
    "layer.param_grad",
    "Conv1d",
    "is that of the last place alone",
)
def _() -> Planting:
    right = scratch.Conv1d._learned

    def _learned(self: Any, dy: Tensor) -> Any:
        before = None if self.bias is None else self.dbias.clone()
        found = right(self, dy)
        if before is not None:
            self.dbias.copy_(before + dy[..., -1].sum(0))
        return found

    return swap(scratch.Conv1d, _learned=_learned)


@fault(
    "what output_padding adds is 0",
    "layer.forward",
    "ConvTranspose2d",
    "is 0 in what output_padding adds",
    subtle="without output_padding",
)
def _() -> Planting:
    right = scratch.ConvTranspose2d.forward

    def forward(self: Any, x: Tensor) -> Tensor:
        y = right(self, x)
        height, width = (n - more for n, more in zip(y.shape[2:], self.output_padding, strict=True))
        y[:, :, height:] = 0
        y[..., width:] = 0
        return y

    return swap(scratch.ConvTranspose2d, forward=forward)


@fault(
    "the padding is not cut off",
    "layer.forward",
    "ConvTranspose2d",
    "ignores the padding",
    subtle="without padding",
)
def _() -> Planting:
    right = scratch.ConvTranspose2d.forward

    def forward(self: Any, x: Tensor) -> Tensor:
        padding, windows = self.padding, self._windows
        self.padding, self._windows = (0, 0), replace(windows, padding=(0, 0))
        y = right(self, x)
        self.padding, self._windows = padding, windows
        return y

    return swap(scratch.ConvTranspose2d, forward=forward)


@fault(
    "dx is by the flipped kernel",
    "layer.input_grad",
    "ConvTranspose2d",
    "is by the kernel flipped",
)
def _() -> Planting:
    right = scratch.ConvTranspose2d.backward

    def backward(self: Any, dy: Tensor) -> Tensor:
        weight, self.weight = self.weight, self.weight.flip(-1, -2)
        dx = right(self, dy)
        self.weight = weight
        return dx

    return swap(scratch.ConvTranspose2d, backward=backward)


@fault(
    "the dilation is ignored in dweight",
    "layer.param_grad",
    "ConvTranspose2d",
    "ignores the dilation",
    subtle="at dilation 1",
)
def _() -> Planting:
    right = scratch.ConvTranspose2d._learned

    def _learned(self: Any, dy: Tensor) -> Any:
        before, windows = self.dweight.clone(), self._windows
        found = right(self, dy)
        self._windows = replace(windows, dilation=(1, 1))
        columns = self._columns(dy, found[1].shape[2:])
        self._windows = windows
        dweight = torch.bmm(self._rows(found[1]), columns.mT)
        self.dweight.copy_(before + dweight.view(before.shape))
        return found

    return swap(scratch.ConvTranspose2d, _learned=_learned)


@fault(
    "the padding never counts",
    "layer.forward",
    "AvgPool2d",
    "leaves the padding out of the entries that it divides by",
    subtle="where the padding is not to be counted, or there is none",
)
def _() -> Planting:
    right = scratch.AvgPool2d._divisor

    def _divisor(self: Any, x: Tensor) -> Tensor:
        include, self.count_include_pad = self.count_include_pad, False
        divisor = right(self, x)
        self.count_include_pad = include
        return divisor

    return swap(scratch.AvgPool2d, _divisor=_divisor)


@fault(
    "dx is not divided",
    "layer.input_grad",
    "AvgPool2d",
    "is not divided by the number of the window's entries",
)
def _() -> Planting:
    right = scratch.AvgPool2d.backward

    def backward(self: Any, dy: Tensor) -> Tensor:
        divisor, shape = self._saved
        self._saved = torch.ones_like(divisor), shape
        return right(self, dy)

    return swap(scratch.AvgPool2d, backward=backward)


@fault(
    "overlapping windows overwrite their shares",
    "layer.input_grad",
    "AvgPool2d",
    "is overwritten where windows overlap",
    subtle="where windows lie side by side",
)
def _() -> Planting:
    def backward(self: Any, dy: Tensor) -> Tensor:
        divisor, shape = self._recall(dy)
        share = dy / divisor
        (kh, kw), (sh, sw), (top, left) = self.kernel_size, self.stride, self.padding
        height, width = shape[2:]
        dx = dy.new_zeros(*shape[:2], height + 2 * top + kh, width + 2 * left + kw)
        for i in range(dy.shape[2]):
            for j in range(dy.shape[3]):
                window = dx[:, :, i * sh : i * sh + kh, j * sw : j * sw + kw]
                window.copy_(share[:, :, i, j, None, None].expand(window.shape))
        return dx[:, :, top : top + height, left : left + width].contiguous()

    return swap(scratch.AvgPool2d, backward=backward)


@fault(
    "dx is the mean over the copies",
    "layer.input_grad",
    "Upsample",
    "is the mean over a pixel's copies, and their sum is due",
)
def _() -> Planting:
    right = scratch.Upsample.backward

    def backward(self: Any, dy: Tensor) -> Tensor:
        return right(self, dy) / (self.scale_factor[0] * self.scale_factor[1])

    return swap(scratch.Upsample, backward=backward)


@fault(
    "dx is that of the first copy",
    "layer.input_grad",
    "Upsample",
    "takes the first copy of each pixel alone",
)
def _() -> Planting:
    def backward(self: Any, dy: Tensor) -> Tensor:
        self._recall(dy)
        s, t = self.scale_factor
        return dy[:, :, ::s, ::t].contiguous()

    return swap(scratch.Upsample, backward=backward)


@fault(
    "a group's statistics are constants in backward",
    "layer.input_grad",
    "GroupNorm",
    "takes the mean and the variance for constants",
)
def _() -> Planting:
    right = scratch.GroupNorm.backward

    def backward(self: Any, dy: Tensor) -> Tensor:
        _, scale = self._saved
        right(self, dy)
        if self.weight is not None:
            dy = dy * self.weight.view(-1, *(1,) * (dy.dim() - 2))
        return (self._rows(dy) * scale).view(dy.shape)

    return swap(scratch.GroupNorm, backward=backward)


@fault(
    "each channel is normalised by itself",
    "layer.forward",
    "GroupNorm",
    "is normalised over each channel by itself",
    subtle="where each group is one channel",
)
def _() -> Planting:
    right = scratch.GroupNorm.forward

    def forward(self: Any, x: Tensor) -> Tensor:
        groups = self.num_groups
        if x.shape[2:].numel() > 1:
            self.num_groups = self.num_channels
        y = right(self, x)
        self.num_groups = groups
        return y

    return swap(scratch.GroupNorm, forward=forward)


@fault(
    "dx has the slope on the wrong side",
    "layer.input_grad",
    "PReLU",
    "has the slope where x > 0, not where x < 0",
)
def _() -> Planting:
    right = scratch.PReLU.backward

    def backward(self: Any, dy: Tensor) -> Tensor:
        (x,) = self._saved
        right(self, dy)
        return torch.where(x > 0, self._slopes(x) * dy, dy)

    return swap(scratch.PReLU, backward=backward)


@fault(
    "the slope learns from every x",
    "layer.param_grad",
    "PReLU",
    "is summed over every x, and those below 0 alone count",
)
def _() -> Planting:
    right = scratch.PReLU.backward

    def backward(self: Any, dy: Tensor) -> Tensor:
        (x,) = self._saved
        before = self.dweight.clone()
        dx = right(self, dy)
        axes = [n for n in range(x.dim()) if n != 1 or self.num_parameters == 1]
        self.dweight.copy_(before + (x * dy).sum(axes))
        return dx

    return swap(scratch.PReLU, backward=backward)
