"""Convolutions, and their transpose, as one matrix product of the weight and all windows."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from scratch.init import Source, draw
from scratch.module import check_sizes, checked_device
from scratch.windows import Size, _Windowed


class _Convolution(_Windowed):
    """What convolutions share: their arguments, parameters, and windows as columns."""

    weight: Tensor
    dweight: Tensor
    bias: Tensor | None
    dbias: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int],
        padding: int | Sequence[int],
        dilation: int | Sequence[int],
        groups: int,
        bias: bool,
        generator: Source,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
        *,
        transposed: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation)
        name = type(self).__name__
        check_sizes(name, in_channels=in_channels, out_channels=out_channels, groups=groups)
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"{name} takes channels that groups={groups} divides, not {in_channels} in and "
                f"{out_channels} out"
            )
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        device = None if device is None else checked_device(device)
        rows, columns = (in_channels, out_channels) if transposed else (out_channels, in_channels)
        shape = (rows, columns // groups, *self.kernel_size)
        fans = (math.prod(shape[1:]), rows // groups * math.prod(self.kernel_size))
        weight = torch.empty(shape, device=device, dtype=dtype)
        self.register("weight", draw(weight, "uniform", fans, generator))
        self.bias = None
        if bias:
            values = torch.empty(out_channels, device=device, dtype=dtype)
            self.register("bias", draw(values, "uniform", fans, generator))

    def _columns(self, image: Tensor, places: Sequence[int] | None = None) -> Tensor:
        """The windows of an image as columns, those of each group: a copy `[G, K, B * Ho * Wo]`.

        `places`: how many windows there are along each axis. Default: as many as fit.
        """
        windows = self._windows.view(image, 0)  # [B, C, kh, kw, Ho, Wo]
        if places is not None:
            windows = windows[..., : places[0], : places[1]]
        windows = windows.permute(1, 2, 3, 0, 4, 5)
        entries = math.prod(windows.shape[:3]) // self.groups
        return windows.reshape(self.groups, entries, math.prod(windows.shape[3:]))

    def _by_group(self, weight: Tensor) -> Tensor:
        """The weight or its gradient as a view, a matrix for each group: `[G, rows / G, K]`."""
        return weight.view(self.groups, len(weight) // self.groups, -1)

    def _rows(self, image: Tensor) -> Tensor:
        """An image's channels as rows, those of each group: `[G, C / G, B * H * W]`."""
        return image.transpose(0, 1).reshape(self.groups, image.shape[1] // self.groups, -1)

    def extra_repr(self) -> str:
        none = (0,) * len(self._axes)
        parts = [f"{self.in_channels}, {self.out_channels}"]
        parts += [f"kernel_size={self.kernel_size}, stride={self.stride}"]
        parts += [f"padding={self.padding}"] * (self.padding != none)
        parts += [f"dilation={self.dilation}"] * any(n != 1 for n in self.dilation)
        parts += [f"groups={self.groups}"] * (self.groups != 1)
        return ", ".join(parts + ["bias=False"] * (self.bias is None))


class _Correlation(_Convolution):
    """What Conv1d and Conv2d share: all but the axes that they have."""

    def forward(self, x: Tensor) -> Tensor:
        """`y = weight @ columns + bias`, the columns being the windows of x."""
        image = self._image(x, self.weight, self.in_channels)
        columns, bias = self._columns(image), self.bias  # [G, K, B * Ho * Wo]
        if bias is None:
            y = torch.bmm(self._by_group(self.weight), columns)  # [G, out / G, B * Ho * Wo]
        else:
            y = torch.baddbmm(bias.view(self.groups, -1, 1), self._by_group(self.weight), columns)
        shape = (self.out_channels, len(image), *self._windows.counts(image.shape))
        y = self._as_given(y.view(shape).transpose(0, 1).contiguous())  # [B, out, Ho, Wo]
        self._keep(y, image)
        return y

    def backward(self, dy: Tensor) -> Tensor:
        """`dx = sum over a window's places of (weight.T @ dy)`, after `backward_param`.

        An entry of x is in several windows: their columns' derivatives add up in it.
        """
        dy_rows, image = self._learned(dy)
        dcolumns = torch.bmm(self._by_group(self.weight).mT, dy_rows)  # [G, K, B * Ho * Wo]
        places = self._windows.counts(image.shape)
        shape = (self.in_channels, *self._windows.kernel, len(image), *places)
        return self._as_given(self._windows.total(dcolumns.view(shape), image.shape))

    def backward_param(self, dy: Tensor) -> None:
        """`dweight += dy @ columns.T` and `dbias += sum of dy over samples and places`."""
        self._learned(dy)

    def _learned(self, dy: Tensor) -> tuple[Tensor, Tensor]:
        """Accumulates the gradients; returns dy `[G, out / G, B * Ho * Wo]`, and x as an image."""
        (image,) = self._recall(dy)
        dy_rows = self._rows(dy)
        self._by_group(self.dweight).baddbmm_(dy_rows, self._columns(image).mT)
        if self.bias is not None:
            self.dbias.add_(dy_rows.sum(-1).view(-1))
        return dy_rows, image


class Conv2d(_Correlation):
    """Convolution of images with zero padding: torch.nn.Conv2d.

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
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias,
            generator, device, dtype,
        )  # fmt: skip


class Conv1d(_Correlation):
    """Convolution of sequences with zero padding: torch.nn.Conv1d.

    `y[b, o, l] = bias[o] + sum over c, i of
    weight[o, c, i] * x[b, c, l * stride + i * dilation - padding]`: `Conv2d` at a height of 1.

    Shapes: x `[B, in_channels, L]`, y `[B, out_channels, Lo]`, with
    `Lo = (L + 2 * padding - dilation * (kernel_size - 1) - 1) // stride + 1`; weight
    `[out_channels, in_channels / groups, kernel_size]`, bias `[out_channels]`. It cannot be
    stacked.

    Args:
        kernel_size, stride, padding, dilation: integers. The others are as for `Conv2d`.

    Raises:
        ValueError: as `Conv2d`.
    """

    _axes = ("L",)

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
        *,
        generator: Source = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias,
            generator, device, dtype,
        )  # fmt: skip


class ConvTranspose2d(_Convolution):
    """The transpose of a convolution, which makes images larger: torch.nn.ConvTranspose2d.

    Each entry of x is multiplied by the kernel and added to y where the kernel lies:
    `y[b, o, h * stride + i * dilation - padding, w * …] += weight[c, o, i, j] * x[b, c, h, w]`,
    over all c, h, w, i, j, and the bias. It is `Conv2d`'s input gradient, by a weight whose
    channels are exchanged. Dumoulin and Visin 2016, chapter 4.

    Shapes: x `[B, in_channels, H, W]`, y `[B, out_channels, Ho, Wo]`, with
    `Ho = (H - 1) * stride - 2 * padding + dilation * (kh - 1) + output_padding + 1`; weight
    `[in_channels, out_channels / groups, kh, kw]`, bias `[out_channels]`. It cannot be stacked.

    Memory: as for `Conv2d`, a matrix of columns `[out_channels * kh * kw, B * H * W]`.

    Args:
        kernel_size, stride, padding, dilation: as for `Conv2d`, of the convolution that this is
            the transpose of: `padding` is cut off y.
        output_padding: rows and columns more at the end of y, which several sizes have the same
            convolution of; an integer or a (height, width) pair, below the stride or the
            dilation. They are not 0: kernels reach them, and the bias. Default: 0.
        in_channels, out_channels, groups, bias, generator, device, dtype: as for `Conv2d`. Initial
            values are U(-a, a), a = 1 / sqrt(out_channels / groups * kh * kw), as torch has them.

    Raises:
        ValueError: as `Conv2d`; an `output_padding` that is too large; in `forward`, an image of
            which nothing is left within the padding.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Size,
        stride: int | Size = 1,
        padding: int | Size = 0,
        output_padding: int | Size = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int | Size = 1,
        *,
        generator: Source = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias,
            generator, device, dtype, transposed=True,
        )  # fmt: skip
        self.output_padding, _ = self._sizes("output_padding", output_padding, 0)
        steps = zip(self.output_padding, self.stride, self.dilation, strict=True)
        if any(more >= max(stride, dilation) for more, stride, dilation in steps):
            raise ValueError(
                "ConvTranspose2d takes an output_padding below its stride or its dilation, not "
                f"{self.output_padding} at stride {self.stride} and dilation {self.dilation}"
            )

    def forward(self, x: Tensor) -> Tensor:
        """`y = sum over a window's places of (weight.T @ x), + bias`."""
        self._check_x(x, self.weight, ("B", self.in_channels, "H", "W"))
        size = self._size(x)
        columns = torch.bmm(self._by_group(self.weight).mT, self._rows(x))  # [G, K, B * H * W]
        shape = (self.out_channels, *self.kernel_size, len(x), *x.shape[2:])
        y = self._windows.total(columns.view(shape), (len(x), self.out_channels, *size))
        if self.bias is not None:
            y.add_(self.bias.view(-1, 1, 1))
        self._keep(y, x)
        return y

    def backward(self, dy: Tensor) -> Tensor:
        """`dx = weight @ columns`, the columns being the windows of dy: the convolution of dy.

        Also `dweight += x @ columns.T` and `dbias += sum of dy over samples and places`.
        """
        columns, x = self._learned(dy)
        dx = torch.bmm(self._by_group(self.weight), columns)  # [G, in / G, B * H * W]
        return dx.view(self.in_channels, len(x), *x.shape[2:]).transpose(0, 1).contiguous()

    def backward_param(self, dy: Tensor) -> None:
        """`dweight += x @ columns.T` and `dbias += sum of dy over samples and places`."""
        self._learned(dy)

    def _learned(self, dy: Tensor) -> tuple[Tensor, Tensor]:
        """Accumulates the gradients; returns dy's columns `[G, K, B * H * W]`, and x."""
        (x,) = self._recall(dy)
        columns = self._columns(dy, x.shape[2:])
        self._by_group(self.dweight).baddbmm_(self._rows(x), columns.mT)
        if self.bias is not None:
            self.dbias.add_(dy.sum((0, 2, 3)))
        return columns, x

    def _size(self, x: Tensor) -> Size:
        """Height and width of y."""
        axes = zip(
            x.shape[2:], self.stride, self.padding, self._windows.reach, self.output_padding,
            strict=True,
        )  # fmt: skip
        height, width = (
            (size - 1) * stride - 2 * padding + reach + more
            for size, stride, padding, reach, more in axes
        )
        if height < 1 or width < 1:
            self._refuse_x(x, "images of which something is left when the padding is cut off")
        return height, width

    def extra_repr(self) -> str:
        more = f", output_padding={self.output_padding}" * any(self.output_padding)
        return super().extra_repr() + more
