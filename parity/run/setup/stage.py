"""The set-up stage: what has the adapter forgotten to say?

It would come out as a handful of faults, some of them untrue. Only what cannot be a fault is taken
for a setting that is missing: shapes that fit once they are turned, values that are right once the
arguments are.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from typing import Any

import torch

from parity.catalogue.case import Case
from parity.checks.trial import Trial, arguments
from parity.judge.truth import Refused
from parity.play.broken import Broken, Setting, Unoffered
from parity.play.guard import randomness_kept
from parity.run.plan import DTYPES, one_thread
from parity.run.setup.layers import fitted, of_conv, of_images, of_linear, refusal
from parity.run.setup.losses import of_loss
from parity.run.setup.sequences import of_heads, of_masks, of_option, of_recurrent
from parity.subject.error import MissingSetting

_DTYPE = re.compile(r"dtypes=\('(\w+)',\)")
_SETTING = re.compile(r": (\w+=.*)$")


def set_up(session: Any) -> None:
    """Says what the adapter has forgotten to say.

    Raises:
        MissingSetting: a setting is missing; the text has each of them.
    """
    found: dict[str, None] = {}
    seen, silent, kinds = set(), set[str](), set[str]()
    assumed: dict[str, str] = {}
    with one_thread(), randomness_kept():
        for case in session.description.cases:
            name, look = case.entry.name, _look_of(case)
            known = case.kind in ("layer", "loss", "optimizer", "model")
            if not known or case.missing or case.elsewhere or (name, look) in seen:
                continue
            seen.add((name, look))
            for dtype in session.description.dtypes:
                try:
                    trial = Trial(session, case, DTYPES[dtype], assumed=assumed)
                    found |= dict.fromkeys(_of_arrays(trial, kinds))
                    found |= dict.fromkeys(_missing(trial, look))
                except Setting as setting:
                    found[f"{name}: {setting}"] = None
                except (Broken, Refused, Unoffered) as broken:  # its checks say so
                    if not str(broken).startswith("raises "):
                        silent.add(name)
                    if case.kind == "model" and "unpack" in str(broken):
                        linear = [own for part, own in case.network.parts if part == "Linear"]
                        widths = [2, *(own["out_features"] for own in linear)]
                        found[f"its model takes another number of widths than {widths}: "
                              "model_hidden=(5,)"] = None  # fmt: skip
                    if one := _DTYPE.search(str(broken)):
                        found[f'its {name} is of {one[1]}, whatever is asked for: '
                              f'dtypes=("{one[1]}",)'] = None  # fmt: skip
                        continue  # the next dtype may tell more
                break
        if not found:
            found |= dict.fromkeys([] if kinds else _of_takers(session, silent))
            _fit(session, silent)
    if found:
        first = {_setting_in(one) or one: one for one in reversed(found)}
        found = dict.fromkeys(one for one in found if one in first.values())
        settings = [own for own in map(_setting_in, found) if own]
        whose = f"{session.description.name}: " if session.description.name else ""
        text = f"{whose}SETUP: {'; '.join(found)}"
        raise MissingSetting(text, settings)


def _of_arrays(trial: Trial, kinds: set[str]) -> Iterator[str]:
    """Of a layer whose parameters are arrays of the other kind than the adapter says, and its
    output too, or it raises. From then on that kind is assumed; `kinds` are those that are seen."""
    if trial.case.kind != "layer":
        return
    layer = trial.build()
    declared, own = layer.imports()[0], layer.arrays()
    kinds |= {*own}
    if not own or declared in own or trial.assumed or trial.case.entry.several:
        return
    refused, kind = layer.attempt("gives", trial.inputs()["x"])
    if refused or kind != declared:
        trial.assumed["array"] = own[0]
        whose = f"the parameters of its {trial.case.entry.name}"
        yield f'{whose} are {ARRAYS[own[0]]}: array="{own[0]}"'


ARRAYS = {"torch": "torch tensors", "numpy": "numpy arrays"}


def _of_takers(session: Any, silent: Collection[str]) -> Iterator[str]:
    """Of layers and losses none of which has a parameter, in modules that have one kind of arrays
    alone: that they raise where they are given the other, and not where they are given these."""
    seen = set(silent)
    for case in session.description.cases:
        name = case.entry.name
        known = case.kind in ("layer", "loss") and not (case.missing or case.elsewhere)
        if not known or case.entry.several or name in seen:
            continue
        seen.add(name)
        trial = Trial(session, case, DTYPES[session.description.dtypes[0]])
        try:
            declared, others = trial.build().imports()
        except Broken:
            continue
        if others in ([], [declared]) or len(others) > 1:
            continue
        if _raises(trial) and not _raises(replace(trial, assumed={"array": others[0]})):
            yield f'its {name} takes {ARRAYS[others[0]]}: array="{others[0]}"'
            return


def _raises(trial: Trial) -> bool:
    """Whether a layer or a loss does at a pass, forward and backward."""
    try:
        made = trial.build()
        if trial.case.kind == "loss":
            made.forward(*arguments(trial.loss_inputs()))
            made.backward()
        else:
            inputs = trial.inputs()
            made.forward(inputs["x"])
            made.backward(inputs["dy"])
    except Broken as broken:
        return str(broken).startswith("raises ")
    return False


def _fit(session: Any, silent: Collection[str]) -> None:
    """Gives layers that refuse images of which their stride leaves a remainder, others; those that
    are silent are asked nothing more."""
    cases = session.description.cases
    for place, case in enumerate(cases):
        if case.kind != "layer" or case.missing or case.elsewhere or case.entry.name in silent:
            continue
        trial = Trial(session, case, DTYPES[session.description.dtypes[0]])
        if (fitting := fitted(trial)) and (why := refusal(trial)) and _passes(fitting):
            text = f"sizes of which a stride leaves a remainder: {why}"
            cases[place] = replace(case, refuses=text)


def _passes(trial: Trial) -> bool:
    """Whether a layer makes something of its first input."""
    inputs = trial.inputs()
    try:
        trial.layer(inputs).forward(inputs["x"])
    except Broken:
        return False
    return True


def _missing(trial: Trial, look: Callable[[Trial], Iterator[str]]) -> list[str]:
    """What the adapter has not said of a case."""
    found = [*_of_an_engine(trial)]  # one that cannot be made is made no second time
    try:
        found = found or [*look(trial)]
    except Broken:
        if found := [*_of_calls(trial)]:
            return found
        raise
    return found or [*_of_calls(trial)] or [*_of_digits(trial)]


def _of_calls(trial: Trial) -> Iterator[str]:
    """Of a layer that takes other arguments than those that it is called with; it is not called."""
    if trial.case.kind != "layer" or trial.case.entry.several:
        return
    name, given = trial.case.entry.name, {"forward": "x", "backward": "dy"}
    for way, takes in trial.build().unlike().items():
        yield (
            f"its {name} is called as layer.{way}({given[way]}), and {takes}: "
            f"{way}=lambda layer, {given[way]}: …"
        )


def _of_an_engine(trial: Trial) -> Iterator[str]:
    """Of a layer that computes with tensors that differentiate by themselves."""
    if trial.case.kind == "layer" and (tensor := trial.build().computes_with()):
        name = trial.case.entry.name
        yield f"its {name} computes with {tensor}, and has no backward: tensor={tensor}"


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


def _look_of(case: Case) -> Callable[[Trial], Iterator[str]]:
    """How a case is looked at."""
    if "mask" in case.beside:
        return of_masks
    return _LOOKS.get("loss" if case.kind == "loss" else case.entry.name, _of_any)


_LOOKS: dict[str, Callable[[Trial], Iterator[str]]] = {
    "Linear": of_linear, "Conv2d": of_conv, "Conv1d": of_conv, "ConvTranspose2d": of_conv,
    **dict.fromkeys(("MaxPool2d", "AvgPool2d"), of_images),
    **dict.fromkeys(("RNNCell", "GRUCell", "LSTMCell", "RNN", "GRU", "LSTM"), of_recurrent),
    "MultiheadAttention": of_heads,
    "RoPE": of_option("interleaved"),
    "ScaledDotProductAttention": of_option("is_causal"),
    "loss": of_loss,
}  # fmt: skip
