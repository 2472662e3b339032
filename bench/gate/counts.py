"""Exact counts of a training step in scratch: what grows by one is seen."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from bench import measure
from reference.pairs import ModelPair
from scratch import data, train

BATCH = 10


def of_disk(pair: ModelPair) -> dict[str, int]:
    """What a step of a report's network takes, at batch 10."""
    x, labels = data.disk(BATCH, seed=0)
    return of_a_step(pair, x, pair.targets(labels))


def of_a_step(pair: ModelPair, x: Tensor, t: Tensor) -> dict[str, int]:
    """Parameters, tensor operations, allocations and bytes allocated, of a step."""
    model = pair.scratch(generator=torch.Generator().manual_seed(0))
    optimizer, criterion = pair.optimizer[0](model.param()), pair.loss[0]()

    def step() -> None:
        with torch.inference_mode():
            train.step(model, criterion, optimizer, x, t)

    for _ in range(3):  # the first make what is kept
        step()
    with _Counting() as operations:
        step()
    taken = [size for size in measure.allocations(step) if size > 0]
    return {
        "parameters": sum(parameter.numel() for parameter, _ in model.param()),
        "tensor operations": operations.count,
        "allocations": len(taken),
        "bytes allocated": sum(taken),
    }


class _Counting(TorchDispatchMode):
    """Counts the operations that reach torch's kernels."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.count += 1
        return operation(*args, **(kwargs or {}))
