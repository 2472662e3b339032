"""The process of a file with sweeps: imports it, tries its cases, and says what is wrong."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import os
import sys
import sysconfig
from pathlib import Path
from typing import Any

import torch

from parity.kernels import data
from parity.kernels.cases import Case
from parity.kernels.judging import Tried, tried
from parity.kernels.memory import beside_torch
from parity.kernels.player import Pair
from parity.kernels.report import findings_of
from parity.kernels.spec import Sweep
from parity.kernels.sweep import chosen, place_of
from parity.kernels.testing import MARK
from parity.play.guard import guarded
from parity.subject.adapter import imported
from parity.subject.error import AdapterError


class Player:
    """The sweeps of a file, and what they are of."""

    def __init__(self, told: dict[str, Any]) -> None:
        path = told["adapter"]
        with guarded(torch.float32):
            module = imported(path)
            tests = {
                n: t for n, t in vars(module).items() if isinstance(getattr(t, MARK, None), Sweep)
            }
            if not tests:
                raise AdapterError("it has no sweep: a test under `@parity.sweep(…)`")
            self.path = path
            self.sweeps = [getattr(test, MARK) for test in tests.values()]
            self.subjects = [_subject(name, test) for name, test in tests.items()]
            self.cases = [{str(c): c for c in one.axes.cases()} for one in self.sweeps]

    def play(self, verb: str, what: tuple[Any, ...]) -> Any:
        """The answer to a call."""
        match verb:
            case "load":
                return [self.digest(), [self._described(one) for one in self.sweeps]]
            case "chosen":
                place, full, only = what
                return {"cases": list(self._chosen(place, full=full, only=tuple(only)))}
            case "case":
                place, name, command = what
                return data.of_tried(self._tried(place, self.cases[place][name], command), name)
            case "memory":
                (place,) = what
                return {"memory": beside_torch(self.sweeps[place], self.subjects[place])}
            case "findings":
                return {"findings": self._findings(*what)}
        raise ValueError(verb)

    def _described(self, sweep: Sweep) -> dict[str, Any]:
        return {
            "name": sweep.name, "mistakes": list(sweep.mistakes), "device": sweep.device,
            "count": sweep.axes.count(),
        }  # fmt: skip

    def _chosen(self, place: int, *, full: bool, only: tuple[str, ...]) -> dict[str, Case]:
        found = {str(case): case for case in chosen(self.sweeps[place], full=full, only=only)}
        self.cases[place] |= found
        return found

    def _tried(self, place: int, case: Case, command: str) -> Tried:
        return tried(self.sweeps[place], self.subjects[place], case, command)

    def _findings(self, place: int, tries: dict[str, Any], command: str, narrow: bool) -> Any:
        """The findings of cases that were tried, here or in a process before this one."""
        sweep, cases = self.sweeps[place], self.cases[place]
        done = [data.to_tried(one, cases[name]) for name, one in tries.items()]
        kept = {one.case: one for one in done}

        def again(case: Case) -> Tried:
            if case not in kept:
                kept[case] = self._tried(place, case, command)
            return kept[case]

        where = place_of(self.subjects[place])
        found = findings_of(sweep, done, again if narrow else None, place=where, command=command)
        return [data.of_finding(one) for one in found]

    def digest(self) -> str:
        """What stands for the code under test and all that it has imported: of libraries' files the
        size and time, of others what is in them; and the settings of compilers and devices."""
        found = hashlib.sha256(f"{sys.version} {self.path}".encode())
        files = {self.path, *(getattr(one, "__file__", "") or "" for one in sys.modules.values())}
        for file in sorted(files):
            with contextlib.suppress(OSError):
                state = Path(file).stat()
                library = file.startswith(LIBRARIES) or "-packages" in file
                found.update(f"{file} {state.st_size} {state.st_mtime_ns * library}".encode())
                found.update(b"" if library else Path(file).read_bytes())
        for name in sorted(os.environ):
            if name.startswith(SETTINGS):
                found.update(f"{name}={os.environ[name]}".encode())
        return found.hexdigest()


LIBRARIES = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib"))

SETTINGS = ("TRITON_", "TORCH", "PYTORCH_", "CUDA_", "OMP_")
"""How variables of the environment begin that code under test may depend on."""


def _subject(name: str, test: Any) -> Any:
    """What a test hands to its `check`.

    Raises:
        AdapterError: it takes something else too, or hands nothing over.
    """
    if (names := list(inspect.signature(test).parameters)) != ["check"]:
        raise AdapterError(f"{name} takes {', '.join(names) or 'nothing'}: here it can take "
                           "`check` alone")  # fmt: skip
    given: list[Any] = []

    def check(subject: Any, backward: Any = None) -> None:
        given.append(subject if backward is None else Pair(subject, backward))

    test(check)
    if len(given) != 1:
        raise AdapterError(f"{name} calls `check` {len(given)} times, where once is due")
    return given[0]
