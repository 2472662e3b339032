"""Times two trees against each other, benchmark by benchmark, in lock-step.

Both arms sit on one processor and take turns, so that whatever else the machine does meets both
alike. A *restart* is a pair of fresh processes: how they happen to lie in memory is part of what
they measure, the same for all their pairs, so that the restart and not the pair is the unit that
statistics may count (Kalibera and Jones 2013).
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from parity.gate.data.broken import Broken
from parity.gate.measure import arm

BASE, HEAD = "base", "head"
ARMS = (BASE, HEAD)

LEAST = 4  # units in a sample
ANSWER = 120.0  # seconds in which an arm must answer
SLACK = 0.05  # seconds, and a hundredth, by which two clocks may differ

#: `[[seconds of base, seconds of head], …]` of each benchmark.
Raw = dict[str, list[list[float]]]


@dataclass(frozen=True)
class Design:
    """How much is measured.

    Args:
        restarts: pairs of processes in a stage; an inconclusive one is extended once by as many.
        pairs: of each benchmark in a restart.
        seconds: that one sample of a benchmark takes, about.
    """

    restarts: int = 15
    pairs: int = 6
    seconds: float = 1.5e-4


@dataclass(frozen=True)
class Offer:
    """What both arms can be asked for.

    Args:
        names: the benchmarks that both have. units: of each, in a sample.
        new: those that the head alone can run, with the reason of the base.
        gone: those that the base alone has.
    """

    names: list[str]
    units: dict[str, int]
    new: dict[str, str] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)


class Lockstep:
    """Starts arms, and steps them.

    Args:
        trees: of "base" and of "head", marked by their names.
        benchmarks: the Python file whose `benchmarks()` says what is timed, for both arms.
        design: how much.
        doses: the share of more work that the head's arm does, by benchmark, where the gate
            itself is tried.
        seed: of the orders.

    Raises:
        Broken: an arm cannot be started or timed, or is not the tree that it should be.
    """

    def __init__(
        self,
        trees: Mapping[str, Path],
        benchmarks: Path,
        design: Design | None = None,
        doses: Mapping[str, float] | None = None,
        seed: int | None = None,
    ) -> None:
        self.trees = {name: Path(trees[name]).resolve() for name in ARMS}
        self.benchmarks = benchmarks.resolve()
        self.design = design or Design()
        self.doses = {arm.CONTROL: arm.CONTROL_DOSE, **(doses or {})}
        self.random = random.Random(seed)
        self.cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        self.started = 0

    def offer(self) -> Offer:
        """What there is to time, how much of it makes a sample; compiles what is to be compiled."""
        names, units, new = [], {}, {}
        with self._arms() as both:
            both.begin(self._order())
            wanted = both.described(HEAD, self.trees[HEAD])
            try:
                there, reason = both.described(BASE, self.trees[BASE]), "it has none of that name"
            except Unloadable as unloadable:
                there, reason = [], str(unloadable)
            for name in wanted:
                count = both.must(HEAD, "units", name, self.design.seconds)
                if name not in there:
                    new[name] = reason
                    continue
                try:
                    both.ask(BASE, "units", name, self.design.seconds)
                except Refused as refused:
                    new[name] = str(refused)
                    continue
                names.append(name)
                units[name] = _divisible(max(count, LEAST), self.doses.get(name, 0.0))
        return Offer(names, units, new, [name for name in there if name not in wanted])

    def restarts(self, offer: Offer, count: int) -> Iterator[Raw]:
        """The times of so many restarts, one after another."""
        if not offer.names or count < 1 or self.design.pairs < 1:
            raise Broken("zero pairs: there is nothing to time")
        with contextlib.ExitStack() as stack:
            following = stack.enter_context(self._arms())
            for number in range(count):
                both = following
                both.begin(self._order())
                if number + 1 < count:  # torch is imported on another processor meanwhile
                    following = stack.enter_context(self._arms())
                yield self._restart(both, offer)
                both.close()

    def _restart(self, both: _Both, offer: Offer) -> Raw:
        wall, steady = time.time(), time.monotonic()
        for name in ARMS:
            both.described(name, self.trees[name])
        names = list(offer.names)
        self.random.shuffle(names)
        for name in names:
            for one in self._order():
                more = self.doses.get(name, 0.0) if one == HEAD else 0.0
                both.must(one, "make", name, round(offer.units[name] * (1 + more)))
            for _ in range(2):  # warm
                for one in self._order():
                    both.time(one, name)
        raw: Raw = {name: [] for name in sorted(names)}
        for _ in range(self.design.pairs):
            self.random.shuffle(names)
            for name in names:
                seconds = {one: both.time(one, name) for one in self._order()}
                raw[name].append([seconds[one] for one in ARMS])
        steady, wall = time.monotonic() - steady, time.time() - wall
        if abs(wall - steady) > SLACK + 0.01 * steady:
            raise Broken(
                f"the clock was stepped: in a restart it went {wall:.3f} s, a steady one "
                f"{steady:.3f} s; run the gate again"
            )
        return raw

    def _order(self) -> list[str]:
        return self.random.sample(ARMS, 2)

    @contextlib.contextmanager
    def _arms(self) -> Iterator[_Both]:
        """Both arms of the next restart: on one processor, each in turn."""
        cpus = self.cpus[self.started % max(len(self.cpus), 1) :][:1]
        both = _Both(self.trees, self.benchmarks, cpus)
        self.started += 1
        try:
            yield both
        finally:
            both.close()


class Refused(Exception):
    """A benchmark that an arm cannot run, with its reason."""


class Unloadable(Broken):
    """Benchmarks that an arm cannot load."""


class _Both:
    """The two processes of a restart."""

    def __init__(self, trees: Mapping[str, Path], benchmarks: Path, cpus: list[int]) -> None:
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 (`close` closes it)
        self.sockets = {name: socket.socketpair() for name in ARMS}
        described = {
            name: {
                "tree": str(trees[name]),
                "benchmarks": str(benchmarks),
                "socket": self.sockets[name][1].fileno(),
            }
            for name in ARMS
        }
        self.process = subprocess.Popen(
            [sys.executable, arm.__file__, json.dumps([described, cpus, os.getpid()])],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True,
            pass_fds=[theirs.fileno() for _, theirs in self.sockets.values()],
            start_new_session=True, cwd=tempfile.gettempdir(),
        )  # fmt: skip
        for _, theirs in self.sockets.values():
            theirs.close()
        self.streams: dict[str, Any] = {}
        for name, (ours, _) in self.sockets.items():
            ours.settimeout(ANSWER)
            self.streams[name] = ours.makefile("rw", encoding="utf-8")

    def begin(self, order: list[str]) -> None:
        """Forks into both arms."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()

    def described(self, name: str, tree: Path) -> list[str]:
        """The benchmarks that an arm has, once it is clear whose it is."""
        try:
            found = self._answer(name, "starting")
        except Refused as refused:
            raise Unloadable(f"the {name}'s benchmarks cannot be loaded: {refused}") from None
        if found["strangers"]:
            raise Broken(f"the {name}'s arm does not run its own tree: {found['strangers'][0]}")
        if found["mark"] != name:
            raise Broken(
                f"the arms are swapped: that of the {name} runs the tree of "
                f"{found['mark'] or 'neither'}, in {tree}"
            )
        names: list[str] = found["names"]
        return names

    def ask(self, name: str, what: str, *arguments: Any) -> Any:
        try:
            self.streams[name].write(json.dumps([what, *arguments]) + "\n")
            self.streams[name].flush()
        except OSError:
            pass  # the answer says why
        return self._answer(name, f"at {arguments[0]!r}")

    def must(self, name: str, what: str, benchmark: str, *arguments: Any) -> Any:
        """As `ask`, of a benchmark that has to run."""
        try:
            return self.ask(name, what, benchmark, *arguments)
        except Refused as refused:
            raise Broken(f"{benchmark} raises in the {name}'s arm: {refused}") from None

    def time(self, name: str, benchmark: str) -> float:
        """Seconds of one sample, if they can be true."""
        start = time.perf_counter()
        seconds = self.must(name, "time", benchmark)
        passed = time.perf_counter() - start
        if not isinstance(seconds, float) or not math.isfinite(seconds):
            raise Broken(f"{benchmark}: the {name}'s arm says that it took {seconds} seconds")
        if not 0 < seconds <= passed + 1e-6:
            raise Broken(
                f"the {name}'s clock was stepped: it says that {benchmark} took {seconds:.6f} s, "
                f"of the {passed:.6f} s that passed here"
            )
        return seconds

    def _answer(self, name: str, when: str) -> Any:
        try:
            line = self.streams[name].readline()
        except TimeoutError:
            raise Broken(f"the {name}'s arm hangs, {when}: no answer in {ANSWER:g} s") from None
        except OSError:
            line = ""
        if not line:
            raise Broken(f"the {name}'s arm {self._ending(name)}, {when}")
        answer = json.loads(line)
        if isinstance(answer, dict) and "error" in answer:
            raise Refused(answer["error"])
        return answer

    def _ending(self, name: str) -> str:
        """How an arm ended."""
        assert self.process.stdout is not None
        assert self.process.stdin is not None
        self.close_streams()
        for line in self.process.stdout:
            if line.startswith("[") and (ended := json.loads(line))[0] == name:
                code = ended[1]
                return f"was killed by {signal.Signals(-code).name}" if code < 0 else "ended"
        self.errors.seek(0)
        said = self.errors.read().decode(errors="replace").strip().splitlines()
        return f"could not be started ({said[-1] if said else 'it said nothing'})"

    def close_streams(self) -> None:
        for name, (ours, _) in self.sockets.items():
            with contextlib.suppress(OSError):
                self.streams[name].close()
            ours.close()

    def close(self) -> None:
        """Ends the processes; once is enough."""
        if self.errors.closed:
            return
        self.close_streams()
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.errors):
            with contextlib.suppress(OSError):
                stream.close()  # type: ignore[union-attr]


def _divisible(units: int, dose: float) -> int:
    """At least so many units, of which the dose is a whole number."""
    if not dose:
        return units
    step = round(1 / dose)
    return -(-units // step) * step
