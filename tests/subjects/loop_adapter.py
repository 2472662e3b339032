"""`loop` under parity's conventions: one epoch at a rate of 0 shows all that there is to see."""

from collections.abc import Callable
from itertools import chain
from typing import Any

import loop

import parity


def build(widths: list[int], activation: str, network: Any = loop.Network) -> Callable[..., Any]:
    made = network(widths, activation.lower())

    def step(x: Any, t: Any) -> Any:
        (loss,) = made.fit(x, t, rate=0.0)
        weights = list(chain.from_iterable(zip(made.W, made.b, strict=True)))
        gradients = list(chain.from_iterable(zip(made.dW, made.db, strict=True)))
        return made.kept[-1], loss, weights, gradients

    return step


subject = parity.Subject(
    model=build,
    array="numpy",
    weight="in_out",
    reduction="half_batch_mean",
    dtypes=("float64",),
    model_activations=("Tanh", "Sigmoid"),
)
