"""Exact counts of a training step in scratch: what grows by one is seen."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

from reference.pairs import ModelPair
from scratch import data, train

BATCH = 10


def of_a_step(pair: ModelPair) -> dict[str, int]:
    """Parameters, tensor operations, allocations and bytes allocated, of a step at batch 10."""
    x, labels = data.disk(BATCH, seed=0)
    t, model = pair.targets(labels), pair.scratch(generator=torch.Generator().manual_seed(0))
    optimizer, criterion = pair.optimizer[0](model.param()), pair.loss[0]()

    def step() -> None:
        with torch.inference_mode():
            train.step(model, criterion, optimizer, x, t)

    for _ in range(3):  # the first make what is kept
        step()
    with _Counting() as operations:
        step()
    with _unheard(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        step()
    assert profiled.profiler is not None
    events: Any = profiled.profiler.kineto_results
    taken = [e.nbytes() for e in events.events() if e.name() == "[memory]" and e.nbytes() > 0]
    return {
        "parameters": sum(parameter.numel() for parameter, _ in model.param()),
        "tensor operations": operations.count,
        "allocations": len(taken),
        "bytes allocated": sum(taken),
    }


@contextlib.contextmanager
def _unheard() -> Iterator[None]:
    """While it is open, nothing reaches stderr: torch's profiler speaks of itself."""
    before, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(nowhere)


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
