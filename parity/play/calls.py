"""How a subject's own code is called: its builders, forwards and backwards, by its conventions."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from parity.catalogue.entry import Options
from parity.play.broken import Misfit, Setting, Unoffered
from parity.play.guard import guarded, habits, seed_all
from parity.play.parameters import mode_told
from parity.play.traced import Traced
from parity.subject.builders import bound
from parity.subject.subject import Subject


def build(
    subject: Subject,
    name: str,
    options: Options,
    dtype: torch.dtype,
    seed: int,
    poison: bool = False,
    device: str = "cpu",
) -> Any:
    """The subject's own layer or loss of a catalogue entry."""
    seed_all(seed)
    with guarded(dtype, poison, device):
        return construct(subject, name, options)


def construct(subject: Subject, name: str, options: Options, *first: Any) -> Any:
    """Calls the subject's builder of that name, as its signature has the options."""
    if name not in subject.entries():
        raise Misfit(f"the adapter has no {name}, which this check needs")
    entry, builder = subject.entries()[name]
    own = {name: _array(subject, value) for name, value in options.items()}
    call = bound(builder, entry, own)
    if isinstance(call, str):
        raise Misfit(call)
    if takes := unfit(builder, (*first, *call[0]), call[1]):
        given = ", ".join((*("params" for _ in first), *own))
        raise Setting(
            f"what the adapter has for it takes ({takes}), and not ({given}), which torch's has: "
            f"give a function of these, {name}: lambda {given}: …, and say in fixed= which of "
            "them have one value"
        )
    try:
        made = builder(*first, *call[0], **call[1])
    except TypeError as error:  # behind `**options` there is one that takes less
        if "unexpected keyword argument" in str(error):
            missing = str(error).partition("unexpected keyword argument ")[2]
            raise Unoffered(f"takes no {missing}") from None
        raise
    if made is None and entry.kind == "layer" and subject.forward is None:
        raise Misfit(f"what the adapter has for {name} returns None, and not a {name}")
    if subject.tensor and entry.kind in ("layer", "loss"):
        return Traced(made, subject.tensor, 1 if entry.kind == "loss" else None)
    return made


def unfit(function: Any, given: tuple[Any, ...] = (), named: Options | None = None) -> str:
    """What a function takes, if it cannot be called so; "" if it can, or if that cannot be
    said."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return ""
    try:
        signature.bind(*given, **named or {})
    except TypeError:
        return ", ".join(signature.parameters)
    return ""


def _array(subject: Subject, value: Any) -> Any:
    """An option as the subject takes it: a tensor as its kind of array, in the dtype at hand."""
    if not isinstance(value, Tensor):
        return value
    x = value.to(torch.get_default_device(), torch.get_default_dtype()).clone()
    return x.numpy() if subject.array == "numpy" else x


def assembled(subject: Subject, parts: list[Any]) -> Any:
    """Layers in a row: in the subject's own Sequential, if it has one."""
    container = None if subject.tensor else subject.container()
    return container(*parts) if container else Chain(subject, parts)


def forward(subject: Subject, made: Any, *inputs: Any, training: bool = True) -> Any:
    """A forward by the adapter's convention; one that has an argument for its mode is told it. Of
    one that returns nothing it is what it leaves in the layer."""
    if isinstance(made, Chain):
        return made.forward(inputs[0], training)
    if subject.forward:
        y = subject.forward(made, *inputs)
    else:
        y = getattr(made, "forward", made)(*inputs, **mode_told(made, training))
    return left(made, OUTPUTS, "forward") if y is None else y


def backward(subject: Subject, made: Any, *gradients: Any) -> Any:
    """A backward by the adapter's convention; of one that returns nothing it is what it leaves in
    the layer."""
    if subject.backward and not isinstance(made, Chain):
        dx = subject.backward(made, *gradients)
    elif subject.step_in_backward and not isinstance(made, Chain):
        dx = subject.step_in_backward(made, gradients[0], 0.0)
    else:
        dx = made.backward(*gradients)
    return left(made, INPUT_GRADIENTS, "backward") if dx is None else dx


OUTPUTS = ("output", "outputs")
"""Where a layer may leave what its forward does not return."""
INPUT_GRADIENTS = ("dinputs", "dinput", "d_inputs", "d_input", "grad_input",
                   "input_grad", "input_gradient", "grad_inputs")  # fmt: skip
"""Where a layer or a loss may leave what its backward does not return."""


def left(made: Any, names: tuple[str, ...], way: str) -> Any:
    """The array that an object has in an attribute of one of these names, and the report says so;
    None without any."""
    for name in names:
        if isinstance(one := getattr(made, name, None), (Tensor, np.ndarray)):
            habits[f"returns nothing from a {way}, and leaves the result in its .{name}"] = None
            return one
    return None


class Chain:
    """Layers in a row, for a subject without a container of its own."""

    def __init__(self, subject: Subject, parts: list[Any]) -> None:
        self.parts = parts
        ways = partial(forward, subject), partial(backward, subject)
        self.ways: list[tuple[Callable[..., Any], ...]] = [ways for _ in parts]

    def forward(self, x: Any, training: bool = True) -> Any:
        for part, (run, _) in zip(self.parts, self.ways, strict=True):
            x = run(part, x, training=training)
        return x

    def backward(self, dy: Any) -> Any:
        for part, (_, run) in zip(self.parts[::-1], self.ways[::-1], strict=True):
            dy = run(part, dy)
        return dy
