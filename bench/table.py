"""The reports' table: accuracy and time of runs of so many epochs, scratch beside torch.

All sides of a run get the same data, initial weights, batches and threads. Torch draws dropout
masks of its own. They are timed in turn, run by run; nothing is evaluated while the clock runs.
Scratch trains one run like torch, and ten at once, by its layers and by the fused engine: a run's
time is then a tenth.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats
from tabulate import tabulate

import reference.train
import scratch
from bench import measure
from bench.environment import caption, environment
from bench.lockstep import PARITY, verdict
from bench.problem import POINTS, disks
from bench.storage import RESULTS, write
from reference import pairs
from scratch import data
from scratch.engines import Unsupported, fused

PUBLISHED = json.loads((Path(__file__).parent / "published.json").read_text())
TITLES = {"model_1": "Model 1", "model_2": "Model 2"}
SIDES = {
    "scratch": "scratch",
    "stacked": "scratch, {} at once",
    "fused": "scratch, {} at once, fused",
    "torch": "torch",
}
TOGETHER = 10  # runs, at most, that are trained at once


@dataclass(frozen=True)
class Protocol:
    """How the table is measured; the defaults are report B's, at a batch size of 10.

    Raises:
        ValueError: runs, epochs, batch_size or threads below 1; more threads than processors.
    """

    runs: int = 10
    epochs: int = 30
    batch_size: int = 10
    model_1: str = "text"
    threads: int = 1
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name in ("runs", "epochs", "batch_size", "threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        processors = os.cpu_count() or 1
        if self.threads > processors:
            raise ValueError(f"threads must be at most {processors}, the processors here")

    @property
    def sides(self) -> tuple[str, ...]:
        """What is measured here."""
        return tuple(side for side in SIDES if side != "fused" or not self.unfused)

    @functools.cached_property
    def unfused(self) -> str:
        """Why the fused engine cannot be measured; empty if it can."""
        try:
            fused.backend(torch.device(self.device))
        except Unsupported as error:
            return str(error)
        return ""

    @property
    def name(self) -> str:
        """Of the files that the results are kept in."""
        variant = "" if self.model_1 == "text" else f"-{self.model_1}"
        return (
            f"table-{self.device}-{self.runs}x{self.epochs}-batch{self.batch_size}"
            f"-threads{self.threads}{variant}"
        )

    def pair(self, model: str) -> pairs.ModelPair:
        """The networks that stand for "model_1" or "model_2"."""
        variant = "_listing" if model == "model_1" and self.model_1 == "listing" else ""
        return next(pair for pair in pairs.MODELS if pair.name == model + variant)

    def describe(self) -> str:
        """The caption: what is trained, how, and on what."""
        fused = f" The fused engine is left out: {self.unfused}." if self.unfused else ""
        dropout = "no dropout" if self.model_1 == "text" else "Dropout(0.5)"
        return (
            f"{self.runs} runs x {self.epochs} epochs, {POINTS} training and {POINTS} test points, "
            f"batch size {self.batch_size}, learning rate 1e-3; weights and biases from Xavier's "
            f"normal distribution. Model 1 as the report's {self.model_1} has it: {dropout}, "
            "Tanh at the end, summed squared error, SGD. Model 2: SELU, Dropout(0.5) twice, "
            "Softmax at the end, binary cross-entropy (mean), Adam. Torch's optimizers are fused. "
            f"Runs trained at once share their time.{fused}"
        )


@dataclass
class Run:
    """One training by one side."""

    model: str
    side: str
    seed: int
    seconds: float
    accuracy: float


@dataclass
class Results:
    """All runs of a protocol so far."""

    protocol: Protocol
    environment: dict[str, Any]
    runs: list[Run] = field(default_factory=list)
    parity: dict[str, dict[str, Any]] = field(default_factory=dict)

    def of(self, model: str, side: str) -> list[Run]:
        chosen = [run for run in self.runs if (run.model, run.side) == (model, side)]
        return sorted(chosen, key=lambda run: run.seed)


def kept_runs(protocol: Protocol) -> int:
    """How many runs an interrupted measurement left that the next one goes on from."""
    return len(resumed(protocol, _partial(protocol)).runs)


def results(protocol: Protocol, progress: Callable[[str], object] = lambda done: None) -> Results:
    """Measures every run of the protocol.

    A run is kept as soon as it is done: interrupted, the next call goes on from there, if
    protocol, code, versions and processor are the same. Finished, the next call starts anew.

    Args:
        progress: called after each new run, and after each model's parity, with what was done.
    """
    torch.set_num_threads(protocol.threads)
    partial_file = _partial(protocol)
    kept = resumed(protocol, partial_file)
    done = {(run.model, run.side, run.seed) for run in kept.runs}
    _warm_up(protocol)
    for model, seed, sides in _plan(protocol):
        for side in sides:
            if (model, side, seed) not in done:
                kept.runs.append(train(protocol, model, side, seed))
                write(partial_file, json.dumps(asdict(kept)))
                progress(f"{TITLES[model]} {side}")
    for model, title in TITLES.items():
        for engine in engines(protocol):
            judged = verdict(protocol.pair(model), protocol.batch_size, protocol.device, engine)
            kept.parity[f"{model} {engine}"] = asdict(judged)
            progress(f"{title} parity, {engine}")
    write(RESULTS / f"{protocol.name}.json", json.dumps(asdict(kept), indent=1) + "\n")
    write(RESULTS / f"{protocol.name}.md", markdown(kept))
    partial_file.unlink(missing_ok=True)
    return kept


def engines(protocol: Protocol) -> list[str]:
    """Scratch's engines that are measured here."""
    return ["eager", "fused"] if "fused" in protocol.sides else ["eager"]


def train(protocol: Protocol, model: str, side: str, seed: int) -> Run:
    """One run: its data, weights and batches depend on the seed alone."""
    if side in ("stacked", "fused"):
        return _together(protocol, model, side, seed)
    pair, device = protocol.pair(model), protocol.device
    x, labels = data.disk(POINTS, seed=2 * seed, device=device)
    test = data.disk(POINTS, seed=2 * seed + 1, device=device)
    t = pair.targets(labels)
    network: Any = pair.scratch(generator=torch.Generator().manual_seed(seed)).to(device)
    fit: Any = scratch.train.fit
    accuracy: Any = scratch.train.accuracy
    criterion: Any = pair.loss[0]()
    if side == "torch":
        weights = network.state_dict()
        network = pair.reference().to(device)
        network.load_state_dict(weights)
        torch.manual_seed(seed)  # of its dropout masks
        fit, accuracy, criterion = reference.train.fit, reference.train.accuracy, pair.loss[1]()
    parameters = network.param() if side == "scratch" else network.parameters()
    optimizer = pair.optimizer[side == "torch"](parameters)

    given = {"seed": seed} if side == "scratch" else {"draws": scratch.Draws(seed, device)}

    def timed() -> None:
        fit(
            network, criterion, optimizer, x, t,
            epochs=protocol.epochs, batch_size=protocol.batch_size, **given,
        )  # fmt: skip

    elapsed = measure.seconds(timed, device)
    return Run(model, side, seed, elapsed, float(accuracy(network, *test)))


def _together(protocol: Protocol, model: str, side: str, seed: int) -> Run:
    """The run of that seed, trained at once with its neighbours; of the time, its share."""
    pair, device = protocol.pair(model), protocol.device
    first = seed // TOGETHER * TOGETHER
    seeds = list(range(first, min(first + TOGETHER, max(protocol.runs, seed + 1))))
    x, labels = disks(seeds, device=device)
    made = [pair.scratch(generator=torch.Generator().manual_seed(one)) for one in seeds]
    network = scratch.runs.stack(made).to(device)
    optimizer, criterion = pair.optimizer[0](network.param()), pair.loss[0]()

    def timed() -> None:
        scratch.fit(
            network, criterion, optimizer, x, pair.targets(labels), epochs=protocol.epochs,
            batch_size=protocol.batch_size, seed=seeds,
            engine="fused" if side == "fused" else "eager",
        )  # fmt: skip

    elapsed = measure.seconds(timed, device)
    accuracies = scratch.train.accuracy(network, *disks(seeds, test=True, device=device))
    return Run(model, side, seed, elapsed / len(seeds), float(accuracies[seed - first]))


def rows(kept: Results) -> list[dict[str, Any]]:
    """The table: a row for each model and side."""
    table = []
    together = min(TOGETHER, kept.protocol.runs)
    for (model, title), side in itertools.product(TITLES.items(), kept.protocol.sides):
        runs, theirs = kept.of(model, side), kept.of(model, "torch")
        accuracies = [run.accuracy for run in runs]
        ratio = measure.median([a.seconds / b.seconds for a, b in zip(runs, theirs, strict=True)])
        engine = "fused" if side == "fused" else "eager"
        worst = kept.parity.get(f"{model} {engine}", {}).get("ratio", math.nan)
        published = PUBLISHED["rows"][model].get(side, {})
        ours = side != "torch"
        table.append(
            {
                "model": f"{title} ({SIDES[side].format(together)})",
                "test accuracy": f"{np.mean(accuracies):.3f}",
                "std": f"{np.std(accuracies, ddof=1):.3f}" if len(runs) > 1 else "-",
                "seconds a run": f"{np.median([run.seconds for run in runs]):.3g}",
                "ratio to torch [95 %]": _ratio(ratio, len(runs)) if ours else "1",
                "parity": _parity(worst) if ours else "",
                "report B: accuracy": f"{published['accuracy']:.3f}" if published else "",
                "report B: std": f"{published['std']:.3f}" if published else "",
                "report B: seconds": f"{published['seconds']:.2f}" if published else "",
            }
        )
    return table


def agreement(kept: Results, model: str) -> tuple[float, float, float]:
    """The mean difference in accuracy, scratch less torch on the same seeds, and half the width
    of its 95 % interval and of its 99.9 % interval, by Student's t."""
    ours, theirs = (
        np.array([run.accuracy for run in kept.of(model, side)]) for side in ("scratch", "torch")
    )
    differences = ours - theirs
    if len(differences) < 2:
        return float(differences.mean()), math.inf, math.inf
    error = float(stats.sem(differences))
    widths = [float(stats.t.ppf(1 - alpha / 2, len(differences) - 1)) for alpha in (0.05, 0.001)]
    return float(differences.mean()), widths[0] * error, widths[1] * error


def text(kept: Results, style: str = "simple") -> str:
    """The table with its caption, for a terminal or in Markdown (style "github")."""
    lines = [tabulate(rows(kept), headers="keys", tablefmt=style, disable_numparse=True), ""]
    for model, title in TITLES.items():
        mean, half, _ = agreement(kept, model)
        if math.isinf(half):
            lines.append(f"{title}: one run says nothing of how far scratch and torch differ.")
            continue
        lines.append(
            f"{title}: scratch less torch, same seeds, {100 * mean:+.2f} points of accuracy, "
            f"95 % interval ±{100 * half:.2f}."
        )
    lines += [
        "",
        kept.protocol.describe(),
        PARITY,
        f"Measured on {caption(kept.environment)}.",
        f"Report B: {PUBLISHED['source']}.",
    ]
    return "\n".join(lines)


def markdown(kept: Results) -> str:
    """The table as a Markdown file."""
    return text(kept, "github") + "\n"


def _ratio(ratio: measure.Interval, count: int) -> str:
    return str(ratio) if count > 1 else f"{ratio.median:.3f}"


def _parity(ratio: float) -> str:
    return f"{'ok' if ratio <= 1 else 'WRONG'}, {ratio:.2f}"


def _plan(protocol: Protocol) -> Iterator[tuple[str, int, tuple[str, ...]]]:
    """Models and seeds, with the order in which the sides run: A B, B A, A B, …"""
    sides = protocol.sides
    for model in TITLES:
        for seed in range(protocol.runs):
            yield model, seed, sides if seed % 2 == 0 else sides[::-1]


def _partial(protocol: Protocol) -> Path:
    return RESULTS / f"{protocol.name}.partial.json"


def _warm_up(protocol: Protocol) -> None:
    short = Protocol(1, 1, max(protocol.batch_size, 100), protocol.model_1, device=protocol.device)
    for model in TITLES:
        for side in short.sides:
            train(short, model, side, 0)


def resumed(protocol: Protocol, file: Path) -> Results:
    """What an interrupted measurement of the same protocol, code and processor left."""
    fresh = Results(protocol, environment(protocol.device))
    try:
        kept = json.loads(file.read_text())
        same = (kept["protocol"], kept["environment"]) == (asdict(protocol), fresh.environment)
        runs = [Run(**run) for run in kept["runs"]] if same else []
    except (OSError, ValueError, TypeError, KeyError):
        return fresh  # there is none, or it is not ours to read
    pairs = Counter((run.model, run.seed) for run in runs)
    # A ratio is of sides timed side by side: where one is missing, all are done again.
    fresh.runs = [run for run in runs if pairs[run.model, run.seed] == len(protocol.sides)]
    return fresh
