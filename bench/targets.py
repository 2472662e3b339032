"""What the engines are held to, and what of it was measured, in the same run on the same cores."""

from __future__ import annotations

import ctypes
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from tabulate import tabulate

from bench import measure
from bench.peers import stacked
from bench.setting import setting
from bench.steps import epoch
from bench.table import TITLES
from reference import pairs
from scratch.engines import Unsupported, cpu

BATCH, ROUNDS = 10, 7
MANY = 1000  # runs

TORCH, JAX = "fused against torch.nn", "fused against JAX"
SHARE = "fused, batch 100: share of the peak rate"
CORES = "fused, 100 runs: two cores against one"
COST = "fused: cost of a run among 1,000, against one among 10"
FIRST_USE, CACHED = "fused: compiled at its first use, s", "fused: loaded from the cache, s"
STEP = "eager: time of a step, against torch.nn's"
WHOLE = "fused: 10 runs x 30 epochs, s"
MORE = "fused: time of 1,000 runs, against that of 10"

#: What is aimed at on a device, for Model 1 and for Model 2: at least so much, or at most.
GOALS: dict[str, dict[str, tuple[str, float, float]]] = {"cpu": {
    TORCH: ("at least", 100, 120),
    JAX: ("at least", 2.5, 2.5),
    SHARE: ("at least", 0.3, 0.3),
    CORES: ("at least", 1.7, 1.7),
    COST: ("at most", 1.1, 1.1),
    FIRST_USE: ("at most", 5, 5),
    CACHED: ("at most", 0.1, 0.1),
    STEP: ("at most", 0.40, 0.45),
}, "cuda": {
    WHOLE: ("at most", 0.1, 0.1),
    MORE: ("at most", 10, 10),
}}  # fmt: skip

#: By the goal and the model: ratios, shares or seconds.
Samples = dict[str, dict[str, list[float]]]


def measured(epochs: int, progress: Callable[[str], None] = lambda done: None) -> Samples:
    """The goals that the contenders' table does not have; those of the fused engine only where
    it can be built."""
    found: Samples = {STEP: {}}
    threads = torch.get_num_threads()
    try:
        found[FIRST_USE], found[CACHED] = ({"": [seconds]} for seconds in _compiled())
        found |= {CORES: {}, COST: {}}
    except Unsupported:
        pass
    progress("compiling")
    for model, title in TITLES.items():
        found[STEP][model] = _steps(model)
        progress(f"{title}: steps")
        if CORES not in found:
            continue
        if (os.cpu_count() or 1) > 1:
            found[CORES][model] = _cores(model, epochs)
            torch.set_num_threads(threads)
        progress(f"{title}: two cores")
        found[COST][model] = _cost(model, epochs)
        progress(f"{title}: {MANY} runs")
    return found


def table(samples: Samples, device: str, style: str) -> str:
    """Every goal, and whether it was met; what could not be measured is said to be missing."""
    rows = []
    for goal, (kind, *aims) in GOALS[device].items():
        found = samples.get(goal, {})
        for (model, title), aim in zip(TITLES.items(), aims, strict=True):
            values = found.get("", found.get(model, []))
            row = {"": goal, "model": "" if "" in found else title, "target": f"{kind} {aim:g}"}
            if values:
                reached = measure.median(values)
                met = reached.median >= aim if kind == "at least" else reached.median <= aim
                spread = f" [{reached.low:.3g}, {reached.high:.3g}]" if len(values) > 1 else ""
                row["measured"] = f"{reached.median:.3g}{spread}"
                row["met"] = "yes" if met else "no"
            else:
                row |= {"measured": "not measured", "met": ""}
            if row not in rows:
                rows.append(row)
    return tabulate(rows, headers="keys", tablefmt=style, disable_numparse=True)


def _compiled() -> tuple[float, float]:
    """Seconds to build the engine's library, and to load it once it is built."""
    source = cpu.SOURCE.read_text()
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        cpu.build(source, Path(folder))
        built = time.perf_counter()
        ctypes.CDLL(str(cpu.build(source, Path(folder))))
        return built - start, time.perf_counter() - built


def _cores(model: str, epochs: int) -> list[float]:
    """One core's time over that of two."""
    prepared = stacked(setting(model, 100, epochs, BATCH), "fused")
    times: dict[int, list[float]] = {1: [], 2: []}
    for number in range(ROUNDS):
        for threads in (1, 2) if number % 2 == 0 else (2, 1):
            torch.set_num_threads(threads)
            prepared.reset()
            times[threads].append(measure.seconds(prepared.train, "cpu"))
    return [one / two for one, two in zip(times[1], times[2], strict=True)]


def _cost(model: str, epochs: int) -> list[float]:
    """A run's share of the time of many, over that of ten."""
    few, many = (stacked(setting(model, runs, epochs, BATCH), "fused") for runs in (10, MANY))
    ratios = []
    for _ in range(3):
        times = []
        for _ in range(ROUNDS):
            few.reset()
            times.append(measure.seconds(few.train, "cpu"))
        many.reset()
        together = measure.seconds(many.train, "cpu")
        ratios.append(together / MANY / (measure.median(times).median / 10))
    return ratios


def _steps(model: str) -> list[float]:
    """Eager's time of a step over that of torch.nn with its fused optimizer."""
    pair = next(pair for pair in pairs.MODELS if pair.name == model)
    ours, theirs = (epoch(pair, side, BATCH, "cpu") for side in ("scratch", "torch"))
    measure.interleaved(ours, theirs, 5, "cpu")
    times = measure.interleaved(ours, theirs, 5 * ROUNDS, "cpu")
    return [own / other for own, other in zip(*times, strict=True)]
