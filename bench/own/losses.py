"""Losses of scratch over stacked predictions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from bench.own.defaults import defaults
from parity import Comparison, Trial
from reference import pairs

RUNS = 3


def stacked(trial: Trial) -> list[Comparison]:
    """Run i of stacked predictions has the loss and the derivative that it has alone."""
    each = [replace(trial, seed=trial.seed + run).loss_inputs() for run in range(RUNS)]
    inputs = {name: torch.stack([one[name] for one in each]).to(trial.device) for name in each[0]}
    criterion = pairs.build(trial.case)
    loss = criterion(inputs["prediction"], inputs["target"])
    results = {"loss": loss, "prediction_grad": criterion.backward()}
    verdicts = []
    for run, one in enumerate(each):
        got = {name: tensor[run].cpu() for name, tensor in results.items()}
        judged = trial.judge_loss(one, got)
        verdicts += [replace(c, name=f"{c.name} of run {run}") for c in judged]
    return verdicts


CHECKS: dict[str, Callable[[Trial], Any]] = {"stacked": stacked, "defaults": defaults}
