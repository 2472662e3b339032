"""Writes reports to files."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from parity.subject.error import AdapterError


def writable(path: str | Path) -> Path:
    """A path that `write` can write to; its folder is made if it is missing.

    Raises:
        AdapterError: it is a folder itself, or may not be written to.
    """
    target = Path(path)
    if not str(path) or target.is_dir():
        raise AdapterError(f"a report is written to a file, and {str(path)!r} is none")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AdapterError(f"{path} cannot be written: {error}") from None
    if not os.access(target if target.exists() else target.parent, os.W_OK):
        raise AdapterError(f"{path} cannot be written: permission denied")
    return target


def write(path: str | Path, content: str) -> None:
    """Writes a file whole or not at all; through a link, to what it stands for."""
    target = Path(path).resolve()
    if target.exists() and not target.is_file():  # a pipe, or a device: not to be replaced
        target.write_text(content, encoding="utf-8")
        return
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(content)
        Path(name).chmod(0o644)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
