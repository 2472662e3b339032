"""Checks of optimizers: the first step, and twenty, on the gradients that the subject has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from parity.catalogue.values import Tensors, weights_of
from parity.checks.trial import Trial, in_double
from parity.explain import optimizers as mistakes
from parity.explain.diagnosis import certified
from parity.explain.mistakes import simple
from parity.judge import evaluate
from parity.judge.comparison import Comparison, compare
from parity.judge.once import once
from parity.judge.truth import truth
from parity.play.session import LAYER

STEPS = 20
SILENT = 10  # the step at which every gradient is zero; after it they are small
SMALL = 0.05  # how small: second moments must fall, or amsgrad's largest is always the last


def played(trial: Trial, steps: int) -> tuple[Tensors, Tensors]:
    """Steps of the subject's optimizer over a Linear layer: initial parameters and the gradients
    that it was given, and the parameters after each step, by the names of `evaluate.optimizer`."""
    generator = trial.generator()
    inputs = weights_of(torch.nn.Linear(**LAYER), generator, trial.dtype)  # type: ignore[arg-type]
    player = trial.layer(inputs)
    player.attach(trial.case.entry.name, trial.case.options)
    names, results = list(inputs), {}
    rows = 1 if trial.case.single else 5
    for step in range(1, steps + 1):
        player.clear()
        player.forward(trial.random(rows, LAYER["in_features"], generator=generator))
        dy = trial.random(rows, LAYER["out_features"], generator=generator)
        player.backward(dy * (1 if step < SILENT else 0 if step == SILENT else SMALL))
        gradients = player.gradients()
        player.step()
        after = player.parameters()
        for name in names:
            inputs[f"step {step}: {name}"] = gradients[f"{name}.param_grad"]
            results[f"step {step}: {name}"] = after[name]
    return inputs, results


def _steps(steps: int, doc: str) -> Callable[[Trial], list[Comparison]]:
    def check(trial: Trial) -> list[Comparison]:
        inputs, results = played(trial, steps)
        case = trial.case
        what, torchs = (case, steps), evaluate.optimizer(case.reference, steps)
        right = once(("truth", what), inputs, lambda: truth(torchs, inputs, elementwise=True))
        right = right.only(results)
        verdicts = compare(results, right)
        wrong = next((place for place, v in enumerate(verdicts) if not v.passed), None)
        known = once(
            ("mistakes", what),
            inputs,
            lambda: mistakes.simulated(case, in_double(inputs), steps),
        )
        if wrong is not None:
            text = mistakes.explain(results, right.oracle, known, inputs, case)
            diagnosis = f"{case.entry.name} {text}" if text else ""
            verdicts[wrong] = replace(verdicts[wrong], diagnosis=diagnosis)
            return verdicts
        last = [v for v in verdicts if v.name.startswith(f"step {steps}:")]
        sure = [certified(v, right, simple(right.oracle[v.name])) for v in last]
        return mistakes.certified(sure, right, known) + verdicts[: -len(last)]

    check.__doc__ = doc
    return check


CHECKS: dict[str, Callable[[Trial], list[Comparison]]] = {
    "first_step": _steps(1, "Every parameter after one step."),
    "twenty_steps": _steps(STEPS, "Every parameter after each of twenty steps."),
}


def applies(case: Any, name: str, dtype: torch.dtype) -> bool:
    """Every check says something of every optimizer."""
    return True
