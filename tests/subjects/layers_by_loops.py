"""Convolution, pooling, norms and an embedding as a careful student writes them: NumPy and loops.

Options, shapes and defaults are torch's: images are [N, C, H, W], weights and biases are held as
torch holds them. Gradients add up until `zero_grad`. A layer computes in the dtype of its input
and keeps a copy of whatever its backward needs.
"""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import torch

Array = np.ndarray[Any, np.dtype[Any]]
Pairs = list[tuple[Array, Array]]
Size = int | tuple[int, int]
Shape = int | tuple[int, ...]


def pair(size: Size) -> tuple[int, int]:
    """A number for both height and width, or one for each."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def filled(shape: Shape, value: float) -> Array:
    """A new parameter, in torch's default dtype."""
    return np.full(shape, value, str(torch.get_default_dtype()).removeprefix("torch."))


class Layer:
    """A layer with a weight and a bias, or with neither (None)."""

    training = True
    weight: Any = None
    bias: Any = None
    dweight: Any = None
    dbias: Any = None

    def forward(self, x: Array) -> Array:
        raise NotImplementedError

    def backward(self, dy: Array) -> Any:
        raise NotImplementedError

    def param(self) -> Pairs:
        pairs = [(self.weight, self.dweight), (self.bias, self.dbias)]
        return [(p, gradient) for p, gradient in pairs if p is not None]

    def zero_grad(self) -> None:
        for _, gradient in self.param():
            gradient[...] = 0

    def train(self) -> None:
        self.training = True

    def eval(self) -> None:
        self.training = False


class Windows(Layer):
    """What Conv2d and MaxPool2d share: a window that moves over the image."""

    def __init__(self, kernel_size: Size, stride: Size, padding: Size, dilation: Size) -> None:
        self.kernel, self.stride = pair(kernel_size), pair(stride)
        self.padding, self.dilation = pair(padding), pair(dilation)

    def reach(self, axis: int) -> int:
        """How many pixels there are from a window's first to its last."""
        return self.dilation[axis] * (self.kernel[axis] - 1) + 1

    def output_size(self, size: int, axis: int) -> int:
        """How many windows fit along an axis (0: height, 1: width) of `size` pixels."""
        room = size + 2 * self.padding[axis] - self.reach(axis)
        return room // self.stride[axis] + 1

    def output_sizes(self, x: Array) -> tuple[int, int]:
        height, width = self.output_size(x.shape[2], 0), self.output_size(x.shape[3], 1)
        if height < 1 or width < 1:
            raise ValueError(f"a window of {self.kernel} does not fit into {x.shape[2:]}")
        return height, width


class Conv2d(Windows):
    """`y[n, o, i, j] = Σ weight[o, c, k, l] x[n, c, i s + k d - p, j s + l d - p] + bias[o]`."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation)
        if in_channels % groups or out_channels % groups:
            raise ValueError(f"{groups} groups do not divide {in_channels} and {out_channels}")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.weight = filled((out_channels, in_channels // groups, *self.kernel), 0)
        self.dweight = np.zeros_like(self.weight)
        if bias:
            self.bias = filled(out_channels, 0)
            self.dbias = np.zeros_like(self.bias)

    def padded(self, x: Array) -> Array:
        """A copy of x with zeros around it."""
        (p, q), (N, C, H, W) = self.padding, x.shape
        wide = np.zeros((N, C, H + 2 * p, W + 2 * q), x.dtype)
        wide[:, :, p : p + H, q : q + W] = x
        return wide

    def unpadded(self, dx: Array) -> Array:
        """What `padded` put zeros around."""
        (p, q), (H, W) = self.padding, dx.shape[2:]
        return dx[:, :, p : H - p, q : W - q]

    def window(self, i: int, j: int) -> tuple[slice, ...]:
        """Where the window of output pixel (i, j) lies in the padded image."""
        top, left = i * self.stride[0], j * self.stride[1]
        rows = slice(top, top + self.reach(0), self.dilation[0])
        columns = slice(left, left + self.reach(1), self.dilation[1])
        return slice(None), slice(None), rows, columns

    def inputs_of(self, o: int) -> slice:
        """The input channels that output channel o sees: those of its group."""
        width = self.in_channels // self.groups
        group = o // (self.out_channels // self.groups)
        return slice(group * width, (group + 1) * width)

    def forward(self, x: Array) -> Array:
        if x.shape[1] != self.in_channels:
            raise ValueError(f"x has {x.shape[1]} channels; this layer takes {self.in_channels}")
        H, W = self.output_sizes(x)
        self.x = self.padded(x)
        y = np.zeros((len(x), self.out_channels, H, W), x.dtype)
        for i, j in product(range(H), range(W)):
            window = self.x[self.window(i, j)]  # [N, C, *kernel]
            for o in range(self.out_channels):
                y[:, o, i, j] = (window[:, self.inputs_of(o)] * self.weight[o]).sum((1, 2, 3))
        if self.bias is not None:
            for o in range(self.out_channels):
                y[:, o] += self.bias[o]
        return y

    def backward(self, dy: Array) -> Array:
        self.dweight += self.weight_gradient(dy)
        if self.bias is not None:
            self.dbias += self.bias_gradient(dy)
        return self.input_gradient(dy)

    def weight_gradient(self, dy: Array) -> Array:
        """Each window, times the dy of its output pixel."""
        dweight = np.zeros_like(self.weight)
        for i, j in product(range(dy.shape[2]), range(dy.shape[3])):
            window = self.x[self.window(i, j)]
            for o in range(self.out_channels):
                d = dy[:, o, i, j].reshape(-1, 1, 1, 1)
                dweight[o] += (d * window[:, self.inputs_of(o)]).sum(0)
        return dweight

    def bias_gradient(self, dy: Array) -> Array:
        dbias = np.zeros_like(self.bias)
        for o in range(self.out_channels):
            dbias[o] = dy[:, o].sum()
        return dbias

    def input_gradient(self, dy: Array) -> Array:
        """Each window gets the kernel, times the dy of its output pixel; windows overlap."""
        dx = np.zeros_like(self.x)
        for i, j in product(range(dy.shape[2]), range(dy.shape[3])):
            window = dx[self.window(i, j)]
            for o in range(self.out_channels):
                d = dy[:, o, i, j].reshape(-1, 1, 1, 1)
                window[:, self.inputs_of(o)] += d * self.weight[o]
        return self.unpadded(dx)


class MaxPool2d(Windows):
    """The largest entry of each window, which alone gets the gradient; of a tie, the first."""

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        dilation: Size = 1,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(kernel_size, kernel_size if stride is None else stride, padding, dilation)
        self.ceil_mode = ceil_mode
        if any(2 * p > self.reach(axis) for axis, p in enumerate(self.padding)):
            raise ValueError(f"padding {self.padding} is more than half of a window")

    def output_size(self, size: int, axis: int) -> int:
        """As torch has it: with `ceil_mode` the last window may reach over the edge, if only it
        does not begin in the padding behind it."""
        if not self.ceil_mode:
            return super().output_size(size, axis)
        padding, stride = self.padding[axis], self.stride[axis]
        count = math.ceil((size + 2 * padding - self.reach(axis)) / stride) + 1
        return count - 1 if (count - 1) * stride >= size + padding else count

    def entries(self, i: int, j: int) -> list[tuple[int, int]]:
        """The pixels of a window that lie in the image, in row-major order."""
        top, left = (n * s - p for n, s, p in zip((i, j), self.stride, self.padding, strict=True))
        rows = [top + k * self.dilation[0] for k in range(self.kernel[0])]
        columns = [left + k * self.dilation[1] for k in range(self.kernel[1])]
        H, W = self.shape[2:]
        return [(r, c) for r, c in product(rows, columns) if 0 <= r < H and 0 <= c < W]

    def forward(self, x: Array) -> Array:
        self.shape = x.shape
        y = np.zeros((*x.shape[:2], *self.output_sizes(x)), x.dtype)
        self.row, self.column = np.zeros(y.shape, int), np.zeros(y.shape, int)
        for i, j in product(range(y.shape[2]), range(y.shape[3])):
            (row, column), *others = self.entries(i, j)
            y[:, :, i, j] = x[:, :, row, column]
            self.row[:, :, i, j], self.column[:, :, i, j] = row, column
            for row, column in others:
                value = x[:, :, row, column]
                better = (value > y[:, :, i, j]) | np.isnan(value)
                y[better, i, j] = value[better]
                self.row[better, i, j], self.column[better, i, j] = row, column
        return y

    def backward(self, dy: Array) -> Array:
        dx = np.zeros(self.shape, dy.dtype)
        for n, c, i, j in np.ndindex(dy.shape):
            dx[n, c, self.row[n, c, i, j], self.column[n, c, i, j]] += dy[n, c, i, j]
        return dx


class Flatten(Layer):
    """Each sample as one row."""

    def forward(self, x: Array) -> Array:
        self.shape = x.shape
        return x.reshape(len(x), math.prod(x.shape[1:])).copy()

    def backward(self, dy: Array) -> Array:
        return dy.reshape(self.shape).copy()


class Norm(Layer):
    """What the norms share: `y = xhat weight + bias`, with `xhat = (x - mean) / sqrt(var + eps)`.

    A group is the entries that are normalised together: BatchNorm's are channels, LayerNorm's and
    RMSNorm's are samples. A subclass says which `groups` there are of x, and where the weight of
    each lies.
    """

    def __init__(self, shape: Shape, eps: float | None, affine: bool, bias: bool = True) -> None:
        self.shape = (shape,) if isinstance(shape, int) else tuple(shape)
        self.eps = eps
        if affine:
            self.weight = filled(self.shape, 1)
            self.dweight = np.zeros_like(self.weight)
        if affine and bias:
            self.bias = filled(self.shape, 0)
            self.dbias = np.zeros_like(self.bias)

    def groups(self, x: Array) -> list[tuple[Any, Any]]:
        """For each group: its place among the statistics, its place in x."""
        raise NotImplementedError

    def of(self, parameter: Array, place: Any) -> Any:
        """What a group is multiplied by, or what is added to it."""
        raise NotImplementedError

    def moments(self, group: Array) -> tuple[Any, Any]:
        """The mean and the (biased) variance of a group."""
        mean = group.mean()
        return mean, ((group - mean) ** 2).mean()

    def statistics(self, x: Array) -> tuple[Array, Array]:
        """Mean and variance of every group."""
        groups = self.groups(x)
        mean, var = np.zeros(len(groups), x.dtype), np.zeros(len(groups), x.dtype)
        for place, where in groups:
            mean[place], var[place] = self.moments(x[where])
        return mean, var

    def root(self, var: Array) -> Array:
        """The standard deviation."""
        eps = np.finfo(var.dtype).eps if self.eps is None else self.eps
        return np.sqrt(var + var.dtype.type(eps))

    def normalised(self, x: Array, mean: Array, var: Array) -> Array:
        """The output; keeps what backward needs."""
        self.std, self.xhat = self.root(var), np.zeros(x.shape, x.dtype)
        y = np.zeros(x.shape, x.dtype)
        for place, where in self.groups(x):
            self.xhat[where] = (x[where] - mean[place]) / self.std[place]
            y[where] = self.xhat[where]
            if self.weight is not None:
                y[where] *= self.of(self.weight, place)
            if self.bias is not None:
                y[where] += self.of(self.bias, place)
        return y

    def through(self, dxhat: Array, xhat: Array) -> Array:
        """dx of a group, times its standard deviation: mean and variance depend on x as well."""
        return dxhat - dxhat.mean() - xhat * (dxhat * xhat).mean()

    def backward(self, dy: Array) -> Array:
        if self.weight is not None:
            self.dweight += self.weight_gradient(dy)
        if self.bias is not None:
            self.dbias += self.bias_gradient(dy)
        return self.input_gradient(dy)

    def weight_gradient(self, dy: Array) -> Array:
        return self.summed(dy * self.xhat)

    def bias_gradient(self, dy: Array) -> Array:
        return self.summed(dy)

    def summed(self, d: Array) -> Array:
        """The sum of all that one entry of a parameter has had a part in."""
        raise NotImplementedError

    def input_gradient(self, dy: Array) -> Array:
        dx = np.zeros(dy.shape, dy.dtype)
        for place, where in self.groups(dy):
            dxhat = dy[where]
            if self.weight is not None:
                dxhat = dxhat * self.of(self.weight, place)
            dx[where] = self.through(dxhat, self.xhat[where]) / self.std[place]
        return dx


class BatchNorm(Norm):
    """Normalises each channel over all else: by the batch's statistics, in evaluation by running
    ones. `momentum=None` makes these the average over all batches."""

    ranks: tuple[int, ...] = ()

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
    ) -> None:
        super().__init__(num_features, eps, affine)
        self.momentum = momentum
        self.running_mean, self.running_var = filled(num_features, 0), filled(num_features, 1)
        self.num_batches_tracked = 0

    def groups(self, x: Array) -> list[tuple[Any, Any]]:
        return [(c, (slice(None), c)) for c in range(x.shape[1])]

    def of(self, parameter: Array, place: Any) -> Any:
        return parameter[place]

    def forward(self, x: Array) -> Array:
        if x.ndim not in self.ranks or x.shape[1] != self.shape[0]:
            raise ValueError(f"x is {x.shape}; rank {self.ranks}, {self.shape[0]} channels are due")
        self.of_batch = self.training and x.size > 0
        if not self.of_batch:
            mean, var = self.running_mean.astype(x.dtype), self.running_var.astype(x.dtype)
            return self.normalised(x, mean, var)
        n = x.size // x.shape[1]
        if n == 1:
            raise ValueError(f"training needs two values a channel; x is {x.shape}")
        mean, var = self.statistics(x)
        self.num_batches_tracked += 1
        self.update(mean, var, n)
        return self.normalised(x, mean, var)

    def update(self, mean: Array, var: Array, n: int) -> None:
        """Moves the running statistics; the variance is the unbiased one, of n values."""
        rate = 1 / self.num_batches_tracked if self.momentum is None else self.momentum
        self.running_mean[...] = (1 - rate) * self.running_mean + rate * mean
        self.running_var[...] = (1 - rate) * self.running_var + rate * (var * n / (n - 1))

    def through(self, dxhat: Array, xhat: Array) -> Array:
        """In evaluation the statistics are constants."""
        return super().through(dxhat, xhat) if self.of_batch else dxhat

    def summed(self, d: Array) -> Array:
        total = np.zeros(d.shape[1], d.dtype)
        for c in range(len(total)):
            total[c] = d[:, c].sum()
        return total


class BatchNorm1d(BatchNorm):
    """For [N, C] and [N, C, L]."""

    ranks = (2, 3)


class BatchNorm2d(BatchNorm):
    """For [N, C, H, W]."""

    ranks = (4,)


class LayerNorm(Norm):
    """Normalises each sample over its last axes, `normalized_shape`."""

    def __init__(
        self,
        normalized_shape: Shape,
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__(normalized_shape, eps, elementwise_affine, bias)

    def groups(self, x: Array) -> list[tuple[Any, Any]]:
        return list(enumerate(np.ndindex(x.shape[: x.ndim - len(self.shape)])))

    def of(self, parameter: Array, place: Any) -> Any:
        return parameter

    def forward(self, x: Array) -> Array:
        if x.shape[x.ndim - len(self.shape) :] != self.shape:
            raise ValueError(f"x is {x.shape}; its last axes must be {self.shape}")
        return self.normalised(x, *self.statistics(x))

    def summed(self, d: Array) -> Array:
        total = np.zeros(self.shape, d.dtype)
        for _, row in self.groups(d):
            total += d[row]
        return total


class RMSNorm(LayerNorm):
    """`y = x / sqrt(mean(x²) + eps) weight`: takes no mean off. Its eps is that of the dtype."""

    def __init__(
        self,
        normalized_shape: Shape,
        eps: float | None = None,
        elementwise_affine: bool = True,
    ) -> None:
        Norm.__init__(self, normalized_shape, eps, elementwise_affine, bias=False)

    def moments(self, group: Array) -> tuple[Any, Any]:
        return 0, (group**2).mean()

    def through(self, dxhat: Array, xhat: Array) -> Array:
        return dxhat - xhat * (dxhat * xhat).mean()


class Embedding(Layer):
    """Row x of the weight, for each index x; the row `padding_idx` learns nothing."""

    def __init__(
        self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None
    ) -> None:
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise ValueError(f"padding_idx {padding_idx} is out of range: {num_embeddings} rows")
        self.padding_idx = None if padding_idx is None else padding_idx % num_embeddings
        self.weight = filled((num_embeddings, embedding_dim), 0)
        self.dweight = np.zeros_like(self.weight)

    def forward(self, x: Array) -> Array:
        rows, width = self.weight.shape
        outside = x[(x < 0) | (x >= rows)]
        if outside.size:
            raise IndexError(f"index {outside[0]} is out of range: there are {rows} rows")
        self.x = x.copy()
        y = np.zeros((*x.shape, width), self.weight.dtype)
        for place in np.ndindex(x.shape):
            y[place] = self.weight[x[place]]
        return y

    def backward(self, dy: Array) -> None:
        dweight = np.zeros_like(self.weight)
        for place in np.ndindex(self.x.shape):
            if self.x[place] != self.padding_idx:
                dweight[self.x[place]] += dy[place]
        self.dweight += dweight
