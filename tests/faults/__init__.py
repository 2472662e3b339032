"""Named faults: mistakes that people make, each with the check that must catch it.

A fault replaces attributes of one class or module of scratch. `test_faults.py` plants each and
runs its check, which must fail; and it demands a fault for every check, so that none is there
for show.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

Planting = tuple[Any, dict[str, Any]]  # whose attributes, and what to put there


@dataclass(frozen=True)
class Fault:
    """A mistake.

    Args:
        name: what is wrong, in words.
        check: the check that must catch it: `layer.forward`, `loss.value`, …
        cases: the cases that it is run on: those whose names start so.
        plant: makes the replacements, `swap(owner, attribute=…)`.
        dtype: that it is run in.
    """

    name: str
    check: str
    cases: str
    plant: Callable[[], Planting]
    dtype: torch.dtype

    def __str__(self) -> str:
        return f"{self.cases}-{self.name}".replace(" ", "_")


_REGISTERED: list[Fault] = []


def swap(owner: Any, **attributes: Any) -> Planting:
    """What to put in the place of an owner's attributes."""
    return owner, attributes


def fault(
    name: str, check: str, cases: str, dtype: torch.dtype = torch.float32
) -> Callable[[Callable[[], Planting]], Callable[[], Planting]]:
    """Registers the decorated function as a fault."""

    def register(plant: Callable[[], Planting]) -> Callable[[], Planting]:
        _REGISTERED.append(Fault(name, check, cases, plant, dtype))
        return plant

    return register


def all_faults() -> list[Fault]:
    """Every fault of this folder."""
    for name in ("layers", "activations", "losses", "optimizers", "training"):
        importlib.import_module(f"{__name__}.{name}")
    return list(_REGISTERED)
