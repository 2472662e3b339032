"""What is measured outside of pytest: `python -m bench` with speed, sweep, paper, validate_gate."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from bench import pool, speed, sweep
from bench.conftest import positive, processors
from bench.peers import CONTENDERS
from bench.storage import RESULTS, write
from parity.gate import Broken


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; 1 if what it finds is wrong, 2 if it cannot run, 130 if interrupted."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    _speed_options(commands.add_parser("speed", help="every engine and every peer, in one table"))
    _sweep_options(commands.add_parser("sweep", help="a grid of trainings, by many workers"))
    _paper_options(commands.add_parser("paper", help="both reports, reproduced: a verdict a row"))
    _gate_options(commands.add_parser("validate_gate", help="does the gate keep its promises?"))
    options = parser.parse_args(arguments)
    before = signal.signal(signal.SIGINT, _interrupt)
    try:
        code = int(options.run(options))
    except KeyboardInterrupt:
        print(f"\ninterrupted: {options.interrupted}", file=sys.stderr)
        return 130
    signal.signal(signal.SIGINT, before)
    return code


def _interrupt(*_: object) -> None:
    """The first Ctrl-C ends the command; while it ends, no other is heard."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def _speed_options(parser: argparse.ArgumentParser) -> None:
    default = speed.Plan()
    parser.add_argument("--runs", type=positive, nargs="+", default=[*default.runs],
                        help="every batch size for the first (10 1 100 1000)")  # fmt: skip
    parser.add_argument("--batch-sizes", type=positive, nargs="+", default=[*default.batches],
                        help="the first for every number of runs (10 100)")  # fmt: skip
    parser.add_argument("--epochs", type=positive, default=default.epochs, help="of a run (30)")
    parser.add_argument("--rounds", type=positive, default=default.rounds,
                        help="trainings of each contender in a cell (3)")  # fmt: skip
    parser.add_argument("--limit", type=positive, default=int(default.limit), metavar="SECONDS",
                        help="leave out a training that would take longer (30)")  # fmt: skip
    parser.add_argument("--threads", type=processors, default=default.threads, help="(1)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default=default.device, help="(cpu)")
    parser.set_defaults(run=_speed, interrupted="nothing is written")


def _speed(options: argparse.Namespace) -> int:
    plan = speed.Plan(
        tuple(options.runs), tuple(options.batch_sizes), options.epochs, options.rounds,
        options.limit, options.threads, options.device,
    )  # fmt: skip
    if options.device == "cuda" and not torch.cuda.is_available():
        print("python -m bench speed: this torch sees no CUDA device", file=sys.stderr)
        return 2
    with tqdm(unit="training", file=sys.stderr) as bar:

        def progress(done: str) -> None:
            bar.set_description(done, refresh=False)
            bar.update()

        results = speed.measured(plan, progress)
    print(speed.text(results))
    print("\nWritten to " + ", ".join(str(file) for file in speed.write(results)) + ".")
    ours = [one.name for one in CONTENDERS if one.ours]
    return int(any(v > 1 and k.partition(" ")[2] in ours for k, v in results.parity.items()))


def _sweep_options(parser: argparse.ArgumentParser) -> None:
    grid = sweep.Grid()
    names = {
        "models": "widths of the hidden layers", "activations": ", ".join(sweep.ACTIVATIONS),
        "losses": ", ".join(sweep.LOSSES), "dropouts": "rates, after each hidden activation",
        "optimizers": ", ".join(sweep.OPTIMIZERS), "rates": "learning rates",
    }  # fmt: skip
    for name, what in names.items():
        default = getattr(grid, name)
        kind = type(default[0])
        parser.add_argument(f"--{name}", nargs="+", type=kind, default=[*default],
                            help=f"{what} ({' '.join(map(str, default))})")  # fmt: skip
    for name, what in (
        ("seeds", "runs of each"),
        ("epochs", "of a run"),
        ("batch-size", "samples of a step"),
    ):
        default = getattr(grid, name.replace("-", "_"))
        parser.add_argument(f"--{name}", type=positive, default=default, help=f"{what} ({default})")
    parser.add_argument("--workers", type=positive, default=os.cpu_count() or 1,
                        help="processes here (one for each processor)")  # fmt: skip
    parser.add_argument("--scheduler", metavar="ADDRESS",
                        help="of Dask, such as tcp://host:8786: its workers")  # fmt: skip
    parser.add_argument("--output", type=Path, default=RESULTS / "sweep", metavar="FOLDER",
                        help="of the results (bench/results/sweep)")  # fmt: skip
    parser.set_defaults(
        run=_sweep, interrupted="what is done is kept; the same command goes on from there"
    )


def _sweep(options: argparse.Namespace) -> int:
    try:
        grid = sweep.Grid(
            options.models, options.activations, options.losses, options.dropouts,
            options.optimizers, options.rates, options.seeds, options.epochs, options.batch_size,
        )  # fmt: skip
    except ValueError as error:
        print(f"python -m bench sweep: {error}", file=sys.stderr)
        return 2
    tasks = grid.tasks()
    opened: pool.Open = partial(pool.processes, options.workers)
    if options.scheduler:
        opened = partial(pool.dask, options.scheduler)
    try:
        options.output.mkdir(parents=True, exist_ok=True)
        kept = sum(pool.stored(task, options.output, sweep.VERSION) is not None for task in tasks)
        if kept:
            print(f"{kept} of {len(tasks)} tasks are there already", file=sys.stderr)
        with tqdm(total=len(tasks), initial=kept, unit="task", file=sys.stderr) as bar:
            results = pool.compute(
                tasks, sweep.run, opened, options.output, lambda task: bar.update(), sweep.VERSION
            )
    except (pool.Lost, OSError, ImportError) as error:
        print(f"python -m bench sweep: {error}", file=sys.stderr)
        return 2
    print(sweep.text(results))
    write(options.output / "sweep.md", sweep.text(results, "github") + "\n")
    print(f"\nWritten to {options.output / 'sweep.md'}; every result is beside it.")
    return 0


def _paper_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quick", action="store_true",
                        help="a minute's version, whose verdicts are worth nothing")  # fmt: skip
    parser.add_argument("--workers", type=positive, default=os.cpu_count() or 1,
                        help="processes (one for each processor)")  # fmt: skip
    parser.add_argument("--output", type=Path, metavar="FOLDER",
                        help="(bench/paper; quick: bench/results/paper-quick)")  # fmt: skip
    parser.add_argument("--results", type=Path, default=RESULTS / "paper", metavar="FOLDER",
                        help="of trainings (bench/results/paper)")  # fmt: skip
    parser.set_defaults(
        run=_paper, interrupted="what is done is kept; the same command goes on from there"
    )


def _paper(options: argparse.Namespace) -> int:
    try:
        from bench.paper import b_seconds, report
        from bench.paper.cells import QUICK, Scale
    except ImportError as error:
        print(f"python -m bench paper: {error}: pip install -e '.[paper]'", file=sys.stderr)
        return 2
    scale = QUICK if options.quick else Scale()
    folder = options.output or (RESULTS / "paper-quick" if options.quick else report.FOLDER)
    plan = report.Plan(scale, options.workers, options.results)
    try:
        for place in (folder, options.results):  # found out before anything is computed
            write(place / ".writable", "")
            (place / ".writable").unlink(missing_ok=True)
        print("1 of 3: seconds, the two sides in turn", file=sys.stderr)
        steps = b_seconds.missing(scale)
        with tqdm(total=steps, unit="step", file=sys.stderr, disable=not steps) as bar:
            seconds = b_seconds.measured(scale, lambda done: bar.update())
        for number, tasks in ((2, plan.first), (3, plan.second)):
            _computed(plan, number, tasks())
        files = report.written(plan, seconds, folder)
    except (pool.Lost, OSError) as error:
        print(f"python -m bench paper: {error}", file=sys.stderr)
        return 2
    print("Written: " + ", ".join(str(file) for file in files))
    return 0


def _computed(plan: Any, number: int, tasks: list[Any]) -> None:
    """Computes what is missing of some tasks; the bar counts seconds of work, by estimate."""
    missing = plan.missing(tasks)
    what = "every protocol, by few runs" if number == 2 else "what is left, by many"
    there = (
        f", {len(tasks) - len(missing)} of them there already" if len(missing) < len(tasks) else ""
    )
    print(f"{number} of 3: {what}: {len(tasks)} tasks{there}", file=sys.stderr)
    if not missing:
        plan.compute(tasks, lambda task: None)
        return
    layout = "{percentage:3.0f}% |{bar}| {elapsed} gone, {remaining} left{postfix}"
    with tqdm(
        total=sum(task.cost for task in missing), bar_format=layout, file=sys.stderr,
        mininterval=0.5 if sys.stderr.isatty() else 10,
    ) as bar:  # fmt: skip
        plan.compute(tasks, lambda task: bar.update(task.cost))


def _gate_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--trials", type=positive, default=375,
                        help="in a fifth of which there is more work (375)")  # fmt: skip
    parser.add_argument("--quick", action="store_true",
                        help="five trials and a few of all else, to see that it works")  # fmt: skip
    parser.add_argument("--report", action="store_true",
                        help="write the report from what is kept, and measure nothing")  # fmt: skip
    parser.set_defaults(
        run=_gate, interrupted="what is done is kept; the same command goes on from there"
    )


def _gate(options: argparse.Namespace) -> int:
    try:
        from bench.gate import report, validation
    except ImportError as error:
        print(f"python -m bench validate_gate: {error}: pip install -e '.[test]'", file=sys.stderr)
        return 2
    plan = validation.Plan(options.trials)
    if options.quick:
        plan = validation.Plan(5, 3, 2000, validation.QUICK)
    try:
        if options.report:
            results = validation.kept(plan)
        else:
            with tqdm(file=sys.stderr, unit="") as bar:

                def progress(what: str, done: int, of: int) -> None:
                    bar.set_description(what, refresh=False)
                    bar.total, bar.n = of, done
                    bar.refresh()

                results = validation.measured(plan, progress)
        files = report.written(plan.folder, results)
    except (RuntimeError, OSError, Broken) as error:
        print(f"python -m bench validate_gate: {error}", file=sys.stderr)
        return 2
    print(report.text(results))
    print("Written: " + ", ".join(str(file) for file in files))
    if options.quick:
        return int(any(report.missed_and_stopped(results)))
    if not report.kept_promises(results):
        print("Something is not as it is promised, or not shown yet: see the targets.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
