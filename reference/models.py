"""The networks of scratch in torch.nn: `scratch/models.py`, name for name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from parity import SwiGLU
from reference.layers import Residual, RotaryAttention, Sigmoid

#: Report A's activations, with the constants that it chose.
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "sigmoid": partial(Sigmoid, slope=3.0),
    "elu": partial(nn.ELU, alpha=0.01),
    "leaky_relu": partial(nn.LeakyReLU, negative_slope=0.01),
    "tanh": nn.Tanh,
}

EPS = 1e-6


def model_1(variant: str = "text", *, generator: torch.Generator | None = None) -> nn.Sequential:
    """Report B's Model 1; arguments as for `scratch.models.model_1`, but dropout masks are
    drawn from torch's global generator, as torch.nn.Dropout does."""
    if variant not in ("text", "listing"):
        raise ValueError(f"model_1 has the variants 'text' and 'listing', not {variant!r}")
    linear = partial(_xavier_linear, generator=generator)
    dropout = [nn.Dropout(0.5)] if variant == "listing" else []
    return nn.Sequential(
        linear(2, 25), nn.ReLU(),
        linear(25, 25), *dropout, nn.ReLU(),
        linear(25, 25), nn.ReLU(),
        linear(25, 2), nn.Tanh(),
    )  # fmt: skip


def model_2(*, generator: torch.Generator | None = None) -> nn.Sequential:
    """Report B's Model 2; `generator` as for `model_1`."""
    linear = partial(_xavier_linear, generator=generator)
    return nn.Sequential(
        linear(2, 25), nn.ReLU(),
        linear(25, 25), nn.Dropout(0.5), nn.SELU(),
        linear(25, 25), nn.Dropout(0.5), nn.ReLU(),
        linear(25, 2), nn.Softmax(-1),
    )  # fmt: skip


def model_a(
    activation: str | Callable[[], nn.Module] = "tanh",
    outputs: int = 1,
    *,
    dropout: float = 0.0,
    generator: torch.Generator | None = None,
) -> nn.Sequential:
    """Report A's network; arguments as for `scratch.models.model_a`."""
    if outputs not in (1, 2):
        raise ValueError(f"model_a has 1 or 2 outputs, not {outputs!r}")
    if isinstance(activation, str):
        if activation not in ACTIVATIONS:
            raise ValueError(f"model_a has {', '.join(ACTIVATIONS)}, not {activation!r}")
        activation = ACTIVATIONS[activation]
    layers: list[nn.Module] = []
    for width in (2, 25, 25):
        layers += [_uniform_linear(width, 25, generator), activation()]
        if dropout:
            layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers, _uniform_linear(25, outputs, generator))


def lenet() -> nn.Sequential:
    """A convolutional network for images of 8 x 8, as `scratch.models.lenet`."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64, 32), nn.ReLU(),
        nn.Linear(32, 10),
    )  # fmt: skip


def transformer(
    vocabulary: int, *, width: int = 32, heads: int = 4, layers: int = 2
) -> nn.Sequential:
    """A causal transformer; arguments as for `scratch.models.transformer`."""
    parts: list[nn.Module] = [nn.Embedding(vocabulary, width)]
    for _ in range(layers):
        attention = RotaryAttention(width, heads, bias=False, causal=True)
        gated = SwiGLU(width, 2 * width)
        parts += [
            Residual(nn.RMSNorm(width, EPS), attention),
            Residual(nn.RMSNorm(width, EPS), gated),
        ]
    return nn.Sequential(
        *parts, nn.RMSNorm(width, EPS), nn.Flatten(0, -2), nn.Linear(width, vocabulary)
    )


def _xavier_linear(inputs: int, outputs: int, generator: torch.Generator | None) -> nn.Linear:
    """Report B, eq. (1): weights and biases from Xavier's normal distribution."""
    layer = nn.utils.skip_init(nn.Linear, inputs, outputs)
    nn.init.xavier_normal_(layer.weight, generator=generator)
    nn.init.normal_(layer.bias, 0, (2 / (inputs + outputs)) ** 0.5, generator=generator)
    return layer


def _uniform_linear(inputs: int, outputs: int, generator: torch.Generator | None) -> nn.Linear:
    """torch's own initialisation, but from a generator."""
    layer = nn.utils.skip_init(nn.Linear, inputs, outputs)
    for parameter in (layer.weight, layer.bias):
        nn.init.uniform_(parameter, -(inputs**-0.5), inputs**-0.5, generator=generator)
    return layer
