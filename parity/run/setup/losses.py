"""Looks at losses."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from parity.catalogue.case import REDUCTIONS
from parity.catalogue.values import Tensors
from parity.checks.trial import Trial, arguments
from parity.judge import evaluate
from parity.judge.truth import Refused
from parity.play.broken import Broken, Unoffered
from parity.play.guard import randomness_kept
from parity.run.plan import DTYPES, one_thread
from parity.run.setup.tries import NEAR, near
from parity.subject.subject import written

TARGETS = ("target", "targets", "t", "true", "truth", "y_true", "label", "labels", "expected")
PREDICTIONS = ("prediction", "predictions", "pred", "preds", "p", "y_pred", "y_hat", "yhat",
               "output", "outputs", "logits", "probs")  # fmt: skip
"""What the arguments of a loss may be called."""


OTHERS: dict[str, dict[str, tuple[str, Callable[[Tensor], Tensor]]]] = {
    "CrossEntropyLoss": {
        "parity.CategoricalCrossEntropy": ("probabilities, not logits", lambda x: x.softmax(-1)),
        "nn.NLLLoss": ("log-probabilities, not logits", lambda x: x.log_softmax(-1)),
    },
    "NLLLoss": {
        "parity.CategoricalCrossEntropy": ("probabilities, not their logarithms", torch.exp),
        "nn.CrossEntropyLoss": ("logits, not log-probabilities", lambda x: x + 1),
    },
    "CategoricalCrossEntropy": {
        "nn.CrossEntropyLoss": ("logits, not probabilities", lambda p: p.log() + 1),
        "nn.NLLLoss": ("log-probabilities, not probabilities", torch.log),
    },
    "BCELoss": {"nn.BCEWithLogitsLoss": ("logits, not probabilities", torch.logit)},
    "BCEWithLogitsLoss": {"nn.BCELoss": ("probabilities, not logits", torch.sigmoid)},
}
"""By which other class a loss is named that takes another kind of prediction: what that is, and the
own prediction as one of them, at which the other loss is the same."""


def of_loss(trial: Trial) -> Iterator[str]:
    inputs = trial.loss_inputs()
    taken = inputs
    if trial.case.target == "index":
        taken, missing = _of_classes(trial, inputs)
        yield from missing
    if another := _of_another_kind(trial, taken):
        yield another
        return
    if not inputs["target"].is_floating_point():
        return
    right = evaluate.loss(trial.case.reference())(inputs)
    criterion = trial.build()
    turned = {"prediction": inputs["target"], "target": inputs["prediction"]}

    def passed(given: Tensors) -> Tensors:
        refused, value = criterion.attempt("forward", given["prediction"], given["target"])
        if refused:
            return {}
        refused, gradient = criterion.attempt("backward")
        return {} if refused else {"loss": value.reshape(-1), "prediction_grad": gradient}

    def alike(got: Tensors, sign: int = 1) -> bool:
        due = {
            "loss": right["loss"].reshape(-1),
            "prediction_grad": sign * right["prediction_grad"],
        }
        return bool(got) and all(near(got[name], due[name]) for name in due)

    straight, other = passed(inputs), passed(turned)
    rows, columns = inputs["prediction"].shape
    own = straight["prediction_grad"].shape if straight else ()
    if len(own) == 2 and own[0] == rows and own[1] != columns and not trial.case.single:
        name, key = trial.case.entry.name, written(trial.case.entry.key)
        yield f"its {name} is written for {own[1]} columns: outputs={{{key}: {own[1]}}}"
        return
    names = criterion.argument_names()
    named = len(names) > 1 and names[0] in TARGETS and names[1] in PREDICTIONS
    if alike(other) and not alike(straight) and (named or not alike(straight, -1)):
        yield (
            f"its {trial.case.entry.name} takes (target, prediction): "
            "loss_forward=lambda loss, p, t: loss.forward(t, p)"
        )


def _of_another_kind(trial: Trial, inputs: Tensors) -> str:
    """Of a loss that is right for predictions of another kind, where its own class is not, or for
    those alone."""
    name, criterion = trial.case.entry.name, trial.build()
    own = inputs["prediction"]
    ways = [trial.case.how] if trial.case.how == "none" else [trial.case.how, *REDUCTIONS]

    def right(x: Tensor) -> bool:
        refused, value = criterion.attempt("forward", x, inputs["target"])
        return not refused and any(_is_reduced(trial, inputs, value, how) for how in ways)

    def torchs_is(x: Tensor) -> bool:
        value = evaluate.loss(trial.case.reference())(inputs | {"prediction": x})["loss"]
        return _is_reduced(trial, inputs, value, trial.case.how)

    for other, (kind, turned) in OTHERS.get(name, {}).items():
        if right(turned(own)) and not (right(own) and torchs_is(turned(own))):
            return f"its {name} takes {kind}: if that is meant, name it by {other}"
    return ""


def _of_classes(trial: Trial, inputs: Tensors) -> tuple[Tensors, list[str]]:
    """Of a loss that is handed the index of each sample's class: what it takes in their place, and
    what says so."""
    prediction, target = inputs["prediction"], inputs["target"]
    criterion, name = trial.build(), trial.case.entry.name

    def takes(prediction: Tensor, target: Tensor) -> bool:
        refused, value = criterion.attempt("forward", prediction, target)
        return not refused and value.numel() == 1

    if takes(prediction, target):
        return inputs, []
    for width in (prediction.shape[1], 2):
        classes = target.clamp(max=width - 1)
        spread = torch.nn.functional.one_hot(classes, width).to(prediction.dtype)
        for given, how in ((classes, "index"), (spread, "one_hot")):
            narrow = prediction[:, :width].contiguous()
            if not takes(narrow, given):
                continue
            missing, key = [], written(trial.case.entry.key)
            if how == "one_hot" and name in OF_CLASSES:
                missing.append(f'its {name} takes one-hot targets: targets=("one_hot",)')
            if width == 2 and (how == "index" or name in OF_CLASSES):
                missing.append(f"its {name} is written for 2 columns: outputs={{{key}: 2}}")
            return {"prediction": narrow, "target": given}, missing
    return inputs, []


OF_CLASSES = ("CrossEntropyLoss", "CategoricalCrossEntropy")
"""The losses of which `targets` says how they take classes."""


def reductions(session: Any) -> str:
    """The setting that says what the losses without such an option compute, if the adapter says
    something else; "" if it does not, or if one computes nothing of the kind."""
    own: dict[str, str] = {}
    stated: dict[str, str] = {}
    dtype = DTYPES[session.description.dtypes[0]]
    with one_thread(), randomness_kept():
        for case in session.description.cases:
            name = case.entry.name
            if case.kind != "loss" or not case.reduction or case.missing or name in own:
                continue
            trial = Trial(session, case, dtype)
            inputs = trial.loss_inputs()
            with contextlib.suppress(Broken, Refused, Unoffered):
                value = trial.build().forward(*arguments(inputs))
                fit = [how for how in REDUCTIONS if _is_reduced(trial, inputs, value, how)]
                own[name] = case.reduction if case.reduction in fit else (fit or [""])[0]
                stated[name] = case.reduction
    own = {name: how or stated[name] for name, how in own.items()}
    if own == stated:
        return ""
    if len(set(own.values())) == 1:
        return f'reduction="{next(iter(own.values()))}"'
    keys = {case.entry.name: written(case.entry.key) for case in session.description.cases}
    return f"reduction={{{', '.join(f'{keys[name]}: {how!r}' for name, how in own.items())}}}"


def _is_reduced(trial: Trial, inputs: Tensors, value: Tensor, how: str) -> bool:
    case = replace(trial.case, reduction=how)
    due = evaluate.loss(case.reference())(inputs)["loss"].reshape(-1)
    own = value.reshape(-1)
    return own.shape == due.shape and bool((own - due).abs().max() < NEAR * due.abs().max())
