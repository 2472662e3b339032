"""Runs checks, one after another, and reports what came of them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from parity.judge.outcome import ERROR, UNCHECKED, Outcome
from parity.play.broken import Broken, Stopped
from parity.play.remote import Remote
from parity.play.session import Local
from parity.run.plan import Planned, planned
from parity.run.report import Report
from parity.run.setup.stage import set_up
from parity.subject.error import AdapterError
from parity.subject.subject import Subject

TOTAL_SECONDS = 3600.0
"""How long a run may take."""


def opened(subject: Subject | str | Path, **options: Any) -> Local | Remote:
    """A subject ready to be played: in this process, or by its adapter's path in one of its own;
    options as for `Remote`.

    Raises:
        AdapterError: the adapter cannot be used.
    """
    if isinstance(subject, Subject):
        return Local(subject)
    try:
        return Remote(subject, **options)
    except Broken as broken:
        raise AdapterError(f"{subject}: {broken}") from None
    except Stopped as stopped:
        raise AdapterError(str(stopped)) from None


def check(
    subject: Subject | str | Path,
    *,
    only: str | tuple[str, ...] = (),
    device: str = "cpu",
    seed: int = 0,
    quick: bool = False,
    strict: bool = False,
    total_seconds: float = TOTAL_SECONDS,
    forbid: Sequence[str] = (),
) -> Report:
    """Checks a subject, and returns all that was found.

    Args:
        subject: the path of an adapter, which is played in a process of its own; or a `Subject`,
            which is played in this one.
        only: a pattern of ids, or several; without any, all checks.
        device, seed: where, and of all that is random.
        quick: leaves out the checks along the axes: sizes, magnitudes, several of a class, …
        strict: remarks fail it too: what differs from torch by choice, loses digits, or is wrong
            at an edge.
        total_seconds: how long all of it may take; then the report is of what has been checked.
        forbid: modules, such as "torch.nn", that the subject's files may not use; the adapter's
            may. Each use is refused, and reported.

    Raises:
        AdapterError: the adapter cannot be used, nothing is left to check, or something is
            forbidden a `Subject` in this process.
    """
    until = time.monotonic() + total_seconds
    if forbid and isinstance(subject, Subject):
        raise AdapterError("forbid= takes the path of an adapter, whose process is poisoned; this "
                           "is a Subject, in your own process")  # fmt: skip
    forbid = (forbid,) if isinstance(forbid, str) else tuple(forbid)
    session = opened(subject, until=until, forbidden=forbid)
    try:
        set_up(session)
        checks = planned(session, device=device, seed=seed, only=only, quick=quick)
        if not checks:
            raise AdapterError(f"{session.description.name}: there is nothing to check")
        complete = not only and not quick
        return run(session, checks, complete=complete, strict=strict, until=until,
                   forbidden=forbid)  # fmt: skip
    finally:
        session.close()


def run(
    session: Any,
    checks: list[Planned],
    *,
    complete: bool = True,
    strict: bool = False,
    on_outcome: Callable[[Outcome], object] = lambda outcome: None,
    settings: dict[str, Any] | None = None,
    until: float = math.inf,
    forbidden: tuple[str, ...] = (),
) -> Report:
    """Runs checks one after another.

    Args:
        complete: whether these are all checks, so that an unused waiver is one too many.
        strict: whether remarks fail the report.
        on_outcome: called after each, for progress.
        until: when, by `time.monotonic`, no other check is begun.
        forbidden: the modules that the session refuses its subject.
    """
    outcomes: list[Outcome] = []
    errors: list[Outcome] = []
    unchecked: dict[tuple[str, str], dict[str, None]] = {}
    stopped = ""
    try:
        for one in checks:
            if time.monotonic() >= until:
                raise Stopped("the time for the whole run is over")
            outcome = one.run()
            if outcome.verdict == ERROR:
                errors.append(outcome)
            elif outcome.verdict == UNCHECKED:
                unchecked.setdefault((outcome.check, outcome.why), {})[outcome.cls] = None
            else:
                outcomes.append(outcome)
            on_outcome(outcome)
    except Stopped as reason:
        stopped = f"{reason}: {len(checks) - len(outcomes)} of {len(checks)} checks were not run"
        complete = False
    gaps = _gaps(session) if complete else []
    gaps += _unchecked(unchecked)
    gaps += [UNFORBIDDEN] if complete and not forbidden else []
    description = session.description
    used = {outcome.waiver for outcome in outcomes}
    unused = [w for w in description.waivers if w not in used] if complete else []
    missing = [(str(case), case.missing) for case in description.cases if case.missing]
    missing += [(str(case), case.refuses) for case in description.cases if case.refuses]
    preset = {"conventions": description.preset} if description.preset else {}
    return Report(
        description.name, outcomes, missing, unused, description.waivers,
        session.habits(), {**(settings or {}), **preset}, gaps,
        stopped, strict, errors, forbidden, list(session.used),
    )  # fmt: skip


UNFORBIDDEN = (
    "whether it uses torch.nn, torch.autograd or torch.optim itself "
    "(--forbid torch.nn,torch.autograd,torch.optim)"
)


SEVERAL = 3
"""From how many checks on, that are not run for one reason, they are counted and not named."""


def _unchecked(found: dict[tuple[str, str], dict[str, None]]) -> list[str]:
    """The checks that were not run, each with its reason."""
    by_reason: dict[str, dict[str, dict[str, None]]] = {}
    for (name, why), classes in found.items():
        by_reason.setdefault(why, {})[name] = classes
    gaps = []
    for why, checks in by_reason.items():
        if len(checks) >= SEVERAL:
            classes = dict.fromkeys(cls for ones in checks.values() for cls in ones)
            gaps.append(f"{len(checks)} checks of {', '.join(classes)} ({why})")
        else:
            gaps += [f"{name} of {', '.join(ones)} ({why})" for name, ones in checks.items()]
    return gaps


def _gaps(session: Any) -> list[str]:
    """What no check could look at: how layers work together, how parameters move."""
    cases, gaps = session.description.cases, []
    if not any(case.kind in ("network", "model") for case in cases):
        gaps.append(
            "how layers work together, for which the adapter needs nn.Linear and a loss such as "
            "nn.MSELoss"
        )
    if not any(case.kind == "optimizer" for case in cases):
        gaps.append("how parameters are moved, for which it needs an optimizer of torch.optim's")
    if untouched := session.description.untouched:
        named = "; ".join(f"{cls}'s {', '.join(names)}" for cls, names in untouched.items())
        gaps.append(f"options that no check touches ({named})")
    return gaps
