"""Every loss against torch: one test for each pair, variant, dtype and check."""

from __future__ import annotations

import pytest
import torch

from reference import pairs
from tests.checks import losses
from tests.checks.setting import Setting
from tests.conftest import DTYPES, demand

HALF = ("value", "gradient", "stacked")


def _applies(case: pairs.Case, dtype: torch.dtype, check: str) -> bool:
    if check == "kink" and case.target() != "real":
        return False
    if check == "differences":
        return dtype == torch.float64
    return dtype != torch.bfloat16 or check in HALF


SETTINGS = [
    pytest.param(case, dtype, check, id=f"{case}-{name}-{check}")
    for case in pairs.cases("loss")
    for name, dtype in DTYPES.items()
    for check in losses.CHECKS
    if _applies(case, dtype, check)
]


@pytest.mark.parametrize(("case", "dtype", "check"), SETTINGS)
def test_loss(case: pairs.Case, dtype: torch.dtype, check: str, device: str) -> None:
    demand(losses.CHECKS[check](Setting(case, dtype, device)))
