"""Timing two sides in one process, interleaved, and what may be said of their ratio."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats

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
