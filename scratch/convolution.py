"""The convolution of images, as one matrix product of the weight and all windows."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from scratch.init import Source, draw
from scratch.module import check_sizes, checked_device
from scratch.windows import Size, _Windowed


class Conv2d(_Windowed):
    """Convolution with zero padding: torch.nn.Conv2d.

    `y[b, o, h, w] = bias[o] + sum over c, i, j of
    weight[o, c, i, j] * x[b, c, h * stride + i * dilation - padding, w * …]`,
    which is a cross-correlation: the kernel is not flipped. LeCun et al. 1998; the matrix product
    of windows in columns is Chellapilla et al. 2006.

    Shapes: x `[B, in_channels, H, W]`, y `[B, out_channels, Ho, Wo]`, with
    `Ho = (H + 2 * padding - dilation * (kh - 1) - 1) // stride + 1`; weight
    `[out_channels, in_channels / groups, kh, kw]`, bias `[out_channels]`. It cannot be stacked.

    Memory: `forward` and `backward` each hold one matrix of columns for a while,
    `[in_channels * kh * kw, B * Ho * Wo]`. Between the two, x is kept, which is not copied.

    Args:
        in_channels, out_channels: at least 1, multiples of `groups`.
        kernel_size, stride, padding, dilation: an integer, or a (height, width) pair.
        groups: channels are split into so many groups, each convolved by itself; with
            `in_channels` of them it is a depthwise convolution. Default: 1.
        bias: whether there is one. Default: True.
        generator: where the initial values are drawn from, as for `Linear`. They are torch's:
            U(-a, a), a = 1 / sqrt(in_channels / groups * kh * kw).
        device, dtype: of the parameters. Default: torch's defaults.

    Raises:
        ValueError: a size that is no integer or too small, channels that `groups` does not
            divide, an absent device.
    """

    weight: Tensor
    dweight: Tensor
    bias: Tensor | None
    dbias: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Size,
        stride: int | Size = 1,
        padding: int | Size = 0,
        dilation: int | Size = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        generator: Source = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation)
        check_sizes("Conv2d", in_channels=in_channels, out_channels=out_channels, groups=groups)
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"Conv2d takes channels that groups={groups} divides, not {in_channels} in and "
                f"{out_channels} out"
            )
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        device = None if device is None else checked_device(device)
        area = math.prod(self.kernel_size)
        fans = (in_channels // groups * area, out_channels // groups * area)
        shape = (out_channels, in_channels // groups, *self.kernel_size)
        weight = torch.empty(shape, device=device, dtype=dtype)
        self.register("weight", draw(weight, "uniform", fans, generator))
        self.bias = None
        if bias:
            values = torch.empty(out_channels, device=device, dtype=dtype)
            self.register("bias", draw(values, "uniform", fans, generator))

    def forward(self, x: Tensor) -> Tensor:
        """`y = weight @ columns + bias`, the columns being the windows of x."""
        self._check_image(x, self.weight, self.in_channels)
        columns, bias = self._columns(x), self.bias  # [G, K, B * Ho * Wo]
        if bias is None:
            y = torch.bmm(self._by_group(self.weight), columns)  # [G, out / G, B * Ho * Wo]
        else:
            y = torch.baddbmm(bias.view(self.groups, -1, 1), self._by_group(self.weight), columns)
        shape = (self.out_channels, len(x), *self._windows.counts(x.shape))
        y = y.view(shape).transpose(0, 1).contiguous()  # [B, out, Ho, Wo]
        self._keep(y, x)
        return y

    def backward(self, dy: Tensor) -> Tensor:
        """`dx = sum over a window's places of (weight.T @ dy)`, after `backward_param`.

        Entry x[b, c, h, w] is in several windows: their columns' derivatives add up in it.
        """
        dy_rows, x = self._learned(dy)
        dcolumns = torch.bmm(self._by_group(self.weight).mT, dy_rows)  # [G, K, B * Ho * Wo]
        shape = (self.in_channels, *self.kernel_size, len(x), *dy.shape[-2:])
        return self._windows.total(dcolumns.view(shape), x.shape)

    def backward_param(self, dy: Tensor) -> None:
        """`dweight += dy @ columns.T` and `dbias += sum of dy over samples and places`."""
        self._learned(dy)

    def _learned(self, dy: Tensor) -> tuple[Tensor, Tensor]:
        """Accumulates the gradients; returns dy `[G, out / G, B * Ho * Wo]`, and x."""
        (x,) = self._recall(dy)
        dy_rows = dy.transpose(0, 1).reshape(self.groups, self.out_channels // self.groups, -1)
        self._by_group(self.dweight).baddbmm_(dy_rows, self._columns(x).mT)
        if self.bias is not None:
            self.dbias.add_(dy_rows.sum(-1).view(-1))
        return dy_rows, x

    def _columns(self, x: Tensor) -> Tensor:
        """The windows of x as columns, those of each group: a copy `[G, K, B * Ho * Wo]`."""
        windows = self._windows.view(x, 0).permute(1, 2, 3, 0, 4, 5)  # [C, kh, kw, B, Ho, Wo]
        entries = math.prod(windows.shape[:3]) // self.groups
        return windows.reshape(self.groups, entries, math.prod(windows.shape[3:]))

    def _by_group(self, weight: Tensor) -> Tensor:
        """The weight or its gradient as a view `[G, out / G, K]`."""
        return weight.view(self.groups, len(weight) // self.groups, -1)

    def extra_repr(self) -> str:
        parts = [f"{self.in_channels}, {self.out_channels}"]
        parts += [f"kernel_size={self.kernel_size}, stride={self.stride}"]
        parts += [f"padding={self.padding}"] * (self.padding != (0, 0))
        parts += [f"dilation={self.dilation}"] * (self.dilation != (1, 1))
        parts += [f"groups={self.groups}"] * (self.groups != 1)
        return ", ".join(parts + ["bias=False"] * (self.bias is None))
