"""Python's command line in a fork of a process that has imported torch once.

A fresh process takes two to four CPU seconds to import torch and scipy before it does anything.
`python` is for a test of what a command says, writes and returns. Where the process is what is
tested, its start, its signals, its imports, `subprocess` is right.

The modules of this project are imported anew in each fork, and so is all that the command reads
from its environment, but for what Python itself reads as it starts.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import traceback
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

#: What takes long to import, and of which nothing depends on where or for whom.
SHARED = ["torch", "torch._dynamo", "scipy.stats", "tqdm", "tabulate"]


def python(
    arguments: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    timeout: float = 300,
) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run([sys.executable, *arguments], …)`, for `-c SCRIPT` and `-m MODULE`.

    Raises:
        subprocess.TimeoutExpired: it took longer than `timeout` seconds.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(SHARED)
    with tempfile.TemporaryDirectory() as folder:
        files = [str(Path(folder, name)) for name in ("stdout", "stderr")]
        given = (list(arguments), str(cwd), dict(os.environ if env is None else env), files)
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


def _main(arguments: list[str], cwd: str, env: dict[str, str], files: list[str]) -> None:
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

    class Started(subprocess.Popen[Any]):
        """As `Popen`; of a Python file, its fork."""

        def __new__(cls, command: Any, **options: Any) -> Any:
            if command[0] == sys.executable and command[1].endswith(".py"):
                return _Forked(command[1:], **options)
            return super().__new__(cls)

    multiprocessing.get_context = lambda method=None: fork  # type: ignore[assignment]
    subprocess.Popen = Started  # type: ignore[misc,assignment]


class _Forked:
    """A Python file in a fork, with as much of `subprocess.Popen` as the arms of the gate ask."""

    def __init__(
        self, arguments: list[str], *, stderr: IO[bytes], pass_fds: list[int], cwd: str, **_: Any
    ) -> None:
        (theirs_in, ours_out), (ours_in, theirs_out) = os.pipe(), os.pipe()
        self.returncode: int | None = None
        self.pid = os.fork()
        if not self.pid:
            with _ending():
                os.setsid()
                for number, one in enumerate((theirs_in, theirs_out, stderr.fileno())):
                    os.dup2(one, number)
                _close_all_but({0, 1, 2, *pass_fds})
                _forget(Path.cwd())
                os.chdir(cwd)
                sys.argv, sys.path[0] = arguments, str(Path(arguments[0]).parent)
                sys.stdin, sys.stdout = os.fdopen(0), os.fdopen(1, "w")
                runpy.run_path(arguments[0], run_name="__main__")
        os.close(theirs_in)
        os.close(theirs_out)
        self.stdin, self.stdout = os.fdopen(ours_out, "w"), os.fdopen(ours_in)

    def poll(self) -> int | None:
        if self.returncode is None and (ended := os.waitpid(self.pid, os.WNOHANG))[0]:
            self.returncode = os.waitstatus_to_exitcode(ended[1])
        return self.returncode

    def wait(self) -> int:
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.returncode


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
    """The modules that were imported from a folder."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and Path(file).is_relative_to(folder):
            del sys.modules[name]
