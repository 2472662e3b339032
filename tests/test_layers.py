"""Every layer against torch: one test for each pair, variant, dtype and check."""

from __future__ import annotations

import pytest
import torch

import scratch
from reference import pairs
from tests.checks import layers
from tests.checks.setting import Setting
from tests.conftest import DTYPES, demand

HALF = ("forward", "input_grad", "param_grad", "stacked")
OF_PARAMETERS = ("param_grad", "accumulation", "params_alone", "state_dicts")


def _applies(case: pairs.Case, dtype: torch.dtype, check: str) -> bool:
    if check == "differences":
        return dtype == torch.float64
    if check == "rate" and case.pair.cls is not scratch.Dropout:
        return False
    if check in OF_PARAMETERS and not case.scratch().param():
        return False
    return dtype != torch.bfloat16 or check in HALF


SETTINGS = [
    pytest.param(case, dtype, check, id=f"{case}-{name}-{check}")
    for case in pairs.cases("layer")
    for name, dtype in DTYPES.items()
    for check in layers.CHECKS
    if _applies(case, dtype, check)
]


@pytest.mark.parametrize(("case", "dtype", "check"), SETTINGS)
def test_layer(case: pairs.Case, dtype: torch.dtype, check: str, device: str) -> None:
    demand(layers.CHECKS[check](Setting(case, dtype, device)))
