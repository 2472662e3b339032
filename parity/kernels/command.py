"""The command's options: `parity kernel`, and what it does."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from typing import Any

from parity.console import (
    handed_out,
    limits,
    outputs_of,
    progress,
    reports,
    settings_of,
    undisturbed,
)
from parity.play.broken import Broken
from parity.play.remote import Process
from parity.subject.error import AdapterError


def add(commands: Any) -> None:
    """Adds the command to a parser's."""
    kernel = commands.add_parser(
        "kernel", help="check functions against torch's, over sizes, layouts, values and dtypes"
    )
    kernel.add_argument("file", help="a Python file with tests under `@parity.sweep(…)`")
    kernel.add_argument("--only", action="append", default=[], metavar="ID",
                        help="cases whose id has this in it, such as bf16 or 'x_grad-*dy:*'; may "
                             "be given several times")  # fmt: skip
    kernel.add_argument("--full", action="store_true",
                        help="every choice on every axis, and not only every pair of choices: it "
                             "says how many that are before it begins")  # fmt: skip
    kernel.add_argument("--strict", action="store_true",
                        help="what is wrong at an edge alone, an empty batch, an infinity or NaN, "
                             "fails too")  # fmt: skip
    limits(kernel, seconds=60.0, of="one case")
    reports(kernel)
    kernel.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    try:
        process = Process(options.file, options.memory, "parity.kernels.worker")
    except Broken as broken:
        raise AdapterError(str(broken)) from None
    try:
        return _swept(options, process)
    finally:
        process.end()


def _swept(options: argparse.Namespace, process: Process) -> int:
    with undisturbed():
        import parity.show.html  # noqa: F401
        from parity.kernels.remote import Sweeps, run_file

    outputs = outputs_of(options, options.file)
    until = time.monotonic() + options.total_seconds
    try:
        session = Sweeps(options.file, seconds=options.seconds, gibibytes=options.memory,
                         process=process, until=until)  # fmt: skip
    except Broken as broken:
        raise AdapterError(f"{options.file}: {broken}") from None
    with contextlib.closing(session), contextlib.ExitStack() as bars:
        shown: list[Any] = []

        def on_start(count: int, done: int) -> None:
            if options.full or done:
                also = f", {done} of them done before" if done else ""
                print(f"{count:,} cases{also}", file=sys.stderr, flush=True)
            shown.append(bars.enter_context(progress(count, "case")))

        found = run_file(
            session, full=options.full, only=tuple(options.only), strict=options.strict,
            until=until, settings=settings_of(options, options.file), on_start=on_start,
            on_case=lambda name: shown[0].update(),
        )  # fmt: skip
    return handed_out(options, outputs, found)
