"""The disk problem of both reports: which points of the unit square lie in a disk in it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from scratch.module import checked_device

CENTER = (0.5, 0.5)
RADIUS = 1 / math.sqrt(2 * math.pi)  # its area is 1/2: both labels are equally likely


def disk(
    points: int = 1000,
    *,
    seed: int | None = None,
    generator: torch.Generator | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> tuple[Tensor, Tensor]:
    """Points drawn uniformly from [0, 1]^2 and their labels.

    Args:
        points: how many. Default: 1000, as in both reports.
        seed, generator: where they are drawn from, one of the two. Default: torch's global
            generator. The same seed gives the same points on every device and in every dtype.
        device, dtype: of the points. Default: torch's defaults.

    Returns:
        x `[points, 2]`, and labels `[points]`, int64: 1 within `RADIUS` of `CENTER`, else 0.

    Raises:
        ValueError: `points` below 1; both a seed and a generator; an absent device.
    """
    if points < 1:
        raise ValueError(f"disk takes at least 1 point, not {points!r}")
    if seed is not None and generator is not None:
        raise ValueError("disk takes a seed or a generator, not both")
    if seed is not None:
        generator = torch.Generator().manual_seed(seed)
    device = None if device is None else checked_device(device)
    x = torch.rand(points, 2, generator=generator, dtype=torch.float64)
    labels = ((x - torch.tensor(CENTER, dtype=x.dtype)).square().sum(-1) <= RADIUS**2).long()
    return x.to(device=device, dtype=dtype or torch.get_default_dtype()), labels.to(device)


def one_hot(labels: Tensor, classes: int = 2, dtype: torch.dtype | None = None) -> Tensor:
    """Labels `[…]`, int64, as targets `[…, classes]`: 1 at the label, 0 elsewhere.

    Raises:
        ValueError: labels of another dtype, or outside 0 … classes - 1.
    """
    whole = labels.dtype == torch.int64
    if not whole or (labels.numel() and not 0 <= labels.min() <= labels.max() < classes):
        raise ValueError(f"one_hot takes int64 labels from 0 to {classes - 1}, got {labels}")
    eye = torch.eye(classes, dtype=dtype, device=labels.device)
    return eye[labels]
