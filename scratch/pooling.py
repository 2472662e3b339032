"""Pooling: the largest entry of each window of an image, or their mean."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from scratch.module import check_sizes, summed
from scratch.windows import Size, _Windowed


class _Pool(_Windowed):
    """What pooling layers share: windows side by side by default, and little padding."""

    def __init__(
        self,
        kernel_size: int | Size,
        stride: int | Size | None,
        padding: int | Size,
        dilation: int | Size,
        ceil_mode: bool,
    ) -> None:
        stride = kernel_size if stride is None else stride
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode)
        self.ceil_mode = ceil_mode
        if any(2 * p > size for p, size in zip(self.padding, self.kernel_size, strict=True)):
            raise ValueError(
                f"{type(self).__name__} takes a padding of at most half its kernel_size "
                f"{self.kernel_size}, not {self.padding}"
            )


class MaxPool2d(_Pool):
    """`y[b, c, h, w] = max of x[b, c, …] over a window`: torch.nn.MaxPool2d.

    Shapes: x `[B, C, H, W]`, y `[B, C, Ho, Wo]`, with
    `Ho = (H + 2 * padding - dilation * (kh - 1) - 1) / stride + 1`, rounded down. The padding
    counts as -inf. A NaN in a window is its maximum. It cannot be stacked.

    Args:
        kernel_size, stride, padding, dilation: an integer, or a (height, width) pair. stride:
            by default the kernel's size, so that windows lie side by side. padding: at most
            half of the kernel's size.
        ceil_mode: rounds Ho and Wo up instead, so that a last window may reach beyond the
            padding. One that would begin there is left out. Default: False.

    Raises:
        ValueError: a size that is no integer or too small, too much padding; in `forward`, a
            window that holds nothing but padding.
    """

    def __init__(
        self,
        kernel_size: int | Size,
        stride: int | Size | None = None,
        padding: int | Size = 0,
        dilation: int | Size = 1,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode)

    def forward(self, x: Tensor) -> Tensor:
        """`y = max of each window`; of equal entries, the first row's first counts."""
        x = self._image(x, None, "C")
        windows = self._windows.view(x, -math.inf)  # [B, C, kh, kw, Ho, Wo]
        y = x.new_full((*windows.shape[:2], *windows.shape[4:]), -math.inf)
        base, first = self._places(x)  # [Ho, Wo]
        place = first.expand(y.shape)  # of the maximum so far, in a row of H * W entries
        for i in range(self.kernel_size[0]):
            for j in range(self.kernel_size[1]):
                entries = windows[:, :, i, j]
                step = i * self.dilation[0] * x.shape[3] + j * self.dilation[1]
                place = torch.where((entries > y) | entries.isnan(), base + step, place)
                y = torch.maximum(y, entries)  # NaN if either is
        self._keep(y, place, x.shape)
        return y

    def backward(self, dy: Tensor) -> Tensor:
        """`dx = sum of dy over the windows whose maximum is this entry`."""
        place, shape = self._recall(dy)
        dx = dy.new_zeros(shape)
        dx.flatten(2).scatter_add_(2, place.flatten(2), dy.flatten(2))
        return dx

    def _places(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Where windows begin, the padding counted, and their first entries that are in x.

        Both are `[Ho, Wo]`, int64, places in a row of H * W entries; the former may be negative.
        """
        axes = []
        for axis, count in enumerate(self._windows.counts(x.shape)):
            stride, dilation = self.stride[axis], self.dilation[axis]
            starts = [window * stride - self.padding[axis] for window in range(count)]
            firsts = [start % dilation if start < 0 else start for start in starts]
            if max(firsts) >= x.shape[2 + axis]:
                raise ValueError(
                    f"{self}: forward got an image of {list(x.shape[2:])}, of which a window "
                    "holds nothing but padding; use less padding or dilation"
                )
            axes.append((starts, firsts))
        rows, columns = (torch.tensor(axis, device=x.device) for axis in axes)  # [2, Ho], [2, Wo]
        base, first = (rows.unsqueeze(2) * x.shape[3] + columns.unsqueeze(1)).unbind()
        return base, first

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class AvgPool2d(_Pool):
    """`y[b, c, h, w] = mean of x[b, c, …] over a window`: torch.nn.AvgPool2d.

    Shapes: x `[B, C, H, W]`, y `[B, C, Ho, Wo]`, with `Ho = (H + 2 * padding - kh) / stride + 1`,
    rounded down. It cannot be stacked.

    Args:
        kernel_size, stride, padding: an integer, or a (height, width) pair. stride: by default the
            kernel's size, so that windows lie side by side. padding: at most half of the
            kernel's size.
        ceil_mode: rounds Ho and Wo up instead. What a last window has beyond the padding is
            never counted. Default: False.
        count_include_pad: whether the padding counts among the entries, as 0. Default: True.
        divisor_override: what the sum of a window is divided by, in place of the number of its
            entries. Default: None.

    Raises:
        ValueError: a size that is no integer or too small, too much padding.
    """

    def __init__(
        self,
        kernel_size: int | Size,
        stride: int | Size | None = None,
        padding: int | Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__(kernel_size, stride, padding, 1, ceil_mode)
        if divisor_override is not None:
            check_sizes("AvgPool2d", divisor_override=divisor_override)
        self.count_include_pad, self.divisor_override = count_include_pad, divisor_override

    def forward(self, x: Tensor) -> Tensor:
        """`y = sum of each window / its number of entries`."""
        x = self._image(x, None, "C")
        windows = self._windows.view(x, 0)  # [B, C, kh, kw, Ho, Wo]
        total = x.new_zeros((*windows.shape[:2], *windows.shape[4:]), dtype=summed(x.dtype))
        for i in range(self.kernel_size[0]):
            for j in range(self.kernel_size[1]):
                total.add_(windows[:, :, i, j])
        divisor = self._divisor(x)
        y = total.div_(divisor).to(x.dtype)
        self._keep(y, divisor, x.shape)
        return y

    def backward(self, dy: Tensor) -> Tensor:
        """`dx = sum of dy / the number of a window's entries, over the windows that it is in`."""
        divisor, shape = self._recall(dy)
        share = (dy / divisor).transpose(0, 1)[:, None, None]  # [C, 1, 1, B, Ho, Wo]
        size = (len(share), *self.kernel_size, *share.shape[3:])
        return self._windows.total(share.expand(size), shape).to(dy.dtype)

    def _divisor(self, x: Tensor) -> Tensor:
        """What each window's sum is divided by: `[Ho, Wo]`, or one number."""
        if self.divisor_override is not None:
            return x.new_tensor(self.divisor_override, dtype=summed(x.dtype))
        axes = []
        for axis, count in enumerate(self._windows.counts(x.shape)):
            padding, size = self.padding[axis], x.shape[2 + axis]
            least, most = (-padding, size + padding) if self.count_include_pad else (0, size)
            starts = torch.arange(count, device=x.device) * self.stride[axis] - padding
            ends = (starts + self.kernel_size[axis]).clamp_max(most)
            axes.append(ends - starts.clamp_min(least))
        return (axes[0].unsqueeze(1) * axes[1]).to(summed(x.dtype))

    def extra_repr(self) -> str:
        parts = [f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"]
        parts += [f"ceil_mode={self.ceil_mode}, count_include_pad={self.count_include_pad}"]
        parts += [f"divisor_override={self.divisor_override}"] * (self.divisor_override is not None)
        return ", ".join(parts)
