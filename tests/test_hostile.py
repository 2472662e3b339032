"""Whatever a subject or a machine does: a right report, in bounded time. See `tests.hostile`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.hostile import CASES, Case

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")


WORST = [one for one in CASES if one.worst]
OTHERS = [one for one in CASES if not one.worst][::2]
"""Every second of them: an attempt takes some seconds. `python -m tests.hostile` makes all."""


@pytest.mark.parametrize(
    "case", [*WORST, *(pytest.param(one, marks=pytest.mark.slow) for one in OTHERS)], ids=str
)
def test_it_is_survived(case: Case, tmp_path: Path) -> None:
    wrong = case.attempt(tmp_path)
    assert not wrong, "\n".join(wrong)


def test_they_are_many_and_of_all_groups() -> None:
    assert len(WORST) + len(OTHERS) >= 120
    assert {one.group for one in (*WORST, *OTHERS)} == {one.group for one in CASES}
    assert len({str(one) for one in CASES}) == len(CASES)
    assert len({one.group for one in CASES}) >= 15
    assert 20 <= sum(one.worst for one in CASES) <= 40
