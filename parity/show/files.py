"""Writes reports to files, and to the terminal."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from pathlib import Path

from parity.show.colour import painted, wanted
from parity.show.plain import plain
from parity.subject.error import AdapterError

SOURCES = (".py", ".pyi", ".ipynb", ".toml", ".cfg", ".ini")
"""What no report is written over: somebody wrote it by hand."""


def writable(path: str | Path, *kept: str | Path) -> Path:
    """A path that `write` can write to; its folder is made if it is missing.

    Args:
        kept: files that must stay as they are.

    Raises:
        AdapterError: it is a folder itself, a source file, or may not be written to.
    """
    target = Path(path)
    try:
        if not str(path) or target.is_dir():
            raise AdapterError(f"a report is written to a file, and {str(path)!r} is none")
        real = target.resolve()
        there = real.exists()
        source = there and real.suffix in SOURCES
        if source or real in [Path(one).resolve() for one in kept]:
            raise AdapterError(f"{path} is a source file: a report is not written over it")
        real.parent.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError, RuntimeError) as error:  # a loop of links, a name with a NUL
        raise AdapterError(f"{path} cannot be written: {error}") from None
    if not os.access(real if there else real.parent, os.W_OK):
        raise AdapterError(f"{path} cannot be written: permission denied")
    return target


def write(path: str | Path, content: str) -> None:
    """Writes a file whole or not at all; through a link, to what it stands for.

    A new file may be read and written as the umask says; one that is replaced, as before.
    """
    target = Path(path)
    if target == Path("/dev/stdout"):  # may be a file, and what is printed is to follow
        print(content, flush=True)
        return
    if target.exists() and not target.is_file():  # a pipe, or a device: not to be replaced
        target.write_text(content, encoding="utf-8", errors="backslashreplace")
        return
    target = target.resolve()
    mode = target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask()
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".parity-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(content)
        Path(name).chmod(mode)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def say(text: str) -> str:
    """Prints to a terminal, or wherever it goes; what that cannot show is escaped.

    Returns: why it could not be printed; "" where it was, or its reader has had enough.
    """
    try:
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(errors="backslashreplace")
        print(painted(plain(text)) if wanted() else plain(text), flush=True)
    except BrokenPipeError:  # `| head`
        _give_up()
        return ""
    except (OSError, ValueError) as error:  # a full device; closed
        _give_up()
        return str(error)
    except AttributeError:  # there is no standard output at all
        return "there is nothing to print to"
    return ""


def _give_up() -> None:
    """Else Python tries once more as it ends, and says so in an ugly way."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
