"""Looks at a subject before it is checked: does the adapter say all that it has to?

What it has forgotten would come out as a handful of faults, some of them untrue. Only what cannot
be a fault is taken for a setting that is missing: shapes that fit once they are turned, values that
are right once the arguments are.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from parity.catalogue.case import REDUCTIONS, Case
from parity.catalogue.values import Tensors
from parity.checks.trial import Trial, arguments, weights
from parity.judge import evaluate
from parity.judge.truth import Refused
from parity.play.broken import Broken, Setting, Unoffered
from parity.play.guard import randomness_kept
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
            name, look = case.entry.name, _look_of(case)
            known = case.kind in ("layer", "loss", "optimizer")
            if not known or case.missing or case.elsewhere or (name, look) in seen:
                continue
            seen.add((name, look))
            for dtype in session.description.dtypes:
                try:
                    trial = Trial(session, case, DTYPES[dtype])
                    said = list(look(trial))
                    found |= dict.fromkeys(said or _of_digits(trial))
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


def _of_digits(trial: Trial) -> Iterator[str]:
    """Of a layer that computes in float32, where the adapter has float64 alone."""
    if trial.case.kind != "layer" or trial.session.description.dtypes != ("float64",):
        return
    inputs = trial.inputs()
    refused, y = trial.layer(inputs).attempt("forward", inputs["x"])
    if not refused and y.dtype == torch.float32:
        yield f'its {trial.case.entry.name} computes in float32: dtypes=("float32",)'


def _of_any(trial: Trial) -> Iterator[str]:
    """Of a layer of which no more is known: that it can be built; and of an optimizer, that it can
    make a step."""
    player = trial.build()
    if trial.case.kind == "optimizer":
        shapes = {"0.weight": (3, 4), "0.bias": (3,)}
        player.start({name: torch.ones(shape, dtype=trial.dtype) for name, shape in shapes.items()})
    yield from ()


def _fixed(trial: Trial, shapes: list[tuple[int, ...]]) -> Iterator[str]:
    """Of a layer that has a weight alone where torch's has a bias, or kernels of one size, and no
    option for that."""
    entry, options = trial.case.entry, trial.case.options
    own = [case for case in trial.session.description.cases
           if case.entry.name == entry.name and not case.missing]  # fmt: skip
    given = inspect.signature(entry.reference).parameters
    what: list[str] = []
    fixed: dict[str, Any] = {}
    if len(shapes) == 1 and "bias" in given and all("bias" not in case.options for case in own):
        what.append("no bias")
        fixed["bias"] = False
    size = options.get("kernel_size")
    other = next((c for c in own if isinstance(size, int) and c.options["kernel_size"] != size
                  and not c.optional), None)  # fmt: skip
    if other is not None and shapes:
        module = {name: p.detach() for name, p in other.module().named_parameters()}
        there = Trial(trial.session, other, trial.dtype).build().shapes(module)
        unlike = not there or sorted(module["weight"].shape) != sorted(there[0])
        if unlike and [n for n in shapes[0] if n == size][1:]:
            what.append(f"kernels of {size} alone")
            fixed["kernel_size"] = size
    if fixed:
        said = f"fixed={{nn.{entry.name}: {fixed}}}".replace("'", '"')
        yield f"its {entry.name} has {' and '.join(what)}: {said}"


def _of_linear(trial: Trial) -> Iterator[str]:
    inputs = trial.inputs()
    layer = trial.build()
    shapes, due = layer.shapes(weights(inputs)), tuple(inputs["weight"].shape)
    if missing := list(_fixed(trial, shapes)):
        yield from missing
        return
    if len(shapes) == len(inputs) - 2 and tuple(shapes[0]) == due[::-1] != due:
        yield 'its Linear has weights [in, out]: weight="in_out"'
        return
    try:
        layer.set_parameters(weights(inputs))
    except Broken:
        own = [] if shapes else layer.arrays_of([tuple(p.shape) for p in weights(inputs).values()])
        if not own:
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
        layer.forward(inputs["x"].mT.contiguous())
        several = layer.attempt("backward", inputs["dy"].mT.contiguous())[0]
        one = 'batch="column"' if several else 'batch="columns"'
        yield f"its Linear takes features first: {one}"
    elif gives(inputs["x"][0], right[0]):
        yield 'its Linear takes one sample at a time: batch="vector"'


def _of_conv(trial: Trial) -> Iterator[str]:
    inputs = trial.inputs()
    layer = trial.build()
    shapes, due = layer.shapes(weights(inputs)), tuple(inputs["weight"].shape)
    name = trial.case.entry.name
    if missing := list(_fixed(trial, shapes)):
        yield from missing
        return
    layer = trial.build()  # the one before is gone, if another has been built
    layer.shapes(weights(inputs))
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
    right = evaluate.layer(trial.case.module())(inputs)["output"]
    for kernel in KERNELS if len(due) == 4 else KERNELS[:1]:
        # The axes may be as long as each other: then only values show how they lie.
        order = ["oihw".index(axis) for axis in kernel] if len(due) == 4 else [0, 1, 2]
        turned = inputs["weight"].permute(order)
        if turned.shape != inputs["weight"].shape:
            continue
        own = {n: p for n, p in weights(inputs).items() if n != "weight"}
        layer.set_parameters({"weight": turned.contiguous(), **own})
        found = _lying(trial, layer, inputs["x"], right)
        if found is not None:
            if kernel != KERNELS[0]:
                yield f"its {name} has weights {list(shapes[0])}: kernel={kernel!r}"
            yield from found
            return


def _of_images(trial: Trial) -> Iterator[str]:
    """Of a layer of images without parameters."""
    inputs = trial.inputs()
    right = evaluate.layer(trial.case.module())(inputs)["output"]
    yield from _lying(trial, trial.build(), inputs["x"], right) or ()


def _lying(trial: Trial, layer: Any, x: Tensor, right: Tensor) -> list[str] | None:
    """How a layer takes images: their channels last, one at a time, or both; None where it gives
    what is due in none of these ways."""

    def last(x: Tensor) -> Tensor:
        return x.movedim(-3 if right.dim() == 4 else -2, -1).contiguous()

    def gives(given: Tensor, due: Tensor) -> bool:
        refused, y = layer.attempt("forward", given)
        return not refused and y.shape == due.shape and bool((y - due).abs().max() < NEAR)

    name, single = trial.case.entry.name, trial.case.single
    images = right.dim() == 4
    one = f'its {name} takes one at a time: batch="vector"'
    if gives(x, right):
        return []
    if gives(last(x), last(right)):
        what = "images [B, H, W, C]" if images else "sequences [B, L, C]"
        return [f'its {name} takes {what}: channels="last"']
    if not single and gives(x[0], right[0]):
        return [one]
    if not single and gives(last(x[0]), last(right[0])):
        what = "[H, W, C]" if images else "[L, C]"
        return [f'its {name} takes {what}: channels="last"', one]
    return None


KERNELS = ("oihw", "hwio", "iohw", "hwoi", "ohwi", "ihwo")
"""How a convolution's weight may lie, the usual ones first."""


def _of_recurrent(trial: Trial) -> Iterator[str]:
    """Of a cell, or of a layer over a sequence."""
    inputs, entry = trial.inputs(), trial.case.entry
    layer = trial.build()
    shapes = layer.shapes(weights(inputs))
    due = [tuple(p.shape) for p in weights(inputs).values()]
    missing = []
    if len(shapes) == 3 and len(due) == 4 and not trial.case.one_bias:
        missing.append(f'its {entry.name} has one bias: biases="one"')
    if shapes and len(shapes) < 5 and tuple(shapes[0]) == due[0][::-1] != due[0]:
        missing.append(f'its {entry.name} has weights [in, out]: weight="in_out"')
    if missing:
        yield from missing
        return
    right = evaluate.layer(trial.case.module())(inputs)["output"]
    if _gives(trial, inputs, right):
        yield from _kept_state(trial, inputs, right)
    else:
        yield from _way_of(trial, inputs, right)


def _kept_state(trial: Trial, inputs: Tensors, right: Tensor) -> Iterator[str]:
    """Of a layer whose second call gives what torch gives of both sequences in a row."""
    if not trial.case.entry.sequence:
        return
    layer = trial.layer(inputs)
    layer.attempt("forward", inputs["x"])
    refused, y = layer.attempt("forward", inputs["x"])
    row = torch.cat([inputs["x"], inputs["x"]], 1)
    module = trial.case.module().to(trial.dtype)
    with torch.no_grad():
        both = functional_call(module, weights(inputs), (row,))
    due = both[:, right.shape[1] :] if right.dim() == 3 else both
    if not refused and _near(y, due) and not _near(y, right):
        text = f"its {trial.case.entry.name} begins with the state that its last call has left"
        how = trial.build().resets()
        yield f"{text}: reset=lambda layer: {how}" if how else f"{text}, and `reset` is to say how"


def _keeps_its_state(trial: Trial, inputs: Tensors) -> bool:
    """Whether a cell takes x alone, and begins with states of zeros."""
    zeros = {name: 0 * x if name.endswith(".x") else x for name, x in inputs.items()}
    layer = trial.layer(inputs)
    layer.set_beside({}, {})
    refused, y = layer.attempt("forward", inputs["x"])
    return not refused and _near(y, evaluate.layer(trial.case.module())(zeros)["output"])


def _way_of(trial: Trial, inputs: Tensors, right: Tensor) -> Iterator[str]:
    """How a recurrent layer takes and returns what it does, if not as the adapter says: of what
    has the right shape the values are tried with every order of the gates."""
    entry = trial.case.entry
    letters = next(iter(entry.blocks.values()), "")
    orders = [{}, *({"gates": "".join(order)} for order in itertools.permutations(letters))]
    dues = {"": right} | ({"last": right[:, -1]} if right.dim() == 3 else {})
    if not entry.sequence and _keeps_its_state(trial, inputs):
        yield (
            f"its {entry.name} keeps its state from one call to the next, and does not take it: "
            f"name it by nn.{entry.name.removesuffix('Cell')}, with a forward over all places"
        )
        return
    for way in _ways(trial):
        y = _output(trial, inputs, way)
        last, due = next(((n, d) for n, d in dues.items() if y.shape == d.shape), ("", right))
        for order in orders if y.shape == due.shape else []:
            if _gives(trial, inputs, due, **way | order):
                for setting, value in (way | order).items():
                    yield f'its {entry.name} {_told(setting, value)}: {setting}="{value}"'
                if last:
                    fixed = f'fixed={{nn.{entry.name}: {{"last": True}}}}'
                    yield f"its {entry.name} returns its last state alone: {fixed}"
                return


def _ways(trial: Trial) -> Iterator[dict[str, str]]:
    """The settings by which recurrent layers differ, but for the gates."""
    layouts: list[dict[str, str]] = [{}]
    if trial.case.entry.sequence and not trial.case.single:
        layouts += [{"sequences": how} for how in SEQUENCES]
    elif not trial.case.single:
        layouts += [{"batch": how} for how in ("columns", "rows")]
    for states in ({}, {"states": "before"}, {"states": "after"}):
        yield from (states | layout for layout in layouts)


SEQUENCES = {
    "batch_first": "[B, T, features]", "time_first": "[T, B, features]",
    "steps": "a list of [B, features]", "fbt": "[features, B, T]", "bft": "[B, features, T]",
    "tfb": "[T, features, B]", "ftb": "[features, T, B]",
}  # fmt: skip
"""How sequences lie."""


def _told(setting: str, value: str) -> str:
    match setting:
        case "gates":
            return f"has its gates in the order {', '.join(value)}"
        case "states":
            return f"takes its states {value} x"
        case "sequences":
            return f"takes {SEQUENCES[value]}"
    return f"takes {'features' if value == 'columns' else 'samples'} first"


def _of_heads(trial: Trial) -> Iterator[str]:
    """Of multi-head attention, whose weights are square: what they are only values show."""
    inputs = trial.inputs()
    shapes = trial.build().shapes(weights(inputs))
    due = tuple(inputs["in_proj_weight"].shape)
    heads = trial.case.options["num_heads"]
    of_head = due[1] // heads, due[1]
    if shapes and tuple(shapes[0]) in (due[::-1], of_head[::-1]) and tuple(shapes[0]) != of_head:
        yield 'its MultiheadAttention has weights [in, out]: weight="in_out"'
        return
    masks = [{}, *({"masks": how} for how in MASKS)]
    for causal in (False,) if _offers(trial, "causal") else (False, True):
        module = trial.case.entry.reference(**trial.case.options | {"causal": causal})
        right = evaluate.layer(module)(inputs)["output"]
        for (lies, lie), said in itertools.product(_LIES.items(), masks):
            given = {name: lie(name, p, heads) for name, p in weights(inputs).items()}
            if _gives(trial, inputs | given, right, **said):
                if said:
                    yield _masks_are(trial, said["masks"])
                if lies:
                    yield f"its MultiheadAttention has {lies}"
                if causal:
                    yield (
                        "its MultiheadAttention is causal: "
                        'fixed={nn.MultiheadAttention: {"causal": True}}'
                    )
                return


def _each_turned(name: str, value: Tensor, heads: int) -> Tensor:
    """A weight whose square blocks, one below the other, are transposed each by itself."""
    if "weight" not in name:
        return value
    return torch.cat([block.mT for block in value.split(value.shape[1])])


def _by_head(name: str, value: Tensor, heads: int) -> Tensor:
    """Query, key and value of one head after another, not the heads of one after another."""
    if not name.startswith("in_proj"):
        return value
    return value.unflatten(0, (3, heads, -1)).transpose(0, 1).flatten(0, 2)


_LIES: dict[str, Callable[[str, Tensor, int], Tensor]] = {
    "": lambda name, value, heads: value,
    'weights [in, out]: weight="in_out"': _each_turned,
    "query, key and value of one head after another, and `parameters` has to give all heads of "
    "query first, then those of key, then those of value": _by_head,
}
"""How the weights of multi-head attention may lie."""


def _of_masks(trial: Trial) -> Iterator[str]:
    """Of attention that takes a mask: what it says."""
    inputs = trial.inputs()
    right = evaluate.layer(trial.case.module())(inputs)["output"]
    if not _gives(trial, inputs, right):
        fit = (_masks_are(trial, how) for how in MASKS if _gives(trial, inputs, right, masks=how))
        yield from itertools.islice(fit, 1)


def _masks_are(trial: Trial, how: str) -> str:
    return f'its {trial.case.entry.name} takes masks that are {MASKS[how]}: masks="{how}"'


MASKS = {
    "keep": "true where a place may be seen",
    "hide": "true where a place is hidden",
    "additive": "added to the scores, 0 and -inf",
}


def _offers(trial: Trial, option: str) -> bool:
    """Whether the subject's class has that option, and so has it off where it is not asked for."""
    own = (c for c in trial.session.description.cases if c.entry.name == trial.case.entry.name)
    return any(option in case.options and not case.missing for case in own)


def _of_option(option: str) -> Callable[[Trial], Iterator[str]]:
    """Of a layer that may have an option on, and no way to say so."""

    def look(trial: Trial) -> Iterator[str]:
        entry = trial.case.entry
        inputs = trial.inputs()
        if lacking := trial.build().lacks():
            call = f"forward=lambda layer, x: layer.forward(x, {', '.join(lacking.values())})"
            yield f"its {entry.name} takes {', '.join(lacking)} beside x: {call}"
            return
        right = evaluate.layer(trial.case.module())(inputs)["output"]
        if _offers(trial, option) or _gives(trial, inputs, right):
            return
        other = entry.reference(**trial.case.options | {option: True})
        if _gives(trial, inputs, evaluate.layer(other)(inputs)["output"]):
            fixed = f"fixed={{parity.{entry.name}: {{{option!r}: True}}}}"
            yield f"its {entry.name} is {option.removeprefix('is_')}: {fixed}".replace("'", '"')

    return look


def _gives(trial: Trial, inputs: Tensors, due: Tensor, **settings: str) -> bool:
    """Whether a layer gives what is due, by these settings beside the adapter's."""
    return _near(_output(trial, inputs, settings), due)


def _near(y: Tensor, due: Tensor) -> bool:
    return y.shape == due.shape and bool((y - due).abs().max() < NEAR)


def _output(trial: Trial, inputs: Tensors, settings: dict[str, str]) -> Tensor:
    """What a layer gives by these settings; of one that refuses it nothing."""
    layer = trial.layer(inputs, settings)
    refused, y = layer.attempt("forward", inputs["x"])
    return torch.empty(0) if refused else y


def _of_loss(trial: Trial) -> Iterator[str]:
    inputs = trial.loss_inputs()
    if trial.case.target == "index":
        yield from _of_classes(trial, inputs)
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
                value = trial.build().forward(*arguments(inputs))
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


def _look_of(case: Case) -> Callable[[Trial], Iterator[str]]:
    """How a case is looked at."""
    if "mask" in case.beside:
        return _of_masks
    return _LOOKS.get("loss" if case.kind == "loss" else case.entry.name, _of_any)


_LOOKS: dict[str, Callable[[Trial], Iterator[str]]] = {
    "Linear": _of_linear, "Conv2d": _of_conv, "Conv1d": _of_conv, "ConvTranspose2d": _of_conv,
    **dict.fromkeys(("MaxPool2d", "AvgPool2d"), _of_images),
    **dict.fromkeys(("RNNCell", "GRUCell", "LSTMCell", "RNN", "GRU", "LSTM"), _of_recurrent),
    "MultiheadAttention": _of_heads,
    "RoPE": _of_option("interleaved"),
    "ScaledDotProductAttention": _of_option("is_causal"),
    "loss": _of_loss,
}  # fmt: skip

NEAR = 1e-4
"""How far values may be off that are the same but for rounding."""
