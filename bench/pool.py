"""Tasks computed by any `concurrent.futures` executor, and kept for good.

What is stored is not computed again: work that was killed, or that lost a worker, goes on with
what is missing.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import pkgutil
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import (
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    as_completed,
)  # fmt: skip
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, TypeVar

from bench.storage import write

#: How often in a row all workers may be lost with nothing done.
ATTEMPTS = 3

Open = Callable[[], AbstractContextManager[Executor]]


class Task(Protocol):
    """What is computed, and sent to a worker: a dataclass, which is stored with its result."""

    @property
    def name(self) -> str:
        """Of the file of its result: it says all that the result depends on."""


T = TypeVar("T", bound=Task)


def compute(
    tasks: Sequence[T],
    work: Callable[[T], dict[str, Any]],
    open_executor: Open,
    folder: Path,
    progress: Callable[[T], object] = lambda task: None,
    version: object = None,
) -> list[dict[str, Any]]:
    """The results of all tasks, in their order; those that are not stored are computed.

    Args:
        work: what computes a task.
        open_executor: a new executor, to be used in a `with`.
        folder: where they are stored.
        progress: called after each task that was computed.
        version: what a result has as "version", if it has one; a worker of another is refused.

    Raises:
        Lost: workers were lost, `ATTEMPTS` times in a row with no task done; or have other code;
            or a result is not found again.
    """
    attempts = lost = 0
    while missing := [task for task in tasks if stored(task, folder, version) is None]:
        done, half = 0, len(missing) // 2 if lost % 2 else 0
        with open_executor() as executor:
            # What kills its worker comes later the next time: the others are done before it.
            for task, result in _finished(executor, work, missing[half:] + missing[:half]):
                if result.get("version", version) != version:
                    raise Lost("a worker has other code, or another torch: start it again")
                write(folder / task.name, json.dumps(result | {"task": _said(task)}) + "\n")
                if stored(task, folder, version) is None:
                    raise Lost(f"{task} is not found again as it was stored: {folder / task.name}")
                done += 1
                progress(task)
        lost += 1
        attempts = 0 if done else attempts + 1
        if attempts == ATTEMPTS:
            raise Lost(
                f"{ATTEMPTS} times all workers were lost before a task was done; "
                f"{len(missing)} are left, such as {missing[0]}"
            )
    return [found for task in tasks if (found := stored(task, folder, version)) is not None]


class Lost(Exception):
    """Workers die before they have done anything, or are not to be trusted."""


def stored(task: Task, folder: Path, version: object = None) -> dict[str, Any] | None:
    """A task's result, if it is there, whole, of that version, and says that it is of this task."""
    try:
        found = json.loads((folder / task.name).read_text())
    except (FileNotFoundError, ValueError):
        return None
    if not isinstance(found, dict) or (version and found.get("version") != version):
        return None
    return found if found.get("task") == _said(task) else None


def _said(task: Any) -> Any:
    """A task as JSON has it: a list for a tuple."""
    return json.loads(json.dumps(asdict(task)))


def _finished(
    executor: Executor, work: Callable[[T], dict[str, Any]], tasks: Sequence[T]
) -> Iterator[tuple[T, dict[str, Any]]]:
    """Tasks as they are done; those whose worker is lost are left out."""
    futures: dict[Future[dict[str, Any]], T] = {}
    try:
        for task in tasks:
            futures[executor.submit(work, task)] = task
        for future in as_completed(futures):
            error = future.exception()
            if error is None:
                yield futures[future], future.result()
            elif type(error).__name__ != "KilledWorker" and not isinstance(error, BrokenExecutor):
                raise error
    except (BrokenExecutor, CancelledError):
        return  # while tasks were handed over
    except BaseException:
        for future in futures:
            future.cancel()
        raise


@contextmanager
def processes(workers: int) -> Iterator[Executor]:
    """A pool of processes here."""
    context = multiprocessing.get_context("spawn")  # torch has threads, which a fork loses
    pool = ProcessPoolExecutor(workers, context, _begin)
    try:
        with _deaf():
            for _ in range(workers):
                pool.submit(int)  # which starts a process
        yield pool
    except BaseException:
        for worker in multiprocessing.active_children():
            worker.terminate()  # what they do is not waited for, and no Ctrl-C can lose them
        raise
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _deaf() -> Iterator[None]:
    """Processes that start in it hear no Ctrl-C, which is for their parent."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _begin() -> None:
    """In a worker: without a parent there is nothing to do."""
    parent = multiprocessing.parent_process()

    def leave() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=leave, daemon=True).start()


@contextmanager
def dask(address: str) -> Iterator[Executor]:
    """The workers of a Dask scheduler.

    Raises:
        OSError: there is no scheduler at that address, or it has no worker.
        ImportError: Dask is not installed; or scheduler or workers cannot import this module.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise ImportError("--scheduler needs Dask: pip install distributed") from error
    try:
        opened = Client(address, timeout=10)
    except ValueError as error:
        raise OSError(f"{address!r} is no address such as tcp://host:8786: {error}") from error
    with opened as client:
        client.wait_for_workers(1, timeout=30)
        needed = f"{__name__}:ATTEMPTS"
        try:
            client.run_on_scheduler(pkgutil.resolve_name, needed)
            client.run(pkgutil.resolve_name, needed)
        except ImportError as error:
            raise ImportError(
                f"Dask's scheduler or a worker cannot import what it is to run, {error}: start "
                "them in this project's folder with PYTHONPATH=."
            ) from error
        yield client.get_executor(pure=False)
