"""One training step of each network, scratch against torch; and ten runs at once against one
after another. `pytest bench/test_steps.py --benchmark-only` prints the ratios."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from tabulate import tabulate

import scratch
from bench import measure
from bench.environment import caption, environment
from bench.lockstep import PARITY, verdict
from bench.steps import STEPS, epoch
from reference import pairs
from reference.pairs import ModelPair
from scratch import data, runs

RUNS = 10


@pytest.mark.benchmark(min_rounds=10, max_time=0.5, warmup=True, warmup_iterations=3)
@pytest.mark.parametrize("side", ["scratch", "torch"])
@pytest.mark.parametrize("pair", pairs.MODELS, ids=str)
def test_epoch(
    benchmark: BenchmarkFixture,
    pair: ModelPair,
    side: str,
    device: str,
    request: pytest.FixtureRequest,
) -> None:
    batch_size = request.config.getoption("--batch-size")
    benchmark.group = f"{pair}: epoch of {STEPS} steps at batch {batch_size}, {device}"
    benchmark(measure.synchronised(epoch(pair, side, batch_size, device), device))


def test_step_ratios(
    benchmark: BenchmarkFixture,
    device: str,
    show: Callable[[str, str], None],
    request: pytest.FixtureRequest,
) -> None:
    """Interleaved in one process; a time stands beside the parity verdict of the same code."""
    batch_size, rounds = (request.config.getoption(f"--{of}") for of in ("batch-size", "rounds"))
    rows: list[dict[str, Any]] = []
    raw: dict[str, Any] = {}

    def measured() -> None:
        for pair in pairs.MODELS:
            ours, theirs = (epoch(pair, s, batch_size, device) for s in ("scratch", "torch"))
            measure.interleaved(ours, theirs, -(-rounds // 8), device)
            times = measure.interleaved(ours, theirs, rounds, device)
            raw[pair.name] = {"scratch": times[0], "torch": times[1]}
            rows.append(_row(pair, times, verdict(pair, batch_size, device)))

    benchmark.pedantic(measured, rounds=1, iterations=1)
    benchmark.extra_info["seconds of an epoch"] = raw
    table = tabulate(rows, headers="keys", tablefmt="simple", disable_numparse=True)
    show(
        f"one training step at batch {batch_size} on {device}",
        f"{table}\n\nMedian of {rounds} epochs of {STEPS} steps, the two sides in turn; "
        f"in brackets the 95 % interval.\n{PARITY}\nMeasured on {caption(environment(device))}.",
    )
    assert all(row["parity"].startswith("ok") for row in rows), table


def _row(pair: ModelPair, times: tuple[list[float], list[float]], worst: Any) -> dict[str, str]:
    ratio = measure.median([ours / theirs for ours, theirs in zip(*times, strict=True)])
    micros = [1e6 * measure.median(side).median / STEPS for side in times]
    state = "ok" if worst.passed else "WRONG"
    return {
        "network": pair.name,
        "scratch, µs": f"{micros[0]:.1f}",
        "torch, µs": f"{micros[1]:.1f}",
        "ratio [95 %]": str(ratio),
        "parity": f"{state}, {worst.ratio:.2f}",
    }


def test_stacked_runs(
    benchmark: BenchmarkFixture,
    device: str,
    show: Callable[[str, str], None],
    request: pytest.FixtureRequest,
) -> None:
    """Ten runs at once, and the same ten one after another."""
    batch_size, rounds = (request.config.getoption(f"--{of}") for of in ("batch-size", "rounds"))
    rows: list[dict[str, str]] = []

    def measured() -> None:
        for pair in (p for p in pairs.MODELS if p.name in ("model_1", "model_2")):
            together = _fits(pair, batch_size, device, stacked=True)
            apart = _fits(pair, batch_size, device, stacked=False)
            measure.interleaved(together, apart, -(-rounds // 16), device)
            times = measure.interleaved(together, apart, -(-rounds // 2), device)
            gain = measure.median([b / a for a, b in zip(*times, strict=True)])
            rows.append({"network": pair.name, "times faster [95 %]": str(gain)})

    benchmark.pedantic(measured, rounds=1, iterations=1)
    table = tabulate(rows, headers="keys", tablefmt="simple", disable_numparse=True)
    show(
        f"{RUNS} stacked runs against {RUNS} runs one after another on {device}",
        f"{table}\n\nMeasured on {caption(environment(device))}.",
    )
    assert rows


def _fits(pair: ModelPair, batch_size: int, device: str, stacked: bool) -> Callable[[], None]:
    """Ten runs of an epoch, together or one after another."""
    x, labels = data.disk(STEPS * batch_size, seed=0, device=device)
    t, seeds = pair.targets(labels), list(range(RUNS))
    singles = [
        pair.scratch(generator=torch.Generator().manual_seed(seed)).to(device) for seed in seeds
    ]
    criterion = pair.loss[0]()
    models = [runs.stack(singles)] if stacked else singles
    plan: list[tuple[Any, Any]] = (
        [(models[0], seeds)] if stacked else list(zip(models, seeds, strict=True))
    )
    optimizers = [pair.optimizer[0](model.param()) for model in models]

    def run() -> None:
        for (model, seed), optimizer in zip(plan, optimizers, strict=True):
            scratch.train.fit(
                model, criterion, optimizer, x, t, epochs=1, batch_size=batch_size, seed=seed
            )

    return run
