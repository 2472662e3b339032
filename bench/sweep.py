"""Every combination of a grid, trained: a task is one combination with some seeds, at once."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import math
import os
import re
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from tabulate import tabulate

import scratch
from bench.environment import code, processor
from bench.problem import POINTS, disks
from scratch import data, models, runs
from scratch.engines import Unsupported, fused

#: Seeds of one task: 0 to 9, 10 to 19 and so on, whatever number is asked for.
TOGETHER = 10

ACTIVATIONS: dict[str, Callable[[], scratch.Module]] = models.ACTIVATIONS | {"selu": scratch.SELU}
#: A loss, and what the last Linear is followed by.
LOSSES: dict[str, tuple[Callable[[], scratch.Loss], Callable[[], scratch.Module] | None]] = {
    "mse": (scratch.MSELoss, scratch.Tanh),
    "l1": (scratch.L1Loss, scratch.Tanh),
    "bce": (scratch.BCELoss, scratch.Softmax),
    "bce_logits": (scratch.BCEWithLogitsLoss, None),
    "cross_entropy": (scratch.CrossEntropyLoss, None),
}
OPTIMIZERS: dict[str, Callable[..., scratch.Optimizer]] = {
    "sgd": scratch.SGD,
    "momentum": partial(scratch.SGD, momentum=0.9),
    "nesterov": partial(scratch.SGD, momentum=0.9, nesterov=True),
    "adam": scratch.Adam,
    "adamw": scratch.AdamW,
}

#: Of this module as it was imported: a worker that runs on may have an older one.
VERSION = [code(), torch.__version__]


@dataclass(frozen=True)
class Task:
    """One combination, and the seeds of its runs.

    Args:
        model: the widths of the hidden layers, such as "25-25-25".
        dropout: its rate, after each hidden activation.
    """

    model: str
    activation: str
    loss: str
    dropout: float
    optimizer: str
    rate: float
    epochs: int
    batch_size: int
    seeds: tuple[int, ...]

    @property
    def name(self) -> str:
        """Of the file of its result: the same task, by the same code and torch, has the same."""
        what = json.dumps([asdict(self), *VERSION])
        return f"{hashlib.sha256(what.encode()).hexdigest()[:20]}.json"

    def network(self, seed: int) -> scratch.Sequential:
        """The network of a run, with two outputs, a score for each class."""
        source = scratch.Philox(seed)
        layers: list[scratch.Module] = []
        before = 2
        for width in map(int, self.model.split("-")):
            layers += [
                scratch.Linear(before, width, init="xavier_normal", generator=source),
                ACTIVATIONS[self.activation](),
            ]
            if self.dropout:
                layers.append(scratch.Dropout(self.dropout))
            before = width
        layers.append(scratch.Linear(before, 2, init="xavier_normal", generator=source))
        if (last := LOSSES[self.loss][1]) is not None:
            layers.append(last())
        return scratch.Sequential(layers)


@dataclass(frozen=True)
class Grid:
    """What is combined with what.

    Raises:
        ValueError: something in it that there is not, or of no use.
    """

    models: Sequence[str] = ("25-25-25",)
    activations: Sequence[str] = ("relu", "tanh", "selu")
    losses: Sequence[str] = ("mse", "bce")
    dropouts: Sequence[float] = (0.0, 0.5)
    optimizers: Sequence[str] = ("sgd", "adam")
    rates: Sequence[float] = (1e-3,)
    seeds: int = 10
    epochs: int = 30
    batch_size: int = 10

    def __post_init__(self) -> None:
        for given, known in (
            (self.activations, ACTIVATIONS), (self.losses, LOSSES), (self.optimizers, OPTIMIZERS),
        ):  # fmt: skip
            if unknown := [name for name in given if name not in known]:
                raise ValueError(f"there is no {', '.join(unknown)}; there are {', '.join(known)}")
        for model in self.models:
            if not all(re.fullmatch("[1-9][0-9]{0,4}", width) for width in model.split("-")):
                raise ValueError(f"a model is its hidden widths, such as 25-25-25, not {model!r}")
        if wrong := [p for p in self.dropouts if not 0 <= p < 1]:
            raise ValueError(f"a dropout is a rate from 0 to below 1, not {wrong[0]}")
        if wrong := [rate for rate in self.rates if not 0 < rate < math.inf]:
            raise ValueError(f"a learning rate is above 0 and finite, not {wrong[0]}")
        for name in ("seeds", "epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is at least 1, not {getattr(self, name)}")

    def tasks(self) -> list[Task]:
        """All of it, each once."""
        blocks = [
            tuple(range(first, min(first + TOGETHER, self.seeds)))
            for first in range(0, self.seeds, TOGETHER)
        ]
        combined = itertools.product(
            self.models, self.activations, self.losses, self.dropouts, self.optimizers, self.rates,
            [self.epochs], [self.batch_size], blocks,
        )  # fmt: skip
        return list(dict.fromkeys(Task(*values) for values in combined))


def run(task: Task) -> dict[str, Any]:
    """Trains a task's runs, at once if none is refused; this is what an executor is given."""
    torch.set_num_threads(1)  # the workers share the processors
    with contextlib.suppress(Unsupported):
        fused.backend(torch.device("cpu"))  # it is compiled before anything is timed
    refused: list[str] = []
    try:
        accuracies, seconds = _trained(task, task.seeds)
    except ValueError:
        accuracies, seconds = [], 0.0
        for seed in task.seeds:  # one that goes astray does not take the others with it
            try:
                own, spent = _trained(task, (seed,))
            except ValueError as error:
                own, spent = [None], 0.0
                refused.append(f"seed {seed}: {error}")
            accuracies, seconds = accuracies + own, seconds + spent
    if not refused:
        lost = zip(task.seeds, accuracies, strict=True)
        refused = [f"seed {seed}: training diverged" for seed, one in lost if one is None]
    return {
        "accuracies": accuracies, "refused": refused, "seconds": seconds,
        "processor": processor(), "process": os.getpid(), "version": VERSION,
    }  # fmt: skip


def _trained(task: Task, seeds: tuple[int, ...]) -> tuple[list[float | None], float]:
    """The accuracies of these runs, None where a weight is not finite; the seconds it took."""
    model = runs.stack([task.network(seed) for seed in seeds])
    x, labels = disks(seeds)
    optimizer = OPTIMIZERS[task.optimizer](model.param(), task.rate)
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "engine 'auto'")
        scratch.fit(
            model, LOSSES[task.loss][0](), optimizer, x, data.one_hot(labels),
            epochs=task.epochs, batch_size=task.batch_size, seed=seeds, engine="auto",
        )  # fmt: skip
    seconds = time.perf_counter() - start
    found = scratch.train.accuracy(model, *disks(seeds, test=True)).tolist()
    finite = [all(p[run].isfinite().all() for p, _ in model.param()) for run in range(len(seeds))]
    return [one if sound else None for one, sound in zip(found, finite, strict=True)], seconds


def text(results: Sequence[dict[str, Any]], style: str = "simple") -> str:
    """A table: each combination once, the best first; and what was refused."""
    found: dict[Task, list[dict[str, Any]]] = {}
    for result in results:
        task = Task(**result["task"])
        found.setdefault(replace(task, seeds=()), []).append(result)
    rows = []
    for task, parts in found.items():
        every = [accuracy for part in parts for accuracy in part["accuracies"]]
        own = [accuracy for accuracy in every if accuracy is not None]
        row = {
            name: getattr(task, name)
            for name in ("model", "activation", "loss", "dropout", "optimizer", "rate")
        }
        row |= {
            "runs": len(own),
            "test accuracy": f"{np.mean(own):.3f}" if own else "-",
            "std": f"{np.std(own, ddof=1):.3f}" if len(own) > 1 else "-",
            "seconds a run": f"{sum(part['seconds'] for part in parts) / max(len(own), 1):.3g}",
        }
        rows.append(row)
    rows.sort(key=lambda row: row["test accuracy"], reverse=True)
    lines = [tabulate(rows, headers="keys", tablefmt=style, disable_numparse=True), ""]
    lines += [
        f"Left out, {task.model} {task.activation} {task.loss} dropout {task.dropout:g} "
        f"{task.optimizer} {task.rate:g}, {why}"
        for task, parts in found.items()
        for part in parts
        for why in part["refused"]
    ]
    task = next(iter(found))
    lines.append(
        f"{task.epochs} epochs, {POINTS} training and {POINTS} test points, batch size "
        f"{task.batch_size}, weights and biases from Xavier's normal distribution; mse and l1 are "
        "after a Tanh, bce after a Softmax. Runs trained at once share their time."
    )
    return "\n".join(lines)
