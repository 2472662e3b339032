"""Layers that take or return several arrays: states of a recurrence, query, key and value.

What a layer takes comes in torch's order, `forward(x, h, c)`, and so do gradients of outputs,
`backward(dh, dc)`, and what is returned. Where a method has one argument for several of them, it
gets a tuple: `forward(x, (h, c))`, `backward((dh, dc))`. What has its states first takes and
returns them so: `forward(h, x)`, and `dh, dx`.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from parity.catalogue.values import Tensors
from parity.play.broken import Misfit
from parity.play.parameters import mode_told
from parity.subject.functions import FunctionLayer, FunctionLoss


@dataclass
class Several:
    """What a layer takes and returns beside its first input and output.

    Args:
        results: the names of further outputs.
        attends: whether it is of queries, keys and values of which some are the same: of a layer
            that takes all three, the gradients add up.
        states: inputs that a layer may ask for though none are given, zeros then: the shape of
            each by its name, without the batch's axis.
        masks, before: what a mask says, and whether states come before the first input.
        inputs: those that are given, by name.
        gradients: of further outputs, by name.
        outputs: further outputs of the last forward.
        input_grads: gradients of further inputs of the last backward.
    """

    results: tuple[str, ...] = ()
    attends: bool = False
    states: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    masks: str = "keep"
    before: bool = False
    inputs: Tensors = field(default_factory=dict)
    gradients: Tensors = field(default_factory=dict)
    outputs: Tensors = field(default_factory=dict)
    input_grads: Tensors = field(default_factory=dict)

    def with_states(self, made: Any, x: Tensor) -> Tensors:
        """The inputs after the first, and what forward cannot do without: states of zeros, and a
        mask that hides nothing."""
        needs, _ = arity(made, "forward")
        given = dict(self.inputs)
        if self.attends and needs >= 3:  # forward(query, key, value), though two are one
            memory = given.get("memory", x)
            given = {"key": memory, "value": memory}
        missing = needs - 1 - len(given)
        states = [name for name in self.states if name not in given]
        if 0 < missing <= len(states):
            names = states[:missing]
            given |= {n: torch.zeros(len(x), *self.states[n], dtype=x.dtype) for n in names}
        elif missing == 1 and "key" in given and "mask" not in given:
            given["mask"] = x.new_ones(*x.shape[:-1], given["key"].shape[-2], dtype=torch.bool)
        if "mask" in given:
            given["mask"] = said(given["mask"], self.masks, x.dtype)
        return given

    def took(self, found: Any, take: Callable[[Any], Tensor]) -> Any:
        """The first output; the others are kept. What comes after them, such as the weights of an
        attention, is nobody's."""
        first, *others = flat(found)
        if len(others) < len(self.results):
            due = ", ".join(("output", *self.results))
            raise Misfit(f"its forward returns {1 + len(others)} arrays, where {due} are due")
        self.outputs = {name: take(y) for name, y in zip(self.results, others, strict=False)}
        return first

    def returned(self, found: Any, take: Callable[[Any], Tensor], shape: tuple[int, ...]) -> Any:
        """The gradient of the first input, which is of that shape; the others are kept."""
        first, *others = flat(found)
        if self.before and others and first is not None and take(first).shape != shape:
            *others, first = first, *others
        if self.attends and len(others) == 2:
            of_memory = others[0] + others[1]
            if "memory" not in self.inputs:
                return first + of_memory
            self.input_grads = {"memory": take(of_memory)}
            return first
        names = [name for name in self.inputs if name != "mask"]
        given = zip(names, others, strict=False)
        self.input_grads = {name: take(dx) for name, dx in given if dx is not None}
        return first


def said(seen: Tensor, masks: str, dtype: torch.dtype) -> Tensor:
    """A mask as the subject takes it, of one that is true where a place may be seen."""
    match masks:
        case "hide":
            return ~seen
        case "additive":
            return torch.zeros(seen.shape, dtype=dtype).masked_fill(~seen, -math.inf)
    return seen


def flat(found: Any) -> list[Any]:
    """What a method returned, one after another: `(y, (h, c))` are three."""
    if not isinstance(found, (tuple, list)) or not found:
        return [found]
    return [one for part in found for one in flat(part)]


def arity(made: Any, method: str) -> tuple[int, float]:
    """How many arguments a layer's method needs, and how many it takes at most; (0, infinity) if
    that cannot be said."""
    if isinstance(made, FunctionLayer):
        return (made.inputs, made.inputs) if method == "forward" else (0, math.inf)
    takes = _arguments(made, method)
    open_ended = not takes or any(one.kind is one.VAR_POSITIONAL for one in takes)
    return len(needed(made, method)), math.inf if open_ended else len(_places(takes))


def needed(made: Any, method: str) -> list[str]:
    """The arguments that a layer's method cannot do without, by name."""
    return [one.name for one in _places(_arguments(made, method)) if one.default is one.empty]


def _places(takes: list[inspect.Parameter]) -> list[inspect.Parameter]:
    return [one for one in takes if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]


def _arguments(made: Any, method: str) -> list[inspect.Parameter]:
    """Those of a layer's method, but for its mode; none if that cannot be said."""
    function = getattr(made, method, made if method == "forward" else None)
    modes = mode_told(made, True) if method == "forward" else {}
    try:
        takes = inspect.signature(function).parameters.values()  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return []
    return [one for one in takes if one.name not in modes]


def takes_lengths(made: Any, hook: Callable[..., Any] | None) -> bool:
    """Whether a loss takes the lengths of sequences after its target: its next argument is one that
    it cannot do without, or is called a length."""
    own = isinstance(made, FunctionLoss) and not hook
    function = hook or (made.own if own else getattr(made, "forward", made))
    try:
        takes = list(inspect.signature(function).parameters.values())[bool(hook) :]
    except (TypeError, ValueError):
        return True
    if own:
        takes = takes[: len(takes) - len(made.extra)]
    if any(one.kind is one.VAR_POSITIONAL for one in takes):
        return True
    return len(takes) > 2 and (
        takes[2].default is inspect.Parameter.empty or "len" in takes[2].name
    )


def grouped(
    made: Any, method: str, first: Any, others: list[Any], before: bool = False
) -> list[Any]:
    """The arguments of a method, several of them as a tuple where it has not as many places;
    `before`: the others come first."""
    _, most = arity(made, method)
    fits = 1 + len(others) <= most or not others
    rest = others if fits or most <= 1 else [tuple(others)]
    ordered = [*rest, first] if before else [first, *rest]
    return ordered if fits or most > 1 else [tuple(ordered)]
