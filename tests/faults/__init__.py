"""Named faults: mistakes that people make, each with the check that must catch it.

A fault replaces attributes of one class or module of scratch. `test_faults.py` plants each and
runs its check, which must fail, and say why where it can; and it demands a fault for every
check, so that none is there for show.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

from parity import Local
from parity.run.plan import Planned, planned

Swap = tuple[Any, dict[str, Any]]  # whose attributes, and what to put there
Planting = Swap | list[Swap]


@dataclass(frozen=True)
class Fault:
    """A mistake.

    Args:
        name: what is wrong, in words.
        check: the check that must catch it: `layer.forward`, `loss.value`, …
        cases: the cases that it is run on: those whose names start so.
        plant: makes the replacements, `swap(owner, attribute=…)`.
        dtype: that it is run in.
        says: what the diagnosis must have in it, of each failure that has one; where the
            evidence cannot single the mistake out, nothing.
        subtle: where, or for how long, it is right.
    """

    name: str
    check: str
    cases: str
    plant: Callable[[], Planting]
    dtype: str
    says: str = ""
    subtle: str = ""

    def checks(self, session: Local) -> list[Planned]:
        """Its check on each of its cases."""
        kind, _, name = self.check.partition(".")
        return [
            one
            for one in _planned(session)
            if (one.case.kind, one.name, one.dtype) == (kind, name, self.dtype)
            and str(one.case).startswith(self.cases)
        ]

    def planted(self) -> contextlib.AbstractContextManager[None]:
        """Within it, scratch has the fault."""
        return planted(self.plant())

    def __str__(self) -> str:
        return f"{self.cases}-{self.name}".replace(" ", "_")


@functools.lru_cache(maxsize=2)
def _planned(session: Local) -> list[Planned]:
    return planned(session)


_REGISTERED: list[Fault] = []


@contextlib.contextmanager
def planted(planting: Planting) -> Iterator[None]:
    """Within it, attributes are replaced."""
    with contextlib.ExitStack() as stack:
        for owner, attributes in planting if isinstance(planting, list) else [planting]:
            for name, replacement in attributes.items():
                stack.enter_context(mock.patch.object(owner, name, replacement))
        yield


def swap(owner: Any, **attributes: Any) -> Swap:
    """What to put in the place of an owner's attributes."""
    return owner, attributes


def fault(
    name: str,
    check: str,
    cases: str,
    says: str = "",
    *,
    dtype: str = "float32",
    subtle: str = "",
) -> Callable[[Callable[[], Planting]], Callable[[], Planting]]:
    """Registers the decorated function as a fault."""

    def register(plant: Callable[[], Planting]) -> Callable[[], Planting]:
        _REGISTERED.append(Fault(name, check, cases, plant, dtype, says, subtle))
        return plant

    return register


FILES = (
    "layers", "windows", "resizing", "others", "activations", "losses", "optimizers", "training",
    "subtle", "axes", "sequences",
)  # fmt: skip


def all_faults() -> list[Fault]:
    """Every fault of this folder."""
    for name in FILES:
        importlib.import_module(f"{__name__}.{name}")
    return list(_REGISTERED)
