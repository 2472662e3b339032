"""What is trained on: the disk problem, a draw of it for each seed."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from scratch import data

POINTS = 1000


def disks(
    seeds: Iterable[int], *, test: bool = False, points: int = POINTS, device: str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Points `[R, N, 2]` and labels `[R, N]`, to train or to test the runs of these seeds."""
    drawn = [data.disk(points, seed=2 * seed + test, device=device) for seed in seeds]
    x, labels = (torch.stack(part) for part in zip(*drawn, strict=True))
    return x, labels
