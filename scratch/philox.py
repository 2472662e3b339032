"""Random numbers that depend on what they are for, not on what was drawn before.

A generator with a state gives other numbers to an engine that draws in another order. Philox is
a function: the seed is its key, and what is drawn its counter, so that every engine and every
grouping of runs draws the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

ROUNDS = 10
_FACTORS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = 0xFFFFFFFF

#: The last word of the counter says what for: orders, initial values, or a Dropout by its place.
ORDER, VALUES, FIRST_DROPOUT = 0, 1, 2

_CHUNK = 1 << 18  # words that are drawn at once


def philox(key: tuple[Tensor, Tensor], counter: Sequence[Tensor]) -> list[Tensor]:
    """Philox 4x32-10: four words for each counter and key.

    Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", 2011. Triton's
    `tl.philox` is the same.

    Args:
        key: two tensors of words, int64 with values below 2^32; counter: four; all of shapes
            that fit each other.

    Returns:
        Four tensors of words.
    """
    (k0, k1), (a, b, c, d) = key, counter
    for _ in range(ROUNDS):
        m0, m1 = a * _FACTORS[0], c * _FACTORS[1]  # wraps at 64 bits, all of which are right
        a, b = ((m1 >> 32) & _LOW) ^ b ^ k0, m1 & _LOW
        c, d = ((m0 >> 32) & _LOW) ^ d ^ k1, m0 & _LOW
        k0, k1 = (k0 + _WEYL[0]) & _LOW, (k1 + _WEYL[1]) & _LOW
    return [a, b, c, d]


def words(
    seeds: Tensor, count: int, step: Tensor | int, epoch: Tensor | int, purpose: int
) -> Tensor:
    """`[…, count]` words for seeds, steps and epochs of a shape `[…]`: word e of counter e // 4."""
    blocks = torch.arange(-(-count // 4), device=seeds.device)  # [counters]
    seeds = seeds.unsqueeze(-1)
    key = (seeds & _LOW, (seeds >> 32) & _LOW)
    others = [
        torch.as_tensor(value, device=seeds.device).unsqueeze(-1)
        for value in (step, epoch, purpose)
    ]
    drawn = torch.broadcast_tensors(*philox(key, (blocks, *others)))
    return torch.stack(drawn, -1).flatten(-2)[..., :count]


def order(seeds: Tensor, epoch: Tensor | int, samples: int) -> Tensor:
    """The order of the samples, `[…, N]`, for seeds and epochs of a shape `[…]`."""
    return words(seeds, samples, 0, epoch, ORDER).argsort(stable=True, dim=-1)


class Philox:
    """A source of initial values, for `Linear` and the networks of `models`: as `generator=`.

    They are drawn on the CPU in float64, and so are the same on every device.

    Args:
        seed: from -2^63 to 2^64 - 1.

    Raises:
        ValueError: another seed.
    """

    def __init__(self, seed: int) -> None:
        self.seed = checked_seed(seed)
        self.draws = 0  # each has counters of its own

    def uniform(self, *shape: int) -> Tensor:
        """Numbers in [0, 1), of 2 words each."""
        count = math.prod(shape)
        drawn = words(torch.tensor(self.seed), 2 * count, 0, self.draws, VALUES)
        self.draws += 1
        high, low = drawn.view(count, 2).unbind(-1)
        return (((high << 21) | (low >> 11)).double() / (1 << 53)).view(shape)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers (Box and Muller 1958)."""
        radius = torch.sqrt(-2 * torch.log1p(-self.uniform(*shape)))
        return radius * torch.cos(2 * math.pi * self.uniform(*shape))


class Draws:
    """What a training draws: the order of the samples, and the masks of its Dropouts.

    Args:
        seeds: one; or for a stacked model one for each run, and everything leads with R.
        device: of what is drawn.

    Raises:
        ValueError: a seed that is no integer of 64 bits.
    """

    def __init__(
        self, seeds: int | Sequence[int], device: torch.device | str | None = None
    ) -> None:
        checked = checked_seed(seeds) if isinstance(seeds, int) else list(map(checked_seed, seeds))
        self.seeds = torch.tensor(checked, device=device)  # int64 [] or [R]

    def order(self, epoch: int, samples: int) -> Tensor:
        """The samples in the order of an epoch: `[N]`, or `[R, N]`."""
        return order(self.seeds, epoch, samples)

    def masks(
        self,
        p: float,
        epoch: int,
        steps: range,
        dropout: int,
        shape: tuple[int, int],
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Dropout's masks: 0 with probability p, and 1 / (1 - p) else.

        Args:
            p: the probability.
            epoch, steps: from 1, and in the epoch from 0.
            dropout: its place among the model's Dropouts, from 0.
            shape: `(B, features)` of a batch. A smaller batch has the first rows of a larger.
            dtype: of the masks. Default: torch's default.

        Returns:
            `[steps, B, features]`, or `[steps, R, B, features]`.
        """
        keep = 1 - p
        step = torch.arange(steps.start, steps.stop, device=self.seeds.device)  # [steps]
        if self.seeds.dim():
            step = step.unsqueeze(-1)  # [steps, 1]
        drawn = words(self.seeds, math.prod(shape), step, epoch, FIRST_DROPOUT + dropout)
        kept = (drawn < round(keep * 2**32)).to(dtype or torch.get_default_dtype())
        return (kept / keep if keep else kept).unflatten(-1, shape)


class MaskStream:
    """The masks of one Dropout, step after step, many drawn at once; `begin` comes first."""

    def __init__(self, draws: Draws, dropout: int, batch_size: int) -> None:
        self.draws, self.dropout, self.batch_size = draws, dropout, batch_size

    def begin(self, epoch: int, steps: int) -> None:
        """A new epoch of so many steps."""
        self.epoch, self.steps, self.step = epoch, steps, 0
        self._drawn: list[Tensor] = []

    def next(self, p: float, x: Tensor) -> Tensor:
        """The mask of the next step, for x `[B, features]`, or `[R, B, features]`."""
        if not self._drawn:
            shape = (self.batch_size, x.shape[-1])
            size = max(1, _CHUNK // max(1, math.prod(shape) * self.draws.seeds.numel()))
            steps = range(self.step, max(self.step + 1, min(self.step + size, self.steps)))
            drawn = self.draws.masks(p, self.epoch, steps, self.dropout, shape, x.dtype)
            self._drawn = list(drawn.unbind())[::-1]
        self.step += 1
        mask = self._drawn.pop()
        return mask if x.shape[-2] == self.batch_size else mask[..., : x.shape[-2], :]


def checked_seed(seed: object) -> int:
    """A seed as a signed integer of 64 bits.

    Raises:
        ValueError: it is not one.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not -(2**63) <= seed < 2**64:
        raise ValueError(f"a seed is an integer from -2^63 to 2^64 - 1, not {seed!r}")
    return seed if seed < 2**63 else seed - 2**64
