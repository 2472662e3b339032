"""The networks of the two reports, a convolutional network and a transformer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from scratch.activations import ELU, SELU, LeakyReLU, ReLU, Sigmoid, Softmax, Tanh
from scratch.attention import MultiheadAttention
from scratch.convolution import Conv2d
from scratch.dropout import Dropout
from scratch.embedding import Embedding
from scratch.flatten import Flatten
from scratch.gated import SwiGLU
from scratch.init import Source
from scratch.linear import Linear
from scratch.module import Module
from scratch.normalization import BatchNorm2d, RMSNorm
from scratch.pooling import MaxPool2d
from scratch.sequential import Residual, Sequential

#: Report A's activations, with the constants that it chose.
ACTIVATIONS: dict[str, Callable[[], Module]] = {
    "relu": ReLU,
    "sigmoid": partial(Sigmoid, slope=3.0),
    "elu": partial(ELU, alpha=0.01),
    "leaky_relu": partial(LeakyReLU, negative_slope=0.01),
    "tanh": Tanh,
}

EPS = 1e-6
"""Of the transformer's RMSNorm, LLaMA's: the same in every dtype, which torch's default is not."""


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


def lenet(*, generator: Source = None) -> Sequential:
    """A convolutional network for images of 8 x 8, `[B, 1, 8, 8]` to scores `[B, 10]`.

    It has the order of LeNet-5 (LeCun et al. 1998, section II.B): two convolutions, each with a
    pooling after it, then linear layers. Batch norm and ReLU come after each convolution. The
    convolutions have no bias: batch norm would subtract it again.

    `generator` as for `model_a`: the initial values are torch's.
    """
    return Sequential(
        Conv2d(1, 8, 3, padding=1, bias=False, generator=generator),
        BatchNorm2d(8), ReLU(), MaxPool2d(2),  # [B, 8, 4, 4]
        Conv2d(8, 16, 3, padding=1, bias=False, generator=generator),
        BatchNorm2d(16), ReLU(), MaxPool2d(2),  # [B, 16, 2, 2]
        Flatten(),
        Linear(64, 32, generator=generator), ReLU(),
        Linear(32, 10, generator=generator),
    )  # fmt: skip


def transformer(
    vocabulary: int,
    *,
    width: int = 32,
    heads: int = 4,
    layers: int = 2,
    generator: Source = None,
) -> Sequential:
    """A causal transformer: tokens `[B, T]`, int64, to scores of the next, `[B * T, vocabulary]`.

    Each layer adds an attention and then a SwiGLU of twice the width, both of an RMSNorm of
    their input, as in LLaMA (Touvron et al. 2023, section 2.2). RoPE turns queries and keys. There
    are no biases but that of the last `Linear`. Row `b * T + t` scores what follows place t of
    sample b.

    Args:
        vocabulary: how many tokens there are.
        width: of the embedding, a multiple of twice the number of heads. Default: 32.
        heads, layers: how many. Default: 4 and 2.
        generator: as for `lenet`.

    Raises:
        ValueError: a number below 1; a width that does not fit the heads.
    """
    parts: list[Module] = [Embedding(vocabulary, width, generator=generator)]
    for _ in range(layers):
        attention = MultiheadAttention(
            width, heads, bias=False, causal=True, rotary=True, generator=generator
        )
        gated = SwiGLU(width, 2 * width, generator=generator)
        parts += [Residual(RMSNorm(width, EPS), attention), Residual(RMSNorm(width, EPS), gated)]
    return Sequential(
        *parts,
        RMSNorm(width, EPS),
        Flatten(0, -2),  # [B * T, width]
        Linear(width, vocabulary, generator=generator),
    )
