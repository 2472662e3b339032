"""A subject in a process of its own: it may hang, exit, crash, or poison whatever is global.

The two processes talk over the worker's standard input and output, which the subject never
sees: before it is imported, both are put aside, and what it prints goes to a file.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parity.play.broken import Broken

if TYPE_CHECKING:
    import torch

    from parity.catalogue.case import Case
    from parity.play.describe import Description

SECONDS = 20.0
"""How long one call of the subject may take."""
LOADING = 60.0
"""How long its import may take."""
GIBIBYTES = 4.0
"""How much memory it may take, beyond what torch itself has taken."""
PATIENCE = 2
"""How often a case may break the process before its other checks are given up."""
GRACE = 5.0
"""How long a process that has closed the line may take to end by itself."""

Process = subprocess.Popen[bytes]


def started(path: str | Path, gibibytes: float = GIBIBYTES) -> Process:
    """A process that imports the adapter, and meanwhile its caller whatever it needs itself.

    Raises:
        Broken: there is no such file.
    """
    if not Path(path).is_file():
        raise Broken(f"there is no file {path}")
    command = [sys.executable, "-m", "parity.play.worker", str(path), str(gibibytes)]
    environment = os.environ | {"MPLBACKEND": "Agg", "PYTHONPATH": _import_path()}
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env=environment, start_new_session=True,
    )  # fmt: skip


def end(process: Process) -> None:
    """Ends a process that has been `started`, and those of its group; once."""
    assert process.stdin is not None
    assert process.stdout is not None
    if process.stdin.closed:
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdin.close()
    process.stdout.close()


class Remote:
    """A subject in a worker process; it is started anew whenever it has ended.

    Args:
        path: the adapter's file.
        seconds, gibibytes: limits of one call, and of memory.
        process: one that has been `started` for it already.

    Raises:
        Broken: the adapter cannot be imported: the message says what it did.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        seconds: float = SECONDS,
        gibibytes: float = GIBIBYTES,
        process: Process | None = None,
    ) -> None:
        self.path, self.seconds, self.gibibytes = Path(path), seconds, gibibytes
        self.process = process
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
            end(self.process)
            self.process = None

    def _start(self) -> Description:
        if self.process is None:
            self.process = started(self.path, self.gibibytes)
        from parity.play.line import Line  # torch's import, beside that of the process

        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.line = Line(self.process.stdout.fileno(), self.process.stdin.fileno())
        described: Description = self._answer("", LOADING + self.seconds, "when imported")
        return described

    def _ask(self, verb: str, what: tuple[Any, ...], case: str, when: str) -> Any:
        from parity.play.line import Ended, Late

        assert self.process is not None
        with contextlib.suppress(Ended, Late):  # `_answer` says how it has ended, or that it hangs
            self.line.send((verb, what), self.seconds)
        return self._answer(case, self.seconds, when)

    def _answer(self, case: str, seconds: float, when: str) -> Any:
        from parity.play.line import Ended, Late

        try:
            kind, value, habits = self.line.receive(seconds)
        except Late:
            self._end(case)
            raise Broken(f"hangs {when}: no answer within {seconds:g} seconds") from None
        except Ended:
            code = self._exit_code()
            self._end(case)
            raise Broken(f"{_ending(code)}, {when}") from None
        except Exception as error:  # of a class that is known to the adapter alone
            raise Broken(
                f"gives what this process cannot read: {error}; judge it by parity.check(subject)"
            ) from None
        self.known |= dict.fromkeys(habits)
        if kind == "error":
            raise Broken(value)
        return value

    def _exit_code(self) -> int | None:
        assert self.process is not None
        try:
            return self.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            return None

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


def _ending(code: int | None) -> str:
    if code is None:
        return "closes the line to the judge, and goes on"
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"crashed the interpreter: {signal.Signals(-code).name}"
    return f"ended the process, with exit code {code}"


def _import_path() -> str:
    """So that the worker finds this very package, wherever it was imported from."""
    here = str(Path(__file__).resolve().parents[2])
    before = os.environ.get("PYTHONPATH")
    return here if not before else os.pathsep.join([here, before])
