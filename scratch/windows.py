"""The windows of an image that a kernel sees: what convolutions and pooling share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

from torch import Tensor

from scratch.module import Module, summed

Size: TypeAlias = tuple[int, int]  # height, width


@dataclass(frozen=True)
class Windows:
    """Where a kernel's windows lie on images `[B, C, H, W]`; everything is a (height, width) pair.

    Args:
        kernel: entries in a window.
        stride: from one window to the next.
        padding: around the image.
        dilation: from one entry of a window to the next; 1 if they lie side by side.
        ceil_mode: whether a last window may reach over the far padding.
    """

    kernel: Size
    stride: Size
    padding: Size
    dilation: Size
    ceil_mode: bool = False

    @property
    def reach(self) -> Size:
        """What a window spans."""
        (kh, kw), (dh, dw) = self.kernel, self.dilation
        return (kh - 1) * dh + 1, (kw - 1) * dw + 1

    @property
    def least(self) -> Size:
        """The smallest image that has a window."""
        axes = zip(self.reach, self.padding, self.stride, strict=True)
        height, width = (
            max(1, reach - 2 * padding - (stride - 1 if self.ceil_mode else 0))
            for reach, padding, stride in axes
        )
        return height, width

    def counts(self, image: Sequence[int]) -> Size:
        """How many windows an image `[…, H, W]` has along each axis."""
        counts = []
        for axis, size in enumerate(image[-2:]):
            stride, padding = self.stride[axis], self.padding[axis]
            room = size + 2 * padding - self.reach[axis]
            count = (-(-room // stride) if self.ceil_mode else room // stride) + 1
            if self.ceil_mode and (count - 1) * stride >= size + padding:
                count -= 1  # the last window would begin beyond the image and the near padding
            counts.append(count)
        return counts[0], counts[1]

    def view(self, x: Tensor, fill: float) -> Tensor:
        """Every window of x `[B, C, H, W]`, padded with `fill`: a view `[B, C, kh, kw, Ho, Wo]`.

        Its entries share memory with each other, and with x where there is no padding.
        """
        counts, (dh, dw), (sh, sw) = self.counts(x.shape), self.dilation, self.stride
        x = self._padded(x, fill)
        batch, channel, row, column = x.stride()
        return x.as_strided(
            (*x.shape[:2], *self.kernel, *counts),
            (batch, channel, row * dh, column * dw, row * sh, column * sw),
        )

    def total(self, windows: Tensor, image: Sequence[int]) -> Tensor:
        """An image `[B, C, H, W]` whose entries are the sums of their places in `windows`.

        `windows` is `[C, kh, kw, B, Ho, Wo]`. This is the transpose of `view`: the padding's
        places are left out. Half precision is summed in float32.
        """
        samples, channels, height, width = image
        (top, left), (dh, dw), (sh, sw) = self.padding, self.dilation, self.stride
        size = (channels, samples, *self._padded_size(image))
        padded = windows.new_zeros(size, dtype=summed(windows.dtype))
        rows, columns = windows.shape[-2:]
        for i in range(self.kernel[0]):
            for j in range(self.kernel[1]):
                down = slice(i * dh, i * dh + (rows - 1) * sh + 1, sh)
                across = slice(j * dw, j * dw + (columns - 1) * sw + 1, sw)
                padded[:, :, down, across].add_(windows[:, i, j])
        inner = padded[:, :, top : top + height, left : left + width]
        return inner.transpose(0, 1).to(windows.dtype).contiguous()

    def _padded(self, x: Tensor, fill: float) -> Tensor:
        size = self._padded_size(x.shape)
        if size == x.shape[-2:]:
            return x
        (top, left), (height, width) = self.padding, x.shape[-2:]
        padded = x.new_full((*x.shape[:2], *size), fill)
        padded[:, :, top : top + height, left : left + width].copy_(x)
        return padded

    def _padded_size(self, image: Sequence[int]) -> Size:
        """The image with its near padding, and as far beyond as the last window reaches."""
        axes = zip(
            image[-2:], self.padding, self.counts(image), self.stride, self.reach, strict=True
        )
        height, width = (
            max(padding + size, (count - 1) * stride + reach)
            for size, padding, count, stride, reach in axes
        )
        return height, width


class _Windowed(Module):
    """What layers of windows share: arguments, and images that a window fits in.

    A layer of sequences has `_axes = ("L",)`: its windows are those of images of height 1.
    """

    stackable = False
    _axes: ClassVar[tuple[str, ...]] = ("H", "W")

    def __init__(
        self,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int],
        padding: int | Sequence[int],
        dilation: int | Sequence[int] = 1,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size, kernel = self._sizes("kernel_size", kernel_size, 1)
        self.stride, strides = self._sizes("stride", stride, 1)
        self.padding, paddings = self._sizes("padding", padding, 0)
        self.dilation, dilations = self._sizes("dilation", dilation, 1)
        self._windows = Windows(kernel, strides, paddings, dilations, ceil_mode)

    def _sizes(self, name: str, value: object, least: int) -> tuple[tuple[int, ...], Size]:
        """An argument, an integer or one for each axis: as one for each, and as height and width.

        The height that a sequence has not is of the least size that there can be.
        """
        axes = len(self._axes)
        sizes: tuple[Any, ...] = (value,) * axes
        if isinstance(value, (tuple, list)):
            sizes = tuple(value)
        if len(sizes) != axes or not all(isinstance(n, int) and n >= least for n in sizes):
            pairs = ", or a (height, width) pair of them," * (axes == 2)
            raise ValueError(
                f"{type(self).__name__} takes an integer of at least {least}{pairs} as {name}, "
                f"not {value!r}"
            )
        height, width = (least, *sizes) if axes == 1 else sizes
        return sizes, (height, width)

    def _image(self, x: Tensor, like: Tensor | None, channels: int | str) -> Tensor:
        """x as an image, `[B, C, H, W]`, if a window fits in it."""
        self._check_x(x, like, ("B", channels, *self._axes))
        least = self._windows.least[-len(self._axes) :]
        if any(own < size for own, size in zip(x.shape[2:], least, strict=True)):
            size = " x ".join(map(str, least))
            what = (
                f"images of at least {size}" if len(least) == 2 else f"a length of at least {size}"
            )
            self._refuse_x(x, f"{what}, which its window fits in")
        return self._as_image(x)

    def _as_image(self, x: Tensor) -> Tensor:
        return x if len(self._axes) == 2 else x.unsqueeze(-2)

    def _as_given(self, image: Tensor) -> Tensor:
        """What an image is where a sequence was given."""
        return image if len(self._axes) == 2 else image.squeeze(-2)
