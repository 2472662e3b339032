"""The submissions of a class: a folder for each student."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from parity.subject.error import AdapterError

LEFT_OUT = {"__pycache__", ".git", ".ipynb_checkpoints", ".venv", "venv", ".mypy_cache"}
"""Folders of a submission that are none of its code."""

MOST = 64 << 20
"""How many bytes of a file tell whether it has changed; of more its size and time do."""


@dataclass(frozen=True)
class Submission:
    """One student's.

    Args:
        name: of the folder, which is the student's in all reports.
        folder: the only one in which modules of the student's are looked for.
    """

    name: str
    folder: Path

    @property
    def file(self) -> str:
        """The student's name as that of a file."""
        plain = re.sub(r"[^\w.-]", "_", self.name)
        return plain if plain == self.name else f"{plain}-{_digest(self.name.encode())[:8]}"


def submissions_of(folders: Sequence[str], pages: Path | None = None) -> list[Submission]:
    """Those in the folders that were named, by name; the folder of the pages is none of them.

    Raises:
        AdapterError: one is no folder, or two have the same name.
    """
    found = []
    for one in dict.fromkeys(folders):
        folder = Path(one)
        if not folder.is_dir():
            raise AdapterError(f"--submissions takes a folder for each student; {one} is none")
        if pages is None or folder.resolve() != pages.resolve():
            found.append(Submission(folder.resolve().name, folder))
    several = [name for name, count in Counter(one.name for one in found).items() if count > 1]
    if several:
        raise AdapterError(f"--submissions: {several.pop(0)} is the name of several folders: a "
                           "student's name is that of the folder")  # fmt: skip
    if not found:
        raise AdapterError("--submissions: there is no folder but that of the pages")
    return sorted(found, key=lambda one: one.name.casefold())


def digest_of(submission: Submission, *others: bytes) -> str:
    """What stands for all files of a submission, and for what else decides on its report."""
    total = hashlib.sha256()
    for path in _files(submission.folder):
        total.update(f"{path.relative_to(submission.folder)}\0".encode(errors="replace"))
        total.update(_content(path))
    for one in others:
        total.update(_digest(one).encode())
    return total.hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(one for one in folders if one not in LEFT_OUT)
        for name in sorted(files):
            if not name.endswith(".pyc"):
                yield Path(where, name)


def _content(path: Path) -> bytes:
    try:
        is_file, size = stat.S_ISREG(path.stat().st_mode), path.stat().st_size
        if is_file and size <= MOST:
            return _digest(path.read_bytes()).encode()
        return f"{size} {path.stat().st_mtime_ns}".encode()
    except OSError as error:  # it cannot be read: neither can the student's code
        return str(error).encode()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
