"""The checks of a subject, each ready to be run and judged. Nothing is printed here."""

from __future__ import annotations

import contextlib
import fnmatch
import functools
import shlex
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from parity.catalogue.case import Case
from parity.checks.kinds import Check, checks_of
from parity.checks.trial import Trial, fact
from parity.explain.clues import CORE
from parity.judge.comparison import Comparison
from parity.judge.outcome import ERROR, FAILED, MISTRUSTED, PASSED, UNCHECKED, WAIVED, Outcome
from parity.judge.truth import HALF, Refused
from parity.play.broken import Broken, Own, Stopped, Unoffered, legible, place
from parity.play.guard import randomness_kept
from parity.run import beside
from parity.subject.error import AdapterError
from parity.subject.subject import waiver_for

DTYPES = {
    "float64": torch.float64, "float32": torch.float32,
    "bfloat16": torch.bfloat16, "float16": torch.float16,
}  # fmt: skip

SHOWN = 80
"""How many characters are shown of why a subject refuses what it need not take."""

ATTEMPTS, REDRAWN = 3, 1_000_003
"""How often inputs are drawn for a check to be worth something, and how far apart in seeds."""

SEEDS = 2**32 - ATTEMPTS * REDRAWN
"""How many seeds there are: numpy's generator takes 32 bits."""


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Runs torch on one thread, and gives the caller's number back.

    The tensors of a check are small. On more threads they wait for each other: beside other work
    a check took ten times as long.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _traced(error: Exception) -> str:
    """An error of parity's own: what it is, and below it the traceback."""
    if isinstance(error, Own):
        lines = str(error).splitlines()
        return "\n".join([lines[-1], *lines])
    what = f"{type(error).__name__}: {legible(str(error))}{place(error)}"
    return "\n".join([what, *"".join(traceback.format_exception(error)).splitlines()])


@dataclass(frozen=True)
class Planned:
    """A check that can be run: of one case, in one dtype.

    `str` of it is its id, such as `Linear-no_bias-float32-param_grad`. `parts`: the classes that a
    network is made of.
    """

    session: Any
    case: Case
    dtype: str
    name: str
    check: Check
    device: str = "cpu"
    seed: int = 0
    parts: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.case}-{self.dtype}-{self.name}"

    def run(self) -> Outcome:
        """Runs the check, whatever the subject does, and judges what came of it.

        Where the inputs happen to be such that a mistake would hardly show, as when a sum
        cancels, others are drawn.
        """
        start = time.perf_counter()
        verdict, waiver, why = UNCHECKED, "", ""
        comparisons: list[Comparison] = []
        with one_thread():
            for seed in (self.seed + attempt * REDRAWN for attempt in range(ATTEMPTS)):
                try:
                    comparisons = self._compared(seed)
                except (Unoffered, Refused) as unoffered:
                    why = legible(str(unoffered))
                    break
                except Stopped:
                    raise
                except Exception as error:
                    verdict, why, comparisons = ERROR, _traced(error), []
                    break
                verdict, waiver = self._verdict(comparisons)
                if verdict != MISTRUSTED:
                    break
        return Outcome(
            str(self), self.case.entry.name, str(self.case), self.dtype, self.name, verdict,
            comparisons, time.perf_counter() - start, waiver, self._command(), self.case.kind, why,
            self.parts, self._where() if verdict == FAILED else (),
        )  # fmt: skip

    def _where(self) -> tuple[tuple[str, str], ...]:
        """Where the subject's methods are that this check calls; nothing if that cannot be said."""
        try:
            made = self.session.new(self.case, DTYPES[self.dtype], self.device, self.seed)
            return tuple((legible(does), legible(place)) for does, place in made.places())
        except Exception:
            return ()

    def _command(self) -> str:
        path = getattr(self.session, "path", "ADAPTER.py")
        options = f" --seed {self.seed}" if self.seed else ""
        options += f" --device {self.device}" if self.device != "cpu" else ""
        return f"parity check {shlex.quote(str(path))} --only {shlex.quote(str(self))}{options} -v"

    def _compared(self, seed: int) -> list[Comparison]:
        trial = Trial(self.session, self.case, DTYPES[self.dtype], self.device, seed)
        try:
            with randomness_kept():
                comparisons = self.check(trial)
        except (Stopped, Unoffered, Refused):
            raise
        except Broken as broken:
            if broken.innocent:  # the next time it has a process of its own
                return self._compared(seed)
            free = self.case.optional and str(broken).startswith("raises ")
            if free or (broken.meant and trial.refused()):
                said = legible(str(broken), SHOWN)
                raise Unoffered(f"it refuses {self.case.variant}: {said}") from None
            return [replace(fact("run", False, str(broken)), entries=broken.trace)]
        except Own:
            raise
        except Exception:
            if odd := self._odd(trial):  # so odd that the check itself fell over it
                return [fact("run", False, f"gives what cannot be judged: {odd}")]
            raise
        return comparisons or [fact("run", False, "the check compared nothing")]

    def _odd(self, trial: Trial) -> str:
        """What is so odd in the results at ordinary inputs that they cannot be compared."""
        for name, check in checks_of(self.case, trial.dtype).items():
            if name in CORE:
                with contextlib.suppress(Exception):
                    for one in check(trial):
                        if one.reason:
                            return f"{one.name}: {one.reason}"
        return ""

    def _verdict(self, comparisons: list[Comparison]) -> tuple[str, str]:
        if all(comparison.passed for comparison in comparisons):
            trusted = all(comparison.trusted for comparison in comparisons)
            return (PASSED if trusted else MISTRUSTED), ""
        waivers = self.session.description.waivers
        pattern = waiver_for(waivers, str(self))
        return (WAIVED, pattern) if pattern is not None else (FAILED, "")


def planned(
    session: Any,
    *,
    device: str = "cpu",
    seed: int = 0,
    only: str | tuple[str, ...] = (),
    quick: bool = False,
) -> list[Planned]:
    """Every check of a subject; or those whose id matches one of the patterns `only`; `quick`: but
    for those of `kinds.AXES`.

    Raises:
        AdapterError: a device that there is not, or a seed out of range.
    """
    if device != "cpu" and not (device.startswith("cuda") and torch.cuda.is_available()):
        why = "this torch sees no CUDA device" if device.startswith("cuda") else "takes cpu or cuda"
        raise AdapterError(f"device {device!r}: {why}")
    if not isinstance(seed, int) or not 0 <= seed < SEEDS:
        raise AdapterError(f"a seed is an integer from 0 to {SEEDS - 1}, not {seed!r}")
    if isinstance(only, str):
        only = (only,)
    description = session.description
    found = []
    for case in description.cases:
        if case.missing:
            continue
        try:
            parts = _parts(session, case)
            for dtype in description.dtypes:
                for name, check in _checks(session, case, DTYPES[dtype], quick).items():
                    found.append(Planned(session, case, dtype, name, check, device, seed, parts))
        except Broken as broken:  # what is to say so of a case that cannot even be listed
            found.append(_refusing(session, case, str(broken)))
    return [one for one in found if not only or matches(str(one), only)]


def _checks(session: Any, case: Case, dtype: torch.dtype, quick: bool) -> dict[str, Check]:
    """The checks of a case, those of the adapter's own among them; some are run beside the
    subject."""
    there = functools.partial(_there, session, case)
    if case.elsewhere:
        names = session.beside(beside.named, case.kind, str(case), dtype, quick)
        return {legible(str(name)): functools.partial(there, str(name)) for name in names}
    found = checks_of(case, dtype, quick=quick)
    if dtype not in HALF:
        own = session.description.own.get(case.kind, ())
        found |= {name: functools.partial(there, name) for name in own}
    return found


def _there(session: Any, case: Case, name: str, trial: Trial) -> list[Comparison]:
    """A check that is run beside the subject."""
    what = (trial.dtype, name, trial.device, trial.seed)
    found = session.beside(beside.compared, case.kind, str(case), *what)
    try:
        return beside.from_data(found)
    except Exception:
        raise Broken("the subject's process sent what cannot be read") from None


def _parts(session: Any, case: Case) -> tuple[str, ...]:
    if not case.elsewhere:
        return beside.parts_of(case)
    return tuple(map(legible, map(str, session.beside(beside.parts, case.kind, str(case)))))


def _refusing(session: Any, case: Case, why: str) -> Planned:
    """A check that says why a case has none."""

    def check(trial: Trial) -> list[Comparison]:
        raise Broken(why)

    return Planned(session, case, session.description.dtypes[0], "run", check)


def matches(identity: str, patterns: tuple[str, ...], *, whole: bool = False) -> bool:
    """Whether an id has one of the patterns in it, in capitals or not; or, as a whole, is one. `*`
    stands for anything."""
    if whole:
        return any(fnmatch.fnmatchcase(identity, one) for one in patterns)
    return any(fnmatch.fnmatchcase(identity.lower(), f"*{one.lower()}*") for one in patterns)
