"""Checks of losses: value, derivative of its own value, memory, extremes, batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from parity.catalogue.values import Tensors
from parity.checks.layers import untouched, written
from parity.checks.trial import Trial
from parity.judge.comparison import Comparison
from parity.judge.differences import compare_with_differences
from parity.judge.truth import DRAWS
from parity.play.arrays import LIES


def passed(criterion: Any, inputs: Tensors, *, lies: str = "") -> Tensors:
    """One forward and backward of the subject's loss, by the names of `evaluate.loss`."""
    value = criterion.forward(inputs["prediction"], inputs["target"], lies)
    return {"loss": value, "prediction_grad": criterion.backward()}


def one_pass(
    trial: Trial,
    inputs: Tensors,
    *,
    lies: str = "",
    poison: bool = False,
    deep: bool = False,
    draws: int = DRAWS,
) -> list[Comparison]:
    """The same inputs through both sides."""
    criterion = trial.build(poison=poison)
    results = passed(criterion, inputs, lies=lies)
    verdicts = trial.judge_loss(inputs, results, deep=deep, draws=draws)
    return [*verdicts, *untouched(criterion, trial.case.entry.name)]


def _named(name: str, doc: str) -> Callable[[Trial], list[Comparison]]:
    def check(trial: Trial) -> list[Comparison]:
        verdicts = one_pass(trial, trial.loss_inputs(), deep=trial.dtype != torch.bfloat16)
        return [v for v in verdicts if v.name == name or v.name.endswith(" untouched")]

    check.__doc__ = doc
    return check


def noncontiguous(trial: Trial) -> list[Comparison]:
    """Prediction and target with strides of their own."""
    inputs = trial.loss_inputs()
    return [
        replace(verdict, name=f"{lies}: {verdict.name}")
        for lies in LIES
        for verdict in one_pass(trial, inputs, lies=lies)
    ]


def batch_of_one(trial: Trial) -> list[Comparison]:
    """A single sample: as every other."""
    return one_pass(trial, trial.loss_inputs(1))


def empty_batch(trial: Trial) -> list[Comparison]:
    """No samples: a sum is 0 and a mean NaN, as torch's."""
    return one_pass(trial, trial.loss_inputs(0))


def no_mutation(trial: Trial) -> list[Comparison]:
    """Neither prediction nor target is modified."""
    criterion = trial.build()
    passed(criterion, trial.loss_inputs())
    changed = criterion.modified()
    return [
        written(name, trial.case.entry.name, name not in changed)
        for name in ("prediction", "target", "prediction_grad")
    ]


def repeated(trial: Trial) -> list[Comparison]:
    """One instance, a batch, a smaller one, the first again: the same."""
    criterion = trial.build()
    inputs = trial.loss_inputs()
    passed(criterion, inputs)
    passed(criterion, trial.loss_inputs(1))
    again = passed(criterion, inputs)
    return [*trial.judge_loss(inputs, again), *untouched(criterion, trial.case.entry.name)]


def uninitialised(trial: Trial) -> list[Comparison]:
    """With all memory that nobody has written to full of NaN: the same results."""
    return one_pass(trial, trial.loss_inputs(), poison=True)


def extremes(trial: Trial) -> list[Comparison]:
    """Logits of ±1e4, probabilities and targets of exactly 0 and 1: torch's values.

    Those of its values that are its own way to stay finite are left out.
    """
    inputs = trial.loss_inputs()
    prediction, target = inputs["prediction"].clone(), inputs["target"].clone()
    large = [1e4, -1e4, 100.0, -100.0, 0.0]
    sure = [0.0, 1.0, 1e-6, 0.5, 1.0]
    values = {"probability": sure, "real": large}[trial.case.entry.domain]
    if trial.case.entry.name == "NLLLoss":
        values = [0.0, -1e4, -100.0, -1e-30, -1.0]
    features = prediction.shape[-1]
    row = torch.tensor(values * features, dtype=prediction.dtype)
    corner = torch.eye(features, dtype=prediction.dtype)[0]
    for place in range(len(prediction)):
        prediction[place] = row.roll(place)[:features]
        if target.is_floating_point():
            target[place] = corner.roll(place * 2)
    if trial.case.entry.domain == "probability" and trial.dtype == torch.float64:
        # Where a sure prediction fails, torch divides by 1e-12, but by its nearest float32.
        target = torch.where(prediction.frac() == 0, prediction, target)
    return one_pass(trial, {"prediction": prediction, "target": target}, draws=0)


def kink(trial: Trial) -> list[Comparison]:
    """Prediction and target the same: the derivative there is torch's."""
    inputs = trial.loss_inputs()
    return one_pass(trial, inputs | {"target": inputs["prediction"].clone()}, draws=0)


def differences(trial: Trial) -> list[Comparison]:
    """The derivative is that of the loss's own forward, by finite differences."""
    inputs = trial.loss_inputs()
    criterion = trial.build()
    gradient = passed(criterion, inputs)["prediction_grad"]

    def value(prediction: Tensor) -> Tensor:
        loss: Tensor = criterion.forward(prediction, inputs["target"]).sum()
        return loss

    name, start = "prediction_grad", inputs["prediction"]
    return [compare_with_differences(name, value, start, gradient)]


CHECKS: dict[str, Callable[[Trial], list[Comparison]]] = {
    "value": _named("loss", "The value of the loss."),
    "gradient": _named("prediction_grad", "The gradient with respect to the prediction."),
    "noncontiguous": noncontiguous,
    "batch_of_one": batch_of_one,
    "empty_batch": empty_batch,
    "no_mutation": no_mutation,
    "repeated": repeated,
    "uninitialised": uninitialised,
    "extremes": extremes,
    "kink": kink,
    "differences": differences,
}


def applies(case: Any, name: str, dtype: torch.dtype) -> bool:
    """Whether a check says anything of a loss: one of classes has no kink of its own."""
    if name == "kink":
        return bool(case.target == "real")
    if name == "differences":
        return dtype == torch.float64
    if name in ("empty_batch", "batch_of_one"):
        return not case.single
    return True
