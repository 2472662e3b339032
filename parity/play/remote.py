"""A subject in a process of its own: it may hang, exit, crash, or poison whatever is global.

The two processes talk over the worker's standard input and output, which the subject never
sees: before it is imported, both are put aside, and what it prints goes to a file.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, BinaryIO

import torch

from parity.catalogue.case import Case
from parity.play.arrays import Broken
from parity.play.describe import Description

SECONDS = 20.0
"""How long one call of the subject may take."""
LOADING = 60.0
"""How long its import may take."""
GIBIBYTES = 4.0
"""How much memory it may take, beyond what torch itself has taken."""
PATIENCE = 2
"""How often a case may break the process before its other checks are given up."""


class Remote:
    """A subject in a worker process; it is started anew whenever it has ended.

    Args:
        path: the adapter's file.
        seconds, gibibytes: limits of one call, and of memory.

    Raises:
        Broken: the adapter cannot be imported: the message says what it did.
    """

    def __init__(
        self, path: str | Path, *, seconds: float = SECONDS, gibibytes: float = GIBIBYTES
    ) -> None:
        self.path, self.seconds, self.gibibytes = Path(path), seconds, gibibytes
        self.process: subprocess.Popen[bytes] | None = None
        self.broken: dict[str, int] = {}
        self.known: dict[str, None] = {}
        try:
            self.description: Description = self._start()
        except BaseException:
            self.close()
            raise

    def new(
        self, case: Case, dtype: torch.dtype, device: str, seed: int, poison: bool = False
    ) -> Any:
        """The subject's object for a case; its methods are called over there."""
        name = str(case)
        if self.broken.get(name, 0) >= PATIENCE:
            raise Broken("not run: an earlier check of this case hung or ended the process twice")
        if self.process is None:
            self._start()
        place = self._ask("new", (case.kind, name, dtype, device, seed, poison), name, "when made")
        return _Proxy(self, place, name)

    def own_checks(self, kind: str) -> dict[str, Any]:
        """None: a subject's own checks need it in this process."""
        return {}

    def habits(self) -> list[str]:
        """What the subject has done to the state of its process."""
        return list(self.known)

    def close(self) -> None:
        """Ends the process, and those that it has started."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.reader.join()  # it has read to the end
            for stream in (self.process.stdin, self.process.stdout):
                if stream is not None:
                    with contextlib.suppress(BrokenPipeError):
                        stream.close()
            self.process = None

    def _start(self) -> Description:
        command = [sys.executable, "-m", "parity.play.worker", str(self.path), str(self.gibibytes)]
        environment = os.environ | {"MPLBACKEND": "Agg", "PYTHONPATH": _import_path()}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env=environment, start_new_session=True,
        )  # fmt: skip
        self.answers: queue.Queue[Any] = queue.Queue()
        reading = (self.process.stdout, self.answers)
        self.reader = threading.Thread(target=_read, args=reading, daemon=True)
        self.reader.start()
        described: Description = self._answer("", LOADING + self.seconds, "when imported")
        return described

    def _ask(self, verb: str, what: tuple[Any, ...], case: str, when: str) -> Any:
        assert self.process is not None
        assert self.process.stdin is not None
        try:
            pickle.dump((verb, what), self.process.stdin)
            self.process.stdin.flush()
        except (BrokenPipeError, OSError):
            pass  # it has ended: `_answer` says how
        return self._answer(case, self.seconds, when)

    def _answer(self, case: str, seconds: float, when: str) -> Any:
        try:
            kind, value, habits = self.answers.get(timeout=seconds)
        except queue.Empty:
            self._end(case)
            raise Broken(f"hangs {when}: no answer within {seconds:g} seconds") from None
        self.known |= dict.fromkeys(habits)
        if kind == "ended":
            assert self.process is not None
            code = self.process.wait()
            self._end(case)
            raise Broken(f"{_ending(code)}, {when}")
        if kind == "error":
            raise Broken(value)
        return value

    def _end(self, case: str) -> None:
        self.broken[case] = self.broken.get(case, 0) + 1
        self.close()


class _Proxy:
    """An object of the subject in the worker: each method is a call over there."""

    def __init__(self, remote: Remote, place: int, case: str) -> None:
        self._remote, self._place, self._case = remote, place, case

    def __getattr__(self, method: str) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            what = (self._place, method, args, options)
            return self._remote._ask("call", what, self._case, f"in {method}")

        return call


def _read(stream: BinaryIO, answers: queue.Queue[Any]) -> None:
    while True:
        try:
            answers.put(pickle.load(stream))
        except (EOFError, pickle.UnpicklingError, OSError, ValueError):
            answers.put(("ended", None, ()))
            return
        except Exception as error:  # of a class that is known to the adapter alone
            said = (
                f"gives what this process cannot read: {error}; judge it by parity.check(subject)"
            )
            answers.put(("error", said, ()))
            return


def _ending(code: int) -> str:
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"crashed the interpreter: {signal.Signals(-code).name}"
    return f"ended the process, with exit code {code}"


def _import_path() -> str:
    """So that the worker finds this very package, wherever it was imported from."""
    here = str(Path(__file__).resolve().parents[2])
    before = os.environ.get("PYTHONPATH")
    return here if not before else os.pathsep.join([here, before])
