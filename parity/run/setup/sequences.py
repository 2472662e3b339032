"""Looks at recurrent layers and at attention."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.func import functional_call

from parity.catalogue.values import Tensors
from parity.checks.trial import Trial, weights
from parity.judge import evaluate
from parity.run.setup.tries import near


def of_recurrent(trial: Trial) -> Iterator[str]:
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
    if not refused and near(y, due) and not near(y, right):
        text = f"its {trial.case.entry.name} begins with the state that its last call has left"
        how = trial.build().resets()
        yield f"{text}: reset=lambda layer: {how}" if how else f"{text}, and `reset` is to say how"


def _keeps_its_state(trial: Trial, inputs: Tensors) -> bool:
    """Whether a cell takes x alone, and begins with states of zeros."""
    zeros = {name: 0 * x if name.endswith(".x") else x for name, x in inputs.items()}
    layer = trial.layer(inputs)
    layer.set_beside({}, {})
    refused, y = layer.attempt("forward", inputs["x"])
    return not refused and near(y, evaluate.layer(trial.case.module())(zeros)["output"])


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


def of_heads(trial: Trial) -> Iterator[str]:
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


def of_masks(trial: Trial) -> Iterator[str]:
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


def of_option(option: str) -> Callable[[Trial], Iterator[str]]:
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
    return near(_output(trial, inputs, settings), due)


def _output(trial: Trial, inputs: Tensors, settings: dict[str, str]) -> Tensor:
    """What a layer gives by these settings; of one that refuses it nothing."""
    layer = trial.layer(inputs, settings)
    refused, y = layer.attempt("forward", inputs["x"])
    return torch.empty(0) if refused else y
