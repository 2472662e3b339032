"""The ways to execute a training: `eager`, by scratch's layers, and others that must match it.

An engine is a module with a function `train(job, first, last)`: it trains `job.model` in epochs
`first` to `last`, and leaves its parameters, gradients and optimizer as eager would.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TypeAlias

from scratch.engines import eager, fused
from scratch.engines.job import Job, Unsupported

__all__ = ["ENGINES", "Job", "Train", "Unsupported", "engine"]

Train: TypeAlias = Callable[[Job, int, int], None]

ENGINES: dict[str, Train] = {"eager": eager.train, "fused": fused.train}


def engine(name: str, job: Job) -> Train:
    """The engine of that name; "auto" is the first that takes the job, and eager takes all.

    Raises:
        ValueError: there is no such engine.
        Unsupported: it does not take the job; the message names the part.
    """
    if name == "auto":
        try:
            fused.check(job)
        except Unsupported as error:
            return _eager_because(error)
        return _fused_or_eager
    if name not in ENGINES:
        raise ValueError(f"there is no engine {name!r}; there are {', '.join(ENGINES)} and auto")
    if name == "fused":
        fused.check(job)
    return ENGINES[name]


def _fused_or_eager(job: Job, first: int, last: int) -> None:
    """A device may refuse what is too large for it when it is launched; nothing is moved then."""
    try:
        fused.train(job, first, last)
    except Unsupported as error:
        _eager_because(error)(job, first, last)


def _eager_because(error: Unsupported) -> Train:
    warnings.warn(f"engine 'auto' trains in eager: {error}", stacklevel=5)
    return eager.train
