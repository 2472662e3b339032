"""Checks of optimizers: the first step, and twenty, on the gradients that the subject has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from parity.catalogue.values import Tensors, weights_of
from parity.checks.trial import Trial, fact, in_double
from parity.explain import optimizers as mistakes
from parity.explain.diagnosis import certified
from parity.explain.mistakes import simple
from parity.judge import evaluate
from parity.judge.comparison import Comparison, compare
from parity.judge.once import once
from parity.judge.truth import truth
from parity.play.arrays import same_bits
from parity.play.session import LAYER

STEPS = 20
LONG = 300
"""Steps of a long run: a counter in bfloat16 stops at 256."""
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
    for step, (gradients, _, after) in enumerate(
        player.steps(_batches(trial, steps, generator)), 1
    ):
        for name in names:
            inputs[f"step {step}: {name}"] = gradients[f"{name}.param_grad"]
            results[f"step {step}: {name}"] = after[name]
    return inputs, results


def _unjudgeable(inputs: Tensors) -> list[Comparison]:
    """That gradients are zero at every step, if they are: of whatever is done with them, nothing
    shows. It is the layer's fault, and no verdict on the optimizer."""
    if any(bool(value.any()) for name, value in inputs.items() if ":" in name):
        return []
    return [Comparison("parameters", 0.0, distance=0.0, nearest="one that ignores the gradients")]


def _batches(
    trial: Trial, steps: int, generator: torch.Generator
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """What the layer is given before each step: x, and dy."""
    rows = 1 if trial.case.single else 5
    made = []
    for step in range(1, steps + 1):
        x = trial.random(rows, LAYER["in_features"], generator=generator)
        dy = trial.random(rows, LAYER["out_features"], generator=generator)
        made.append((x, dy * (1 if step < SILENT else 0 if step == SILENT else SMALL)))
    return made


def no_mutation(trial: Trial) -> list[Comparison]:
    """A step leaves the gradients as they are, bit for bit, or sets all of them to zero."""
    generator, name = trial.generator(), trial.case.entry.name
    player = trial.layer(weights_of(torch.nn.Linear(**LAYER), generator, trial.dtype))  # type: ignore[arg-type]
    player.attach(name, trial.case.options)
    verdicts = []
    for step, (before, after, _) in enumerate(player.steps(_batches(trial, 3, generator)), 1):
        for parameter, gradient in before.items():
            now = after.get(parameter, torch.zeros_like(gradient))
            holds = not bool(now.any()) or same_bits(now, gradient)
            text = f"{name} writes into the gradients that it steps by"
            verdicts.append(fact(f"step {step}: {parameter}", holds, "was modified", text))
    return verdicts


def long_run(trial: Trial) -> list[Comparison]:
    """Parameters in the course of a few hundred steps: what counts them must go on counting."""
    inputs, results = played(trial, LONG)
    if unjudgeable := _unjudgeable(inputs):
        return unjudgeable
    case = trial.case
    right = truth(evaluate.optimizer(case.reference, LONG), inputs, elementwise=True)
    seen = [name for name in results if int(name.split()[1].rstrip(":")) % 50 == 0]
    return compare({name: results[name] for name in seen}, right.only(seen))


def _steps(steps: int, doc: str) -> Callable[[Trial], list[Comparison]]:
    def check(trial: Trial) -> list[Comparison]:
        inputs, results = played(trial, steps)
        if unjudgeable := _unjudgeable(inputs):
            return unjudgeable
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
    "long_run": long_run,
    "no_mutation": no_mutation,
}


def applies(case: Any, name: str, dtype: torch.dtype) -> bool:
    """Every check says something of every optimizer; the long one, of its defaults."""
    return name != "long_run" or not case.variant
