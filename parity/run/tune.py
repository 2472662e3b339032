"""Tries an adapter that has just been written, and writes into it the settings that it lacks."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from parity.run.run import opened
from parity.run.setup.losses import reductions
from parity.run.setup.stage import set_up
from parity.subject.error import AdapterError, MissingSetting

ROUNDS = 6
"""How often an adapter is tried: what is missing may show one after the other."""
GUESSED = re.compile(r"^    reduction=.*# a guess", re.MULTILINE)
RENAMED = re.compile(r"its (\w+) [^;]* name it by (\S+?)[;,]?(?= |$)")
"""What a class is, and what it is to be named by."""
OTHERS = ("flat", "lists", "objects")
"""What else a layer's list of parameters may be than pairs."""


def tuned(path: Path, write: Callable[[Path, str], object]) -> tuple[list[str], str]:
    """Runs the set-up stage, and writes what it asks for.

    Args:
        path: the adapter's file.
        write: writes a text to it.

    Returns:
        The settings that were found, and what is still wrong; "" if nothing is.
    """
    found: list[str] = []
    why, others = "", list(OTHERS)
    for _ in range(ROUNDS):
        try:
            session = opened(path)
            try:
                set_up(session)
                better = reductions(session) if GUESSED.search(path.read_text()) else ""
            finally:
                session.close()
            if better:
                write(path, _with(path.read_text(), better))
            return found + [better] * bool(better), ""
        except MissingSetting as missing:
            why = str(missing)
            settings = [one for one in missing.settings if one not in found]
            if not settings and "say 'pairs', 'flat', 'lists', 'objects'" in why and others:
                settings = [f'parameters="{others.pop(0)}"']
            renamed = _renamed(path.read_text(), why)
            if not settings and renamed == path.read_text():
                break
            write(path, renamed)
            for setting in settings:
                write(path, _with(path.read_text(), setting))
            names = {one.partition("=")[0] for one in settings}
            found = [one for one in found if one.partition("=")[0] not in names] + settings
        except AdapterError as error:
            why = str(error)
            break
    return found, why


def _renamed(text: str, why: str) -> str:
    """An adapter in which classes have the names that they are to have."""
    for name, other in RENAMED.findall(why):
        text = re.sub(rf"^    (?:nn|parity)\.{name}: ", f"    {other}: ", text, flags=re.MULTILINE)
    return text


def _with(text: str, setting: str) -> str:
    """An adapter with a setting more, in the place of one of the same name."""
    name = re.escape(setting.partition("=")[0])
    text = re.sub(rf"^    (# )?{name}=.*\n(?:     .*\n)*", "", text, flags=re.MULTILINE)
    head, _, tail = text.rpartition("\n)\n")
    return f"{head}\n    {setting},  # found by trying\n)\n{tail}"
