"""Checks of losses: value, derivative, reductions, extremes, stacked runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import parity
from parity import Comparison, Tensors
from tests.checks.setting import Setting, equal, random, strided, untouched

RUNS = 3


def inputs_of(setting: Setting, batch: int | None = None) -> Tensors:
    """A random prediction and target of the kinds that the loss takes."""
    generator = setting.generator()
    rows, features = setting.case.pair.shape
    rows = rows if batch is None else batch
    prediction = random(setting, rows, features, generator=generator)
    target = random(setting, rows, features, generator=generator)
    match setting.case.target():
        case "probability":
            target = torch.sigmoid(target)
        case "distribution":
            weights = torch.linspace(0.5, 2, max(rows, 1), dtype=target.dtype)[:rows, None]
            target = torch.softmax(target, -1) * weights.to(target.device)  # need not sum to 1
        case "class":
            target = torch.randint(features, (rows,), generator=generator).to(setting.device)
    if setting.case.pair.domain == "probability":
        prediction = torch.sigmoid(prediction)
    return {"prediction": prediction, "target": target}


def passed_through(criterion: Any, inputs: Tensors) -> Tensors:
    """One forward and backward of a scratch loss, by the names of `parity.loss`."""
    value = criterion(inputs["prediction"], inputs["target"])
    return {"loss": value, "prediction_grad": criterion.backward()}


def one_pass(setting: Setting, inputs: Tensors, *, draws: int = 8) -> list[Comparison]:
    """The same inputs through both sides."""
    results = passed_through(setting.case.scratch(), inputs)
    evaluate = parity.loss(setting.case.reference())
    return parity.compare(results, parity.truth(evaluate, inputs, draws=draws))


def _named(name: str) -> Callable[[Setting], list[Comparison]]:
    def check(setting: Setting) -> list[Comparison]:
        return [c for c in one_pass(setting, inputs_of(setting)) if c.name == name]

    return check


def noncontiguous(setting: Setting) -> list[Comparison]:
    """Prediction and target with strides of their own."""
    inputs = {name: strided(tensor) for name, tensor in inputs_of(setting).items()}
    return one_pass(setting, inputs)


def batch_of_one(setting: Setting) -> list[Comparison]:
    return one_pass(setting, inputs_of(setting, batch=1))


def empty_batch(setting: Setting) -> list[Comparison]:
    """No samples: a sum is 0 and a mean NaN, as torch's."""
    return one_pass(setting, inputs_of(setting, batch=0))


def no_mutation(setting: Setting) -> list[Comparison]:
    """Neither prediction nor target is modified."""
    inputs = inputs_of(setting)
    before = {name: tensor.clone() for name, tensor in inputs.items()}
    passed_through(setting.case.scratch(), inputs)
    return untouched(before, inputs)


def repeated(setting: Setting) -> list[Comparison]:
    """One instance, a batch, a smaller one, the first again: the same to the bit."""
    criterion = setting.case.scratch()
    inputs = inputs_of(setting)
    first = passed_through(criterion, inputs)
    passed_through(criterion, inputs_of(setting, batch=2))
    again = passed_through(criterion, inputs)
    return [equal(f"{name} again", again[name], first[name]) for name in first]


def extremes(setting: Setting) -> list[Comparison]:
    """Logits of ±1e4, probabilities and targets of exactly 0 and 1: torch's values."""
    inputs = inputs_of(setting)
    prediction, target = inputs["prediction"].clone(), inputs["target"].clone()
    large = torch.tensor([1e4, -1e4, 100.0, -100.0, 0.0], dtype=prediction.dtype)
    sure = torch.tensor([0.0, 1.0, 1e-30, 0.5, 1.0], dtype=prediction.dtype)
    values = sure if setting.case.pair.domain == "probability" else large
    for row in range(len(prediction)):
        prediction[row] = values.roll(row).to(setting.device)
    if target.is_floating_point():
        corner = torch.tensor([1.0, 0.0, 0.0, 0.0, 0.0], dtype=target.dtype)
        for row in range(len(target)):
            target[row] = corner.roll(row * 2).to(setting.device)
    return one_pass(setting, {"prediction": prediction, "target": target}, draws=0)


def kink(setting: Setting) -> list[Comparison]:
    """Prediction and target the same: the derivative there is torch's."""
    inputs = inputs_of(setting)
    return one_pass(setting, inputs | {"target": inputs["prediction"].clone()}, draws=0)


def stacked(setting: Setting) -> list[Comparison]:
    """Run i of stacked predictions has the loss and the derivative that it has alone."""
    each = [
        inputs_of(Setting(setting.case, setting.dtype, setting.device, setting.seed + run))
        for run in range(RUNS)
    ]
    inputs = {name: torch.stack([one[name] for one in each]) for name in each[0]}
    results = passed_through(setting.case.scratch(), inputs)
    verdicts = []
    for run, one in enumerate(each):
        truth = parity.truth(parity.loss(setting.case.reference()), one)
        got = {name: tensor[run] for name, tensor in results.items()}
        verdicts += parity.compare(got, truth)
    return verdicts


def differences(setting: Setting) -> list[Comparison]:
    """The derivative is that of the loss's own forward, by finite differences."""
    inputs = inputs_of(Setting(setting.case, torch.float64, setting.device, setting.seed))
    criterion = setting.case.scratch()
    gradient = passed_through(criterion, inputs)["prediction_grad"]

    def value(prediction: Tensor) -> Tensor:
        loss: Tensor = criterion(prediction, inputs["target"]).sum()
        return loss

    name, start = "prediction_grad", inputs["prediction"]
    return [parity.compare_with_differences(name, value, start, gradient)]


CHECKS: dict[str, Callable[[Setting], Any]] = {
    "value": _named("loss"),
    "gradient": _named("prediction_grad"),
    "noncontiguous": noncontiguous,
    "batch_of_one": batch_of_one,
    "empty_batch": empty_batch,
    "no_mutation": no_mutation,
    "repeated": repeated,
    "extremes": extremes,
    "kink": kink,
    "stacked": stacked,
    "differences": differences,
}
