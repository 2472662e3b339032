"""Timing two sides in one process, interleaved, and what may be said of their ratio; and memory."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch.profiler import ProfilerActivity, profile

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A median and the interval around it that holds the true one with 95 % confidence."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.3f} [{self.low:.3f}, {self.high:.3f}]"


def median(values: Sequence[float]) -> Interval:
    """The median of independent values, its interval by order statistics (the sign test's).

    With fewer than 6 values no order statistic is that sure: the interval is all there is.

    Raises:
        ValueError: no values.
    """
    if not values:
        raise ValueError("the median of no values")
    ordered = sorted(values)
    count = len(ordered)
    below = int(stats.binom.ppf((1 - CONFIDENCE) / 2, count, 0.5))
    # `below` values on either side may be left out, as long as the chance to err allows it.
    while below and 2 * stats.binom.cdf(below - 1, count, 0.5) > 1 - CONFIDENCE:
        below -= 1
    low, high = ordered[max(below - 1, 0)], ordered[min(count - below, count - 1)]
    return Interval(float(np.median(ordered)), low, high)


def seconds(function: Callable[[], object], device: str) -> float:
    """How long one call takes; on CUDA until its kernels are done."""
    _synchronise(device)
    start = time.perf_counter()
    function()
    _synchronise(device)
    return time.perf_counter() - start


def interleaved(
    first: Callable[[], object], second: Callable[[], object], rounds: int, device: str
) -> tuple[list[float], list[float]]:
    """Seconds of both, A B B A A B …, so that a drift of the machine meets both alike."""
    times: tuple[list[float], list[float]] = ([], [])
    sides = [(0, first), (1, second)]
    for number in range(rounds):
        for side, function in sides if number % 2 == 0 else reversed(sides):
            times[side].append(seconds(function, device))
    return times


def allocations(function: Callable[[], object]) -> list[int]:
    """The bytes of memory that a call takes, and, below 0, gives back, in order; on the CPU."""
    with _unheard(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        function()
    assert profiled.profiler is not None
    events: Any = profiled.profiler.kineto_results
    changes = [event for event in events.events() if event.name() == "[memory]"]
    return [event.nbytes() for event in sorted(changes, key=lambda event: event.start_ns())]


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


def synchronised(function: Callable[[], object], device: str) -> Callable[[], object]:
    """The function, done only when its kernels are: for clocks that are not ours."""
    if not device.startswith("cuda"):
        return function

    def until_done() -> object:
        result = function()
        _synchronise(device)
        return result

    return until_done


def _synchronise(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
