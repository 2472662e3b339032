"""The reports' networks against torch: layer by layer, and in training."""

from __future__ import annotations

import pytest
import torch

from reference import pairs
from tests.checks import models
from tests.checks.setting import Setting
from tests.conftest import DTYPES, demand

SETTINGS = [
    pytest.param(case, DTYPES[name], check, id=f"{case}-{name}-{check}")
    for case in pairs.MODELS
    for name in ("float64", "float32")
    for check in models.CHECKS
]


@pytest.mark.parametrize(("case", "dtype", "check"), SETTINGS)
def test_model(case: pairs.ModelPair, dtype: torch.dtype, check: str, device: str) -> None:
    demand(models.CHECKS[check](Setting(case, dtype, device)))
