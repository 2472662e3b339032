"""Every named fault is caught by its check, and every check catches a named fault."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from parity import Comparison
from reference import pairs
from tests.checks import layers, losses, models, optimizers
from tests.checks.setting import Setting
from tests.faults import Fault, all_faults

CHECKS = {
    f"{kind}.{name}": check
    for kind, checks in {
        "layer": layers.CHECKS,
        "loss": losses.CHECKS,
        "optimizer": optimizers.CHECKS,
        "model": models.CHECKS,
    }.items()
    for name, check in checks.items()
}
FAULTS = all_faults()
CASES = [*pairs.cases(), *pairs.MODELS]


def verdicts(fault: Fault) -> Iterator[Comparison]:
    """The fault's check on each of its cases, all of which pass without it in the other tests."""
    for case in CASES:
        if str(case).startswith(fault.cases):
            yield from CHECKS[fault.check](Setting(case, fault.dtype))


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_fault_is_caught(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, attributes = fault.plant()
    for name, replacement in attributes.items():
        monkeypatch.setattr(owner, name, replacement)
    assert any(not verdict.passed for verdict in verdicts(fault)), f"{fault.check} misses it"


@pytest.mark.parametrize("check", CHECKS)
def test_check_catches_a_fault(check: str) -> None:
    assert check in {fault.check for fault in FAULTS}


def test_faults_are_many_and_named_apart() -> None:
    assert len(FAULTS) >= 25
    assert len({str(fault) for fault in FAULTS}) == len(FAULTS)
