"""Checks as pytest tests: `parametrize` for a test file of one's own."""

from __future__ import annotations

import atexit
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from parity.judge.outcome import ERROR, FAILING, UNCHECKED, WAIVED, Outcome
from parity.play.broken import Stopped, legible
from parity.run.plan import Planned, matches, planned
from parity.run.run import opened
from parity.run.setup.stage import set_up
from parity.show.plain import plain
from parity.subject.error import AdapterError
from parity.subject.subject import Subject


@dataclass(frozen=True)
class CheckTest:
    """One check as a test: call it."""

    planned: Planned
    strict: bool = False

    def __call__(self) -> None:
        """Runs the check; fails the test with what was found. What is a remark alone is an expected
        failure."""
        import pytest

        __tracebackhide__ = True
        try:
            outcome = self.planned.run()
        except Stopped as reason:
            pytest.fail(f"not run: {reason}", pytrace=False)
        if outcome.verdict == ERROR:
            pytest.fail(f"an error of parity's own: {plain(outcome.why)}", pytrace=False)
        if outcome.severity in FAILING or (outcome.severity and self.strict):
            pytest.fail(plain(described(outcome)), pytrace=False)
        if outcome.severity:
            pytest.xfail(plain(f"a remark ({outcome.severity}): {outcome.diagnosis}"))
        if outcome.verdict == UNCHECKED:
            pytest.skip(plain(outcome.why))
        if outcome.verdict == WAIVED:
            pytest.xfail(legible(self.planned.session.description.waivers[outcome.waiver]))

    def __str__(self) -> str:
        return str(self.planned)


@dataclass(frozen=True)
class WaiverTest:
    """That a waiver is needed: a check that it is for does fail."""

    pattern: str
    checks: list[Planned]

    def __call__(self) -> None:
        """Fails the test if every check passes without the waiver."""
        import pytest

        __tracebackhide__ = True
        if not any(one.run().verdict == WAIVED for one in self.checks):
            what = "passes" if self.checks else "matches no check"
            pytest.fail(f"the waiver {self.pattern!r} is not needed: what it is for {what}",
                        pytrace=False)  # fmt: skip

    def __str__(self) -> str:
        return f"waiver-{self.pattern}"


def parametrize(
    subject: Subject | str | Path,
    *,
    only: str | Sequence[str] = (),
    seed: int = 0,
    device: str = "cpu",
    quick: bool = False,
    strict: bool = False,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Makes one test of each check of a subject, with ids like `Linear-no_bias-float32-forward`.

        @parity.parametrize("adapter.py")
        def test_parity(check):
            check()

    Args:
        subject: the path of an adapter, which is then played in a process of its own, and is looked
            for beside the test file first; or a `Subject`, which is played in this one.
        only: a pattern of ids, or several; without any, all.
        seed, device, quick, strict: as of `parity check`.

    Raises:
        AdapterError: the adapter cannot be used, or nothing is left to check.
    """
    import pytest

    if not isinstance(subject, Subject):
        beside = Path(sys._getframe(1).f_code.co_filename).parent / subject
        subject = beside if beside.is_file() else subject
    session = opened(subject)
    atexit.register(session.close)
    set_up(session)
    checks = planned(
        session, device=device, seed=seed, quick=quick,
        only=only if isinstance(only, str) else tuple(only),
    )  # fmt: skip
    if not checks:
        raise AdapterError(f"{session.description.name}: there is nothing to check")
    tests: list[CheckTest | WaiverTest] = [CheckTest(one, strict) for one in checks]
    for pattern in session.description.waivers if not (only or quick) else ():
        meant = [one for one in checks if matches(str(one), (pattern,), whole=True)]
        tests.append(WaiverTest(pattern, meant))
    return pytest.mark.parametrize("check", [pytest.param(one, id=str(one)) for one in tests])


def described(outcome: Outcome) -> str:
    """What a failed test says: the sentence, and then every figure."""
    where = "".join(f"\n{does}: {place}" for does, place in outcome.where)
    said = outcome.diagnosis.lower()
    shown = outcome.failures or [outcome.nearest]
    lines = [str(replace(one, diagnosis="") if one.diagnosis.lower() == said else one)
             for one in shown]  # fmt: skip
    return "\n".join([f"[{outcome.severity}] {outcome.diagnosis}{where}", *lines])
