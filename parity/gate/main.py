"""What `parity gate` does."""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import sys
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

from tqdm import tqdm

from parity.gate import calibration, record
from parity.gate.data.broken import GATE_BROKEN, Broken
from parity.gate.data.names import LAYERS
from parity.gate.data.plan import loaded, plan_of
from parity.gate.judge.result import PASSED, Result
from parity.gate.judge.verdicts import Rule, medians
from parity.gate.run import Wanted, judged
from parity.gate.show import figure, report
from parity.show import files


def run(options: argparse.Namespace) -> int:
    """0: pass; 1: a regression; 2: the gate is broken; 3: inconclusive."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    try:
        _refuse(options)
        if options.update_baseline:
            return _update(options)
        if options.calibrate:
            return _calibrate(options)
        return _judge(options)
    except Broken as broken:
        says = str(broken)
    except Exception as error:  # whatever it is, it is no regression
        says = f"{type(error).__name__}: {error}"
    print(f"parity gate: the gate is broken: {says}", file=sys.stderr)
    return GATE_BROKEN


def _stop(*_: object) -> None:
    """The first signal ends the command; while it ends, no other is heard."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _refuse(options: argparse.Namespace) -> None:
    """Options that mean nothing beside each other."""
    if options.update_baseline and not (options.reason or "").strip():
        raise Broken('--update-baseline takes --reason "…": why the baseline is to change')
    if options.reason is not None and not options.update_baseline:
        raise Broken("--reason is of --update-baseline")
    if not (options.update_baseline or options.calibrate):
        return
    what = "--update-baseline" if options.update_baseline else "--calibrate"
    others = ("base", "layers", "date", "strict", "markdown", "json", "plot", "verbose")
    given = [f"--{name}" for name in others if getattr(options, name)]
    if options.update_baseline and options.calibrate:
        given.append("--calibrate")
    if given:
        raise Broken(f"{what} does not go with {', '.join(given)}")


def _judge(options: argparse.Namespace) -> int:
    outputs = {
        _writable(path): form
        for path, form in (
            (options.markdown, report.markdown),
            (options.json, report.as_json),
            (options.plot, _plot),
        )
        if path is not None
    }
    if len({path.resolve() for path in outputs}) < sum(
        path is not None for path in (options.markdown, options.json, options.plot)
    ):
        raise Broken("--markdown, --json and --plot take a file each")
    if options.plot and importlib.util.find_spec("matplotlib") is None:
        raise Broken('--plot takes matplotlib: pip install "torch-parity[plots]"')
    with _bar() as progress:
        result = judged(_wanted(options), progress)
    print(report.text(result, verbose=options.verbose), flush=True)
    if os.environ.get("GITHUB_ACTIONS") == "true":
        print(report.commands(result), flush=True)
        if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
            with Path(summary).open("a", encoding="utf-8") as stream:
                stream.write(report.markdown(result))
    for path, form in outputs.items():
        _write(path, form(result))
    return result.code


def _wanted(options: argparse.Namespace) -> Wanted:
    return Wanted(
        Path.cwd(), options.base, options.date or date.today(), options.layers or LAYERS,
        options.workers, strict=options.strict,
    )  # fmt: skip


def _update(options: argparse.Namespace) -> int:
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
    """The paired ratios; none, where nothing was timed."""
    timing: dict[str, Any] = result.data.get("timing") or {"judged": [], "raw": []}
    ratios = medians(timing["raw"]) if timing["raw"] else {}
    return figure.ratios(timing["judged"], ratios, Rule()).decode()


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
