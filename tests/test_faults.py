"""Every named fault is caught by its check, which says what it is; every check catches one."""

from __future__ import annotations

import pytest

from bench.own import SUBJECT
from parity import Local
from parity.judge.outcome import FAILED
from parity.run.plan import planned
from tests.faults import Fault, all_faults

SESSION = Local(SUBJECT)
CHECKS = {f"{one.case.kind}.{one.name}" for one in planned(SESSION)}
FAULTS = all_faults()


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_fault_is_caught_and_named(fault: Fault) -> None:
    told: list[str] = []
    with fault.planted():
        for one in fault.checks(SESSION):  # until a case shows it
            outcome = one.run()
            if outcome.verdict == FAILED:
                told.append(outcome.diagnosis)
                if fault.says in outcome.diagnosis:
                    return
    assert told, f"{fault.check} misses it"
    pytest.fail(f"not said, but: {told}")


@pytest.mark.parametrize("check", sorted(CHECKS))
def test_check_catches_a_fault(check: str) -> None:
    assert check in {fault.check for fault in FAULTS}


def test_faults_are_many_and_named_apart() -> None:
    assert len(FAULTS) >= 120
    assert sum(bool(fault.subtle) for fault in FAULTS) * 3 >= len(FAULTS)
    assert sum(bool(fault.says) for fault in FAULTS) * 3 >= len(FAULTS)
    assert len({str(fault) for fault in FAULTS}) == len(FAULTS)
