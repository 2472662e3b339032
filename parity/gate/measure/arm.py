"""The two arms of a comparison of speeds: processes that time benchmarks when they are told to.

Run as a script, and with nothing of this project imported: what an arm imports is its own tree's.
One process imports torch and forks into both arms, which therefore share how torch lies in memory;
the next restart has another. They talk in lines of JSON.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib.util
import json
import math
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: Part of each run: twenty per cent more work in the head's arm, which must be seen.
CONTROL = "control"
CONTROL_DOSE = 0.2

MARK = ".arm"
"""A file in each tree that says whose it is."""

Sample = Callable[[], Callable[[], object]]


def main() -> None:
    """Forks into the arms that the argument describes, when told in which order."""
    arms, cpus, parent = json.loads(sys.argv[1])
    die_with(parent)
    if cpus:
        os.sched_setaffinity(0, cpus)
    import torch

    torch.set_num_threads(1)
    told = sys.stdin.readline()
    if not told:
        return
    children = {}
    for name in json.loads(told):
        arm = arms[name]
        parent = os.getpid()
        child = os.fork()
        if not child:
            die_with(parent)
            for other in arms.values():
                if other is not arm:
                    os.close(other["socket"])
            _serve(arm)
            os._exit(0)
        children[child] = name
    for arm in arms.values():
        os.close(arm["socket"])
    while children:
        child, status = os.wait()
        print(json.dumps([children.pop(child), os.waitstatus_to_exitcode(status)]), flush=True)


def die_with(parent: int) -> None:
    """Has the kernel end this process with the one that started it, whatever it is about then.

    Linux only: elsewhere it ends when it is next told to do something.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)  # it was gone already


def _serve(arm: dict[str, Any]) -> None:
    stream = socket.socket(fileno=arm["socket"]).makefile("rw", encoding="utf-8")
    os.dup2(2, 1)  # what the project prints is no answer
    try:
        clerk = _Clerk(arm)
        answer: Any = clerk.description()
    except BaseException as error:
        clerk, answer = None, {"error": f"{type(error).__name__}: {error}"}
    while True:
        stream.write(json.dumps(answer) + "\n")
        stream.flush()
        line = stream.readline()
        if not line or clerk is None:
            return
        what, *arguments = json.loads(line)
        try:
            answer = getattr(clerk, what)(*arguments)
        except BaseException as error:  # also what a project raises to end the process
            answer = {"error": f"{type(error).__name__}: {error}"}


class _Clerk:
    """What an arm is asked for."""

    def __init__(self, arm: dict[str, Any]) -> None:
        self.tree = arm["tree"]
        sys.path[0] = self.tree
        os.chdir(self.tree)
        spec = importlib.util.spec_from_file_location("parity_gate_benchmarks", arm["benchmarks"])
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self.offered: dict[str, Callable[[int], Sample]] = {
            **module.benchmarks(),
            CONTROL: _control,
        }
        self.samples: dict[str, Sample] = {}
        gc.disable()

    def description(self) -> dict[str, Any]:
        """Which benchmarks there are, whose tree it is, and which files its modules are of."""
        top = {path.stem for path in Path(self.tree).iterdir()}
        files = {
            name: module.__file__
            for name, module in list(sys.modules.items())
            if name.partition(".")[0] in top and getattr(module, "__file__", None)
        }
        mark = Path(self.tree, MARK)
        return {
            "names": list(self.offered),
            "mark": mark.read_text() if mark.exists() else "",
            "strangers": sorted(
                f"{name} of {file}"
                for name, file in files.items()
                if not Path(str(file)).is_relative_to(self.tree)
            ),
        }

    def units(self, name: str, seconds: float) -> int:
        """How many units of a benchmark take so long."""
        count = 1
        while True:
            sample = self.offered[name](count)
            taken = min(_seconds(sample) for _ in range(4))
            if taken >= seconds / 4 or count >= 1 << 16:
                return max(1, round(count * seconds / taken))
            count *= 4

    def make(self, name: str, units: int) -> bool:
        self.samples[name] = self.offered[name](units)
        return True

    def time(self, name: str) -> float:
        return _seconds(self.samples[name])


def _seconds(sample: Sample) -> float:
    sample()()  # the other arm was here
    run = sample()
    start = time.perf_counter_ns()
    run()
    taken = (time.perf_counter_ns() - start) / 1e9
    return taken if math.isfinite(taken) else -1.0


def _control(units: int) -> Sample:
    import torch

    x = torch.ones(256)

    def run() -> None:
        for _ in range(units):
            x.add(x)

    return lambda: run


if __name__ == "__main__":
    main()
