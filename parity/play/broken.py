"""What a subject did instead of answering, as an exception; and texts of its, made legible."""

from __future__ import annotations

import os
import re
import sys
import sysconfig
import traceback
from pathlib import Path

LONGEST = 300
"""How many characters of a text that the subject wrote a report quotes."""


def legible(text: str, longest: int = LONGEST) -> str:
    """A subject's text as a terminal and a report may have it: on one line, cut off where it is
    long, and what is not a character escaped."""
    cut = text[:longest] + ("…" if len(text) > longest else "")
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in cut)


def place(error: BaseException) -> str:
    """Where an exception was raised, as ` (file.py:12)`: where the subject's own code was last, if
    it had a part in it; "" if it was never raised, or by parity's own call of the subject."""
    frames = traceback.extract_tb(error.__traceback__, limit=-DEEPEST)
    if not frames:
        return ""
    last = next((one for one in reversed(frames) if not _library(one.filename)), frames[-1])
    if last.filename.startswith(_PARITY):
        return ""
    return f" ({legible(Path(last.filename).name)}:{last.lineno})"


def trace_of(error: BaseException) -> tuple[str, ...]:
    """The subject's own lines that led to an exception: `layers.py:57 in backward: dx = dy * w`."""
    frames = traceback.extract_tb(error.__traceback__, limit=-DEEPEST)
    own = [one for one in frames if not _library(one.filename)]
    return tuple(
        f"{Path(one.filename).name}:{one.lineno} in {one.name}: {one.line or ''}" for one in own
    )[-LINES:]


LINES = 8
"""How many of them are shown."""


def ours(error: BaseException) -> bool:
    """Whether no code had a part in an exception but parity's, Python's, torch's and numpy's."""
    frames = traceback.extract_tb(error.__traceback__, limit=-DEEPEST)
    return isinstance(error, Exception) and all(_library(one.filename) for one in frames)


def raised_by_us(error: BaseException) -> bool:
    """Whether an exception is one that a line of parity's raises, in a call of the subject's: one
    that such a line runs into may be the subject's doing."""
    frames = traceback.extract_tb(error.__traceback__, limit=-DEEPEST)
    last = frames[-1] if frames else None
    return (
        last is not None
        and last.filename.startswith(_PARITY)
        and ours(error)
        and ((last.line or "").startswith("raise "))
    )


def _library(file: str) -> bool:
    """Whether a file is parity's, Python's, torch's or numpy's, or what one of them has made."""
    if file.startswith(("<frozen", "<string>", _PARITY)):
        return True
    if file.startswith(_PYTHON):
        return "-packages" not in file
    known = (getattr(sys.modules.get(name), "__file__", None) for name in ("torch", "numpy"))
    return any(file.startswith(str(Path(one).parent) + os.sep) for one in known if one)


DEEPEST = 50
"""How many frames of a traceback are looked at, from where it was raised."""

_PARITY = str(Path(__file__).resolve().parents[1]) + os.sep
_PYTHON = tuple(sysconfig.get_paths()[name] + os.sep for name in ("stdlib", "platstdlib"))


#: The end of a line of `trace_of`.
_STATEMENT = re.compile(r" in \S+: (raise|assert)\b")


class Own(Exception):
    """An error of parity's own, beside the subject; the text is its traceback."""


class Broken(Exception):
    """The subject did not give an answer that can be judged: it raised, hung, crashed.

    Its text is made legible, for most of it comes from the subject.
    """

    innocent = False
    """Whether what came before in the same process, or another process, may have done it."""

    def __init__(self, text: str = "", trace: tuple[str, ...] = ()) -> None:
        super().__init__(legible(text, 4 * LONGEST))
        self.trace = tuple(legible(line) for line in trace)
        """The lines of the subject's own that led there, the last one last."""

    @property
    def meant(self) -> bool:
        """Whether the subject raised it by a statement of its own, `raise` or `assert`."""
        return bool(self.trace) and bool(_STATEMENT.search(self.trace[-1]))


class Misfit(Broken):
    """What the subject gave does not fit what the adapter says of it."""


class Setting(Misfit):
    """What the subject gave fits another setting of the adapter's, which the text names."""


class Unoffered(Exception):
    """The subject has no such thing: nothing is wrong, and nothing was checked. The text says what
    it has not, and which setting of the adapter's says how it is done."""


class Stopped(Exception):
    """No further check of the subject can be run; the text says why."""
