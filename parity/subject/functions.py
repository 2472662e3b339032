"""A framework of functions as classes: `y, cache = forward(x, …)`, `dx, … = backward(dy, cache)`.

`functions` makes of two functions what `Subject.layers` takes; of one, a loss that returns its
value and its gradient at once, or an optimizer's rule that returns the next parameter.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from parity.catalogue.entry import Entry, Options
from parity.subject.error import AdapterError, MissingSetting

Function = Callable[..., Any]


@dataclass(frozen=True, eq=False)
class Functions:
    """What `functions` returns."""

    forward: Function
    backward: Function | None
    parameters: tuple[str, ...]
    options: Function | None

    def of(
        self, entry: Entry, array: str, weight: str, gradients: str, kernel: str, batch: str
    ) -> Function:
        """The builder of an entry, by a subject's conventions.

        Raises:
            AdapterError: a layer without a backward.
        """
        if entry.kind == "layer" and self.backward is None:
            raise AdapterError(
                f"functions of {entry.name} takes its forward and its backward; it got one function"
            )
        if entry.kind == "layer":
            _known(entry, self.parameters)

        def made(*args: Any, **given: Any) -> Any:
            first = entry.of_parameters
            named = dict(zip(entry.positional, args[first:], strict=False)) | given
            extra = self._extra(named)
            if entry.kind == "loss":
                return FunctionLoss(self.forward, extra)
            if first:
                return FunctionOptimizer(self.forward, extra, args[0])
            module = entry.reference(**named)
            lies = "out_in" if entry.domain == "index" else weight
            arrays = _arrays(module, self.parameters, array, lies, kernel, batch)
            return FunctionLayer(self, arrays, extra, gradients == "accumulated")

        made.__signature__ = self._signature(entry)  # type: ignore[attr-defined]
        return made

    def _extra(self, options: Options) -> tuple[Any, ...]:
        """What is handed over last."""
        if self.options is None:
            return ()
        takes = inspect.signature(self.options).parameters
        anything = any(one.kind is one.VAR_KEYWORD for one in takes.values())
        found = self.options(**{k: v for k, v in options.items() if anything or k in takes})
        return found if isinstance(found, tuple) else (found,)

    def _signature(self, entry: Entry) -> inspect.Signature:
        """The options that it takes: those by position, and those that `options` has."""
        own = dict(inspect.signature(self.options).parameters) if self.options else {}
        names = ["parameters"] * entry.of_parameters + list(entry.positional)
        names += [name for name, one in own.items() if one.kind is not one.VAR_KEYWORD]
        if "bias" in self.parameters and "bias" in entry.defaults() and "bias" in own:
            names.append("bias")
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        return inspect.Signature([inspect.Parameter(n, kind) for n in dict.fromkeys(names)])


def functions(
    forward: Function,
    backward: Function | None = None,
    *,
    parameters: Sequence[str] = (),
    options: Function | None = None,
) -> Functions:
    """A builder for `Subject.layers`, of functions.

    Args:
        forward: of a layer, `forward(x, *parameters, *options) -> (y, cache)`; of a loss,
            `forward(prediction, target) -> (value, gradient)`; of an optimizer,
            `forward(parameter, gradient, config) -> (next parameter, config)`.
        backward: of a layer, `backward(dy, cache) -> dx`, or `(dx, *gradients)`.
        parameters: those that forward takes after x, by torch's names, such as
            `("weight", "bias")`. They are made with torch's shapes, by the subject's `weight`.
        options: makes of torch's options, by their names, what forward takes last: a dict, or
            another value, as one argument; a tuple as several. Only options that it takes are
            offered. A dict with a "mode" has it set to "train" or "test".

    Raises:
        AdapterError: no functions, or parameters that are no names.
    """
    for name, function in (("forward", forward), ("backward", backward), ("options", options)):
        if function is not None and not callable(function):
            raise AdapterError(f"functions takes a function as {name}, not {function!r}")
    if isinstance(parameters, str) or not all(isinstance(one, str) for one in parameters):
        raise AdapterError(
            f"functions takes as parameters torch's names, ('weight', 'bias'), not {parameters!r}"
        )
    return Functions(forward, backward, tuple(parameters), options)


def _known(entry: Entry, names: tuple[str, ...]) -> None:
    """Sees whether torch's side has parameters of these names, at some of its options.

    Raises:
        MissingSetting: it has not; the text has the names that may be meant.
    """
    try:
        modules = [entry.reference(**options) for options in entry.variants.values()]
    except Exception:  # of an entry of one's own; its cases say so
        return
    theirs = list(dict.fromkeys(name for one in modules for name, _ in one.named_parameters()))
    unknown = [name for name in names if name not in theirs]
    left, meant = [name for name in theirs if name not in names], {}
    for name in unknown[: len(left)]:
        meant[name] = (difflib.get_close_matches(name.lower(), left, 1) or left)[0]
        left.remove(meant[name])
    if unknown:
        guess = tuple(meant.get(name, name) for name in names if name in theirs or name in meant)
        raise MissingSetting(
            f"SETUP: functions of {entry.name} has parameters {', '.join(unknown)}, and torch's "
            f"has {', '.join(theirs) or 'none'}: did you mean parameters={guess!r}?",
            [],
        )


def _arrays(
    module: torch.nn.Module,
    names: tuple[str, ...],
    array: str,
    weight: str,
    kernel: str,
    batch: str,
) -> list[Any]:
    """Parameters in torch's shapes, as the subject takes them."""
    shapes = {name: tuple(value.shape) for name, value in module.named_parameters()}
    found = []
    for name in names:
        shape = shapes.get(name, ())
        if not shape:
            raise AdapterError(
                f"functions has a parameter {name!r}, and torch's {type(module).__name__} has "
                f"{', '.join(shapes) or 'none'}"
            )
        if len(shape) == 2 and weight == "in_out" and "weight" in name.rpartition(".")[2]:
            shape = shape[::-1]
        if len(shape) in (3, 4):  # a convolution's; of sequences without a height
            axes = dict(zip("oihw" if len(shape) == 4 else "oiw", shape, strict=True))
            shape = tuple(axes[axis] for axis in kernel if axis in axes)
        if len(shape) == 1 and batch in ("columns", "column"):
            shape = (*shape, 1)  # beside columns a bias is one
        zeros = torch.zeros(shape)  # in the dtype of the check
        found.append(zeros.numpy() if array == "numpy" else zeros)
    return found


def _two(found: Any, whose: str, due: str) -> tuple[Any, Any]:
    """What is to be two results.

    Raises:
        AdapterError: it is not.
    """
    if not isinstance(found, (tuple, list)) or len(found) != 2:
        what = f"{len(found)} results" if isinstance(found, (tuple, list)) else type(found).__name__
        raise AdapterError(f"{whose} gives {what}, where {due} is due")
    return found[0], found[1]


class FunctionLayer:
    """Two functions, their parameters and gradients, and what one leaves for the other."""

    def __init__(
        self, own: Functions, arrays: list[Any], extra: tuple[Any, ...], accumulates: bool
    ) -> None:
        self.own, self.arrays, self.extra, self.accumulates = own, arrays, extra, accumulates
        self.gradients = [0 * one for one in arrays]
        self.cache: Any = None
        self.given = 1
        self.train()

    @property
    def inputs(self) -> int:
        """How many of forward's arguments are inputs: what neither parameters nor options are."""
        takes = inspect.signature(self.own.forward).parameters.values()
        given = [one for one in takes if one.default is one.empty]
        return max(1, len(given) - len(self.arrays) - len(self.extra))

    def forward(self, *inputs: Any) -> Any:
        found = self.own.forward(*inputs, *self.arrays, *self.extra)
        self.given = len(inputs)
        if self.given == 1:
            y, self.cache = _two(found, "its forward", "(y, cache)")
            return y
        *ys, self.cache = found if isinstance(found, (tuple, list)) else (found,)
        if not ys:
            raise AdapterError("its forward gives one result, where (y, cache) are due")
        return tuple(ys)

    def backward(self, *dys: Any) -> Any:
        assert self.own.backward is not None
        found = self.own.backward(*dys, self.cache)
        found = list(found) if isinstance(found, (tuple, list)) else [found]
        dx, gradients = found[: self.given], found[self.given :]
        if len(gradients) != len(self.gradients):
            names = [f"dx{n + 1}" if n else "dx" for n in range(self.given)]
            due = ", ".join((*names, *(f"d{name}" for name in self.own.parameters)))
            raise AdapterError(f"its backward returns {len(found)} results, due are {due}")
        for kept, gradient in zip(self.gradients, gradients, strict=True):
            if [n for n in np.shape(gradient) if n != 1] != [n for n in np.shape(kept) if n != 1]:
                raise AdapterError(
                    f"its backward returns a gradient of {list(np.shape(gradient))} for a "
                    f"parameter of {list(np.shape(kept))}"
                )
            if hasattr(gradient, "reshape"):  # it may have axes of one entry
                gradient = gradient.reshape(kept.shape)
            kept[...] = kept + gradient if self.accumulates else gradient
        return dx[0] if self.given == 1 else tuple(dx)

    def param(self) -> list[tuple[Any, Any]]:
        return list(zip(self.arrays, self.gradients, strict=True))

    def train(self) -> None:
        self._set("train")

    def eval(self) -> None:
        self._set("test")

    def _set(self, mode: str) -> None:
        for one in self.extra:
            if isinstance(one, dict) and "mode" in one:
                one["mode"] = mode


class FunctionLoss:
    """A function that returns a loss and its gradient."""

    def __init__(self, own: Function, extra: tuple[Any, ...]) -> None:
        self.own, self.extra = own, extra
        self.gradient: Any = None

    def forward(self, prediction: Any, target: Any, *lengths: Any) -> Any:
        found = self.own(prediction, target, *lengths, *self.extra)
        value, self.gradient = _two(found, "it", "(value, gradient)")
        return value

    def backward(self) -> Any:
        return self.gradient


class FunctionOptimizer:
    """A rule that returns the next parameter, and its config, for each parameter by itself."""

    def __init__(self, own: Function, extra: tuple[Any, ...], parameters: Any) -> None:
        self.own = own
        self.pairs = [
            _two(one, "its optimizer", "a (parameter, gradient) pair, from parameters='pairs',")
            for one in parameters
        ]
        self.configs = [tuple(_copied(e) for e in extra) for _ in self.pairs]

    def step(self) -> None:
        for place, (parameter, gradient) in enumerate(self.pairs):
            found = self.own(parameter, gradient, *self.configs[place])
            following, *config = found if isinstance(found, tuple) else (found,)
            if config:
                self.configs[place] = tuple(config)
            parameter[...] = following


def _copied(value: Any) -> Any:
    return dict(value) if isinstance(value, dict) else value
