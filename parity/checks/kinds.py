"""The checks: plain functions of a `Trial` that return comparisons, by kind and by name."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import torch

from parity.catalogue.case import Case
from parity.checks import clipping, layers, losses, models, networks, optimizers
from parity.checks.trial import Trial
from parity.judge.comparison import Comparison
from parity.judge.truth import HALF

Check = Callable[[Trial], list[Comparison]]

KINDS: dict[str, ModuleType] = {
    "layer": layers,
    "loss": losses,
    "optimizer": optimizers,
    "clipping": clipping,
    "network": networks,
    "model": models,
}

#: What is checked in half precision: the values. What is exact or rare, single and double show.
IN_HALF = ("forward", "input_grad", "param_grad", "value", "gradient", "half")

#: The checks that go along an axis: other sizes, ranks, magnitudes, several of a class, a longer
#: life. They take about a third of the time of all.
AXES = ("sizes", "rank", "instances", "tied", "moving", "magnitudes", "half", "upstream", "rate",
        "resume", "gradient_none", "long_run")  # fmt: skip


def checks_of(case: Case, dtype: torch.dtype, *, quick: bool = False) -> dict[str, Check]:
    """The checks that say something of a case in a dtype, by name; `quick`: but for the axes."""
    kind = KINDS[case.kind]
    return {
        name: check
        for name, check in kind.CHECKS.items()
        if not (quick and name in AXES)
        and kind.applies(case, name, dtype)
        and (dtype not in HALF or name in IN_HALF)
    }
