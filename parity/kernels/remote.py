"""Runs the sweeps of a file in a process of their own, which may hang, crash, or end."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shlex
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parity.judge.comparison import Comparison
from parity.judge.outcome import FAILED, Outcome
from parity.kernels import data
from parity.kernels.cases import Case
from parity.kernels.judging import KIND, Tried, mistrusted_of
from parity.kernels.report import SweepFinding, SweepReport, proving_too_little, with_the_rest
from parity.kernels.sweep import gaps_and_habits
from parity.play.broken import Broken, Stopped, legible
from parity.play.remote import Remote
from parity.show.files import write
from parity.subject.error import AdapterError


@dataclass(frozen=True)
class Described:
    """A sweep of the file: what the judge knows of it."""

    name: str
    mistakes: tuple[str, ...]
    device: str
    count: int


class Sweeps(Remote):
    """The sweeps of a file, in a worker process."""

    player = "parity.kernels.worker"
    digest = ""
    description: list[Described]  # type: ignore[assignment]

    def _described(self, data: Any) -> Any:
        digest, sweeps = data
        self.digest = str(digest)
        return [
            Described(legible(str(one["name"])), tuple(map(str, one["mistakes"])),
                      str(one["device"]), int(one["count"]))
            for one in sweeps
        ]  # fmt: skip

    def cases(self, place: int, *, full: bool, only: tuple[str, ...]) -> list[str]:
        """The names of the cases of a sweep."""
        answer = self._of_case("chosen", (place, full, list(only)), "", "when listed")
        return [str(name) for name in answer["cases"]]

    def tried(self, place: int, name: str, command: str) -> dict[str, Any]:
        """What comes of a case, as `data.of_tried` has it; to end the process is a failure."""
        cls = self.description[place].name
        try:
            found: dict[str, Any] = self._of_case(
                "case", (place, name, command), f"{place} {name}", "when called"
            )
            data.to_tried(found, Case(()))
        except Broken as broken:
            found = _crashed(cls, name, str(broken), command)
        except (TypeError, ValueError, KeyError):
            found = _crashed(cls, name, "sent what cannot be read", command)
        return found

    def memory(self, place: int) -> str:
        """What a pass takes, beside torch's; "" where that cannot be said."""
        with contextlib.suppress(Broken):
            answer = self._of_case("memory", (place,), f"{place} memory", "when measured")
            return legible(str(answer["memory"]))
        return ""

    def findings(self, place: int, tries: Mapping[str, Any], command: str) -> list[Any]:
        """What is wrong with a sweep's subject; where that cannot be narrowed down, as it is."""
        seconds = 10 * self.seconds
        for narrow in (True, False):
            with contextlib.suppress(Broken):
                what = (place, dict(tries), command, narrow)
                name = f"{place} narrow {narrow}"
                answer = self._of_case("findings", what, name, "when narrowed down", seconds)
                return list(answer["findings"])
        return []


def _crashed(cls: str, name: str, why: str, command: str) -> dict[str, Any]:
    one = Comparison("run", math.inf, reason=why, diagnosis=why, named=True)
    identity, dtype = f"run-{name}", name.split("-")[1] if "-" in name else ""
    outcome = Outcome(identity, cls, name, dtype, "run", FAILED, [one],
                      reproduce=command.format(identity), kind=KIND)  # fmt: skip
    return data.of_tried(Tried(Case(()), [outcome]), name)


def run_file(
    session: Sweeps,
    *,
    full: bool = False,
    only: tuple[str, ...] = (),
    strict: bool = False,
    until: float = math.inf,
    settings: Mapping[str, Any] | None = None,
    on_start: Callable[[int, int], object] = lambda count, done: None,
    on_case: Callable[[str], object] = lambda name: None,
) -> SweepReport:
    """Runs the sweeps of a file, one case after another. An interrupted run goes on where it was,
    as long as the code is the same.

    Args:
        on_start: called with the number of cases, and of those that were done before.
        on_case: called after each case.
    """
    path = shlex.quote(str(session.path))
    command = f"parity kernel {path} --only '{{}}' -v"
    names = _names(session, full=full, only=only)
    kept = Kept(session.digest, full, only)
    every = [(place, name) for place, ones in enumerate(names) for name in ones]
    on_start(len(every), sum(kept.of(*one) is not None for one in every))
    stopped = ""
    outcomes: list[Outcome] = []
    findings: list[SweepFinding] = []
    gaps: dict[str, None] = {}
    taken: dict[str, str] = {}
    habits: dict[str, None] = dict.fromkeys(session.habits())
    for place, cases in enumerate(names):
        tries: dict[str, Any] = {}
        try:
            for name in cases:
                if time.monotonic() >= until:
                    raise Stopped("the time for the whole run is over")
                tries[name] = kept.of(place, name) or session.tried(place, name, command)
                kept.keep(place, name, tries[name])
                on_case(name)
        except Stopped as reason:
            stopped = str(reason)
        except BaseException:
            kept.write()
            raise
        own, found = _of_sweep(session, place, tries, command, whole=not only and not stopped)
        tried = [data.to_tried(one, Case(())) for one in tries.values()]
        more, noted = gaps_and_habits(session.description[place].device, tried, list(tries))
        gaps |= dict.fromkeys(more)
        habits |= dict.fromkeys(noted)
        outcomes += own
        findings += found
        if not stopped and not only and (memory := session.memory(place)):
            taken[f"memory of {session.description[place].name}"] = memory
        if stopped:
            kept.write()
            break
    else:
        kept.forget()
    return SweepReport(
        session.path.stem, outcomes, habits=list(habits), gaps=list(gaps), stopped=stopped,
        strict=strict, settings={**(settings or {}), **taken}, found=findings,
    )  # fmt: skip


def _names(session: Sweeps, *, full: bool, only: tuple[str, ...]) -> list[list[str]]:
    """The cases of each sweep; none of one that has none of those ids.

    Raises:
        AdapterError: no sweep has any.
    """
    found, refused = [], []
    for place in range(len(session.description)):
        try:
            found.append(session.cases(place, full=full, only=only))
        except Broken as broken:
            refused.append(str(broken))
            found.append([])
    if not any(found):
        raise AdapterError(
            f"{session.path}: {refused[0] if refused else 'there is nothing to try'}"
        )
    return found


def _of_sweep(
    session: Sweeps, place: int, tries: dict[str, Any], command: str, *, whole: bool
) -> tuple[list[Outcome], list[SweepFinding]]:
    """The outcomes of a sweep, and what is wrong."""
    sweep = session.description[place]
    done = [data.to_tried(one, Case(())) for one in tries.values()]
    outcomes = [outcome for one in done for outcome in one.outcomes]
    shown = {name for one in done for name in one.shown}
    own = mistrusted_of(sweep.name, sweep.mistakes, shown) if whole else []
    failed = [one for one in outcomes if one.verdict == FAILED]
    found: list[SweepFinding] = []
    if failed:
        by_id = {one.id: one for one in outcomes}
        try:
            found = [data.to_finding(one, by_id) for one in
                     session.findings(place, tries, command)]  # fmt: skip
        except (TypeError, ValueError, KeyError):
            found = []
        found = with_the_rest(sweep.name, failed, found)
    return [*outcomes, *own], [*found, *proving_too_little(sweep.name, own)]


class Kept:
    """The cases of a run that was interrupted, in a file of one's own in the temporary folder. A
    run of some cases alone leaves it as it is.

    Args:
        digest: of the code under test; of another, nothing is taken over.
    """

    def __init__(self, digest: str, full: bool, only: tuple[str, ...]) -> None:
        folder = Path(tempfile.gettempdir(), f"parity-kernel-{os.getuid()}")
        self.path = folder / f"{digest[:32]}-{'full' if full else 'pairs'}.json"
        self.done: dict[str, Any] = {}
        self.whole = not only
        with contextlib.suppress(OSError, ValueError):
            if self.whole and self.path.stat().st_uid == os.getuid():
                self.done = json.loads(self.path.read_text("utf-8"))

    def of(self, place: int, name: str) -> Any:
        return self.done.get(f"{place} {name}")

    def keep(self, place: int, name: str, one: Any) -> None:
        self.done[f"{place} {name}"] = one

    def write(self) -> None:
        """Writes what is done."""
        with contextlib.suppress(OSError):
            if self.whole:
                self.path.parent.mkdir(mode=0o700, exist_ok=True)
                write(self.path, json.dumps(self.done))

    def forget(self) -> None:
        if self.whole:
            self.path.unlink(missing_ok=True)
