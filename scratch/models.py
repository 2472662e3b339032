"""The networks of the two reports."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from scratch.activations import ELU, SELU, LeakyReLU, ReLU, Sigmoid, Softmax, Tanh
from scratch.dropout import Dropout
from scratch.init import Source
from scratch.linear import Linear
from scratch.module import Module
from scratch.sequential import Sequential

#: Report A's activations, with the constants that it chose.
ACTIVATIONS: dict[str, Callable[[], Module]] = {
    "relu": ReLU,
    "sigmoid": partial(Sigmoid, slope=3.0),
    "elu": partial(ELU, alpha=0.01),
    "leaky_relu": partial(LeakyReLU, negative_slope=0.01),
    "tanh": Tanh,
}


def model_1(variant: str = "text", *, generator: Source = None) -> Sequential:
    """Report B's Model 1, `[B, 2]` to `[B, 2]`: three hidden layers of 25, ReLU, Tanh at the end.

    Args:
        variant: "text" (default), as its section IX describes it, or "listing", as its Figure 1
            prints it: with a Dropout(0.5) after the second Linear.
        generator: where weights and biases are drawn from, all of them from Xavier's
            distribution as its eq. (1) has it. Default: torch's global generator.

    Raises:
        ValueError: another variant.
    """
    if variant not in ("text", "listing"):
        raise ValueError(f"model_1 has the variants 'text' and 'listing', not {variant!r}")
    linear = partial(Linear, init="xavier_normal", generator=generator)
    dropout = [Dropout(0.5)] if variant == "listing" else []
    return Sequential(
        linear(2, 25), ReLU(),
        linear(25, 25), *dropout, ReLU(),
        linear(25, 25), ReLU(),
        linear(25, 2), Tanh(),
    )  # fmt: skip


def model_2(*, generator: Source = None) -> Sequential:
    """Report B's Model 2, `[B, 2]` to `[B, 2]`: SELU, Dropout(0.5) twice, Softmax at the end.

    `generator` as for `model_1`.
    """
    linear = partial(Linear, init="xavier_normal", generator=generator)
    return Sequential(
        linear(2, 25), ReLU(),
        linear(25, 25), Dropout(0.5), SELU(),
        linear(25, 25), Dropout(0.5), ReLU(),
        linear(25, 2), Softmax(),
    )  # fmt: skip


def model_a(
    activation: str | Callable[[], Module] = "tanh",
    outputs: int = 1,
    *,
    dropout: float = 0.0,
    generator: Source = None,
) -> Sequential:
    """Report A's network: `[B, 2]` to `[B, outputs]`, three hidden layers of 25.

    Args:
        activation: after each hidden layer: a name in `ACTIVATIONS`, or what makes a module.
        outputs: 1, the label, or 2, a score for each class. The last layer is Linear.
        dropout: the rate of a Dropout after each hidden activation. Default: none.
        generator: as for `model_1`; weights and biases are uniform, as torch's.

    Raises:
        ValueError: an unknown activation; outputs other than 1 and 2.
    """
    if outputs not in (1, 2):
        raise ValueError(f"model_a has 1 or 2 outputs, not {outputs!r}")
    if isinstance(activation, str):
        if activation not in ACTIVATIONS:
            raise ValueError(f"model_a has {', '.join(ACTIVATIONS)}, not {activation!r}")
        activation = ACTIVATIONS[activation]
    layers: list[Module] = []
    for width in (2, 25, 25):
        layers += [Linear(width, 25, generator=generator), activation()]
        if dropout:
            layers.append(Dropout(dropout))
    return Sequential(*layers, Linear(25, outputs, generator=generator))
