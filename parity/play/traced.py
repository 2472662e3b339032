"""Layers and losses of a framework that differentiates by itself, as ones with a backward."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from parity.play.broken import Misfit, Unoffered


class Traced:
    """A layer or a loss whose result knows how it was made.

    Forward wraps arrays, and gives the array in what the subject returns. Backward starts at that
    result, and gives what has then arrived at each input. All else is the subject's own.

    Args:
        own: a layer or a loss, with a forward or called itself.
        wrap: makes of an array what the framework computes with: `subject.tensor`.
        inputs: how many inputs have gradients that are asked for; None for all.
    """

    def __init__(self, own: Any, wrap: Callable[..., Any], inputs: int | None = None) -> None:
        vars(self).update(own=own, wrap=wrap, count=inputs, inputs=[], result=None)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(vars(self)["own"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in vars(self):
            vars(self)[name] = value
        else:
            setattr(self.own, name, value)

    def forward(self, *inputs: Any, **told: Any) -> Any:
        self.inputs = [wrapped(self.wrap, x) if _is_real(x) else x for x in inputs]
        self.result = getattr(self.own, "forward", self.own)(*self.inputs, **told)
        return within(self.result)

    def backward(self, dy: Any = None) -> Any:
        """Of a loss, whose result has the gradient 1, nothing is given.

        Raises:
            Unoffered: a second backward: what is in between has its gradients still.
        """
        if self.result is None:
            raise Unoffered("after one forward it goes backward once")
        start = self.result if dy is None else self._started(dy)
        self.result = None
        start.backward()
        found = [within(x.grad) for x in self.inputs[: self.count] if hasattr(x, "grad")]
        return found[0] if len(found) == 1 else tuple(found)

    def _started(self, dy: Any) -> Any:
        """A result whose backward, which begins with ones, passes `dy` on."""
        try:
            product = self.result * wrapped(self.wrap, dy)
            return product.sum() if hasattr(product, "sum") else product
        except TypeError as error:
            name = type(self.result).__name__
            raise Misfit(f"{name} * {name} is due, to begin with a gradient: {error}") from None


def wrapped(wrap: Callable[..., Any], x: Any) -> Any:
    """An array as the framework has it, of which it keeps the gradient."""
    try:
        asked = "requires_grad" in inspect.signature(wrap).parameters
    except (TypeError, ValueError):
        asked = False
    return wrap(x, requires_grad=True) if asked else wrap(x)


WITHIN = ("data", "value", "array", "_data")
"""Where a framework's own tensor has its array."""


def within(x: Any) -> Any:
    """The array in what a framework computes with; an array itself, and a number."""
    while not isinstance(x, (Tensor, np.ndarray, np.generic, float, int, type(None))):
        name = next((name for name in WITHIN if hasattr(x, name)), None)
        if name is None:
            return x
        x = getattr(x, name)
    return x


def traces(x: Any) -> bool:
    """Whether something is a tensor of a framework that differentiates by itself."""
    return (
        not isinstance(x, (Tensor, np.ndarray))
        and callable(getattr(x, "backward", None))
        and hasattr(x, "grad")
        and any(hasattr(x, name) for name in WITHIN)
    )


def _is_real(x: Any) -> bool:
    if isinstance(x, Tensor):
        return x.is_floating_point()
    return isinstance(x, np.ndarray) and np.issubdtype(x.dtype, np.floating)
