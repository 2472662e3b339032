"""Every optimizer against torch.optim: one test for each point of the option grid."""

from __future__ import annotations

import pytest
import torch

from reference import pairs
from tests.checks import optimizers
from tests.checks.setting import Setting
from tests.conftest import DTYPES, demand

SETTINGS = [
    pytest.param(case, DTYPES[name], check, id=f"{case}-{name}-{check}")
    for case in pairs.cases("optimizer")
    for name in ("float64", "float32")
    for check in optimizers.CHECKS
]


@pytest.mark.parametrize(("case", "dtype", "check"), SETTINGS)
def test_optimizer(case: pairs.Case, dtype: torch.dtype, check: str, device: str) -> None:
    demand(optimizers.CHECKS[check](Setting(case, dtype, device)))
