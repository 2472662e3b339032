"""Networks of scratch in its own loop: `fit`, one run and many."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

import parity
import scratch
from bench.lockstep import fitted
from parity import Comparison, Tensors, Trial
from parity.checks.trial import fact
from reference import pairs
from scratch import data, runs

RUNS = 3
DRAWS = 4
"""Of the floor, where each is a whole training. At three seeds no weight came nearer than half to
what is allowed."""


def build(trial: Trial, seed: int = 0) -> scratch.Sequential:
    """The scratch model."""
    generator = torch.Generator().manual_seed(trial.seed + seed)
    model: scratch.Sequential = pairs.build(trial.case, generator=generator)
    return model.to(trial.device, trial.dtype)


def pair_of(trial: Trial) -> pairs.ModelPair:
    return next(pair for pair in pairs.MODELS if pair.name == trial.case.entry.name)


def points(trial: Trial, count: int) -> tuple[Tensor, Tensor]:
    """Points of the disk problem, and targets as the network takes them."""
    x, labels = data.disk(count, seed=trial.seed, dtype=trial.dtype, device=trial.device)
    return x, pair_of(trial).targets(labels, trial.dtype)


def fit(trial: Trial) -> list[Comparison]:
    """`fit` leaves the weights that torch reaches from the same draws: on the same batches, the
    last one smaller, with the same masks."""
    return fitted("eager", trial, build(trial), pair_of(trial), 2, 30, 100)


def runs_together(trial: Trial) -> list[Comparison]:
    """`fit` of stacked runs leaves each run where `fit` of it alone leaves it, by the oracle
    rule, alone being the reference; and one run's other seed changes no other run."""
    x, t = points(trial, 200)
    together = _fitted(trial, runs.stack(_singles(trial)), x, t, list(range(RUNS)))
    verdicts = []
    for run, model in enumerate(runs.unstack(together)):
        judged = parity.compare(model.state_dict(), _alone(trial, run, x, t))
        verdicts += [replace(c, name=f"{c.name}, run {run}") for c in judged]
    other = _fitted(trial, runs.stack(_singles(trial)), x, t, [0, 99, 2]).state_dict()
    for name, before in together.state_dict().items():
        apart = all(bool((other[name][run] == before[run]).all()) for run in (0, 2))
        verdicts.append(fact(f"{name} of the other runs", apart, "changed with run 1's seed"))
        moved = bool((other[name][1] != before[1]).any())
        verdicts.append(fact(f"{name} of run 1", moved, "does not depend on its seed"))
    return verdicts


def _singles(trial: Trial) -> list[scratch.Sequential]:
    return [build(trial, 100 + run) for run in range(RUNS)]


def _fitted(
    trial: Trial, model: scratch.Sequential, x: Tensor, t: Tensor, seed: Any
) -> scratch.Sequential:
    pair = pair_of(trial)
    optimizer, loss = pair.optimizer[0](model.param()), pair.loss[0]()
    scratch.train.fit(model, loss, optimizer, x, t, epochs=2, batch_size=30, seed=seed)
    return model


def _alone(trial: Trial, run: int, x: Tensor, t: Tensor) -> parity.Truth:
    """One run trained alone: in the dtype, in float64, and around for the floor."""

    def evaluate(inputs: Tensors) -> Tensors:
        model = _singles(trial)[run].to(dtype=inputs["x"].dtype)
        model.load_state_dict({name: inputs[name] for name in model.state_dict()})
        return _fitted(trial, model, inputs["x"], inputs["t"], run).state_dict()

    inputs = {"x": x, "t": t, **_singles(trial)[run].state_dict()}
    return parity.truth(evaluate, inputs, draws=DRAWS)


CHECKS: dict[str, Callable[[Trial], Any]] = {"fit": fit, "runs_together": runs_together}
