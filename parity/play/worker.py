"""The subject's own process: imports its adapter, and answers the judge's calls.

`remote.Remote` starts it as `python -m parity.play.worker ADAPTER GIBIBYTES`.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import torch

from parity.play.broken import Broken
from parity.play.guard import guarded, habits, said
from parity.play.line import Ended, Line
from parity.play.session import Local
from parity.subject.adapter import load

KEPT = 16
"""How many objects of the subject stay in play; a check uses fewer."""


def serve(path: str, gibibytes: float) -> None:
    """Imports an adapter, describes it, and answers calls until the other side has gone."""
    line = Line(os.dup(0), os.dup(1))
    printed = tempfile.TemporaryFile()  # noqa: SIM115 - for as long as the process lives
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(printed.fileno(), 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    torch.set_num_threads(1)
    _limit_memory(gibibytes)
    player: _Player | None = None
    verb, what = "load", (path,)
    while True:
        try:
            if player is None:
                player = _Player(path)
            answer = "value", player.play(verb, what)
        except Broken as broken:
            answer = "error", str(broken)
        except Exception as error:
            answer = "error", said(error)
        sys.stdout.flush()
        if printed.tell() or os.fstat(printed.fileno()).st_size:
            habits["prints"] = None
        try:
            line.send((*answer, list(habits)))
            verb, what = line.receive()
        except Ended:
            return


class _Player:
    """The subject, and its objects that are in play, by number."""

    def __init__(self, path: str) -> None:
        with guarded(torch.get_default_dtype()):
            self.local = Local(load(path))
        self.cases = {(case.kind, str(case)): case for case in self.local.description.cases}
        self.objects: dict[int, Any] = {}
        self.made = 0

    def play(self, verb: str, what: tuple[Any, ...]) -> Any:
        match verb:
            case "load":
                return self.local.description
            case "new":
                kind, name, *rest = what
                self.made += 1
                self.objects[self.made] = self.local.new(self.cases[kind, name], *rest)
                self.objects.pop(self.made - KEPT, None)
                return self.made
        place, method, args, options = what
        return getattr(self.objects[place], method)(*args, **options)


def _end_with(parent: int) -> None:
    """Ends this process, hanging or not, once the one that started it has gone."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _limit_memory(gibibytes: float) -> None:
    """Lets the address space grow by so much from here. Linux only: others have no such number."""
    pages = Path("/proc/self/statm")
    if pages.exists() and gibibytes > 0:
        import resource

        now = int(pages.read_text().split()[0]) * resource.getpagesize()
        limit = now + int(gibibytes * 2**30)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if __name__ == "__main__":
    serve(sys.argv[1], float(sys.argv[2]))
