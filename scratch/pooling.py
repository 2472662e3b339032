"""Pooling: the largest entry of each window of an image."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from scratch.windows import Size, _Windowed


class MaxPool2d(_Windowed):
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
        stride = kernel_size if stride is None else stride
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode)
        self.ceil_mode = ceil_mode
        if any(2 * p > size for p, size in zip(self.padding, self.kernel_size, strict=True)):
            raise ValueError(
                f"MaxPool2d takes a padding of at most half its kernel_size {self.kernel_size}, "
                f"not {self.padding}"
            )

    def forward(self, x: Tensor) -> Tensor:
        """`y = max of each window`; of equal entries, the first row's first counts."""
        self._check_image(x, None, "C")
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
