"""Accuracies for the gate, in per cent: of scratch beside torch, and of many runs of scratch."""

from __future__ import annotations

from collections.abc import Sequence

import torch

import reference.train
import scratch
from bench import problem
from reference.pairs import ModelPair
from scratch import runs, train

EPOCHS, BATCH = 30, 10


def of_pairs(pair: ModelPair, seeds: Sequence[int]) -> tuple[list[float], list[float]]:
    """Eager scratch and torch, trained from the same weights and data, with the same orders and
    masks: what differs is rounding, and what training makes of it."""
    singles = _models(pair, seeds)
    twins = []
    for model in singles:
        twin = pair.reference()
        twin.load_state_dict(model.state_dict())
        twins.append(twin)
    ours = _trained(pair, singles, seeds, "eager")
    (x, labels), (test_x, test_labels) = problem.disks(seeds), problem.disks(seeds, test=True)
    theirs = []
    for run, (seed, twin) in enumerate(zip(seeds, twins, strict=True)):
        reference.train.fit(
            twin, pair.loss[1](), pair.optimizer[1](twin.parameters()), x[run],
            pair.targets(labels[run]), epochs=EPOCHS, batch_size=BATCH,
            draws=scratch.Draws(seed), masks=True,
        )  # fmt: skip
        right = reference.train.accuracy(twin, test_x[run], test_labels[run])
        theirs.append(100 * float(right))
    return ours, theirs


def of_runs(pair: ModelPair, seeds: Sequence[int], together: int = 100) -> list[float]:
    """Many runs, by the fused engine."""
    found: list[float] = []
    for first in range(0, len(seeds), together):
        some = seeds[first : first + together]
        found += _trained(pair, _models(pair, some), some, "fused")
    return found


def _models(pair: ModelPair, seeds: Sequence[int]) -> list[scratch.Sequential]:
    return [pair.scratch(generator=torch.Generator().manual_seed(seed)) for seed in seeds]


def _trained(
    pair: ModelPair, models: Sequence[scratch.Sequential], seeds: Sequence[int], engine: str
) -> list[float]:
    stacked = runs.stack(models)
    (x, labels), (test_x, test_labels) = problem.disks(seeds), problem.disks(seeds, test=True)
    t = torch.stack([pair.targets(one) for one in labels])
    optimizer = pair.optimizer[0](stacked.param())
    scratch.fit(
        stacked, pair.loss[0](), optimizer, x, t,
        epochs=EPOCHS, batch_size=BATCH, seed=list(seeds), engine=engine,
    )  # fmt: skip
    right: list[float] = (100 * train.accuracy(stacked, test_x, test_labels)).tolist()
    return right
