"""Both sides trained in lockstep: the parity verdict that stands beside every time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

import parity
import scratch
from parity import Comparison, Tensors
from reference.pairs import ModelPair
from scratch import data

Batches = Sequence[tuple[Tensor, Tensor]]
#: What a verdict in a table means.
PARITY = (
    "Parity: the largest error of a weight in 100 training steps in lockstep with torch, over "
    "what is allowed; 1 or less is right."
)

Masks = Sequence[Sequence[Tensor | None]]  # for each step, of each Dropout layer


def verdict(pair: ModelPair, batch_size: int, device: str, steps: int = 100) -> Comparison:
    """The worst comparison of a training in float32, by what it is off over what is allowed."""
    x, labels = data.disk(batch_size * steps, seed=0, device=device)
    t = pair.targets(labels)
    batches = list(zip(x.split(batch_size), t.split(batch_size), strict=True))
    model = pair.scratch(generator=torch.Generator().manual_seed(0))
    model.to(device)
    return max(in_lockstep(pair, model, batches), key=lambda comparison: comparison.ratio)


def in_lockstep(pair: ModelPair, model: scratch.Sequential, batches: Batches) -> list[Comparison]:
    """Weights after every step, on the same batches, with the same dropout masks.

    Training goes on from each side's own weights, so errors add up; the floor is taken from
    trainings whose data and initial weights were moved, and so adds up as they do.
    """
    before = model.state_dict()
    criterion, optimizer = pair.loss[0](), pair.optimizer[0](model.param())
    results: Tensors = {}
    masks: list[list[Tensor | None]] = []
    for number, (x, t) in enumerate(batches, 1):
        scratch.train.step(model, criterion, optimizer, x, t)
        results |= {f"step {number}: {name}": p for name, p in model.state_dict().items()}
        masks.append([layer.mask for layer in model if isinstance(layer, scratch.Dropout)])
    return parity.compare(results, truth_of(pair, before, batches, masks))


def truth_of(pair: ModelPair, before: Tensors, batches: Batches, masks: Masks) -> parity.Truth:
    """What torch makes of the same training: of scratch's masks it takes the zeros alone."""
    inputs = dict(before)
    for number, (x, t) in enumerate(batches, 1):
        inputs |= {f"x {number}": x, f"t {number}": t}
    twin = pair.reference().to(batches[0][0].device)
    dropouts = pair.dropouts(twin)

    def prepare(step: int) -> None:
        for place, dropout in enumerate(dropouts):
            mask = masks[step - 1][place] if masks[step - 1] else None
            kept = torch.ones(()) if mask is None else mask != 0
            dropout.mask = kept.double() / (1 - dropout.p)

    evaluate = parity.training(twin, pair.loss[1](), pair.optimizer[1], len(batches), prepare)
    return parity.truth(evaluate, inputs)
