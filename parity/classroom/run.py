"""Checks the submissions of a class, several at once, and hands out what comes of them."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from parity.classroom import lane
from parity.classroom.page import index
from parity.classroom.points import Points, points_of
from parity.classroom.result import Result
from parity.classroom.submissions import Submission, digest_of, submissions_of
from parity.classroom.table import as_csv, text
from parity.console import FAULT, PASSED, progress
from parity.play.broken import Stopped
from parity.show import files
from parity.subject.error import AdapterError

STATE = ".parity"
"""The folder, within that of the pages, of what is done."""


def run(options: argparse.Namespace, settings: dict[str, Any]) -> int:
    """Checks every submission. 0: all passed; 1: not all; 2: it could not run to its end."""
    settings = settings | {"adapter": Path(options.adapter).name}  # others read it too
    for name in ("json", "junit"):
        if getattr(options, name) is not None:
            raise AdapterError(f"--{name} is of one subject; a class has --html and --csv")
    folder = _folder(options.html)
    submissions = submissions_of(options.submissions, folder)
    if not Path(options.adapter).is_file():
        raise AdapterError(f"there is no file {options.adapter}")
    points = points_of(options.points) if options.points is not None else None
    csv = None if options.csv is None else files.writable(options.csv, options.adapter)
    orders = _orders(options, submissions, settings)
    kept = _Kept(folder, options.adapter)
    done = {one.submission.name: found for one in orders if (found := kept.of(one)) is not None}
    if done:
        print(f"{len(done)} of {len(orders)} are as they were, and not checked again",
              file=sys.stderr, flush=True)  # fmt: skip
    left = [one for one in orders if one.submission.name not in done]
    with progress(len(orders), "submission") as bar:
        bar.update(len(done))
        try:
            for result in _checked(left, min(options.workers, max(len(left), 1))):
                kept.keep(result)
                done[result.name] = result
                bar.set_postfix_str(result.name, refresh=False)
                bar.update()
        except KeyboardInterrupt:
            bar.close()
            print(f"\nparity: interrupted; {len(done)} of {len(orders)} are done: the same command "
                  "goes on", file=sys.stderr)  # fmt: skip
            return 130
    results = [done[one.submission.name] for one in orders]
    return _handed_out(options, results, points, folder, csv, settings)


def _folder(html: str | None) -> Path | None:
    """The folder of the pages.

    Raises:
        AdapterError: it cannot be one.
    """
    if html is None:
        return None
    folder = Path(html)
    if folder.exists() and not folder.is_dir():
        raise AdapterError(f"--html names a folder for a class, and {html} is a file")
    files.writable(folder / "index.html")
    return folder


def _orders(
    options: argparse.Namespace, submissions: Sequence[Submission], settings: dict[str, Any]
) -> list[lane.Order]:
    names = ("only", "quick", "strict", "seed", "device", "seconds", "memory", "total_seconds",
             "forbid")  # fmt: skip
    own = {name: getattr(options, name) for name in names}
    own |= {"only": tuple(options.only), "forbid": tuple(options.forbid)}
    versions = {key: one for key, one in settings.items() if key != "date"}
    decides = [
        Path(options.adapter).read_bytes(),
        json.dumps([own, versions], default=str).encode(),
        _of_parity(),
    ]
    told = own | {"settings": settings}
    return [
        lane.Order(str(Path(options.adapter).absolute()), one, digest_of(one, *decides), told)
        for one in submissions
    ]


def _of_parity() -> bytes:
    """The code of parity itself: of another, nothing is taken over."""
    here = Path(__file__).resolve().parents[1]
    return b"".join(path.read_bytes() for path in sorted(here.rglob("*.py")))


def _checked(orders: Sequence[lane.Order], workers: int) -> Iterator[Result]:
    """The results, as they come.

    Raises:
        Stopped: a lane has ended, for want of memory perhaps.
    """
    if not orders:
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=lane.begin)
    try:
        waiting: set[Future[Result]] = {pool.submit(lane.checked, one) for one in orders}
        while waiting:
            ended, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for one in ended:
                yield one.result()
        pool.shutdown()
    except BrokenProcessPool:
        raise Stopped("a process that checks has ended, perhaps for want of memory; the same "
                      "command goes on, --workers 1 takes less") from None  # fmt: skip
    finally:
        for process in list((pool._processes or {}).values()):
            process.kill()  # its nursery ends with it, and whatever comes from that
        pool.shutdown(wait=False, cancel_futures=True)


class _Kept:
    """What is done, a file for each submission: beside the pages, or in a folder of one's own in
    the temporary folder."""

    def __init__(self, pages: Path | None, adapter: str) -> None:
        own = Path(tempfile.gettempdir(), f"parity-class-{os.getuid()}", Path(adapter).stem)
        self.folder = own if pages is None else pages / STATE
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.folder.stat().st_uid != os.getuid():
            raise AdapterError(f"{self.folder} belongs to somebody else: remove it")

    def of(self, order: lane.Order) -> Result | None:
        """What was found of it, if all that it depends on is as it was."""
        try:
            found = Result.from_json(self._file(order.submission).read_text("utf-8"))
        except (OSError, ValueError):
            return None
        return found if found.digest == order.digest else None

    def keep(self, result: Result) -> None:
        files.write(self._file(Submission(result.name, Path())), result.to_json())

    def _file(self, submission: Submission) -> Path:
        return self.folder / f"{submission.file}.json"


def _handed_out(
    options: argparse.Namespace,
    results: Sequence[Result],
    points: Points | None,
    folder: Path | None,
    csv: Path | None,
    settings: dict[str, Any],
) -> int:
    """Writes what was asked for, and prints a table."""
    written = []
    if folder is not None:
        pages = {}
        for one in results:
            if one.page:
                name = f"{Submission(one.name, Path()).file}.html"
                name = f"student-{name}" if name.lower() == "index.html" else name
                files.write(folder / name, one.page)
                pages[one.name] = name
        title = options.name or Path(options.adapter).stem
        files.write(folder / "index.html", index(title, results, pages, settings, points))
        written.append(f"{folder / 'index.html'}, and {len(pages)} pages beside it")
    if csv is not None:
        files.write(csv, as_csv(results, points))
        written.append(str(csv))
    told = text(results, points, verbose=options.verbose)
    told += "".join(f"\nwrote {one}" for one in written)
    if why := files.say(told):
        raise AdapterError(f"the results cannot be printed: {why}")
    return PASSED if all(one.passed for one in results) else FAULT
