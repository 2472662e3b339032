"""The defaults of scratch's constructors, which are torch's: no variant leaves all options out."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from parity import Comparison, Trial
from parity.checks.trial import fact
from reference import pairs

LEFT_OPEN: dict[str, dict[str, Any]] = {
    "SELU": {"alpha": 1.6732632423543772, "scale": 1.0507009873554805},
    "Softmax": {"dim": -1},
    "LogSoftmax": {"dim": -1},
}
"""What torch's constructor does not say: SELU's constants, and the axis of a batch of features."""


def defaults(trial: Trial) -> list[Comparison]:
    """Every option that torch's constructor has too has its default."""
    entry = trial.case.entry
    cls = next(pair.cls for pair in pairs.PAIRS if pair.entry is entry)
    ours = _defaults(cls)
    theirs = _defaults(entry.reference) | LEFT_OPEN.get(entry.name, {})
    shared = sorted(ours.keys() & theirs.keys())
    if not shared:
        return [fact("options", not ours, f"{sorted(ours)} are compared with nothing")]
    return [
        fact(
            f"default of {name}",
            ours[name] == theirs[name],
            f"is {ours[name]!r}, and torch's {theirs[name]!r}",
            f"the default of {cls.__name__}'s {name} is {ours[name]!r}; torch's is "
            f"{theirs[name]!r}",
        )
        for name in shared
    ]


def _defaults(function: Callable[..., Any]) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    return {one.name: one.default for one in parameters if one.default is not one.empty}
