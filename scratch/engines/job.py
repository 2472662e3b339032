"""What an engine is given."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from scratch.losses import Loss
from scratch.module import Module
from scratch.optimizer import Optimizer
from scratch.philox import Draws


class Unsupported(ValueError):
    """An engine does not take this training: a part of it, which the message names."""


@dataclass(frozen=True)
class Job:
    """A training, but for its epochs: `train.fit`'s arguments, checked."""

    model: Module
    criterion: Loss
    optimizer: Optimizer
    x: Tensor
    t: Tensor
    batch_size: int
    draws: Draws
