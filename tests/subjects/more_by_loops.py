"""More layers as a careful student writes them, NumPy and loops: convolution of a sequence and its
opposite of an image, averages, Upsample, GroupNorm and PReLU.

Options, shapes and defaults are torch's, and all else is as in `layers_by_loops`.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from tests.subjects.layers_by_loops import (
    Array,
    Conv2d,
    Layer,
    MaxPool2d,
    Norm,
    Size,
    filled,
    pair,
)


class Conv1d(Conv2d):
    """`y[n, o, i] = Σ weight[o, c, k] x[n, c, i s + k d - p] + bias[o]`."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias
        )
        self.weight = filled((out_channels, in_channels // groups, kernel_size), 0)
        self.dweight = np.zeros_like(self.weight)

    def padded(self, x: Array) -> Array:
        p, (N, C, L) = self.padding[0], x.shape
        wide = np.zeros((N, C, L + 2 * p), x.dtype)
        wide[:, :, p : p + L] = x
        return wide

    def unpadded(self, dx: Array) -> Array:
        p, L = self.padding[0], dx.shape[2]
        return dx[:, :, p : L - p]

    def span(self, i: int) -> slice:
        """Where the window of output i lies in the padded sequence."""
        left = i * self.stride[0]
        return slice(left, left + self.reach(0), self.dilation[0])

    def forward(self, x: Array) -> Array:
        if x.shape[1] != self.in_channels:
            raise ValueError(f"x has {x.shape[1]} channels; this layer takes {self.in_channels}")
        length = self.output_size(x.shape[2], 0)
        if length < 1:
            raise ValueError(f"a window of {self.kernel[0]} does not fit into {x.shape[2]}")
        self.x = self.padded(x)
        y = np.zeros((len(x), self.out_channels, length), x.dtype)
        for o, i in product(range(self.out_channels), range(length)):
            window = self.x[:, self.inputs_of(o), self.span(i)]  # [N, C of the group, kernel]
            y[:, o, i] = (window * self.weight[o]).sum((1, 2))
            if self.bias is not None:
                y[:, o, i] += self.bias[o]
        return y

    def weight_gradient(self, dy: Array) -> Array:
        dweight = np.zeros_like(self.weight)
        for o, i in product(range(dy.shape[1]), range(dy.shape[2])):
            window = self.x[:, self.inputs_of(o), self.span(i)]
            dweight[o] += (dy[:, o, i].reshape(-1, 1, 1) * window).sum(0)
        return dweight

    def input_gradient(self, dy: Array) -> Array:
        dx = np.zeros_like(self.x)
        for o, i in product(range(dy.shape[1]), range(dy.shape[2])):
            d = dy[:, o, i].reshape(-1, 1, 1)
            dx[:, self.inputs_of(o), self.span(i)] += d * self.weight[o]
        return self.unpadded(dx)


class ConvTranspose2d(Conv2d):
    """What Conv2d does to a gradient: each pixel of x puts the kernel, times itself, where a
    Conv2d would have its window. Of the sum the padding is cut off; `output_padding` makes it
    longer at the bottom and at the right. The weight is [in, out / groups, *kernel]."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        output_padding: Size = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Size = 1,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias
        )
        self.output_padding = pair(output_padding)
        for extra, *room in zip(self.output_padding, self.stride, self.dilation, strict=True):
            if extra >= max(room):
                raise ValueError(f"output_padding {extra} must be less than stride or dilation")
        self.weight = filled((in_channels, out_channels // groups, *self.kernel), 0)
        self.dweight = np.zeros_like(self.weight)

    def outputs_of(self, c: int) -> slice:
        """The output channels that input channel c has a part in: those of its group."""
        width = self.out_channels // self.groups
        group = c // (self.in_channels // self.groups)
        return slice(group * width, (group + 1) * width)

    def wide_size(self, size: int, axis: int) -> int:
        """How long the output is before the padding is cut off."""
        return (size - 1) * self.stride[axis] + self.reach(axis) + self.output_padding[axis]

    def output_size(self, size: int, axis: int) -> int:
        return self.wide_size(size, axis) - 2 * self.padding[axis]

    def forward(self, x: Array) -> Array:
        if x.shape[1] != self.in_channels:
            raise ValueError(f"x has {x.shape[1]} channels; this layer takes {self.in_channels}")
        self.output_sizes(x)
        self.x = x.copy()
        y = self.unpadded(self.placed(x)).copy()
        if self.bias is not None:
            for o in range(self.out_channels):
                y[:, o] += self.bias[o]
        return y

    def placed(self, x: Array) -> Array:
        """The kernels, times the pixels that put them; they overlap."""
        H, W = x.shape[2:]
        sizes = self.wide_size(H, 0), self.wide_size(W, 1)
        wide = np.zeros((len(x), self.out_channels, *sizes), x.dtype)
        for i, j in product(range(H), range(W)):
            window = wide[self.window(i, j)]  # [N, C, *kernel]
            for c in range(self.in_channels):
                pixel = x[:, c, i, j].reshape(-1, 1, 1, 1)
                window[:, self.outputs_of(c)] += pixel * self.weight[c]
        return wide

    def weight_gradient(self, dy: Array) -> Array:
        """Each pixel, times the dy of its window."""
        dweight, wide = np.zeros_like(self.weight), self.padded(dy)
        for i, j in product(range(self.x.shape[2]), range(self.x.shape[3])):
            window = wide[self.window(i, j)]
            for c in range(self.in_channels):
                pixel = self.x[:, c, i, j].reshape(-1, 1, 1, 1)
                dweight[c] += (pixel * window[:, self.outputs_of(c)]).sum(0)
        return dweight

    def input_gradient(self, dy: Array) -> Array:
        """Each pixel gets the dy of its window, times the kernel."""
        dx, wide = np.zeros_like(self.x), self.padded(dy)
        for i, j in product(range(dx.shape[2]), range(dx.shape[3])):
            window = wide[self.window(i, j)]
            for c in range(self.in_channels):
                dx[:, c, i, j] = (window[:, self.outputs_of(c)] * self.weight[c]).sum((1, 2, 3))
        return dx


class AvgPool2d(MaxPool2d):
    """The average of each window, which moves as MaxPool2d's does. The padding counts as zeros,
    but not with `count_include_pad=False`; what lies behind it, with `ceil_mode`, never does."""

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode=ceil_mode)
        if divisor_override == 0:
            raise ValueError("divisor_override must not be 0")
        self.count_include_pad, self.divisor_override = count_include_pad, divisor_override

    def extent(self, n: int, axis: int) -> int:
        """How much of window n lies in the image or in the padding, along an axis."""
        begin = n * self.stride[axis] - self.padding[axis]
        end = min(begin + self.kernel[axis], self.shape[2 + axis] + self.padding[axis])
        return end - begin

    def divisor(self, i: int, j: int) -> int:
        """What the sum of a window is divided by."""
        if self.divisor_override is not None:
            return self.divisor_override
        if self.count_include_pad:
            return self.extent(i, 0) * self.extent(j, 1)
        return len(self.entries(i, j))

    def forward(self, x: Array) -> Array:
        self.shape = x.shape
        y = np.zeros((*x.shape[:2], *self.output_sizes(x)), x.dtype)
        for i, j in product(range(y.shape[2]), range(y.shape[3])):
            for row, column in self.entries(i, j):
                y[:, :, i, j] += x[:, :, row, column]
            y[:, :, i, j] /= self.divisor(i, j)
        return y

    def backward(self, dy: Array) -> Array:
        dx = np.zeros(self.shape, dy.dtype)
        for i, j in product(range(dy.shape[2]), range(dy.shape[3])):
            share = dy[:, :, i, j] / self.divisor(i, j)
            for row, column in self.entries(i, j):
                dx[:, :, row, column] += share
        return dx


class AdaptiveAvgPool2d(Layer):
    """The average of each channel's image, `[N, C, 1, 1]`. Takes an `output_size` of 1 alone."""

    def __init__(self, output_size: Size) -> None:
        if pair(output_size) != (1, 1):
            raise ValueError(f"output_size is {output_size}; this layer takes 1")

    def forward(self, x: Array) -> Array:
        self.shape = x.shape
        y = np.zeros((*x.shape[:2], 1, 1), x.dtype)
        for n, c in np.ndindex(x.shape[:2]):
            y[n, c] = x[n, c].mean()
        return y

    def backward(self, dy: Array) -> Array:
        dx = np.zeros(self.shape, dy.dtype)
        for n, c in np.ndindex(self.shape[:2]):
            dx[n, c] = dy[n, c] / dx[n, c].size
        return dx


class Upsample(Layer):
    """Repeats each pixel, `scale_factor` times down and across: the mode "nearest"."""

    def __init__(self, scale_factor: Size) -> None:
        self.scale = pair(scale_factor)

    def copies(self) -> list[tuple[slice, ...]]:
        """Where the copies lie: of every pixel the first, of every pixel the second, …"""
        rows, columns = self.scale
        return [
            (slice(None), slice(None), slice(a, None, rows), slice(b, None, columns))
            for a, b in product(range(rows), range(columns))
        ]

    def forward(self, x: Array) -> Array:
        H, W = x.shape[2:]
        y = np.zeros((*x.shape[:2], H * self.scale[0], W * self.scale[1]), x.dtype)
        for copy in self.copies():
            y[copy] = x
        return y

    def backward(self, dy: Array) -> Array:
        H, W = dy.shape[2:]
        dx = np.zeros((*dy.shape[:2], H // self.scale[0], W // self.scale[1]), dy.dtype)
        for copy in self.copies():
            dx += dy[copy]
        return dx


class GroupNorm(Norm):
    """Normalises each sample by itself, over the channels of a group and all that follows them."""

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True
    ) -> None:
        if num_channels % num_groups:
            raise ValueError(f"{num_groups} groups do not divide {num_channels} channels")
        super().__init__(num_channels, eps, affine)
        self.num_groups = num_groups

    def channels(self, group: int) -> slice:
        width = self.shape[0] // self.num_groups
        return slice(group * width, (group + 1) * width)

    def groups(self, x: Array) -> list[tuple[Any, Any]]:
        of_sample = [self.channels(group) for group in range(self.num_groups)]
        return list(enumerate(product(range(len(x)), of_sample)))

    def of(self, parameter: Array, place: Any) -> Any:
        own = parameter[self.channels(place % self.num_groups)]
        return np.expand_dims(own, tuple(range(1, self.rank - 1)))

    def forward(self, x: Array) -> Array:
        if x.ndim < 2 or x.shape[1] != self.shape[0]:
            raise ValueError(f"x is {x.shape}; {self.shape[0]} channels are due")
        if x.size == self.num_groups:
            raise ValueError(f"a group needs two values; x is {x.shape}")
        self.rank = x.ndim
        return self.normalised(x, *self.statistics(x))

    def summed(self, d: Array) -> Array:
        total = np.zeros(self.shape, d.dtype)
        for c in range(len(total)):
            total[c] = d[:, c].sum()
        return total


class PReLU(Layer):
    """`x` where it is positive, else `weight x`: with one slope for all, or one a channel."""

    def __init__(self, num_parameters: int = 1, init: float = 0.25) -> None:
        self.weight = filled(num_parameters, init)
        self.dweight = np.zeros_like(self.weight)

    def places(self, x: Array) -> list[tuple[int, Any]]:
        """Each slope's index, and its place in x."""
        if len(self.weight) == 1:
            return [(0, ...)]
        if x.ndim < 2 or x.shape[1] != len(self.weight):
            raise ValueError(f"x is {x.shape}; {len(self.weight)} channels are due")
        return [(c, (slice(None), c)) for c in range(len(self.weight))]

    def forward(self, x: Array) -> Array:
        self.x = x.copy()
        y = np.zeros(x.shape, x.dtype)
        for c, where in self.places(x):
            y[where] = self.bent(x[where], self.weight[c])
        return y

    def backward(self, dy: Array) -> Array:
        dx = np.zeros(dy.shape, dy.dtype)
        for c, where in self.places(dy):
            dx[where] = self.to_input(self.x[where], dy[where], self.weight[c])
            self.dweight[c] += self.to_slope(self.x[where], dy[where], self.weight[c])
        return dx

    def bent(self, x: Array, slope: Any) -> Any:
        """The output, where `slope` holds."""
        return np.where(x > 0, x, slope * x)

    def to_input(self, x: Array, dy: Array, slope: Any) -> Any:
        """dx, where `slope` holds."""
        return np.where(x > 0, dy, slope * dy)

    def to_slope(self, x: Array, dy: Array, slope: Any) -> Any:
        """The gradient of a slope."""
        return np.where(x > 0, np.zeros_like(x), dy * x).sum()
