"""What is trained in a comparison of speeds, and what each contender makes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import scratch
from bench.problem import POINTS, disks
from parity import Tensors
from reference import pairs
from reference.pairs import ModelPair


@dataclass(frozen=True)
class Setting:
    """What is trained: runs with a seed each, and data of its own for each.

    Args:
        x, t: `[R, N, …]`.
        weights: of each run, at the start.
        dropout: whether networks drop: without, all contenders lead to the same weights.
    """

    pair: ModelPair
    x: Tensor
    t: Tensor
    weights: list[Tensors]
    epochs: int
    batch_size: int
    dropout: bool = True

    @property
    def runs(self) -> int:
        return len(self.weights)

    @property
    def steps(self) -> int:
        return -(-self.x.shape[1] // self.batch_size)

    def orders(self) -> Tensor:
        """The samples of each epoch and step: `[epochs, R, N]`."""
        draws = scratch.Draws(list(range(self.runs)), self.x.device)
        return torch.stack(
            [draws.order(epoch, self.x.shape[1]) for epoch in range(1, self.epochs + 1)]
        )

    def model(self) -> scratch.Sequential:
        """Scratch's network, its weights those of the first run."""
        return self._without(self.pair.scratch(), scratch.Dropout)

    def twin(self) -> nn.Sequential:
        """Torch's."""
        return self._without(self.pair.reference(), nn.Dropout)

    def _without(self, model: Any, kind: Any) -> Any:
        for layer in model:
            if isinstance(layer, kind) and not self.dropout:
                layer.p = 0.0
        return model.to(self.x.device)


def setting(
    model: str,
    runs: int,
    epochs: int,
    batch_size: int,
    points: int = POINTS,
    dropout: bool = True,
    device: str = "cpu",
) -> Setting:
    """A training of the disk problem: data and weights of each run are those of its seed."""
    pair = next(pair for pair in pairs.MODELS if pair.name == model)
    x, labels = disks(range(runs), points=points, device=device)
    weights = [
        pair.scratch(generator=torch.Generator().manual_seed(run)).state_dict()
        for run in range(runs)
    ]
    return Setting(pair, x, pair.targets(labels), weights, epochs, batch_size, dropout)


@dataclass
class Prepared:
    """A contender at a setting.

    Args:
        reset: takes all runs back to their initial weights.
        train: does the training; this is what is timed.
        weights: of each run, now.
        compile_seconds: what went before.
    """

    reset: Callable[[], None]
    train: Callable[[], None]
    weights: Callable[[], list[Tensors]]
    compile_seconds: float = 0.0
