"""The keeper of a subject's process: starts it, and sees to it that nothing outlives it.

It runs as a script, isolated, and imports the standard library alone, so that it is there in a few
hundredths of a second. It forks; the child becomes the subject's worker, and it itself

- ends the worker and all that the worker has started when the judge asks for it, or is gone:
  killed, crashed, or ended in any other way;
- is, on Linux, the parent of whatever the worker's own children leave behind, also in sessions of
  their own;
- limits the memory of all of them together;
- takes what they print, throws it away, and keeps the last of it.

It never runs the subject's code. What it says to the judge are lines of JSON over a socket.

Where many subjects are played one after another, a *nursery* starts the keepers: the same script,
which imports torch once and forks a keeper whenever the judge asks for one.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import json
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

TICK = 0.05
"""How often it looks after its children, in seconds."""
KEPT = 2000
"""How many bytes of what was printed it keeps."""
ENDING = 5.0
"""How long it goes on ending processes that start others."""

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


def main() -> None:
    """Starts a worker as the argument says, and keeps it; or is a nursery."""
    told = json.loads(sys.argv[1])
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # a caller may ignore it, and nothing is reaped
    if "nursery" in told:
        _nursery(told)
    else:
        _keep(told)


def _nursery(told: dict[str, Any]) -> None:
    """Forks a keeper for each request, until the judge has gone. What a killed keeper leaves behind
    becomes a child of this process, and is ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    asked = socket.socket(fileno=told["nursery"])
    _import(told)
    heard = select.poll()
    heard.register(asked, select.POLLIN)
    keepers: set[int] = set()
    while os.getppid() == told["judge"]:
        ready = heard.poll(1000 * TICK)
        with contextlib.suppress(ChildProcessError):
            while ended := os.waitpid(-1, os.WNOHANG)[0]:
                keepers.discard(ended)
        for orphan in set(_children(os.getpid(), far=False)) - keepers:
            with contextlib.suppress(OSError):
                os.kill(orphan, signal.SIGKILL)
        if not ready:
            continue
        content, descriptors, _, _ = socket.recv_fds(asked, 1 << 16, 4)
        while content and not content.endswith(b"\n"):
            content += asked.recv(1 << 16)
        if not content:
            return
        keeper = os.fork()
        if not keeper:
            asked.close()
            _kept_by_fork(json.loads(content), descriptors)
        keepers.add(keeper)
        for descriptor in descriptors:
            os.close(descriptor)
        asked.sendall(f"{keeper}\n".encode())


def _kept_by_fork(told: dict[str, Any], descriptors: list[int]) -> None:
    """In the fork: what the keeper does that a fresh script would be. It says by the last of the
    descriptors that it has come to its end, and was not killed."""
    os.setsid()
    own = os.getpid()
    for number in (0, 1):
        os.dup2(descriptors[number], number)
        os.close(descriptors[number])
    os.environ.update(told["environment"])
    told |= {"control": descriptors[2], "alive": descriptors[3], "judge": os.getppid()}
    try:
        _keep(told)
        if os.getpid() == own:
            os.write(descriptors[3], b".")
    finally:
        os._exit(0)


def _keep(told: dict[str, Any]) -> None:
    control = socket.socket(fileno=told["control"])
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    output, printing = os.pipe()
    keeper = os.getpid()
    worker = os.fork()
    if worker:
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):  # the line is the worker's alone
            os.dup2(nothing, descriptor)
        os.close(printing)
        _Keeper(worker, control, output, told).keep()
        return
    os.setsid()
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != keeper:
        os._exit(1)
    control.detach()
    for descriptor in (told["control"], output, *([told["alive"]] if "alive" in told else [])):
        os.close(descriptor)
    line = os.dup(0), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(printing, 1)
    os.dup2(printing, 2)
    os.close(printing)
    os.chdir(told["place"])
    sys.argv = [told["adapter"]]
    _import(told)
    from parity.play.worker import serve

    serve(line, told)


def _import(told: dict[str, Any]) -> None:
    """Imports the worker's module, and torch with it; not a second time."""
    if "parity" not in sys.modules:
        sys.path += told["libraries"]
        _imported(told["parity"])
        importlib.import_module("parity.play.worker")


def _imported(folder: str) -> None:
    """Imports this very package by its place: neither where one works nor a path decides."""
    spec = importlib.util.spec_from_file_location(
        "parity", Path(folder, "__init__.py"), submodule_search_locations=[folder]
    )
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["parity"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


class _Keeper:
    def __init__(
        self, worker: int, control: socket.socket, output: int, told: dict[str, Any]
    ) -> None:
        self.worker, self.control, self.output = worker, control, output
        self.limit = told["gibibytes"] * 2**30
        self.judge = told["judge"]
        self.said: dict[str, Any] = {"printed": False, "last": ""}
        self.tail = b""
        self.heard = select.poll()
        for descriptor in (control.fileno(), output):
            self.heard.register(descriptor, select.POLLIN)
        self.begun = 0

    def keep(self) -> None:
        """Until the worker has ended, or the judge has gone or asks for the end."""
        os.set_blocking(self.output, False)
        ended: int | None = None
        looked = time.monotonic()
        while ended is None:
            ready = [descriptor for descriptor, _ in self.heard.poll(1000 * TICK)]
            if os.getppid() != self.judge:
                break
            if self.output in ready:
                self._drain()
            if self.control.fileno() in ready:
                asked = self.control.recv(1)
                if asked == b"b":  # what was taken before the subject began is torch's
                    self.begun = _memory(_children(os.getpid()))
                elif asked == b"?":
                    self._say(ended=None)
                else:
                    break
            ended = self._reaped()
            if time.monotonic() - looked > 10 * TICK:
                looked = time.monotonic()
                if self._over():
                    self.said["memory"] = True
                    os.kill(self.worker, signal.SIGKILL)
        self._end_all()
        self._drain()
        if ended is not None:
            self._say(ended=ended)
            with contextlib.suppress(OSError):
                self.control.recv(1)  # until it has been read

    def _say(self, **more: Any) -> None:
        self._drain()
        last = self.tail.decode(errors="replace").strip().splitlines()[-1:]
        self.said["last"] = last[0] if last else ""
        with contextlib.suppress(OSError):
            self.control.sendall(json.dumps(self.said | more).encode() + b"\n")

    def _drain(self) -> None:
        """Takes what has been printed, at most so much that the rest of its work is not left."""
        for _ in range(64):
            try:
                piece = os.read(self.output, 1 << 16)
            except BlockingIOError:
                return
            except OSError:
                piece = b""
            if not piece:
                with contextlib.suppress(KeyError):
                    self.heard.unregister(self.output)
                return
            self.said["printed"] = True
            self.tail = (self.tail + piece)[-KEPT:]

    def _reaped(self) -> int | None:
        """The worker's exit status, once it has ended; what it left behind is reaped too."""
        ended = None
        while True:
            try:
                process, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return ended
            if not process:
                return ended
            if process == self.worker:
                ended = os.waitstatus_to_exitcode(status)

    def _over(self) -> bool:
        """Whether the worker and its children together take more memory than they may."""
        if self.limit <= 0 or not self.begun:
            return False
        family = _children(os.getpid())
        return len(family) > 1 and _memory(family) - self.begun > self.limit

    def _end_all(self) -> None:
        """Ends all processes that come from the worker, and those that they start meanwhile."""
        until = time.monotonic() + ENDING
        with contextlib.suppress(OSError):
            os.killpg(self.worker, signal.SIGKILL)
        while (left := _children(os.getpid())) and time.monotonic() < until:
            for process in left:
                with contextlib.suppress(OSError):
                    os.kill(process, signal.SIGKILL)
            self._reaped()
            time.sleep(0.001)
        self._reaped()


def _children(process: int, *, far: bool = True) -> list[int]:
    """The processes that come from one, near and far. Linux only: elsewhere none are found."""
    found: list[int] = []
    waiting = [process]
    while waiting:
        one = waiting.pop()
        with contextlib.suppress(OSError):
            for thread in Path(f"/proc/{one}/task").iterdir():
                with contextlib.suppress(OSError):
                    children = [int(child) for child in (thread / "children").read_text().split()]
                    found += children
                    waiting += children if far else []
    return found


def _memory(processes: list[int]) -> int:
    """How many bytes processes take together; what they share counts once."""
    total = 0
    for process in processes:
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))
    return total


def _prctl(option: int, value: int) -> None:
    """Linux only; elsewhere, and where it is refused, the rest has to do."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    main()
