"""Looks at a subject before it is checked: does the adapter say all that it has to?

What it has forgotten would come out as a handful of faults, some of them untrue. Only what cannot
be a fault is taken for a setting that is missing: shapes that fit once they are turned, values that
are right once the arguments are.
"""

from __future__ import annotations

import ast
import contextlib
import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from parity.catalogue.case import REDUCTIONS
from parity.catalogue.values import Tensors
from parity.checks.trial import Trial, weights
from parity.judge import evaluate
from parity.judge.truth import Refused
from parity.play.broken import Broken, Setting, Unoffered
from parity.play.guard import randomness_kept
from parity.play.parameters import Order
from parity.run.plan import DTYPES, one_thread
from parity.subject.error import MissingSetting

_DTYPE = re.compile(r"dtypes=\('(\w+)',\)")
_SETTING = re.compile(r": (\w+=.*)$")

TARGETS = ("target", "targets", "t", "true", "truth", "y_true", "label", "labels", "expected")
PREDICTIONS = ("prediction", "predictions", "pred", "preds", "p", "y_pred", "y_hat", "yhat",
               "output", "outputs", "logits", "probs")  # fmt: skip
"""What the arguments of a loss may be called."""


def set_up(session: Any) -> None:
    """Says what the adapter has forgotten to say.

    Raises:
        MissingSetting: a setting is missing; the text has each of them.
    """
    found: dict[str, None] = {}
    seen = set()
    with one_thread(), randomness_kept():
        for case in session.description.cases:
            name = case.entry.name
            look = _LOOKS.get(name) or _LOOKS.get(case.kind)
            if look is None or case.missing or case.elsewhere or name in seen:
                continue
            seen.add(name)
            for dtype in session.description.dtypes:
                try:
                    found |= dict.fromkeys(look(Trial(session, case, DTYPES[dtype])))
                except Setting as setting:
                    found[f"{name}: {setting}"] = None
                except (Broken, Refused, Unoffered) as broken:  # its checks say so
                    if one := _DTYPE.search(str(broken)):
                        found[f'its {name} is of {one[1]}, whatever is asked for: '
                              f'dtypes=("{one[1]}",)'] = None  # fmt: skip
                        continue  # the next dtype may tell more
                break
    if found:
        first = {_setting_in(one) or one: one for one in reversed(found)}
        found = dict.fromkeys(one for one in found if one in first.values())
        settings = [own for own in map(_setting_in, found) if own]
        text = f"{session.description.name}: SETUP: {'; '.join(found)}"
        raise MissingSetting(text, settings)


def _setting_in(text: str) -> str:
    """The setting that a text ends with, as an adapter may have it; "" if it ends with none."""
    found = _SETTING.search(text)
    try:
        ast.parse(f"Subject({found[1]})" if found else "=")
    except SyntaxError:
        return ""
    return found[1] if found else ""


def _of_any(trial: Trial) -> list[str]:
    """Nothing: it is built, and what it cannot be built from it says by itself; an optimizer what
    its step needs, too."""
    player = trial.build()
    if trial.case.kind == "optimizer":
        shapes = {"0.weight": (3, 4), "0.bias": (3,)}
        player.start({name: torch.ones(shape, dtype=trial.dtype) for name, shape in shapes.items()})
    return []


def _of_linear(trial: Trial) -> Iterator[str]:
    inputs = trial.inputs()
    layer = trial.build()
    shapes, due = layer.shapes(), tuple(inputs["weight"].shape)
    if len(shapes) == len(inputs) - 2 and tuple(shapes[0]) == due[::-1] != due:
        yield 'its Linear has weights [in, out]: weight="in_out"'
        return
    own = layer.arrays_of([tuple(value.shape) for value in weights(inputs).values()])
    try:
        layer.set_parameters(weights(inputs))
    except Broken:
        if shapes or not own:
            raise
        named = ", ".join(f"(layer.{name}, …)" for name in own)
        yield (
            "its Linear does not list its parameters and their gradients: "
            f"parameters=lambda layer: [{named}] if isinstance(layer, …) else []"
        )
        return
    right = evaluate.layer(trial.case.module())(inputs)["output"]

    def gives(x: Tensor, due: Tensor) -> bool:
        refused, y = layer.attempt("forward", x)
        return not refused and y.shape == due.shape and bool((y - due).abs().max() < NEAR)

    if trial.case.single or gives(inputs["x"], right):
        return
    if gives(inputs["x"].mT.contiguous(), right.mT):
        yield 'its Linear takes features first: batch="columns"'
    elif gives(inputs["x"][0], right[0]):
        yield 'its Linear takes one sample at a time: batch="vector"'


def _of_conv(trial: Trial) -> Iterator[str]:
    inputs = trial.inputs()
    layer = trial.build()
    shapes, due = layer.shapes(), tuple(inputs["weight"].shape)
    name = trial.case.entry.name
    if len(shapes) == len(inputs) - 2 and tuple(shapes[0]) != due and len(shapes[0]) == len(due):
        axes = dict(zip("oihw" if len(due) == 4 else "oiw", due, strict=True))
        fit = [
            k for k in KERNELS
            if tuple(axes[axis] for axis in k if axis in axes) == tuple(shapes[0])
        ]  # fmt: skip
        if fit:
            one = f"{{nn.{name}: {fit[0]!r}}}" if name == "ConvTranspose2d" else repr(fit[0])
            yield f"its {name} has weights {list(shapes[0])}: kernel={one}"
            return
    layer.set_parameters({name: inputs[name] for name in inputs if name not in ("x", "dy")})
    right = evaluate.layer(trial.case.module())(inputs)["output"]
    last = inputs["x"].movedim(1, -1).contiguous()
    refused, y = layer.attempt("forward", last)
    due_last = right.movedim(1, -1)
    if not refused and y.shape == due_last.shape and bool((y - due_last).abs().max() < NEAR):
        what = "images [B, H, W, C]" if len(due) == 4 else "sequences [B, L, C]"
        yield f'its {name} takes {what}: channels="last"'


KERNELS = ("oihw", "hwio", "iohw", "hwoi", "ohwi", "ihwo")
"""How a convolution's weight may lie, the usual ones first."""


def _of_recurrent(trial: Trial) -> Iterator[str]:
    """Of a cell, or of a layer over a sequence."""
    inputs, entry = trial.inputs(), trial.case.entry
    layer = trial.build()
    shapes, due = layer.shapes(), [tuple(p.shape) for p in weights(inputs).values()]
    missing = []
    if len(shapes) == 3 and len(due) == 4 and not trial.case.one_bias:
        missing.append(f'its {entry.name} has one bias: biases="one"')
    if shapes and len(shapes) < 5 and tuple(shapes[0]) == due[0][::-1] != due[0]:
        missing.append(f'its {entry.name} has weights [in, out]: weight="in_out"')
    if missing:
        yield from missing
        return
    right = evaluate.layer(trial.case.module())(inputs)["output"]
    letters = next(iter(entry.blocks.values()), "")
    if letters and not _gives(trial, inputs, right):
        for order in itertools.permutations(letters):
            own = Order(entry.blocks, "".join(order))
            turned = {name: own.own(name, p) for name, p in weights(inputs).items()}
            if _gives(trial, inputs | turned, right):
                named = ", ".join(order)
                yield f'its {entry.name} has its gates in the order {named}: gates="{own.gates}"'
                return
    if entry.sequence and not trial.case.single and not _gives(trial, inputs, right):
        time_first = {"x": inputs["x"].transpose(0, 1).contiguous()}
        if _gives(trial, inputs | time_first, right.transpose(0, 1)):
            yield f'its {entry.name} takes [T, B, features]: sequences="time_first"'


def _of_heads(trial: Trial) -> Iterator[str]:
    """Of multi-head attention, whose weights are square: what they are only values show."""
    inputs = trial.inputs()
    shapes, due = trial.build().shapes(), tuple(inputs["in_proj_weight"].shape)
    if shapes and tuple(shapes[0]) == due[::-1]:
        yield 'its MultiheadAttention has weights [in, out]: weight="in_out"'
        return
    for causal in (False,) if _offers(trial, "causal") else (False, True):
        module = trial.case.entry.reference(**trial.case.options | {"causal": causal})
        right = evaluate.layer(module)(inputs)["output"]
        for turned in (False, True):
            given = {n: _each_turned(p) if "weight" in n and turned else p
                     for n, p in weights(inputs).items()}  # fmt: skip
            if _gives(trial, inputs | given, right):
                if turned:
                    yield 'its MultiheadAttention has weights [in, out]: weight="in_out"'
                if causal:
                    yield (
                        "its MultiheadAttention is causal: "
                        'fixed={nn.MultiheadAttention: {"causal": True}}'
                    )
                return


def _offers(trial: Trial, option: str) -> bool:
    """Whether the subject's class has that option, and so has it off where it is not asked for."""
    own = (c for c in trial.session.description.cases if c.entry.name == trial.case.entry.name)
    return any(option in case.options and not case.missing for case in own)


def _each_turned(weight: Tensor) -> Tensor:
    """A weight whose square blocks, one below the other, are transposed each by itself."""
    width = weight.shape[1]
    return torch.cat([block.mT for block in weight.split(width)])


def _of_option(option: str) -> Callable[[Trial], Iterator[str]]:
    """Of a layer that may have an option on, and no way to say so."""

    def look(trial: Trial) -> Iterator[str]:
        entry = trial.case.entry
        inputs = trial.inputs()
        right = evaluate.layer(trial.case.module())(inputs)["output"]
        if _offers(trial, option) or _gives(trial, inputs, right):
            return
        other = entry.reference(**trial.case.options | {option: True})
        if _gives(trial, inputs, evaluate.layer(other)(inputs)["output"]):
            fixed = f"fixed={{parity.{entry.name}: {{{option!r}: True}}}}"
            yield f"its {entry.name} is {option.removeprefix('is_')}: {fixed}".replace("'", '"')

    return look


def _gives(trial: Trial, inputs: Tensors, due: Tensor) -> bool:
    refused, y = trial.layer(inputs).attempt("forward", inputs["x"])
    return not refused and y.shape == due.shape and bool((y - due).abs().max() < NEAR)


def _of_loss(trial: Trial) -> Iterator[str]:
    inputs = trial.loss_inputs()
    if not inputs["target"].is_floating_point():
        yield from _of_classes(trial, inputs)
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
        return bool(got) and all(
            got[name].shape == due[name].shape and bool((got[name] - due[name]).abs().max() < NEAR)
            for name in due
        )

    straight, other = passed(inputs), passed(turned)
    rows, columns = inputs["prediction"].shape
    own = straight["prediction_grad"].shape if straight else ()
    if len(own) == 2 and own[0] == rows and own[1] != columns and not trial.case.single:
        name = trial.case.entry.name
        yield f"its {name} is written for {own[1]} columns: outputs={{nn.{name}: {own[1]}}}"
        return
    names = criterion.argument_names()
    named = len(names) > 1 and names[0] in TARGETS and names[1] in PREDICTIONS
    if alike(other) and not alike(straight) and (named or not alike(straight, -1)):
        yield (
            f"its {trial.case.entry.name} takes (target, prediction): "
            "loss_forward=lambda loss, p, t: loss.forward(t, p)"
        )


def _of_classes(trial: Trial, inputs: Tensors) -> Iterator[str]:
    """Of a loss that is handed the index of each sample's class."""
    prediction, target = inputs["prediction"], inputs["target"]
    criterion, name = trial.build(), trial.case.entry.name

    def takes(prediction: Tensor, target: Tensor) -> bool:
        refused, value = criterion.attempt("forward", prediction, target)
        return not refused and value.numel() == 1

    if takes(prediction, target):
        return
    for width in (prediction.shape[1], 2):
        classes = target.clamp(max=width - 1)
        spread = torch.nn.functional.one_hot(classes, width).to(prediction.dtype)
        for given, how in ((classes, "index"), (spread, "one_hot")):
            if not takes(prediction[:, :width].contiguous(), given):
                continue
            if how == "one_hot" and name == "CrossEntropyLoss":
                yield f'its {name} takes one-hot targets: targets=("one_hot",)'
            if width == 2 and (how == "index" or name == "CrossEntropyLoss"):
                yield f"its {name} is written for 2 columns: outputs={{nn.{name}: 2}}"
            return


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
                value = trial.build().forward(inputs["prediction"], inputs["target"])
                fit = [how for how in REDUCTIONS if _is_reduced(trial, inputs, value, how)]
                own[name] = case.reduction if case.reduction in fit else (fit or [""])[0]
                stated[name] = case.reduction
    own = {name: how or stated[name] for name, how in own.items()}
    if own == stated:
        return ""
    if len(set(own.values())) == 1:
        return f'reduction="{next(iter(own.values()))}"'
    return f"reduction={{{', '.join(f'nn.{name}: {how!r}' for name, how in own.items())}}}"


def _is_reduced(trial: Trial, inputs: Tensors, value: Tensor, how: str) -> bool:
    case = replace(trial.case, reduction=how)
    due = evaluate.loss(case.reference())(inputs)["loss"].reshape(-1)
    own = value.reshape(-1)
    return own.shape == due.shape and bool((own - due).abs().max() < NEAR * due.abs().max())


_LOOKS: dict[str, Callable[[Trial], Iterable[str]]] = {
    "Linear": _of_linear, "Conv2d": _of_conv, "Conv1d": _of_conv, "ConvTranspose2d": _of_conv,
    **dict.fromkeys(("RNNCell", "GRUCell", "LSTMCell", "RNN", "GRU", "LSTM"), _of_recurrent),
    "MultiheadAttention": _of_heads,
    "RoPE": _of_option("interleaved"),
    "ScaledDotProductAttention": _of_option("is_causal"),
    "loss": _of_loss, "layer": _of_any, "optimizer": _of_any,
}  # fmt: skip

NEAR = 1e-4
"""How far values may be off that are the same but for rounding."""
