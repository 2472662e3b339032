"""Dropout: each entry is zeroed by chance in training, and the others are scaled up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from scratch.module import Module, constant
from scratch.philox import MaskStream

if TYPE_CHECKING:
    from typing_extensions import Self


class Dropout(Module):
    """`y = x * mask`, mask 0 with probability p and 1 / (1 - p) else: torch.nn.Dropout.

    Inverted scaling, as torch's, keeps the expectation: in evaluation mode `y = x`. Report
    B's text has no 1 / (1 - p); report A's backward leaves the mask out. Any shape.

    Args:
        p: the probability that an entry is dropped, in [0, 1]. Default: 0.5.
        generator: where masks are drawn from, or in a stacked model R of them, one for each
            run. Default: in `train.fit` its seed, and elsewhere torch's global generator.

    `mask` holds the last mask, shaped like x; None in evaluation mode.

    Raises:
        ValueError: p outside [0, 1]; in forward, generators that do not fit the runs of x.
    """

    def __init__(
        self,
        p: float = 0.5,
        *,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"Dropout takes a probability p in [0, 1], not {p!r}")
        self.p = p
        self.generator = generator
        self.mask: Tensor | None = None
        self._stream: MaskStream | None = None  # while fit trains the layer by its seed

    def forward(self, x: Tensor) -> Tensor:
        self._kept = x
        if not self.training:
            self.mask = None
            return x
        self.mask = self._draw(x)
        return x * self.mask

    def backward(self, dy: Tensor) -> Tensor:
        """`dx = dy * mask`, with the mask of the forward."""
        self._take(dy)
        return dy if self.mask is None else dy * self.mask

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        twin = super().__deepcopy__(memo)
        twin.mask = None
        return twin

    def _draw(self, x: Tensor) -> Tensor:
        """A new mask. It is drawn in float32 whatever the dtype: the same seed, the same mask."""
        shape, device = x.shape, x.device
        if self._stream is not None:
            rows = x if self.runs is not None else x.flatten(1)  # [B, features]
            return self._stream.next(self.p, rows).view(x.shape)
        if self.generator is None or isinstance(self.generator, torch.Generator):
            uniform = torch.rand(
                shape, generator=self.generator, dtype=torch.float32, device=device
            )
        elif x.dim() == 3 and x.shape[0] == len(self.generator):
            uniform = torch.empty(shape, dtype=torch.float32, device=device)  # [R, B, features]
            for run, generator in zip(uniform.unbind(), self.generator, strict=True):
                run.uniform_(generator=generator)
        else:
            raise ValueError(
                f"{self} has generators for {len(self.generator)} runs, "
                f"and got x of shape {list(x.shape)}"
            )
        keep = 1 - self.p
        mask = uniform.lt_(constant(keep, uniform.dtype)).to(x.dtype)
        return mask.div_(constant(keep, x.dtype)) if keep else mask

    def _place(
        self,
        device: torch.device | None,
        dtype: torch.dtype | None,
        generators: dict[int, torch.Generator],
    ) -> None:
        super()._place(device, dtype, generators)
        self.mask = None
        if device is None or self.generator is None:
            return
        if isinstance(self.generator, torch.Generator):
            self.generator = _moved(self.generator, device, generators)
        else:
            self.generator = [_moved(one, device, generators) for one in self.generator]

    def extra_repr(self) -> str:
        return f"p={self.p}"


def _moved(
    generator: torch.Generator, device: torch.device, moved: dict[int, torch.Generator]
) -> torch.Generator:
    """A generator lives on one device: on another, a new one starts from the same seed.

    Layers that share one go on sharing: `moved` has the new ones by the old ones' id.
    """
    here = torch.empty(0, device=device).device  # with its index: cuda:0, not cuda
    if generator.device == here:
        return generator
    if id(generator) not in moved:
        moved[id(generator)] = torch.Generator(here).manual_seed(generator.initial_seed())
    return moved[id(generator)]
