"""Candidates that compute nothing are refused, in every case of every kind."""

from __future__ import annotations

import pytest

from parity import Local
from parity.judge.outcome import FAILED
from parity.run.plan import planned
from tests import trivial


@pytest.mark.parametrize("kind", trivial.KINDS)
@pytest.mark.parametrize("candidate", trivial.CANDIDATES)
def test_candidate_is_refused_in_every_case(candidate: str, kind: str) -> None:
    trivial.first.clear()
    session = Local(trivial.subject(candidate, kind))
    refused: dict[str, bool] = {}
    for one in planned(session):
        name = str(one.case)
        if one.case.kind == kind and not refused.get(name):
            refused[name] = one.run().verdict == FAILED
    passed = {(candidate, name) for name, caught in refused.items() if not caught}
    assert refused
    assert passed <= trivial.RIGHT
