"""A process that checks one submission after another.

It imports torch once, and so does its nursery, from which each student's process is forked. What
torch says at given inputs it keeps: the inputs are the same for all.
"""

from __future__ import annotations

import html
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parity.classroom.submissions import Submission

if TYPE_CHECKING:
    from parity.classroom.result import Result

KEPT = 16_384
"""How many results of torch are kept: all that a framework of every class is held against."""


@dataclass(frozen=True)
class Order:
    """What is asked of a lane: an adapter's path, a submission and its digest; `options` as
    `parity check` has them."""

    adapter: str
    submission: Submission
    digest: str
    options: dict[str, Any]


_nursery: Any = None


def begin() -> None:
    """Makes this process a lane. Ctrl-C is its parent's business."""
    global _nursery
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    from parity.judge import once
    from parity.play.remote import Nursery

    once.KEPT = KEPT
    _nursery = Nursery()


def checked(order: Order) -> Result:
    """What comes of a submission, whatever it does."""
    from parity.classroom.result import Result
    from parity.play.broken import Stopped, legible
    from parity.subject.error import AdapterError

    begun = time.monotonic()
    hidden = _hidden(order)
    try:
        return _checked(order, begun, hidden)
    except (AdapterError, Stopped) as error:
        why = str(error)
    except Exception as error:
        why = f"an error of parity's own: {type(error).__name__}: {legible(str(error))}"
    name = order.submission.name
    return Result(name, order.digest, hidden(why), seconds=time.monotonic() - begun)


def _checked(order: Order, begun: float, hidden: Callable[[str], str]) -> Result:
    from parity.classroom.result import result_of
    from parity.run.plan import planned
    from parity.run.run import opened, run
    from parity.run.setup.stage import set_up
    from parity.show.html import page
    from parity.subject.error import AdapterError

    own, adapter = order.options, Path(order.adapter)
    until = begun + own["total_seconds"]
    session = opened(
        adapter, folder=order.submission.folder, nursery=_nursery, until=until,
        seconds=own["seconds"], gibibytes=own["memory"], forbidden=own["forbid"],
    )  # fmt: skip
    try:
        session.path = Path(adapter.name)  # type: ignore[union-attr] # what the commands of a page name
        set_up(session)
        checks = planned(
            session, device=own["device"], seed=own["seed"], only=own["only"], quick=own["quick"]
        )
        if not checks:
            raise AdapterError("there is nothing to check")
        complete = not own["only"] and not own["quick"]
        found = run(session, checks, complete=complete, settings=own["settings"], until=until,
                    strict=own["strict"], forbidden=own["forbid"])  # fmt: skip
    finally:
        session.close()
    found = replace(found, name=order.submission.name)
    text = hidden(page(found))
    result = result_of(order.submission.name, order.digest, found, time.monotonic() - begun, text)
    findings = tuple(replace(one, sentence=hidden(one.sentence)) for one in result.findings)
    return replace(result, findings=findings, why=hidden(result.why))


def _hidden(order: Order) -> Callable[[str], str]:
    """Takes the paths of this machine out of a text that is the student's to read."""
    places = [order.submission.folder, Path(order.adapter).parent, Path.home(), Path.cwd()]
    names = {form for one in places for form in (str(one.absolute()), str(one.resolve()))}
    longest = sorted((one for one in names if len(one) > 1), key=len, reverse=True)

    def without(text: str) -> str:
        for one in longest:
            for form in (one, html.escape(one)):
                text = text.replace(form + os.sep, "").replace(form, "")
        return text

    return without
