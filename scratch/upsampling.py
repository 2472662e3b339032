"""Upsampling: every entry of an image several times."""

from __future__ import annotations

from torch import Tensor

from scratch.module import Module, check_sizes


class Upsample(Module):
    """`y[b, c, h, w] = x[b, c, h // s, w // t]`, the nearest entry: torch.nn.Upsample.

    Shapes: x `[B, C, H, W]`, y `[B, C, H * s, W * t]`. It cannot be stacked.

    Args:
        scale_factor: s and t, an integer of at least 1, or a (height, width) pair of them.

    Raises:
        ValueError: a factor that is no integer or too small.
    """

    stackable = False

    def __init__(self, scale_factor: int | tuple[int, int]) -> None:
        super().__init__()
        pair = scale_factor if isinstance(scale_factor, tuple) else (scale_factor, scale_factor)
        for factor in pair if len(pair) == 2 else (pair,):
            check_sizes("Upsample", scale_factor=factor)
        self.scale_factor = pair

    def forward(self, x: Tensor) -> Tensor:
        """`y = x`, each entry of it s times below and t times beside itself."""
        self._check_x(x, None, ("B", "C", "H", "W"))
        (samples, channels, height, width), (s, t) = x.shape, self.scale_factor
        y = x[:, :, :, None, :, None].expand(-1, -1, -1, s, -1, t)
        y = y.reshape(samples, channels, height * s, width * t)
        y = y.clone() if y.data_ptr() == x.data_ptr() else y  # where each entry has one place
        y = y.clone() if y.data_ptr() == x.data_ptr() else y  # where it needed no copy
        self._keep(y)
        return y

    def backward(self, dy: Tensor) -> Tensor:
        """`dx = sum of dy over the places that an entry is at`."""
        self._recall(dy)
        s, t = self.scale_factor
        return dy.unflatten(3, (-1, t)).unflatten(2, (-1, s)).sum((3, 5))

    def extra_repr(self) -> str:
        return f"scale_factor={self.scale_factor}"
