"""Scratch under every check of parity and of its own: one test for each case, dtype and check.

What does not depend on the dtype, memory, batches and state, is tested in float32 alone; `tox -e
proof` plays all of it in float64 too.
"""

from __future__ import annotations

import parity
from bench.own import SUBJECT
from parity.plugin import CheckTest

OF_VALUES = (
    "forward", "input_grad", "param_grad", "eval_mode", "sizes", "kink", "magnitudes", "extremes",
    "ranges", "statistics", "differences", "rate", "value", "gradient", "first_step",
    "twenty_steps", "states", "long_run", "layer_by_layer", "training", "runs_together",
    "infinite_gradient",
)  # fmt: skip
"""The checks whose verdict a dtype may change."""


@parity.parametrize(
    SUBJECT, only=("-float32-", "-bfloat16-", *(f"-float64-{name}" for name in OF_VALUES))
)
def test_scratch(check: CheckTest) -> None:
    check()
