"""The reports' table and that of two more models.

`pytest bench/test_table.py --benchmark-only` prints both.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable

import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from tqdm import tqdm

from bench import deep, table
from bench.table import Protocol, Results

WHOLE = Protocol().runs
"""Runs that it takes to judge what the two more models reach."""


def test_table(
    benchmark: BenchmarkFixture,
    protocol: Protocol,
    show: Callable[[str, str], None],
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Measures all runs; scratch must be right, and as accurate as torch up to chance."""
    benchmark.group = "table"
    with capfd.disabled():
        kept = benchmark.pedantic(_measured, (protocol,), rounds=1, iterations=1)
    benchmark.extra_info["runs"] = [vars(run) for run in kept.runs]
    where = f"Written to bench/results/{protocol.name}.md and .json."
    show(f"accuracy and time on {protocol.device}", f"{table.text(kept)}\n{where}")
    for model in table.TITLES:
        for engine in table.engines(protocol):
            judged = kept.parity[f"{model} {engine}"]
            assert judged["ratio"] <= 1, f"{model} is wrong, {engine}: {judged}"
        mean, _, half = table.agreement(kept, model)
        assert abs(mean) <= half or mean == 0, (
            f"{model}: scratch and torch differ by {mean:+.4f} in accuracy, more than the "
            f"{half:.4f} that chance explains in 999 of 1000 measurements"
        )


def test_deep(
    benchmark: BenchmarkFixture,
    protocol: Protocol,
    show: Callable[[str, str], None],
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Measures two more models: scratch must be right. If all runs and epochs are measured, both
    sides must also reach what they should, and be equivalent."""
    pytest.importorskip("sklearn", reason="the digits are in scikit-learn, which is not installed")
    benchmark.group = "table"
    with capfd.disabled():
        kept = benchmark.pedantic(_deep, (protocol,), rounds=1, iterations=1)
    benchmark.extra_info["runs"] = [vars(run) for run in kept.runs]
    name = deep.name(protocol.runs, protocol.epochs, protocol.device)
    where = f"Written to bench/results/{name}.md and .json."
    show(f"two more models on {protocol.device}", f"{deep.text(kept)}\n{where}")
    for one in deep.DEEP:
        judged = kept.parity[str(one)]
        assert judged["ratio"] <= 1, f"{one} is wrong: {judged}"
        if protocol.runs < WHOLE or kept.epochs[str(one)] < one.epochs:
            continue
        for side in deep.SIDES:
            mean = kept.mean(one, side)
            assert one.reached(mean), f"{one}, {side}: {one.figure} {mean:.3f}, not {one.reaches}"
        same = deep.sameness(kept, one)
        assert same is not None
        assert same.shown, f"{one}: scratch and torch are not shown to be equivalent: {same}"


def _deep(protocol: Protocol) -> deep.Results:
    total = len(deep.DEEP) * (len(deep.SIDES) * protocol.runs + 1)  # runs, and parity
    slow = 0.5 if sys.stderr.isatty() else 10  # seconds between lines that go to a file
    with tqdm(total=total, mininterval=slow, file=sys.stderr) as bar:

        def progress(done: str) -> None:
            bar.set_description(done, refresh=False)
            bar.update()

        return deep.results(protocol.runs, protocol.epochs, protocol.device, progress)


def _measured(protocol: Protocol) -> Results:
    each = len(protocol.sides) * protocol.runs + len(table.engines(protocol))  # runs, and parity
    total = len(table.TITLES) * each
    kept = table.kept_runs(protocol)
    if kept:
        print(f"\n{kept} runs are kept from an interrupted measurement: going on", file=sys.stderr)
    slow = 0.5 if sys.stderr.isatty() else 10  # seconds between lines that go to a file
    with tqdm(total=total, initial=kept, mininterval=slow, file=sys.stderr) as bar:

        def progress(done: str) -> None:
            bar.set_description(done, refresh=False)
            bar.update()

        try:
            return table.results(protocol, progress)
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # tox sends another while pytest closes
    # Out of the handler: pytest would go through the interrupt's traceback, and may stumble there.
    done = table.kept_runs(protocol)
    pytest.exit(f"{done} runs are kept: the same command goes on from them", returncode=130)
