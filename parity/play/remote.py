"""A subject in a process of its own: it may hang, exit, crash, or poison whatever is global.

The two processes talk over pipes that the subject never sees. A third one between them, `keeper`,
ends what the subject has started, also when the judge has gone.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import math
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parity.play.broken import LINES, Broken, Own, Setting, Stopped, Unoffered, legible

if TYPE_CHECKING:
    import torch

    from parity.catalogue.case import Case
    from parity.play.describe import Description

SECONDS = 20.0
"""How long one call of the subject may take."""
LOADING = 60.0
"""How long its import may take."""
BESIDE = 3
"""How many times as long one check may take that is run in the subject's process."""
GIBIBYTES = 4.0
"""How much memory it may take, with its children, beyond what torch itself has taken."""
PATIENCE = 2
"""How often a case may break the process before its other checks are given up, and how often in a
row the process may fail to start."""
GRACE = 5.0
"""How long a process that has closed the line may take to end by itself."""

MARK = "PARITY_WORKER"
"""A variable of the worker's environment, and of what it starts."""

PLAYER = "parity.play.worker"
"""The module that answers for an adapter."""

HERE = Path(__file__).resolve().parent


class Process:
    """A worker and its keeper, which have been started, and import what they need.

    Args:
        path: of the adapter.
        gibibytes: the limit of memory.
        player: the module that answers the judge's calls, as `worker.serve` has it.
        folder: of the subject's own modules, in place of the adapter's folder; it alone is looked
            in, and worked in.
        forbidden: modules that the subject's own files may not use.
        nursery: what forks the keeper, in place of a fresh Python.

    Raises:
        Broken: there is no such file.
        Stopped: no process can be started.
    """

    def __init__(
        self,
        path: str | Path,
        gibibytes: float = GIBIBYTES,
        player: str = PLAYER,
        *,
        folder: Path | None = None,
        forbidden: Sequence[str] = (),
        nursery: Nursery | None = None,
    ) -> None:
        try:
            there = Path(path).is_file()
        except OSError:  # too long a name
            there = False
        if not there:
            raise Broken(f"there is no file {path}")
        self.control, other = socket.socketpair()
        self.mark = f"{os.getpid()}-{time.monotonic_ns()}"
        own = [] if folder is None else [str(folder.resolve())]
        told = {
            "control": other.fileno(),
            "parity": str(HERE.parent),
            "adapter": str(Path(path).resolve()),
            "gibibytes": gibibytes,
            "player": player,
            "judge": os.getpid(),
            "own": own,
            "folders": [] if own else _folders(),
            "libraries": _libraries(),
            "place": own[0] if own else _place(),
            "forbidden": list(forbidden),
        }
        environment = {"MPLBACKEND": "Agg", MARK: self.mark}
        self.popen: subprocess.Popen[bytes] | _Forked
        try:
            if nursery is None:
                self.popen = _started(told, environment, other.fileno(), subprocess.PIPE)
            else:
                self.popen = nursery.forked(told, environment, other.fileno())
        except OSError as error:
            self.control.close()
            raise Stopped(f"no process can be started for the subject: {error}") from None
        finally:
            other.close()

    @property
    def descriptors(self) -> tuple[int, int]:
        """Of the line: to read from, and to write to."""
        assert self.popen.stdin is not None
        assert self.popen.stdout is not None
        return self.popen.stdout.fileno(), self.popen.stdin.fileno()

    def begins(self) -> None:
        """Tells the keeper that from now on memory is the subject's."""
        with contextlib.suppress(OSError):
            self.control.sendall(b"b")

    def ended(self, seconds: float) -> dict[str, Any]:
        """How the worker has ended, as the keeper says; nothing if it has not, or says nothing."""
        return self._said(seconds)

    def printed(self) -> bool:
        """Whether anything was printed."""
        with contextlib.suppress(OSError):
            self.control.sendall(b"?")
        return bool(self._said(GRACE).get("printed"))

    def end(self) -> None:
        """Ends the worker, and all that it has started; once."""
        if self.popen.stdin is None or self.popen.stdin.closed:
            return
        with contextlib.suppress(OSError):  # also where a process that was forked holds it
            self.control.shutdown(socket.SHUT_RDWR)
        self.control.close()
        try:
            self.popen.wait(GRACE)
        except subprocess.TimeoutExpired:  # killed, it takes the worker with it
            with contextlib.suppress(OSError):
                os.killpg(self.popen.pid, signal.SIGKILL)
            self.popen.wait()
        for pipe in (self.popen.stdin, self.popen.stdout):
            assert pipe is not None
            pipe.close()
        if self.popen.returncode != 0:  # the keeper was killed, and could end nobody
            self._end_marked()

    def _end_marked(self) -> None:
        """Ends what bears the worker's mark in its environment. Linux only."""
        word = f"{MARK}={self.mark}\0".encode()
        for place in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if word in (place / "environ").read_bytes():
                    os.kill(int(place.name), signal.SIGKILL)

    @property
    def kept(self) -> bool:
        """Whether the keeper is still there."""
        return self.popen.poll() is None

    def _said(self, seconds: float) -> dict[str, Any]:
        until = time.monotonic() + seconds
        heard = select.poll()
        heard.register(self.control, select.POLLIN)
        content = b""
        while not content.endswith(b"\n"):
            left = until - time.monotonic()
            if left <= 0 or not heard.poll(1000 * left):
                return {}
            try:
                piece = self.control.recv(4096)
            except OSError:
                return {}
            if not piece:
                return {}
            content += piece
        said: dict[str, Any] = json.loads(content.splitlines()[-1])
        return said


def _started(
    told: dict[str, Any], environment: dict[str, str], passed: int, pipe: int
) -> subprocess.Popen[bytes]:
    """The script of the keeper. It is isolated: no folder of the caller's, nor of the environment,
    comes before Python's own."""
    command = [sys.executable, "-I", str(HERE / "keeper.py"), json.dumps(told)]
    return subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=os.environ | environment,
        start_new_session=True, pass_fds=(passed,),
    )  # fmt: skip


class Nursery:
    """A process that has imported torch, and forks the keepers of many subjects, one by one."""

    def __init__(self) -> None:
        self.line, other = socket.socketpair()
        told = {
            "nursery": other.fileno(),
            "parity": str(HERE.parent),
            "libraries": _libraries(),
            "judge": os.getpid(),
        }
        with other:
            self.popen = _started(told, {}, other.fileno(), subprocess.DEVNULL)

    def forked(self, told: dict[str, Any], environment: dict[str, str], control: int) -> _Forked:
        """A keeper, as what has been told says.

        Raises:
            OSError: the nursery is gone.
        """
        (theirs_in, ours_out), (ours_in, theirs_out), (alive, until) = (os.pipe() for _ in "123")
        try:
            content = json.dumps(told | {"environment": environment}).encode() + b"\n"
            theirs = [theirs_in, theirs_out, control, until]
            sent = socket.send_fds(self.line, [content], theirs)
            self.line.sendall(content[sent:])
            answer = self.line.recv(32)
            if not answer:
                raise OSError("the process that starts others has ended")
        except OSError:
            for one in (ours_out, ours_in, alive):
                os.close(one)
            raise
        finally:
            for one in (theirs_in, theirs_out, until):
                os.close(one)
        return _Forked(int(answer), ours_out, ours_in, alive)

    def end(self) -> None:
        self.line.close()
        try:
            self.popen.wait(GRACE)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()


class _Forked:
    """A keeper that a nursery has forked, with as much of `subprocess.Popen` as is asked of it."""

    def __init__(self, pid: int, stdin: int, stdout: int, alive: int) -> None:
        self.pid, self._alive = pid, alive
        self.stdin, self.stdout = os.fdopen(stdin, "wb"), os.fdopen(stdout, "rb")
        self.returncode: int | None = None

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """0 where it came to its end, -9 where it was killed."""
        if self.returncode is None:
            heard = select.poll()
            heard.register(self._alive, select.POLLIN)
            if not heard.poll(None if timeout is None else 1000 * timeout):
                raise subprocess.TimeoutExpired("keeper", timeout or 0)
            self.returncode = 0 if os.read(self._alive, 1) else -signal.SIGKILL
            os.close(self._alive)
        return self.returncode


class Remote:
    """A subject in a worker process; it is started anew whenever it has ended.

    `player` is the module that answers its calls, over there.

    Args:
        path: the adapter's file.
        seconds, gibibytes: limits of one call, and of memory.
        process: one that has been started for it already.
        folder, forbidden, nursery: as `Process` has them.
        until: when, by `time.monotonic`, no call may be under way any more.

    Raises:
        Broken: the adapter cannot be imported: the message says what it did.
        Stopped: the process cannot be started, which is no fault of the adapter's.
    """

    player = PLAYER

    def __init__(
        self,
        path: str | Path,
        *,
        seconds: float = SECONDS,
        gibibytes: float = GIBIBYTES,
        process: Process | None = None,
        until: float = math.inf,
        folder: Path | None = None,
        forbidden: Sequence[str] = (),
        nursery: Nursery | None = None,
    ) -> None:
        self.path, self.seconds, self.gibibytes = Path(path), seconds, gibibytes
        self.file = Path(path).absolute()
        self.another = partial(
            Process, self.file, gibibytes, self.player,
            folder=folder, forbidden=forbidden, nursery=nursery,
        )  # fmt: skip
        self.process = process
        self.broken: dict[str, int] = {}
        self.known: dict[str, None] = {}
        self.used: dict[str, None] = {}  # of what is forbidden
        self.failed: list[str] = []
        self.until = until
        self.owner = os.getpid()
        self.played: set[str] = set()
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
        wanted = (case.kind, name, dtype, device, seed, poison)
        place = self._of_case("new", wanted, name, "when made")
        return _Proxy(self, place, name)

    def beside(self, function: Callable[..., Any], kind: str, case: str, *what: Any) -> Any:
        """What a function of parity's returns that is called in the worker, with its session, the
        case and `what`. A call may take as long as several of the subject's own."""
        wanted = (function.__module__, function.__qualname__, kind, case, *what)
        seconds = BESIDE * self.seconds
        answer = self._of_case("beside", wanted, case, "when checked", seconds)
        return answer["answer"]

    def _of_case(
        self, verb: str, wanted: tuple[Any, ...], name: str, when: str, seconds: float | None = None
    ) -> Any:
        """Asks for something of a case, in a process in which none before it has left anything."""
        if self.broken.get(name, 0) >= PATIENCE:
            raise Broken("not run: an earlier check of this case hung or ended the process twice")
        if self.owner != os.getpid():  # forked: the process is that of whoever has forked
            self.owner, self.process = os.getpid(), None
        if self.process is None:
            self._start_again()
        self.played.add(name)
        answer = self._ask(verb, wanted, name, when, seconds)
        if isinstance(answer, list):  # what another case has left in the process
            self.known |= {legible(str(left)): None for left in answer}
            self.close()
            self._start_again()
            answer = self._ask(verb, wanted, name, when, seconds)
        if not isinstance(answer, int if verb == "new" else dict):
            raise self._unreadable(name)
        return answer

    def habits(self) -> list[str]:
        """What the subject has done to the state of its process."""
        if self.process is not None and self.process.printed():
            self.known["prints"] = None
        return list(self.known)

    def close(self) -> None:
        """Ends the process, and those that it has started."""
        process, self.process = self.process, None
        self.played.clear()
        if process is not None and self.owner == os.getpid():
            process.end()

    def _start_again(self) -> None:
        try:
            self._start()
            self.failed.clear()
        except Broken as broken:
            self.failed.append(str(broken))
            if len(self.failed) >= PATIENCE:
                raise Stopped(f"{PATIENCE} times the adapter {broken}") from None
            raise

    def _start(self) -> Any:
        if self.process is None:
            self.process = self.another()
        # Torch is imported here, beside the process.
        from parity.play.line import Ended, Late, Line
        from parity.play.message import Unreadable

        self.line = Line(*self.process.descriptors)
        self.number = 0  # of the call that is to be answered
        try:
            self.line.receive(LOADING)
        except (Ended, Late, Unreadable) as error:
            how = self.process.ended(GRACE) if isinstance(error, Ended) else {}
            self.close()
            last = legible(str(how.get("last", ""))) or "it did not answer"
            raise Stopped(f"the subject's process could not be started: {last}") from None
        self.process.begins()
        seconds = min(LOADING + self.seconds, self.until - time.monotonic())
        described = self._answer("", seconds, "when imported")
        try:
            return self._described(described)
        except Exception:
            raise self._unreadable("") from None

    def _described(self, data: Any) -> Any:
        """What the worker says that there is to be played."""
        from parity.play.describe import from_data

        return from_data(data)

    def _ask(
        self, verb: str, what: tuple[Any, ...], case: str, when: str, seconds: float | None = None
    ) -> Any:
        from parity.play.line import Ended, Late

        seconds = min(seconds or self.seconds, self.until - time.monotonic())
        self.number += 1
        try:
            with contextlib.suppress(Ended, Late):  # `_answer` says how it has ended, or hangs
                self.line.send((self.number, verb, what), seconds)
            return self._answer(case, seconds, when)
        except (Broken, Own, Stopped, Unoffered):
            raise
        except BaseException:  # the answer may still come, and is not to be taken for another
            self.close()
            raise

    def _answer(self, case: str, seconds: float, when: str) -> Any:
        from parity.play.line import Ended, Late
        from parity.play.message import Unreadable

        assert self.process is not None
        try:
            number, kind, value, habits, used = self.line.receive(seconds)
            if type(number) is not int or number != self.number:  # to nothing that was asked
                raise Unreadable
            self.known |= {legible(str(habit)): None for habit in habits}
            self.used |= {legible(str(one)): None for one in used}
        except Late:
            self._end(case)
            if time.monotonic() >= self.until:
                raise Stopped(f"the time for the whole run is over, {when}") from None
            raise Broken(f"hangs {when}: no answer within {seconds:g} seconds") from None
        except Ended:
            how = self.process.ended(GRACE)
            if not how and not self.process.kept:
                how = {"unkept": True}
            broken = Broken(f"{_ending(how)}, {when}{_last(how)}")
            broken.innocent = len(self.played) > 1
            self._end("" if broken.innocent else case, how)
            raise broken from None
        except (Unreadable, TypeError, ValueError):
            raise self._unreadable(case) from None
        if kind in ("error", "setting") and not (isinstance(value, list) and value):
            raise self._unreadable(case)
        if kind == "error":
            raise Broken(str(value[0]), tuple(map(str, value[1 : LINES + 1])))
        if kind == "own":
            raise Own("\n".join(map(legible, str(value).splitlines())))
        if kind == "setting":
            raise Setting(str(value[0]))
        if kind == "unoffered":
            raise Unoffered(legible(str(value)))
        return value

    def _unreadable(self, case: str) -> Broken:
        """Whatever comes next cannot be read either: the next call has a fresh process."""
        self._end(case)
        return Broken("the subject's process sent what cannot be read")

    def _end(self, case: str, how: dict[str, Any] | None = None) -> None:
        assert self.process is not None
        if (how or {}).get("printed") or (how is None and self.process.printed()):
            self.known["prints"] = None
        self.broken[case] = self.broken.get(case, 0) + 1
        self.close()


class _Proxy:
    """An object of the subject in the worker: each method is a call over there."""

    def __init__(self, remote: Remote, place: int, case: str) -> None:
        self._remote, self._place, self._case = remote, place, case
        self._process = remote.process

    def __getattr__(self, method: str) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            if self._remote.process is not self._process:
                raise Broken(f"not run in {method}: its process has ended")
            what = (self._place, method, args, options)
            return self._remote._ask("call", what, self._case, f"in {method}")

        return call


def _ending(how: dict[str, Any]) -> str:
    if how.get("memory"):
        return "takes, with the processes that it has started, more memory than it may"
    if how.get("unkept"):
        return "killed the process that keeps its own"
    code = how.get("ended")
    if code is None:
        return "closes the line to the judge, and goes on"
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"crashed the interpreter: {signal.Signals(-code).name}"
    return f"ended the process, with exit code {code}"


def _last(how: dict[str, Any]) -> str:
    last = legible(str(how.get("last", "")))
    return f"; it last printed: {last}" if last else ""


def _folders() -> list[str]:
    """Where the subject's own modules may be, beside the adapter's folder."""
    named = [one for one in os.environ.get("PYTHONPATH", "").split(os.pathsep) if one]
    return [str(Path(folder).absolute()) for folder in named]


def _place() -> str:
    """The folder that one works in, unless it is gone: there torch cannot be loaded."""
    try:
        return str(Path.cwd())
    except OSError:
        return "/"


def _libraries() -> list[str]:
    """Where this process has torch and numpy from; an isolated one may not look there."""
    installed = [one for one in sys.path if Path(one).name in ("site-packages", "dist-packages")]
    found = dict.fromkeys(installed)
    for name in ("torch", "numpy"):
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            found[str(Path(spec.origin).parents[1])] = None
    return list(found)
