"""A protocol: all that decides what a training of the reports' networks comes to, as data.

The same data makes scratch's network and torch's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

import reference.layers
import scratch
from bench.paper.as_published import VARIANTS, Unasking
from reference.models import ACTIVATIONS as THEIRS
from scratch import data
from scratch.models import ACTIVATIONS as OURS

WIDTH = 25

#: What follows a Linear, by name: scratch's, and torch's.
ACTIVATIONS: dict[str, tuple[Callable[[], scratch.Module], Callable[[], nn.Module]]] = {
    **{name: (OURS[name], THEIRS[name]) for name in OURS},
    **{
        f"sigmoid of slope {slope}": (
            partial(scratch.Sigmoid, slope),
            partial(reference.layers.Sigmoid, slope),
        )
        for slope in (1, 2, 5)
    },
    **{
        f"elu of alpha {alpha:g}": (partial(scratch.ELU, alpha), partial(nn.ELU, alpha))
        for alpha in (0.1, 1.0)
    },
    "selu": (scratch.SELU, nn.SELU),
    "softmax": (scratch.Softmax, partial(nn.Softmax, -1)),
}


#: A loss, by name: scratch's, torch's, and the targets that it takes.
LOSSES: dict[str, tuple[Callable[..., scratch.Loss], Callable[..., nn.Module], str]] = {
    "mse": (scratch.MSELoss, nn.MSELoss, "each"),
    "cross-entropy": (scratch.CrossEntropyLoss, nn.CrossEntropyLoss, "class"),
    "cross-entropy of one output": (scratch.BCEWithLogitsLoss, nn.BCEWithLogitsLoss, "each"),
    "bce": (scratch.BCELoss, nn.BCELoss, "each"),
}  # fmt: skip
OPTIMIZERS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "sgd": (scratch.SGD, partial(torch.optim.SGD, fused=True)),
    "adam": (scratch.Adam, partial(torch.optim.Adam, fused=True)),
}


@dataclass(frozen=True)
class Protocol:
    """How a network of three hidden layers of 25 is trained, and how it is evaluated.

    Args:
        hidden: the activation of each hidden layer.
        last: what follows the last Linear. Default: nothing.
        outputs: 1, the label, or 2, a score for each class.
        init, bias_init: of weights and biases, as `scratch.Linear` has them. Default of
            `bias_init`: like the weights.
        loss, reduction, optimizer, rate: of the training; a loss is of the whole batch.
        batch_size, epochs: of the training, of 1000 points.
        dropout: the rate of its Dropouts; `dropped`: the hidden layers that have one, from 1;
            `before`: whether it stands before the activation.
        cut: an output above it says class 1, if there is one output; of two the larger counts.
        evaluated: "without dropout", or "with dropout".
        published: names of variants whose formulas are taken as the report prints them.
    """

    hidden: tuple[str, str, str]
    last: str = ""
    outputs: int = 1
    init: str = "uniform"
    bias_init: str = ""
    loss: str = "mse"
    reduction: str = "mean"
    optimizer: str = "sgd"
    rate: float = 0.05
    batch_size: int = 10
    epochs: int = 100
    dropout: float = 0.0
    dropped: tuple[int, ...] = ()
    before: bool = False
    cut: float = 0.5
    evaluated: str = "without dropout"
    published: tuple[str, ...] = ()

    @property
    def training(self) -> Protocol:
        """What of it decides the weights: how they are evaluated is left out."""
        return replace(self, cut=0.5, evaluated="without dropout")

    @property
    def evaluation(self) -> str:
        """A name for the rest."""
        return f"cut {self.cut:g}, {self.evaluated}" if self.outputs == 1 else self.evaluated

    def evaluations(self) -> dict[str, Protocol]:
        """Every way to evaluate what it trains."""
        modes = ["without dropout", "with dropout"][: 2 if self.dropped else 1]
        cuts = [0.5, 0.0] if self.outputs == 1 else [0.5]
        ways = [replace(self, cut=cut, evaluated=mode) for cut in cuts for mode in modes]
        return {way.evaluation: way for way in ways}

    def network(self, seed: int) -> scratch.Sequential:
        """Scratch's network of a run."""
        source = scratch.Philox(seed)
        made = {name: variant.build for name, variant in self._variants("layer")}
        layers: list[scratch.Module] = []
        for name, *sizes in self._parts():
            if name == "linear":
                linear = partial(scratch.Linear, init=self.init, bias_init=self.bias_init or None)
                layers.append(linear(*sizes, generator=source))
            elif name == "dropout":
                layers.append(made.get(name, scratch.Dropout)(self.dropout))
            else:
                layers.append(made.get(name, ACTIVATIONS[name][0])())
        return scratch.Sequential(layers)

    def twin(self) -> nn.Sequential:
        """Torch's network, for the weights of scratch's.

        Raises:
            ValueError: for formulas as published: autograd finds a derivative by itself.
        """
        if self.published:
            raise ValueError(f"torch has no {' nor '.join(self.published)}")
        layers: list[nn.Module] = []
        for name, *sizes in self._parts():
            if name == "linear":
                layers.append(nn.Linear(*sizes))
            else:
                layers.append(
                    nn.Dropout(self.dropout) if name == "dropout" else ACTIVATIONS[name][1]()
                )
        return nn.Sequential(*layers)

    def criterion(self, side: str) -> Any:
        """The loss of a side, "scratch" or "torch"."""
        ours, theirs, _ = LOSSES[self.loss]
        if self.published and self.loss == "bce":
            ours = Unasking
        ours = next((variant.build for _, variant in self._variants("loss")), ours)
        return (ours if side == "scratch" else theirs)(reduction=self.reduction)

    def optimizer_of(self, side: str, parameters: Any) -> Any:
        """The optimizer of a side."""
        ours, theirs = OPTIMIZERS[self.optimizer]
        ours = next((variant.build for _, variant in self._variants("optimizer")), ours)
        return (ours if side == "scratch" else theirs)(parameters, self.rate)

    def targets(self, labels: Tensor) -> Tensor:
        """Labels `[…]` as the loss takes them."""
        if LOSSES[self.loss][2] == "class":
            return labels
        return data.one_hot(labels) if self.outputs == 2 else labels.float().unsqueeze(-1)

    def classes(self, y: Tensor) -> Tensor:
        """What outputs `[…, outputs]` say: a class for each sample."""
        return y.argmax(-1) if self.outputs == 2 else (y[..., 0] > self.cut).long()

    def _parts(self) -> Iterator[tuple[Any, ...]]:
        width = 2
        for place, activation in enumerate(self.hidden, 1):
            drops = [("dropout",)] if place in self.dropped else []
            yield "linear", width, WIDTH
            yield from [*drops, (activation,)] if self.before else [(activation,), *drops]
            width = WIDTH
        yield "linear", width, self.outputs
        if self.last:
            yield (self.last,)

    def _variants(self, kind: str) -> Iterator[tuple[str, Any]]:
        for name in self.published:
            if VARIANTS[name].kind == kind:
                yield VARIANTS[name].replaces, VARIANTS[name]
