"""One training step: an epoch of many, as `fit` runs it, on either side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

import reference.train
import scratch
from reference.pairs import ModelPair
from scratch import data

STEPS = 100  # in one sample: an epoch of so many batches


def epoch(pair: ModelPair, side: str, batch_size: int, device: str) -> Callable[[], None]:
    """An epoch of `STEPS` steps by "scratch" or by "torch"."""
    x, labels = data.disk(STEPS * batch_size, seed=0, device=device)
    t = pair.targets(labels)
    model: Any = pair.scratch(generator=torch.Generator().manual_seed(0)).to(device)
    fit: Any = scratch.train.fit
    if side == "torch":
        model, fit = pair.reference().to(device), reference.train.fit
    parameters = model.param() if side == "scratch" else model.parameters()
    place = ("scratch", "torch").index(side)
    criterion, optimizer = pair.loss[place](), pair.optimizer[place](parameters)
    given = {"seed": 0} if side == "scratch" else {"draws": scratch.Draws(0, device)}

    def run() -> None:
        fit(model, criterion, optimizer, x, t, epochs=1, batch_size=batch_size, **given)

    return run
