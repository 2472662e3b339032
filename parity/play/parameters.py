"""A layer's parameters and gradients, by the adapter's conventions."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from parity.play.broken import Setting
from parity.play.traced import within
from parity.subject.functions import FunctionLayer
from parity.subject.subject import Subject

Parameters = dict[str, tuple[Any, Any]]  # by torch's name: a subject's parameter and gradient


class Parts(tuple[Any, ...]):
    """A parameter, or its gradient, of which a subject has each part by itself."""


def parts_of(array: Any) -> tuple[Any, ...]:
    """The arrays that a parameter is made of: itself, or its parts."""
    return array if isinstance(array, Parts) else (array,)


def apart(pair: tuple[Any, Any]) -> list[tuple[Any, Any]]:
    """A parameter and its gradient that are lists of parts, or arrays of matrices, as a pair for
    each: of each gate, of each head."""
    parameter, gradient = pair
    if not isinstance(parameter, (list, tuple)) and len(np.shape(parameter)) < 3:
        return [pair]
    gradients = [None] * len(parameter) if gradient is None else gradient
    return [one for both in zip(parameter, gradients, strict=True) for one in apart(both)]


def is_weight(name: str) -> bool:
    """Whether a parameter is a weight, whose axes may be turned: `weight_ih_l0`, too."""
    return "weight" in name.rpartition(".")[2]


@dataclass(frozen=True)
class Order:
    """In which order the blocks of parameters lie, such as the gates of an LSTM.

    Args:
        blocks: torch's order in letters, by the beginning of a parameter's name.
        gates: the subject's order, of as many letters; others lie as torch's.
    """

    blocks: Mapping[str, str] = field(default_factory=dict)
    gates: str = ""

    def count(self, name: str) -> int:
        """Of how many blocks a parameter is made."""
        return max(1, len(self._torchs(name)))

    def own(self, name: str, value: Tensor) -> Tensor:
        """A parameter's value from torch's order to the subject's."""
        return self._ordered(value, self._torchs(name), self._subjects(name))

    def torchs(self, name: str, value: Tensor) -> Tensor:
        """The same from the subject's order to torch's."""
        return self._ordered(value, self._subjects(name), self._torchs(name))

    def _torchs(self, name: str) -> str:
        return next((order for start, order in self.blocks.items() if name.startswith(start)), "")

    def _subjects(self, name: str) -> str:
        torchs = self._torchs(name)
        return self.gates if sorted(self.gates) == sorted(torchs) else torchs

    @staticmethod
    def _ordered(value: Tensor, now: str, then: str) -> Tensor:
        if now == then or len(value) % len(now):
            return value
        blocks = value.chunk(len(now))
        return torch.cat([blocks[now.index(letter)] for letter in then])


PARAMETERS = ("param", "params", "parameters", "get_parameters", "get_params")
"""What gives a layer's parameters, as a method or an attribute."""


def own_parameters(made: Any) -> Any:
    """What a layer's `param()`, `params` or `parameters` gives, as it is, but for a number, which
    counts them; None without any."""
    for name in PARAMETERS:
        if hasattr(made, name):
            own = getattr(made, name)
            found = own() if callable(own) else own
            if not isinstance(found, (int, float)):
                return found
    return None


def held(subject: Subject, made: Any, parts: list[Any]) -> Any:
    """What an optimizer takes: the model, those of its layers that have parameters, its own
    parameters, or those of its parts in a row."""
    if subject.optimizer == "model":
        return made
    if subject.optimizer == "layers":
        return [part for part in parts if parameter_pairs(subject, part)]
    found = callable(subject.parameters)
    if found or (subject.parameters == "pairs" and any(map(_gradients_are_beside, parts))):
        return Anew(subject, parts)
    own = own_parameters(made)
    if own is not None:
        return own
    each = [own for own in map(own_parameters, parts) if own]
    match subject.parameters:
        case "flat":
            firsts = [p for one in each for p in one[: len(one) // 2]]
            return firsts + [g for one in each for g in one[len(one) // 2 :]]
        case "lists":
            return tuple([v for one in each for v in one[i]] for i in (0, 1))
    return [pair for one in each for pair in one]


@dataclass(frozen=True)
class Anew:
    """Pairs of layers that do not list them so themselves: asked for anew by whoever goes through
    them, for a backward may leave other arrays."""

    subject: Subject
    parts: list[Any]

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        for part in self.parts:
            yield from parameter_pairs(self.subject, part)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __getitem__(self, place: Any) -> Any:
        return [*iter(self)][place]


def parameter_pairs(subject: Subject, made: Any) -> list[tuple[Any, Any]]:
    """A layer's (parameter, gradient) pairs, by the adapter's convention.

    Raises:
        Setting: what the layer gives is nothing of that kind.
    """
    if isinstance(made, FunctionLayer):
        return made.param()
    if callable(subject.parameters):
        return [tuple(pair) for pair in subject.parameters(made)]
    found = own_parameters(made)
    if found is None:
        return []
    if (beside := _with_gradients_beside(made, found)) is not None:
        return beside
    found = list(found) if hasattr(found, "__iter__") else [found]
    if subject.parameters == "pairs" and _are_values(made, found):
        return [(value, None) for value in found]  # a backward returns the gradients, or keeps them
    try:
        return paired(subject.parameters, found)
    except (TypeError, ValueError, AttributeError):
        kinds = ", ".join(dict.fromkeys(type(one).__name__ for one in found))
        raise Setting(
            f"its list of parameters has {len(found)} of {kinds}, and is not as "
            f"parameters={subject.parameters!r} has it: say 'pairs', 'flat', 'lists', 'objects', "
            "or give a callable that returns pairs"
        ) from None


def _are_values(made: Any, found: list[Any]) -> bool:
    """Whether a list has arrays that are parameters alone: `[W, b]`, and not `[W, dW]`."""
    if not found or not all(map(_is_array, found)):
        return False
    half = len(found) // 2
    alike = [np.shape(p) for p in found[:half]] == [np.shape(g) for g in found[half:]]
    return not alike or len(found) % 2 == 1 or _has_none_yet(made)


GRADIENTS = ("grads", "gradients", "grad", "dparams", "gradient", "grad_parameters",
             "grad_params", "get_gradients", "get_grads")  # fmt: skip
"""What a list or dict of gradients may be called, beside one of parameters."""


def _with_gradients_beside(made: Any, found: Any) -> list[tuple[Any, Any]] | None:
    """Pairs of a list of arrays and another list beside it, or of two dicts; None if it is not
    so."""
    held = [getattr(made, name) for name in GRADIENTS if hasattr(made, name)]
    for other in map(_asked_for, held):
        if isinstance(found, Mapping) and isinstance(other, Mapping):
            names = {key: f"d{key}" if f"d{key}" in other else key for key in found}
            if other.keys() <= {*names.values()}:  # a backward may have made none yet
                return [(found[key], other.get(name)) for key, name in names.items()]
        lists = isinstance(found, (list, tuple)) and isinstance(other, (list, tuple))
        if lists and found and len(found) == len(other):
            both = list(zip(found, other, strict=True))
            if all(_is_array(p) and (g is None or np.shape(p) == np.shape(g)) for p, g in both):
                return both
    return None


def _gradients_are_beside(made: Any) -> bool:
    """Whether a layer has its parameters in one list, or dict, and its gradients in another."""
    own = own_parameters(made)
    if isinstance(own, Mapping) and own:
        return any(isinstance(_asked_for(getattr(made, n, None)), Mapping) for n in GRADIENTS)
    if not (isinstance(own, (list, tuple)) and own and all(map(_is_array, own))):
        return False
    return _has_none_yet(made) or _with_gradients_beside(made, own) is not None


def _asked_for(gradients: Any) -> Any:
    """What a layer has as gradients; None where a method that gives them raises."""
    if not callable(gradients):
        return gradients
    try:
        return gradients()
    except Exception:
        return None


def _has_none_yet(made: Any) -> bool:
    """Whether a layer has a method for its gradients that raises: before the first backward there
    are none. After it, they are missing."""
    own = [getattr(made, name) for name in GRADIENTS if callable(getattr(made, name, None))]
    return bool(own) and all(_asked_for(one) is None for one in own)


COUNTERPARTS = ("d{}", "d_{}", "{}_grad", "grad_{}", "dL_d{}", "dLd{}", "{}_gradient", "grad{}")
"""What an attribute may be called that is the gradient of another."""


def by_attributes(made: Any, shapes: list[tuple[int, ...]]) -> list[tuple[Any, Any]]:
    """Pairs of attributes, `W` and `dW`, of a layer that has no list of its parameters: those of
    the shapes that are due, in the order in which they were set; its own, or those of a layer
    that it is made of."""
    due = {tuple(sorted(shape)) for shape in shapes}
    held = getattr(made, "__dict__", {})
    for own in (held, *(getattr(value, "__dict__", {}) for value in held.values())):
        found = []
        for name, value in own.items():
            named = [form.format(name) for form in COUNTERPARTS if form.format(name) in own]
            first = value[0] if isinstance(value, list) and value else value
            shape = np.shape(first) if _is_array(first) else ()
            plain = sorted(n for n in (shape[1:] if len(shape) == 3 else shape) if n != 1)
            if shape and named and {tuple(plain), tuple(sorted(n for n in shape if n != 1))} & due:
                found.append((value, own[named[0]]))
        if found:
            return found
    return []


def _rank(array: Any) -> int:
    """How many axes an array has, but for those of one entry."""
    return sum(size != 1 for size in np.shape(array))


def _is_array(value: Any) -> bool:
    return isinstance(value, (Tensor, np.ndarray))


def paired(how: str, found: Any) -> list[tuple[Any, Any]]:
    """The pairs in what is given in one of the ways of `Subject.parameters`.

    Raises:
        TypeError, ValueError, AttributeError: it is not.
    """
    match how:
        case "flat":
            half = len(found) // 2
            alike = [_rank(p) for p in found[:half]] == [_rank(g) for g in found[half:]]
            if not alike or any(hasattr(one, "grad") and not _is_array(one) for one in found):
                raise TypeError  # they are parameters alone, or objects; a size may be wrong
            return list(zip(found[:half], found[half:], strict=True))
        case "lists":
            return list(zip(*found, strict=True)) if found else []
        case "objects":
            return [(within(p), within(p.grad)) for p in found]
    if not all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in found):
        raise TypeError
    return [tuple(pair) for pair in found]


def zero_grad(subject: Subject, made: Any) -> None:
    """Sets one layer's gradients to zero, by the adapter's way, the layer's own, or in place."""
    if subject.zero_grad:
        subject.zero_grad(made)
    elif hasattr(made, "zero_grad"):
        made.zero_grad()
    else:
        for _, gradient in parameter_pairs(subject, made):
            if gradient is not None:
                gradient[...] = 0


def switch(made: Any, mode: bool) -> bool:
    """Sets training or evaluation mode by the layer's own method or flag, if it has one."""
    names = ("train", "Train") if mode else ("eval", "Eval", "evaluate")
    methods = [getattr(made, name) for name in names if callable(getattr(made, name, None))]
    for method in methods[:1]:
        method()
    flags = [flag for flag in FLAGS if isinstance(getattr(made, flag[0], None), bool)]
    for name, in_training in flags:
        if getattr(made, name) is not (mode is in_training):
            setattr(made, name, mode is in_training)
    word = getattr(made, "mode", None)
    if word in WORDS:
        made.mode = _word(made, mode)
    return bool(methods or flags or word in WORDS)


FLAGS = (
    ("training", True), ("is_training", True), ("train_mode", True), ("train", True),
    ("is_train", True), ("train_flg", True), ("train_flag", True), ("_train", True),
    ("_training", True),
    ("eval", False), ("evaluating", False), ("eval_mode", False), ("is_eval", False),
    ("test", False), ("testing", False), ("test_mode", False), ("is_test", False),
    ("inference", False),
)  # fmt: skip
"""Flags that say in which mode a layer is, and what each is in training."""
WORDS = ("train", "training", "test", "eval", "evaluation", "testing", "inference")
"""What an attribute or an argument `mode` may be; the first two are of training."""


def _word(made: Any, mode: bool) -> str:
    """What a layer calls a mode: the word that its forward compares with, else the usual one."""
    code = getattr(getattr(made, "forward", made), "__code__", None)
    among = WORDS[:2] if mode else WORDS[2:]
    return next((word for word in among if word in getattr(code, "co_consts", ())), among[0])


def mode_told(made: Any, mode: bool) -> dict[str, Any]:
    """What tells a layer's forward its mode, where it has an argument for that, by its name:
    `{"training": True}`, `{"eval": False}` or `{"mode": "train"}`."""
    try:
        takes = inspect.signature(getattr(made, "forward", made)).parameters
    except (TypeError, ValueError):
        return {}
    # As an attribute, `trainable` says whether a layer learns at all.
    flags = (*FLAGS, ("trainable", True))
    told: dict[str, Any] = {name: mode is training for name, training in flags if name in takes}
    if "mode" in takes and takes["mode"].default in (*WORDS, inspect.Parameter.empty):
        told["mode"] = _word(made, mode)
    return told
