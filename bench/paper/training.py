"""What is computed for the reports: trainings of a protocol, by scratch or by torch.

A task is a protocol with some seeds, and what is watched while it trains; its result, errors and
counts of each run, is stored by `bench.pool`.
"""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

import reference.train
import scratch
from bench.environment import code, processor
from bench.paper.as_published import diagnosis
from bench.paper.protocol import Protocol
from bench.problem import disks
from scratch import runs

#: Epochs after which something is watched.
WATCHED = (0, 1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100)

#: A unit is dead if it gives 0 at this share of the training points: next to no gradient comes
#: to its weights.
DEAD = 0.99

#: Points of a side of a map.
SIDE = 81

#: What every result depends on, besides its task.
VERSION = [
    code(
        "scratch", "reference", "bench/problem.py",
        *(f"bench/paper/{name}.py" for name in ("as_published", "protocol", "training")),
    ),
    torch.__version__,
]  # fmt: skip


@dataclass(frozen=True)
class Task:
    """Some runs of a protocol.

    Args:
        protocol: its evaluation does not count: all of them are made.
        seeds: of the runs: of data, initial weights, orders and masks.
        side: "scratch", all runs at once, or "torch", one after another.
        watch: "errors" after each epoch; "dead" units after those of `WATCHED`; at the end the
            "map" of what scratch says of the unit square, or which test points are "wrong"; or
            nothing.
    """

    protocol: Protocol
    seeds: tuple[int, ...]
    side: str = "scratch"
    watch: str = ""

    @property
    def name(self) -> str:
        what = json.dumps([asdict(self), *VERSION])
        return f"{hashlib.sha256(what.encode()).hexdigest()[:20]}.json"

    @property
    def cost(self) -> float:
        """Seconds that it takes, roughly: for progress, and to begin with the longest."""
        protocol, runs = self.protocol, len(self.seeds)
        steps = protocol.epochs * -(-1000 // protocol.batch_size)
        if self.side == "torch":
            return runs * steps * (3e-4 if protocol.dropped else 2e-4)
        if protocol.published:
            return steps * (5e-4 + 1e-5 * runs)
        return 1 + runs * steps * (5e-7 + 1.5e-7 * protocol.batch_size)


@dataclass(frozen=True)
class Diagnosis:
    """What the harness is to say of a formula as printed: a task like a training."""

    variant: str

    @property
    def name(self) -> str:
        what = json.dumps([self.variant, *VERSION, code("parity")])
        return f"{hashlib.sha256(what.encode()).hexdigest()[:20]}.json"

    @property
    def cost(self) -> float:
        return 4.0


def run(task: Task | Diagnosis) -> dict[str, Any]:
    """What a worker does: the diagnosis, or the training of a task's runs."""
    if isinstance(task, Diagnosis):
        said = diagnosis(task.variant)
        return {"variant": task.variant, "faults": said, "version": VERSION}
    torch.set_num_threads(1)  # the workers share the processors
    start = time.perf_counter()
    found = (_by_scratch if task.side == "scratch" else _by_torch)(task)
    return found | {
        "seconds": time.perf_counter() - start,
        "version": VERSION,
        "processor": processor(),
    }


def _by_scratch(task: Task) -> dict[str, Any]:
    protocol, seeds = task.protocol, list(task.seeds)
    model = runs.stack([protocol.network(seed) for seed in seeds])
    x, labels = disks(seeds)
    test = disks(seeds, test=True)
    optimizer = protocol.optimizer_of("scratch", model.param())
    watched: list[Any] = []

    def watch(epoch: int) -> None:
        if task.watch == "errors":
            found = [scratch.train.predict(model, points) for points in (x, test[0])]
            pairs = zip(found, (labels, test[1]), strict=True)
            watched.append([_errors(protocol, y, right) for y, right in pairs])
        elif task.watch == "dead" and epoch in WATCHED:
            watched.append(_dead(model, x))

    if task.watch == "dead":
        watch(0)
    with warnings.catch_warnings(record=True) as fallen_back:
        warnings.filterwarnings("always", "engine 'auto'")
        scratch.fit(
            model, protocol.criterion("scratch"), optimizer, x, protocol.targets(labels),
            epochs=protocol.epochs, batch_size=protocol.batch_size, seed=seeds,
            engine="eager" if protocol.published else "auto",
            on_epoch=watch if task.watch in ("errors", "dead") else None,
        )  # fmt: skip
    if task.watch == "map":
        y = scratch.train.predict(model, square())
        chances = y.softmax(-1)[..., 1] if protocol.outputs == 2 else y[..., 0].sigmoid()
        watched = [[round(one, 4) for one in run] for run in chances.tolist()]
    elif task.watch == "wrong":
        wrong = protocol.classes(scratch.train.predict(model, test[0])) != test[1]
        watched = [run.nonzero().flatten().tolist() for run in wrong]

    def predict(points: Tensor) -> Tensor:
        with torch.inference_mode():
            return model(points)

    finite = torch.stack([p.flatten(1).isfinite().all(-1) for p, _ in model.param()]).all(0)
    return {
        "errors": _evaluated(protocol, predict, model.train, (x, labels), test),
        "diverged": int((~finite).sum()),
        "engine": "eager" if protocol.published or fallen_back else "fused",
    } | ({"watched": watched} if task.watch else {})


def _by_torch(task: Task) -> dict[str, Any]:
    """As `_by_scratch`, from the same weights, data, orders and masks."""
    protocol, each, watched = task.protocol, [], []
    for seed in task.seeds:
        points, rights = disks([seed])
        (x, labels), (test_points, test_rights) = (points[0], rights[0]), disks([seed], test=True)
        test = test_points[0], test_rights[0]
        model = protocol.twin()
        model.load_state_dict(protocol.network(seed).state_dict())
        optimizer = protocol.optimizer_of("torch", model.parameters())
        curves: list[Any] = []

        def watch(
            _: int,
            model: Any = model,
            curves: list[Any] = curves,
            own: Sequence[tuple[Tensor, Tensor]] = ((x, labels), test),
        ) -> None:
            found = [(reference.train.predict(model, points), right) for points, right in own]
            curves.append([_errors(protocol, y, right) for y, right in found])

        reference.train.fit(
            model, protocol.criterion("torch"), optimizer, x, protocol.targets(labels),
            epochs=protocol.epochs, batch_size=protocol.batch_size, draws=scratch.Draws(seed),
            masks=True, on_epoch=watch if task.watch else None,
        )  # fmt: skip
        each.append(_evaluated(protocol, torch.no_grad()(model), model.train, (x, labels), test))
        watched.append(curves)
    errors = {
        way: {part: [one[way][part] for one in each] for part in ("train", "test")}
        for way in each[0]
    }
    if not task.watch:
        return {"errors": errors}
    epochs = zip(*watched, strict=True)  # [epochs][runs][train, test]
    return {"errors": errors, "watched": [[*zip(*epoch, strict=True)] for epoch in epochs]}


def _evaluated(
    protocol: Protocol,
    predict: Callable[[Tensor], Tensor],
    train: Callable[[bool], object],
    training: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
) -> dict[str, dict[str, Any]]:
    """Errors in percent of points, on training and test points, by each way to evaluate."""
    found = {}
    ways = protocol.evaluations()
    for mode in dict.fromkeys(way.evaluated for way in ways.values()):
        train(mode == "with dropout")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            y = [predict(points) for points, _ in (training, test)]
        for name, way in ways.items():
            if way.evaluated == mode:
                found[name] = {
                    part: _errors(way, own, labels)
                    for part, own, (_, labels) in zip(
                        ("train", "test"), y, (training, test), strict=True
                    )
                }
    return found


def _errors(protocol: Protocol, y: Tensor, labels: Tensor) -> Any:
    """The share of points in the wrong class, in percent: a number, or one for each run."""
    wrong = (protocol.classes(y) != labels).double().mean(-1)
    return [round(100 * one, 6) for one in wrong.tolist()] if wrong.dim() else 100 * float(wrong)


def _dead(model: scratch.Sequential, x: Tensor) -> list[list[int]]:
    """For each ReLU in a row, how many units are dead: a count for each run."""
    counts = []
    with torch.inference_mode():
        for layer in model.eval():
            x = layer(x)
            if isinstance(layer, scratch.ReLU):
                silent = (x == 0).double().mean(-2)  # [R, units]
                counts.append((silent >= DEAD).sum(-1).tolist())
    return counts


def square() -> Tensor:
    """The points of a map, row by row: `[SIDE * SIDE, 2]`."""
    side = torch.linspace(0, 1, SIDE)
    rows, columns = torch.meshgrid(side, side, indexing="ij")
    return torch.stack([columns, rows], -1).reshape(-1, 2)
