"""Checks of losses: value, derivative of its own value, memory, extremes, batches."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from parity.catalogue.table import CATALOGUE
from parity.catalogue.values import Tensors
from parity.checks.domain import SMALLEST
from parity.checks.passes import LAID, laid, written
from parity.checks.trial import Trial, arguments, fact
from parity.judge import evaluate
from parity.judge.comparison import DIGITS, EDGE, Comparison
from parity.judge.differences import compare_with_differences
from parity.judge.truth import DRAWS, HALF


def passed(criterion: Any, inputs: Tensors, *, lies: tuple[str, str] = ("", "")) -> Tensors:
    """One forward and backward of the subject's loss, by the names of `evaluate.loss`; `lies`: how
    prediction and target lie in memory."""
    value = criterion.forward(*arguments(inputs, lies))
    return {"loss": value, "prediction_grad": criterion.backward()}


def one_pass(
    trial: Trial,
    inputs: Tensors,
    *,
    lies: tuple[str, str] = ("", ""),
    poison: bool = False,
    deep: bool = False,
    draws: int = DRAWS,
    terms: int = 1,
) -> list[Comparison]:
    """The same inputs through both sides."""
    results = passed(trial.build(poison=poison), inputs, lies=lies)
    return trial.judge_loss(inputs, results, deep=deep, draws=draws, terms=terms)


def value(trial: Trial) -> list[Comparison]:
    """The value of the loss."""
    inputs = trial.loss_inputs()
    results = {"loss": trial.build().forward(*arguments(inputs))}
    return trial.judge_loss(inputs, results, deep=trial.dtype not in HALF, ending="loss")


def gradient(trial: Trial) -> list[Comparison]:
    """The gradient with respect to the prediction."""
    verdicts = one_pass(trial, trial.loss_inputs(), deep=trial.dtype not in HALF)
    return [v for v in verdicts if v.name == "prediction_grad"]


def noncontiguous(trial: Trial) -> list[Comparison]:
    """Prediction and target with strides of their own: both of them, and each alone."""
    inputs, verdicts = trial.loss_inputs(), []
    for lies in LAID:
        for verdict in one_pass(trial, inputs, lies=lies):
            verdicts.append(replace(verdict, name=f"{laid(lies, WHOSE)}: {verdict.name}"))
    return verdicts


WHOSE = ("prediction", "target")

LARGE = 64
"""Of how many entries a sample is large: many of them take a student's loops too long."""


def sizes(trial: Trial) -> list[Comparison]:
    """Batches of one more than 8, 64 and 1,024 samples; of sequences, which are long, not the
    last. Where its columns may be any number, samples of nine, and, where they are no classes, of
    one."""
    verdicts = []
    shapes: list[tuple[int, int | None]] = [(9, None), (65, None)]
    if trial.case.target != "labels":
        shapes.append((1025, None))
    if any(trial.case.entry is one for one in CATALOGUE.values()) and not (
        trial.case.target == "labels" or trial.case.options.keys() & {"weight", "pos_weight"}
    ):
        classes = trial.case.target in ("index", "one_hot", "distribution")
        shapes += [(6, 9)] + [(6, 1)] * (not classes)
    for rows, columns in shapes:
        inputs = trial.loss_inputs(rows, columns)
        size = f"{rows} rows" if columns is None else str([rows, columns])
        for verdict in one_pass(trial, inputs, terms=inputs["prediction"].numel()):
            verdicts.append(replace(verdict, name=f"{size}: {verdict.name}"))
    return verdicts


def half(trial: Trial) -> list[Comparison]:
    """In half precision, a thousand samples whose sum is beyond its largest number, or its digits:
    the mean is not."""
    inputs = trial.loss_inputs(1000)
    if trial.case.entry.domain == "real":
        inputs["prediction"] = 32 * inputs["prediction"]
    verdicts = one_pass(trial, inputs)
    # What is off by little has lost digits on its way, where torch computes in float32.
    verdicts = [
        replace(v, severity=DIGITS) if not v.passed and v.ratio < ROUNDED else v for v in verdicts
    ]
    # A gradient among a thousand is as small as float16's smallest numbers: it tells nothing.
    return verdicts[:1] if trial.dtype == torch.float16 else verdicts


ROUNDED = 10
"""How many times the error allowed rounding makes of what rounds after each operation."""


def magnitudes(trial: Trial) -> list[Comparison]:
    """Logits and differences of either sign from 1e-6 to 10, and to 50; probabilities down to a
    thousandth."""
    verdicts = []
    for largest in (10, 50) if trial.case.entry.domain == "real" else (1,):
        inputs = trial.loss_inputs(20)
        inputs["prediction"], target = _spread(trial, inputs, largest)
        inputs["target"] = target
        results = passed(trial.build(), inputs)
        judged = trial.judge_loss(inputs, results, least=SMALLEST[trial.dtype] / 10)
        severity = EDGE if largest > 10 else ""
        name = f"up to {largest}"
        verdicts += [
            replace(v, name=f"{name}: {v.name}", severity=v.severity or severity) for v in judged
        ]
    return verdicts


def _spread(trial: Trial, inputs: Tensors, largest: float) -> tuple[Tensor, Tensor]:
    """A prediction whose entries are spread over the sizes up to the largest, and its target."""
    x, target = inputs["prediction"], inputs["target"]
    spread = torch.linspace(0, 1, x.numel() // 2, dtype=torch.float64)
    if trial.case.entry.domain == "probability":
        near = 10 ** (-3 + 2.7 * spread)
        values = torch.cat([near, 1 - near])
    else:
        sizes = 10 ** (-6 + (6 + math.log10(largest)) * spread)
        values = torch.cat([sizes, -sizes])
        target = 0 * target if trial.case.target == "real" else target
    if trial.case.entry.name == "NLLLoss":
        values = -values.abs()
    return values.to(trial.dtype).reshape(x.mT.shape).mT.contiguous(), target


def batch_of_one(trial: Trial) -> list[Comparison]:
    """A single sample: as every other."""
    return one_pass(trial, trial.loss_inputs(1))


def empty_batch(trial: Trial) -> list[Comparison]:
    """No samples: a sum is 0 and a mean NaN, as torch's."""
    return one_pass(trial, trial.loss_inputs(0))


def no_mutation(trial: Trial) -> list[Comparison]:
    """Neither prediction nor target is modified, however they lie, nor a gradient returned."""
    changed: dict[str, None] = {}
    for rows, lies in ((None, ("", "")), (None, ("gaps", "gaps")), (1, ("", ""))):
        criterion = trial.build()
        passed(criterion, trial.loss_inputs(1 if trial.case.single else rows), lies=lies)
        changed |= dict.fromkeys(criterion.modified())
    return [
        written(name, trial.case.entry.name, name not in changed)
        for name in ("prediction", "target", *trial.case.beside, "prediction_grad")
    ]


def nan(trial: Trial) -> list[Comparison]:
    """A prediction that is not a number makes a loss that is none, or is refused."""
    inputs = trial.loss_inputs()
    inputs["prediction"].view(-1)[0] = torch.nan
    refused, value = trial.build().attempt("forward", *arguments(inputs))
    if refused:
        usual = trial.loss_inputs()
        trial.build().forward(*arguments(usual))  # else it says nothing
        return [fact("loss", True, "")]
    right = evaluate.loss(trial.case.reference())(inputs)["loss"]
    lost = right.isnan().any() and not value.isnan().any()
    text = f"{trial.case.entry.name} makes a number of a prediction that is NaN"
    return [fact("loss", not bool(lost), "is a number, where torch's is NaN", text)]


def upstream(trial: Trial) -> list[Comparison]:
    """What follows the loss has a gradient that is not 1: by it the prediction's is multiplied;
    one for each entry, where the loss is not reduced."""
    inputs, verdicts = trial.loss_inputs(), []
    criterion = trial.build()
    right = evaluate.loss(trial.case.reference())(inputs)["loss"]
    each = trial.random(*right.shape, generator=trial.generator())
    for dy in [torch.full_like(right, 2.5), *([each] if right.dim() else [])]:
        value = criterion.forward(*arguments(inputs))
        shaped = dy.reshape(value.shape) if value.numel() == dy.numel() else dy
        results = {"loss": value, "prediction_grad": criterion.backward(shaped)}
        judged = trial.judge_loss(inputs | {"dy": dy}, results)
        verdicts += [v for v in judged if v.name != "loss"]
    text = f"{trial.case.entry.name} does not multiply by the gradient of what follows it"
    return [v if v.passed or v.reason else replace(v, diagnosis=text, named=True) for v in verdicts]


def repeated(trial: Trial) -> list[Comparison]:
    """One instance, a batch, a smaller one, the first again: the same."""
    criterion = trial.build()
    inputs = trial.loss_inputs()
    passed(criterion, inputs)
    passed(criterion, trial.loss_inputs(1))
    again = passed(criterion, inputs)
    return trial.judge_loss(inputs, again)


def uninitialised(trial: Trial) -> list[Comparison]:
    """With all memory that nobody has written to full of NaN: the same results."""
    return one_pass(trial, trial.loss_inputs(), poison=True)


def extremes(trial: Trial) -> list[Comparison]:
    """Logits of ±1e4, probabilities and targets of exactly 0 and 1: torch's values.

    Those of its values that are its own way to stay finite are left out.
    """
    inputs = trial.loss_inputs()
    if trial.case.target == "labels":
        return _extreme_alignments(trial, inputs)
    prediction, target = inputs["prediction"].clone(), inputs["target"].clone()
    large = [1e4, -1e4, 100.0, -100.0, 0.0]
    sure = [0.0, 1.0, 1e-6, 0.5, 1.0]
    values = {"probability": sure, "real": large}[trial.case.entry.domain]
    match trial.case.entry.name:
        case "NLLLoss":
            values = [0.0, -1e4, -100.0, -1e-30, -1.0]
        case "CategoricalCrossEntropy":  # at 0 its loss is infinite
            values = [1.0, 1e-6, 1e-3, 0.5, 1.0]
    features = prediction.shape[-1]
    row = torch.tensor(values * features, dtype=prediction.dtype)
    corner = torch.eye(features, dtype=prediction.dtype)[0]
    for place in range(len(prediction)):
        prediction[place] = row.roll(place)[:features]
        if target.is_floating_point():
            target[place] = corner.roll(place * 2)
    if trial.case.target == "real":
        target = target + 0.25  # where it equals the prediction, the kink is looked at
    if trial.case.entry.name == "BCELoss" and trial.dtype == torch.float64:
        # Where a sure prediction fails, torch divides by 1e-12, but by its nearest float32.
        target = torch.where(prediction.frac() == 0, prediction, target)
    return one_pass(trial, {"prediction": prediction, "target": target}, draws=0)


def _extreme_alignments(trial: Trial, inputs: Tensors) -> list[Comparison]:
    """Predictions that are all but sure, 0 and -1e4 and below, and, unless that is to be 0, a
    target that has no alignment: of its infinite loss nobody needs the gradient."""
    sure = torch.log_softmax(1e4 * inputs["prediction"].double(), -1).to(trial.dtype)
    verdicts = one_pass(trial, inputs | {"prediction": sure}, draws=0)
    lengths = inputs["input_lengths"].clone()
    if bool((lengths == lengths[0]).all()):
        return verdicts  # it may take none
    lengths[0] = 1
    given = inputs | {"input_lengths": lengths}
    results = {"loss": trial.build().forward(*arguments(given))}
    return verdicts + trial.judge_loss(given, results, ending="loss")


def kink(trial: Trial) -> list[Comparison]:
    """Prediction and target the same: the derivative there is torch's."""
    inputs = trial.loss_inputs()
    inputs["target"] = inputs["prediction"].clone()
    results = passed(trial.build(), inputs)
    verdicts = trial.judge_loss(inputs, results, draws=0)
    right = evaluate.loss(trial.case.reference())(inputs)["prediction_grad"]
    gradient = results["prediction_grad"]
    if gradient.shape != right.shape:
        return verdicts
    own, due = (float(one.flatten()[0]) for one in (gradient, right))
    text = f"gradient where the prediction equals the target is {own:.3g}, torch's is {due:.3g}"
    said = f"{trial.case.entry.name} {text}"
    return [
        v if v.passed or v.reason or v.name == "loss" else replace(v, diagnosis=said, named=True)
        for v in verdicts
    ]


def differences(trial: Trial) -> list[Comparison]:
    """The derivative is that of the loss's own forward, by finite differences."""
    inputs = trial.loss_inputs()
    criterion = trial.build()
    gradient, start = passed(criterion, inputs)["prediction_grad"], inputs["prediction"]
    logs = trial.case.target == "labels"
    if logs and gradient.shape == start.shape:  # by the logits of a log_softmax
        gradient = gradient - start.exp() * gradient.sum(-1, keepdim=True)

    def value(prediction: Tensor) -> Tensor:
        given = torch.log_softmax(prediction, -1) if logs else prediction
        loss: Tensor = criterion.forward(*arguments(inputs | {"prediction": given})).sum()
        return loss

    name = "prediction_grad"
    return [compare_with_differences(name, value, start, gradient)]


CHECKS: dict[str, Callable[[Trial], list[Comparison]]] = {
    "value": value,
    "gradient": gradient,
    "noncontiguous": noncontiguous,
    "sizes": sizes,
    "half": half,
    "magnitudes": magnitudes,
    "batch_of_one": batch_of_one,
    "empty_batch": empty_batch,
    "no_mutation": no_mutation,
    "repeated": repeated,
    "uninitialised": uninitialised,
    "nan": nan,
    "upstream": upstream,
    "extremes": extremes,
    "kink": kink,
    "differences": differences,
}


def applies(case: Any, name: str, dtype: torch.dtype) -> bool:
    """Whether a check says anything of a loss: one of classes has no kink of its own."""
    if name == "nan":
        return bool(case.entry.domain == "real")  # NaN is no probability
    if name == "kink":
        return bool(case.target == "real")
    if name == "half":
        return dtype in HALF and case.how == "mean" and not case.single
    if name == "differences":
        return dtype == torch.float64
    if name == "sizes" and case.target == "labels" and math.prod(case.shape[1:]) > LARGE:
        return False
    if name in ("empty_batch", "magnitudes") and case.target == "labels":
        return False  # there are none without a sequence; and `extremes` has log-probabilities
    if name in ("empty_batch", "batch_of_one", "sizes", "magnitudes"):
        return not case.single
    return True
