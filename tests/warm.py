"""Python's command line in a fork of a process that has imported torch once.

A fresh process takes two to four CPU seconds to import torch and scipy before it does anything.
`python` is for a test of what a command says, writes and returns. Where the process is what is
tested, its start, its signals, its imports, `subprocess` is right.

The modules of this project are imported anew in each fork, and so is all that the command reads
from its environment, but for what Python itself reads as it starts.
"""

from __future__ import annotations

import contextlib
import json
import math
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

#: As it is, before a process is told to fork.
POPEN: Any = subprocess.Popen
#: What takes long to import, and of which nothing depends on where or for whom.
SHARED = ["torch", "torch._dynamo", "scipy.stats", "tqdm", "tabulate"]


def python(
    arguments: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    timeout: float = 300,
    keepers: bool = True,
) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run([sys.executable, *arguments], …)`, for `-c SCRIPT` and `-m MODULE`.

    Args:
        keepers: whether it forks the keepers of subjects' processes too.

    Raises:
        subprocess.TimeoutExpired: it took longer than `timeout` seconds.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(SHARED)
    with tempfile.TemporaryDirectory() as folder:
        files = [str(Path(folder, name)) for name in ("stdout", "stderr")]
        given = (
            list(arguments), str(cwd), dict(os.environ if env is None else env), files, keepers,
        )  # fmt: skip
        process = context.Process(target=_main, args=given)
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired([*arguments], timeout)
        said = [Path(file).read_text(errors="replace") for file in files]
        code = process.exitcode
        process.close()
    return subprocess.CompletedProcess([sys.executable, *arguments], code, *said)


def _main(
    arguments: list[str], cwd: str, env: dict[str, str], files: list[str], keepers: bool
) -> None:
    """In the fork: what Python does at its start, and then the command."""
    for number, file in enumerate(files, 1):
        opened = os.open(file, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(opened, number)
        os.close(opened)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.dont_write_bytecode = bool(env.get("PYTHONDONTWRITEBYTECODE"))
    sys.path[:0] = ["", *filter(None, env.get("PYTHONPATH", "").split(os.pathsep))]
    how, what, *rest = arguments
    sys.argv = [how, *rest]
    if keepers:
        subprocess.Popen = _started(_Forked)  # type: ignore[misc]
    if how == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        assert how == "-c"
        sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(what, "<string>", "exec"), sys.modules["__main__"].__dict__)


def fork_workers() -> None:
    """From here on this process forks what it would start anew: workers, and Python files.

    What it has imported from its own folder they import again, as a fresh process would.
    """
    fork = multiprocessing.get_context("fork")
    multiprocessing.get_context = lambda method=None: fork  # type: ignore[assignment]
    subprocess.Popen = _started(_Forked, files=True)  # type: ignore[misc]


def fork_keepers(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on the keepers of subjects' processes are forks of a process that has imported
    torch, and nothing of this project."""
    monkeypatch.setattr(subprocess, "Popen", _started(_Served))


def _started(kind: type[_Forked], files: bool = False) -> Any:
    """`subprocess.Popen`, but for a keeper, and for other Python `files` if they are meant too."""

    class Started(POPEN):  # type: ignore[misc]
        def __new__(cls, command: Any, *args: Any, **options: Any) -> Any:
            if command[0] == sys.executable:
                isolated = command[1] == "-I"
                arguments = list(command[1 + isolated :])
                if arguments[0].endswith("keeper.py" if isolated or not files else ".py"):
                    where, given = options.pop("cwd", None), options.pop("env", None)
                    environment = None if given is None else dict(given)
                    return kind(_File(arguments, isolated, where, environment), **options)
            return super().__new__(cls)

    return Started


@dataclass(frozen=True)
class _File:
    """A Python file that is run: with its arguments, in an isolated interpreter or not, where, and
    in which environment."""

    arguments: list[str]
    isolated: bool
    cwd: str | None = None
    env: dict[str, str] | None = None


class _Forked:
    """A Python file in a fork, with as much of `subprocess.Popen` as those that start one ask."""

    def __init__(
        self, file: _File, *, pass_fds: Sequence[int] = (), stderr: Any = None, **_: Any
    ) -> None:
        (theirs_in, ours_out), (ours_in, theirs_out) = os.pipe(), os.pipe()
        self.returncode: int | None = None
        told = None if stderr in (None, subprocess.DEVNULL) else stderr.fileno()
        self.pid = self.begun(file, [theirs_in, theirs_out, told], pass_fds)
        os.close(theirs_in)
        os.close(theirs_out)
        binary = "b" * file.isolated
        self.stdin = os.fdopen(ours_out, f"w{binary}")
        self.stdout = os.fdopen(ours_in, f"r{binary}")

    def begun(self, file: _File, standard: list[int | None], passed: Sequence[int]) -> int:
        """The process of one that has been started."""
        process = os.fork()
        if not process:
            with _ending():
                _run(file, standard, {one: one for one in passed})
        return process

    def poll(self) -> int | None:
        if self.returncode is None and (ended := os.waitpid(self.pid, os.WNOHANG))[0]:
            self.returncode = os.waitstatus_to_exitcode(ended[1])
        return self.returncode

    def wait(self, timeout: float = math.inf) -> int:
        until = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired("a fork", timeout)
            time.sleep(0.002)
        return code


class _Served(_Forked):
    """The same, of a process that has imported torch alone, and has no threads."""

    def begun(self, file: _File, standard: list[int | None], passed: Sequence[int]) -> int:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(SHARED)
        sent = [None if one is None else Connection(os.dup(one)) for one in (*standard, *passed)]
        self.process = context.Process(target=_served, args=(file, sent, list(passed)))
        self.process.start()
        for one in sent:
            if one is not None:
                one.close()
        assert self.process.pid is not None
        return self.process.pid

    def poll(self) -> int | None:
        self.returncode = self.process.exitcode
        return self.returncode


def _served(file: _File, sent: list[Connection | None], passed: list[int]) -> None:
    """In the fork of the server: its parent is not the one that asked for it."""
    path, told = file.arguments
    told = json.dumps(json.loads(told) | {"judge": os.getppid()})
    own = [None if one is None else os.dup(one.fileno()) for one in sent]
    placed = {one: number for one, number in zip(own[3:], passed, strict=True) if one is not None}
    with _ending():
        _run(replace(file, arguments=[path, told]), own[:3], placed)


def _run(file: _File, standard: list[int | None], passed: Mapping[int, int]) -> None:
    """Runs a Python file as the fresh process of it that this fork stands for."""
    os.setsid()
    for sign in (signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
        signal.signal(sign, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    high = 1000  # out of the way of what is put in its place
    moved = {os.dup2(one, high + n): number for n, (one, number) in enumerate(passed.items())}
    nothing = os.open(os.devnull, os.O_RDWR)
    for number, one in enumerate(standard):
        os.dup2(nothing if one is None else one, number)
    for one, number in moved.items():
        os.dup2(one, number)
    _close_all_but({0, 1, 2, *passed.values()})
    path = file.arguments[0]
    _forget(Path(path).parents[2] if file.isolated else Path.cwd())
    if file.cwd is not None:
        os.chdir(file.cwd)
    if file.env is not None:
        os.environ.clear()
        os.environ.update(file.env)
    if file.isolated:
        sys.path = [one for one in sys.path if one.startswith((sys.prefix, sys.base_prefix))]
    else:
        sys.path[0] = str(Path(path).parent)
    sys.argv = file.arguments
    sys.stdin, sys.stdout = os.fdopen(0), os.fdopen(1, "w")
    runpy.run_path(path, run_name="__main__")


@contextlib.contextmanager
def _ending() -> Iterator[None]:
    """Whatever happens within it, the process ends with it, and tells of an error."""
    try:
        yield
        os._exit(0)
    except BaseException:
        os.write(2, traceback.format_exc().encode())
        os._exit(1)


def _close_all_but(kept: set[int]) -> None:
    for one in range(max(int(one.name) for one in Path("/dev/fd").iterdir()) + 1):
        if one not in kept:
            with contextlib.suppress(OSError):
                os.close(one)


def _forget(folder: Path) -> None:
    """The modules that were imported from a folder, but for those of an environment in it."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        where = Path(file or "/")
        if where.is_relative_to(folder) and not where.is_relative_to(sys.prefix):
            del sys.modules[name]
