"""What the commands share: options, the files that reports go to, progress, exit codes."""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parity.subject.error import AdapterError

if TYPE_CHECKING:
    from parity.run.report import Report

PASSED, FAULT, COULD_NOT_RUN = 0, 1, 2
MOST = 1e6  # seconds, or GiB


def limits(parser: argparse.ArgumentParser, *, seconds: float, of: str) -> None:
    """The options that say how much time and memory a run may take."""
    parser.add_argument("--seconds", type=_positive, default=seconds,
                        help=f"how long {of} may take (default: {seconds:g})")  # fmt: skip
    parser.add_argument("--memory", type=_positive, default=4.0, metavar="GIB",
                        help="how much memory the subject may take (default: 4 GiB)")  # fmt: skip
    parser.add_argument("--total-seconds", type=_positive, default=3600.0, metavar="SECONDS",
                        help="how long the whole run may take (default: 3600); then it reports "
                             "what has been checked")  # fmt: skip


def reports(parser: argparse.ArgumentParser) -> None:
    """The options that say what is written, and how much is shown."""
    parser.add_argument("--html", metavar="FILE", help="write a report for people")
    parser.add_argument("--json", metavar="FILE", help="write all figures")
    parser.add_argument("--junit", metavar="FILE", help="write a report for CI systems")
    parser.add_argument("-v", "--verbose", action="store_true", help="a row for each check")
    parser.add_argument("--debug", action="store_true",
                        help="show the traceback of an error of parity's own")  # fmt: skip


def _positive(text: str) -> float:
    """A number that a limit can be."""
    value = float(text)
    if not 0 < value <= MOST:
        raise argparse.ArgumentTypeError(f"takes a number above 0 and up to {MOST:g}, not {text}")
    return value


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Ctrl-C is heard at the end: torch, half imported, may swallow it."""
    heard_by_us = callable(signal.getsignal(signal.SIGINT))  # it may be ignored, and stay so
    if threading.current_thread() is not threading.main_thread() or not heard_by_us:
        yield
        return
    heard: list[object] = []
    before = signal.signal(signal.SIGINT, lambda *_: heard.append(None))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if heard:
        raise KeyboardInterrupt


def outputs_of(options: argparse.Namespace, source: str) -> list[tuple[Path, Callable[[Any], str]]]:
    """The files that reports go to, each with what makes it.

    Raises:
        AdapterError: one cannot be written, or two are the same.
    """
    from parity.show import files, html, json, junit

    outputs: list[tuple[Path, Callable[[Any], str]]] = [
        (files.writable(path, source), form)
        for path, form in (
            (options.html, html.page),
            (options.json, json.as_json),
            (options.junit, junit.as_junit),
        )
        if path is not None
    ]
    if len({path.resolve() for path, _ in outputs}) < len(outputs):
        raise AdapterError("--html, --json and --junit take a file each")
    return outputs


def handed_out(
    options: argparse.Namespace, outputs: list[tuple[Path, Callable[[Any], str]]], found: Report
) -> int:
    """Writes and prints a report, and says how the command ends."""
    from parity.show import files, text

    lost, written = [], []  # one report that cannot be had does not take the others with it
    for path, form in outputs:
        try:
            files.write(path, form(found))
            written.append(str(path))
        except Exception as error:
            if options.debug:
                raise
            lost.append(f"{path} cannot be written: {type(error).__name__}: {error}")
    told = [text.text(found, verbose=options.verbose)]
    told += [f"wrote {', '.join(written)}"] if written and "/dev/stdout" not in written else []
    if why := files.say("\n".join(told)):
        lost.append(f"the report cannot be printed: {why}")
    if lost:
        raise AdapterError("; ".join(lost))
    if found.stopped or found.errors or not found.outcomes:
        return COULD_NOT_RUN
    return PASSED if found.passed else FAULT


def progress(total: int, unit: str = "check") -> Any:
    """A line that shows how many checks are done.

    Raises:
        AdapterError: a variable of the environment makes it impossible.
    """
    quiet = True if sys.stderr is None else None  # None: where it is no terminal
    try:
        from tqdm import tqdm

        return tqdm(total=total, unit=unit, leave=False, disable=quiet)
    except Exception as error:
        named = [name for name in os.environ if name.startswith("TQDM_")]
        if not named:
            raise
        raise AdapterError(f"{' or '.join(named)} of the environment is no setting that tqdm, "
                           f"which shows progress, can use: {error}") from None  # fmt: skip


def settings_of(
    options: argparse.Namespace, path: str, own: dict[str, object] | None = None
) -> dict[str, object]:
    """What a report says of how it was made: of which file, by what."""
    import numpy as np
    import torch

    named = "adapter" if hasattr(options, "adapter") else "file"
    return {
        "date": f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC",
        named: shlex.quote(str(path)),
        **(own or {"cases": "all" if options.full else "all pairs"}),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "Python": platform.python_version(),
    }
