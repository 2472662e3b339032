"""What `parity gate` does."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

from tqdm import tqdm

from parity import report as files
from parity.gate import calibration, figure, record, report
from parity.gate.broken import Broken
from parity.gate.command import GATE_BROKEN, LAYERS
from parity.gate.plan import loaded, plan_of
from parity.gate.result import PASSED, REGRESSION, UNDECIDED, Result
from parity.gate.run import Wanted, judged
from parity.gate.verdicts import Rule, medians


def run(options: argparse.Namespace) -> int:
    """0: pass; 1: a regression; 2: the gate is broken; 3: inconclusive."""
    signal.signal(signal.SIGTERM, _stop)
    try:
        if options.update_baseline:
            return _update(options)
        if options.reason:
            raise Broken("--reason is of --update-baseline")
        if options.calibrate:
            return _calibrate(options)
        return _judge(options)
    except Broken as broken:
        print(f"parity gate: the gate is broken: {broken}", file=sys.stderr)
        return GATE_BROKEN


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


def _judge(options: argparse.Namespace) -> int:
    outputs = [
        (_writable(path), form)
        for path, form in (
            (options.markdown, report.markdown),
            (options.json, report.as_json),
            (options.plot, _plot),
        )
        if path is not None
    ]
    with _bar() as progress:
        result = judged(_wanted(options), progress)
    print(report.text(result, verbose=options.verbose))
    for path, form in outputs:
        _write(path, form(result))
    if os.environ.get("GITHUB_ACTIONS") == "true":
        print(report.commands(result))
        if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
            with Path(summary).open("a", encoding="utf-8") as stream:
                stream.write(report.markdown(result))
    if options.strict and result.code == UNDECIDED:
        return REGRESSION
    return result.code


def _wanted(options: argparse.Namespace) -> Wanted:
    return Wanted(
        Path.cwd(), options.base, options.date or date.today(), options.layers or LAYERS,
        options.workers,
    )  # fmt: skip


def _update(options: argparse.Namespace) -> int:
    if not (options.reason or "").strip():
        raise Broken('--update-baseline takes --reason "…": why the baseline is to change')
    sys.path.insert(0, str(Path.cwd()))
    plan = plan_of(Path.cwd())
    with _bar() as progress:
        written = record.update(
            plan, loaded(plan), options.reason.strip(), options.workers, progress
        )
    print("recorded: " + ", ".join(str(path) for path in written))
    return PASSED


def _calibrate(options: argparse.Namespace) -> int:
    sys.path.insert(0, str(Path.cwd()))
    with _bar() as progress:
        found = calibration.calibrated(Path.cwd(), loaded(plan_of(Path.cwd())), progress)
    print(calibration.text(found))
    return PASSED


def _plot(result: Result) -> str:
    timing: dict[str, Any] | None = result.data.get("timing")
    if timing is None:
        raise Broken("nothing was timed, and so there is nothing to plot")
    try:
        return figure.ratios(timing["judged"], medians(timing["raw"]), Rule()).decode()
    except ImportError as error:
        raise Broken(f"--plot: {error}: pip install 'torch-parity[plots]'") from None


def _writable(path: str) -> Path:
    try:
        return files.writable(path)
    except Exception as error:
        raise Broken(str(error)) from None


def _write(path: Path, content: str) -> None:
    try:
        files.write(path, content)
    except OSError as error:
        raise Broken(f"{path} cannot be written: {error}") from None


@contextmanager
def _bar() -> Any:
    """Shows what is being done, where somebody looks."""
    bar: tqdm[Any] | None = None
    what = ""

    def progress(name: str, done: int, of: int) -> None:
        nonlocal bar, what
        kind = "restarts" if name.startswith("restarts") else "work"
        if bar is None or kind != what:
            if bar is not None:
                bar.close()
            what = kind
            bar = tqdm(total=of, leave=False, disable=None, unit=kind)
        bar.total = of
        bar.set_postfix_str(name, refresh=False)
        bar.update(done - bar.n)

    try:
        yield progress
    finally:
        if bar is not None:
            bar.close()
