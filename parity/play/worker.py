"""The subject's own process: imports its adapter, and answers the judge's calls.

`keeper` forks it. What it needs itself it imports before the subject's folders are on the path.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import itertools
import os
import signal
import sys
import traceback
import types
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

import torch

from parity.play import forbidden
from parity.play.broken import Broken, Own, Setting, Unoffered, ours
from parity.play.describe import as_data
from parity.play.guard import guarded, habits, said
from parity.play.line import Ended, Line
from parity.play.message import Unsendable
from parity.play.session import Local
from parity.play.shared import Shared
from parity.subject.adapter import from_source, load, package_of

LONGEST_TRACEBACK = 10_000
"""How many characters of a traceback are sent."""
KEPT = 16
"""How many objects of the subject stay in play; a check uses fewer."""
PLAYER = "parity.play.worker"
"""The module of what answers the calls of an adapter's judge."""


def serve(line: tuple[int, int], told: dict[str, Any]) -> None:
    """Imports an adapter, describes it, and answers calls until the other side has gone.

    Args:
        line: the descriptors to read from and to write to.
        told: what `remote.Process` says of it:
            adapter: its path.
            gibibytes: how far memory may grow from here.
            own: the folders of the subject's own modules: without any, the adapter's.
            folders: in which they are looked for too.
            place: where one works; modules that are nowhere else are looked for there.
            player: the module whose `Player` is made of all this, and answers the calls.
            forbidden: modules that the subject's own files may not use.
    """
    path = told["adapter"]
    judge = Line(*line)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    _limit_memory(told["gibibytes"])
    judge.send("ready")
    folders = told["own"] or [str(Path(path).resolve().parent), package_of(path)[0]]
    alone = bool(told["own"])
    sys.meta_path.insert(0, _Own([*folders, *told["folders"]], path, whole=alone))
    sys.path += [*told["own"], *told["folders"], told["place"]]
    own = os.getpid()
    make = importlib.import_module(told["player"]).Player
    if told["forbidden"]:
        forbidden.forbid(told["forbidden"], [*folders, *told["folders"], told["place"]], path)
    playing: Any = None
    number, verb, what = 0, "load", ()
    while True:
        try:
            if playing is None:
                playing = make(told)
                forbidden.playing = True
            answer: tuple[str, Any] = "value", playing.play(verb, what)
        except Broken as broken:
            kind = "setting" if isinstance(broken, Setting) else "error"
            answer = kind, [str(broken), *broken.trace]
        except Unoffered as unoffered:
            answer = "unoffered", str(unoffered)
        except Own as error:
            answer = "own", str(error)[-LONGEST_TRACEBACK:]
        except BaseException as error:  # also what is meant to end a process
            if ours(error) and not isinstance(error, MemoryError):
                answer = "own", "".join(traceback.format_exception(error))[-LONGEST_TRACEBACK:]
            else:
                answer = "error", [str(Broken(said(error)))]
        if os.getpid() != own:  # forked, and went on: one of the two answers
            os._exit(0)
        with contextlib.suppress(BaseException):  # whatever the subject has put in its place
            sys.stdout.flush()
        try:
            try:
                judge.send((number, *answer, list(habits), list(forbidden.noted)))
            except Unsendable as unsendable:
                odd = Broken(f"gives what cannot be sent to the judge: {unsendable}")
                judge.send((number, "error", [str(odd)], list(habits), list(forbidden.noted)))
            number, verb, what = judge.receive()
        except Ended:
            return


class Player:
    """The subject, and its objects that are in play, by number."""

    def __init__(self, told: dict[str, Any]) -> None:
        with guarded(torch.get_default_dtype()):
            self.local = Local(load(told["adapter"], alone=bool(told["own"])))
        self.cases = {(case.kind, str(case)): case for case in self.local.description.cases}
        self.objects: dict[int, Any] = {}
        self.made = 0
        self.shared = Shared()
        self.case: Any = None

    def play(self, verb: str, what: tuple[Any, ...]) -> Any:
        """The answer to a call. To "new" and "beside" a list says that there is none: what an
        earlier case has left in this process, in which no other is to be judged."""
        match verb:
            case "load":
                return as_data(self.local.description)
            case "beside":
                module, function, kind, name, *rest = what
                if left := self._left_by_another(kind, name):
                    return left
                beside = getattr(importlib.import_module(module), function)
                return {"answer": beside(self.local, kind, name, *rest)}
            case "new":
                kind, name, *rest = what
                if left := self._left_by_another(kind, name):
                    return left
                self.made += 1
                self.objects[self.made] = self.local.new(self.cases[kind, name], *rest)
                self.objects.pop(self.made - KEPT, None)
                return self.made
        place, method, args, options = what
        return getattr(self.objects[place], method)(*args, **options)

    def _left_by_another(self, kind: str, name: str) -> list[str]:
        """What a case before this one has left in the process."""
        if self.case not in (None, (kind, name)):
            self.objects.clear()
            if left := self.shared.changed():
                return left
        self.case = kind, name
        return []


class _Own(MetaPathFinder):
    """Finds the subject's modules first where one of its own files imports them.

    A `random.py` of a framework is its own business: torch, which imports Python's when it needs
    it, still gets Python's.
    """

    def __init__(self, folders: list[str], adapter: str, *, whole: bool = False) -> None:
        self.folders = [folder for folder in folders if folder]
        self.askers = [*self.folders, adapter]
        self.after = functools.partial(_completed, adapter) if whole else None
        self.first = sys.path[0]
        self.libraries = [one for one in sys.path if Path(one).name.endswith("-packages")]

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if path is not None or not self._asked_for():
            return None
        before = itertools.takewhile(lambda entry: entry != self.first, sys.path)
        spec = PathFinder.find_spec(name, [*before, *self.folders], target)
        if spec is None or spec.loader is None:
            return None  # a folder is no module
        from_source(spec, self.after)
        return spec

    def _asked_for(self) -> bool:
        """Whether the import stands in the adapter, or a file of the subject's folders."""
        frame = sys._getframe(2)
        while frame.f_back and (
            frame.f_code.co_filename.startswith(("<frozen", forbidden.__file__))
            or frame.f_globals.get("__name__", "").partition(".")[0] == "importlib"
        ):
            frame = frame.f_back
        file = Path(frame.f_code.co_filename)
        libraries = [one for one in self.libraries if file.is_relative_to(one)]
        return any(
            file.is_relative_to(folder)
            and all(Path(folder).is_relative_to(library) for library in libraries)
            for folder in self.askers
        )


def _completed(adapter: str, module: types.ModuleType) -> None:
    """Adds to a module of a submission what the adapter, which was not written for it, asks for and
    does not find: classes that cannot be made, so that each of them fails alone."""
    file = Path(str(module.__file__)).name

    def missing(name: str) -> type:
        if name.startswith("__") or sys._getframe(1).f_code.co_filename != adapter:
            raise AttributeError(f"{file} has no {name}")

        def made(self: object, *args: object, **options: object) -> None:
            raise Broken(f"raises NotImplementedError: {file} has no {name}")

        return type(name, (), {"__init__": made})

    vars(module).setdefault("__getattr__", missing)


def _limit_memory(gibibytes: float) -> None:
    """Lets the address space grow by so much from here, and never beyond a limit that there is
    already. Linux only: others have no such number."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # no core of a crash in the user's folder
    pages = Path("/proc/self/statm")
    if pages.exists() and gibibytes > 0:
        now = int(pages.read_text().split()[0]) * resource.getpagesize()
        limit = now + int(gibibytes * 2**30)
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        if most != resource.RLIM_INFINITY:
            limit = min(limit, most)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
