"""The checks: plain functions of a `Trial` that return comparisons, by kind and by name."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import torch

from parity.catalogue.case import Case
from parity.checks import layers, losses, models, networks, optimizers
from parity.checks.trial import Trial
from parity.judge.comparison import Comparison
from parity.judge.truth import HALF

Check = Callable[[Trial], list[Comparison]]

KINDS: dict[str, ModuleType] = {
    "layer": layers,
    "loss": losses,
    "optimizer": optimizers,
    "network": networks,
    "model": models,
}

#: What is checked in half precision: the values. What is exact or rare, single and double show.
IN_HALF = ("forward", "input_grad", "param_grad", "value", "gradient", "half")


def checks_of(case: Case, dtype: torch.dtype) -> dict[str, Check]:
    """The checks that say something of a case in a dtype, by name."""
    kind = KINDS[case.kind]
    return {
        name: check
        for name, check in kind.CHECKS.items()
        if kind.applies(case, name, dtype) and (dtype not in HALF or name in IN_HALF)
    }
