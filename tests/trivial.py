"""Candidates that compute nothing: each wraps what scratch makes, for the shapes alone.

They return zeros, their input, the first result that anybody ever got, or memory as it was
found. A harness that passes one of them checks nothing.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import scratch
from parity import CATALOGUE, Subject
from reference import pairs

first: dict[torch.Size, Tensor] = {}  # by shape


def _stale(y: Tensor, x: Tensor) -> Tensor:
    return first.setdefault(y.shape, y)


#: What is returned in place of a result y, made from an input x.
CANDIDATES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "zeros": lambda y, x: torch.zeros_like(y),
    "ones": lambda y, x: torch.ones_like(y),
    "its input": lambda y, x: x if x.shape == y.shape else torch.zeros_like(y),
    "a stale buffer": _stale,
    "memory as it was found": lambda y, x: torch.empty_like(y),
}


class Layer:
    """A layer of scratch whose results are replaced."""

    def __init__(self, made: Any, instead: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.made, self.instead = made, instead

    def forward(self, x: Tensor, *others: Tensor) -> Any:
        return self._each(self.made.forward(x, *others), x)

    def backward(self, dy: Tensor, *others: Tensor) -> Any:
        dx = self.made.backward(dy, *others)
        for parameter, gradient in self.made.param():
            gradient.copy_(self.instead(gradient.clone(), parameter))
        return self._each(dx, dy)

    def _each(self, results: Any, x: Tensor) -> Any:
        """The result, or each of several, replaced."""
        if isinstance(results, tuple):
            return tuple(self.instead(one, x) for one in results)
        return self.instead(results, x)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.made, name)


class Loss:
    """A loss of scratch whose value and derivative are replaced."""

    def __init__(self, made: Any, instead: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.made, self.instead = made, instead

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        self.prediction = prediction
        return self.instead(self.made(prediction, target), prediction)

    def backward(self) -> Tensor:
        return self.instead(self.made.backward(), self.prediction)


class Optimizer:
    """An optimizer of scratch whose steps are replaced."""

    def __init__(self, made: Any, instead: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.made, self.instead = made, instead

    def zero_grad(self) -> None:
        self.made.zero_grad()

    def step(self) -> None:
        for parameter, _ in self.made._pairs:
            parameter.copy_(self.instead(parameter.clone(), parameter))


KINDS = {"layer": Layer, "loss": Loss, "optimizer": Optimizer}


def subject(candidate: str, kind: str) -> Subject:
    """Scratch with the candidate in the place of everything of one kind. An optimizer's Linear,
    whose parameters it moves, stays as it is."""
    instead = CANDIDATES[candidate]

    def replaced(builder: Callable[..., Any]) -> Callable[..., Any]:
        def build(*args: Any, **options: Any) -> Any:
            return KINDS[kind](builder(*args, **options), instead)

        build.__signature__ = inspect.signature(builder)  # type: ignore[attr-defined]
        return build

    layers: dict[Any, Any] = {
        pair.entry: replaced(pair.build or pair.cls)
        for pair in pairs.PAIRS
        if pair.entry.kind == kind
    }
    if kind == "optimizer":
        layers[CATALOGUE[nn.Linear]] = scratch.Linear
    return dataclasses.replace(pairs.subject, layers=layers, dtypes=("float32",))


#: What is right, although it computes nothing: torch's Dropout does the same.
RIGHT = {("its input", "Dropout-p=0"), ("zeros", "Dropout-p=1")}
