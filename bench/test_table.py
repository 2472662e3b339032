"""The reports' table. `pytest bench/test_table.py --benchmark-only` prints it."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable

import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from tqdm import tqdm

from bench import table
from bench.table import Protocol, Results


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
