"""Flatten: several axes become one."""

from __future__ import annotations

from torch import Tensor

from scratch.module import Module


class Flatten(Module):
    """The axes from `start_dim` to `end_dim` as one, in row-major order: torch.nn.Flatten.

    Any shape and dtype; by default x `[B, …]`, y `[B, features]`. y shares x's memory where it
    can, as torch's does. It cannot be stacked.

    Args:
        start_dim, end_dim: the first and the last of the axes; negative ones count from the
            right. Default: all but the batch, 1 and -1.
    """

    stackable = False

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x: Tensor) -> Tensor:
        first, last = (dim + x.dim() if dim < 0 else dim for dim in (self.start_dim, self.end_dim))
        if not 0 <= first <= last < x.dim():
            self._refuse_x(x, "at least as many axes as start_dim and end_dim name, in their order")
        y = x.flatten(first, last)
        self._keep(y, x.shape)
        return y

    def backward(self, dy: Tensor) -> Tensor:
        """`dx = dy`, in the shape of x."""
        (shape,) = self._recall(dy)
        return dy.reshape(shape)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"
