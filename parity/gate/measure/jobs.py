"""The gate's work in pieces, done by processes of their own: the checks, and all that is trained.

A job is data, and so is what comes of it. What is timed is not among them: it wants the machine
for itself.
"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import torch

from parity.gate.data.baseline import Manifest
from parity.gate.data.broken import Broken
from parity.gate.data.plan import Gate, imported, loaded
from parity.gate.measure.arm import die_with
from parity.judge.outcome import UNCHECKED, WAIVED, Outcome
from parity.run.plan import Planned, planned
from parity.run.run import opened

#: Its kind, its name, and what else it takes.
Job = tuple[str, str, Any]

SLICES = 16  # jobs that all checks are dealt to
CHECK_SECONDS = 60.0
"""How long a check may take."""
JOB_SECONDS = 1800.0
"""How long it may take until the next job is done."""


def jobs_of(gate: Gate, seeds: Mapping[str, Sequence[int]], seed: int = 0) -> list[Job]:
    """All work there is, the longest first.

    Args:
        seeds: of the trainings, of "pairs" and of "runs".
        seed: of the checks.
    """
    found: list[Job] = []
    for kind in ("pairs", "runs"):
        found += [(kind, name, list(seeds[kind])) for name in getattr(gate, kind)]
    found += [("trajectories", name, None) for name in gate.trajectories]
    found += [("checks", f"{part + 1} of {SLICES}", (part, seed)) for part in range(SLICES)]
    found += [("counts", name, None) for name in gate.counts]
    return [*found, ("timed", "names", None)]


def offered(gate: Gate, results: Mapping[tuple[str, str], Any]) -> Manifest:
    """What was there to judge, by what came of it: names, and the metrics of each."""
    found: Manifest = {}
    for (kind, name), value in results.items():
        match kind:
            case "checks":
                ids = {one.id: ["error ratio"] for one in value if one.verdict != UNCHECKED}
                found.setdefault("checks", {}).update(ids)
                waived = {one.id: [one.waiver] for one in value if one.verdict == WAIVED}
                found.setdefault("waived", {}).update(waived)
            case "counts":
                found.setdefault("counts", {})[name] = sorted(value)
            case "timed":
                found["timed"] = timed_metrics(gate, value)
            case _:
                found.setdefault(kind, {})[name] = [METRICS[kind]]
    return found


METRICS = {
    "trajectories": "error ratio",
    "against_torch": "seconds",
    "pairs": "accuracy",
    "runs": "accuracy",
}


def timed_metrics(gate: Gate, names: Sequence[str]) -> dict[str, list[str]]:
    """Of what is timed: seconds, and the margin where it is its own."""
    own = {name: [f"margin {margin:g}"] for name, margin in gate.margins.items()}
    return {name: ["seconds", *own.get(name, [])] for name in names}


def perform(gate: Gate, job: Job) -> Any:
    """Does a job, in this process."""
    kind, name, given = job
    match kind:
        case "checks":
            part, seed = given
            checks = planned(opened(gate.subject), seed=seed)[part::SLICES]
            return [_in_time(one) for one in checks]
        case "trajectories":
            return float(gate.trajectories[name]())
        case "counts":
            return {what: int(count) for what, count in gate.counts[name]().items()}
        case "pairs":
            ours, theirs = gate.pairs[name](given)
            return [_of_all(job, side) for side in (ours, theirs)]
        case "runs":
            return _of_all(job, gate.runs[name](given))
        case "timed":
            return names_in(gate.timed) if gate.timed else []
        case "against_torch":
            return _ratio(name, *gate.against_torch[name]())
    raise ValueError(kind)


def _in_time(one: Planned) -> Outcome:
    """Runs a check; what does not end is a failure of that check.

    Of a loop in Python, that is: one in C is ended with its job, by `performed`.
    """

    def late(*_: object) -> None:
        raise TimeoutError(f"it has not ended within {CHECK_SECONDS:g} seconds")

    if threading.current_thread() is not threading.main_thread():
        return one.run()  # no other thread hears signals
    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, CHECK_SECONDS)
    try:
        return one.run()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _of_all(job: Job, values: Sequence[float]) -> list[float]:
    """Accuracies, one for each seed."""
    if len(values) != len(job[2]):
        raise Broken(f"{job[0]} {job[1]}: {len(values)} accuracies of {len(job[2])} seeds")
    return [float(x) for x in values]


def _ratio(name: str, ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median ratio of samples that were taken in turn."""
    both = np.asarray([ours, theirs] if len(ours) == len(theirs) else [[], []], dtype=float)
    if not both.size or not (np.isfinite(both) & (both > 0)).all():
        raise Broken(f"{name}, beside torch: no pairs of times that are finite and above 0")
    return float(np.median(both[0] / both[1]))


def names_in(timed: Path) -> list[str]:
    """The benchmarks of a file.

    Raises:
        Broken: it cannot be loaded.
    """
    module = imported(timed, "parity_gate_benchmarks")
    return [str(name) for name in module.benchmarks()]


def performed(
    plan: Path,
    jobs: Sequence[Job],
    on_job: Callable[[Job], object] = lambda job: None,
    workers: int | None = None,
) -> dict[tuple[str, str], Any]:
    """What came of all jobs, by kind and name.

    Raises:
        Broken: a worker was lost, or a job raises.
    """
    context = multiprocessing.get_context("spawn")
    results: dict[tuple[str, str], Any] = {}
    executor = ProcessPoolExecutor(workers or os.cpu_count(), context, _prepare, (os.getpid(),))
    try:
        with _deaf():
            pending = {executor.submit(_work, str(plan), job): job for job in jobs}
        while pending:
            done, _ = wait(pending, JOB_SECONDS, FIRST_COMPLETED)
            if not done:
                left = ", ".join(f"{kind} {name}" for kind, name, _ in pending.values())
                raise Broken(f"in {JOB_SECONDS:g} seconds no job has ended; left are {left}")
            for future in done:
                job = pending.pop(future)
                results[job[0], job[1]] = future.result()
                on_job(job)
    except BrokenProcessPool:
        raise Broken("a worker was killed, or crashed; is there too little memory?") from None
    except Broken:
        _end_workers()
        raise
    except Exception as error:
        kind, name, _ = job
        raise Broken(f"{kind} {name} raises {type(error).__name__}: {error}") from error
    except KeyboardInterrupt:
        _end_workers()
        raise
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
    return results


def _end_workers() -> None:
    for worker in multiprocessing.active_children():
        worker.kill()


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """Processes started within it do not hear Ctrl-C: who started them does, and ends them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _prepare(parent: int) -> None:
    die_with(parent)
    torch.set_num_threads(1)
    sys.path.insert(0, str(Path.cwd()))


@functools.cache
def _gate(plan: str) -> Gate:
    return loaded(Path(plan))


def _work(plan: str, job: Job) -> Any:
    try:
        return perform(_gate(plan), job)
    except SystemExit as error:
        raise Broken(f"{job[0]} {job[1]} ends its process, by SystemExit({error})") from None
