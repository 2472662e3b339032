"""Which torch class each scratch class answers to, and the settings at which they are compared.

The one place that knows both sides. Tests and layer benchmarks are generated from `PAIRS`: a
new layer is its class and its row here, and all else follows.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

import scratch
from reference import layers, models
from scratch.losses import Loss
from scratch.optimizer import Optimizer
from scratch.sequential import Sequential

Options = dict[str, Any]


@dataclass(frozen=True)
class Pair:
    """One scratch class and its mirror.

    Args:
        cls: the scratch class.
        reference: makes the mirror, from the same options.
        kind: "layer", "loss" or "optimizer".
        variants: options for both sides, by a name that reads well in a test's id.
        build: makes the scratch side, from the same options. Default: `cls`.
        shape: of a layer's input or a loss's prediction, without the runs axis.
        domain: of that input: "real" or "probability".
        target: of a loss: "real", "probability" (for each entry), "class" (an index for each
            sample) or "distribution" (a probability for each class); may differ by variant.
    """

    cls: type
    reference: Callable[..., Any]
    kind: str
    variants: dict[str, Options] = field(default_factory=lambda: {"": {}})
    build: Callable[..., Any] | None = None
    shape: tuple[int, int] = (7, 5)
    domain: str = "real"
    target: str | dict[str, str] = "real"


@dataclass(frozen=True)
class Case:
    """A pair at one of its variants."""

    pair: Pair
    variant: str

    def __str__(self) -> str:
        name = self.pair.cls.__name__
        return f"{name}-{self.variant}" if self.variant else name

    @property
    def options(self) -> Options:
        return self.pair.variants[self.variant]

    def scratch(self, *args: Any) -> Any:
        """A new scratch instance; an optimizer takes its parameters."""
        return (self.pair.build or self.pair.cls)(*args, **self.options)

    def reference(self, *args: Any) -> Any:
        """A new torch instance; an optimizer takes its parameters."""
        return self.pair.reference(*args, **self.options)

    def target(self) -> str:
        targets = self.pair.target
        return targets if isinstance(targets, str) else targets[self.variant]


def _linear(init: str = "uniform", bias_init: str | None = None, **options: Any) -> nn.Linear:
    return nn.Linear(**options)  # weights are copied from scratch: `init` says nothing here


def _scratch_chain(width: int) -> scratch.Sequential:
    inner = scratch.Sequential(scratch.Linear(width, 3), scratch.Tanh())
    return scratch.Sequential([scratch.Linear(5, width), scratch.ELU(), inner])


def _reference_chain(width: int) -> nn.Sequential:
    inner = nn.Sequential(nn.Linear(width, 3), nn.Tanh())
    return nn.Sequential(nn.Linear(5, width), nn.ELU(), inner)


def _grid(**choices: list[Any]) -> Iterator[Options]:
    for values in itertools.product(*choices.values()):
        yield dict(zip(choices, values, strict=True))


def _named(options: Iterator[Options]) -> dict[str, Options]:
    """Options by a name made of what differs from the first choice: `momentum=0.9,nesterov`."""
    listed = list(options)
    defaults = {key: value for one in reversed(listed) for key, value in one.items()}
    names: dict[str, Options] = {}
    for one in listed:
        changed = {k: v for k, v in one.items() if v != defaults[k]}
        parts = [k if v is True else f"{k}={v}".replace(" ", "") for k, v in changed.items()]
        names[",".join(parts)] = one
    return names


def _reductions(**variants: Options) -> dict[str, Options]:
    """Each variant with each reduction."""
    return {
        "_".join(part for part in (name, reduction) if part): options | {"reduction": reduction}
        for name, options in variants.items()
        for reduction in ("mean", "sum", "none")
    }


_SGD = [
    options
    for options in _grid(
        lr=[0.1],
        momentum=[0, 0.9],
        dampening=[0, 0.5],
        nesterov=[False, True],
        weight_decay=[0, 0.1],
        maximize=[False, True],
    )
    if not options["nesterov"] or (options["momentum"] and not options["dampening"])
]
_ADAM = partial(
    _grid,
    lr=[0.01],
    betas=[(0.9, 0.999), (0.5, 0.9)],
    eps=[1e-8, 1e-2],
    amsgrad=[False, True],
    maximize=[False, True],
)
_DIMS = {"": {"dim": -1}, "dim=0": {"dim": 0}, "dim=1": {"dim": 1}, "dim=-2": {"dim": -2}}
_LOSS = _reductions(**{"": {}})
_CROSS_ENTROPY = _reductions(index={}, probability={})

#: One row for each public class of scratch.
PAIRS: list[Pair] = [
    Pair(
        scratch.Linear,
        _linear,
        "layer",
        {
            "": {"in_features": 5, "out_features": 3},
            "square": {"in_features": 5, "out_features": 5},
            "no_bias": {"in_features": 5, "out_features": 3, "bias": False},
            "one_output": {"in_features": 5, "out_features": 1, "init": "xavier_normal"},
            "normal": {"in_features": 5, "out_features": 25, "init": "normal"},
        },
    ),
    Pair(
        scratch.Sequential,
        _reference_chain,
        "layer",
        {"nested": {"width": 4}},
        build=_scratch_chain,
    ),
    Pair(
        scratch.Dropout,
        layers.Dropout,
        "layer",
        {"p=0.5": {"p": 0.5}, "p=0.2": {"p": 0.2}, "p=0": {"p": 0.0}, "p=1": {"p": 1.0}},
    ),
    Pair(scratch.ReLU, nn.ReLU, "layer"),
    Pair(scratch.LeakyReLU, nn.LeakyReLU, "layer", {"": {}, "slope=0.3": {"negative_slope": 0.3}}),
    Pair(scratch.ELU, nn.ELU, "layer", {"": {}, "alpha=0.01": {"alpha": 0.01}}),
    Pair(
        scratch.SELU,
        layers.SELU,
        "layer",
        {"": {}, "report_b": {"alpha": 1.0, "scale": 1.0}, "own": {"alpha": 0.7, "scale": 1.9}},
    ),
    Pair(scratch.Sigmoid, layers.Sigmoid, "layer", {"": {}, "slope=3": {"slope": 3.0}}),
    Pair(scratch.Tanh, nn.Tanh, "layer"),
    Pair(scratch.Softmax, nn.Softmax, "layer", _DIMS),
    Pair(scratch.LogSoftmax, nn.LogSoftmax, "layer", _DIMS),
    Pair(scratch.MSELoss, nn.MSELoss, "loss", _LOSS),
    Pair(scratch.L1Loss, nn.L1Loss, "loss", _LOSS),
    Pair(
        scratch.BCELoss,
        layers.BCELoss,
        "loss",
        _reductions(**{"": {}, "eps": {"eps": 0.01}}),
        domain="probability",
        target="probability",
    ),
    Pair(scratch.BCEWithLogitsLoss, nn.BCEWithLogitsLoss, "loss", _LOSS, target="probability"),
    Pair(
        scratch.CrossEntropyLoss,
        nn.CrossEntropyLoss,
        "loss",
        _CROSS_ENTROPY,
        target={
            name: "class" if name.startswith("index") else "distribution" for name in _CROSS_ENTROPY
        },
    ),
    Pair(scratch.SGD, torch.optim.SGD, "optimizer", _named(iter(_SGD))),
    Pair(scratch.Adam, torch.optim.Adam, "optimizer", _named(_ADAM(weight_decay=[0, 0.1]))),
    Pair(scratch.AdamW, torch.optim.AdamW, "optimizer", _named(_ADAM(weight_decay=[0.01, 0]))),
]


def cases(kind: str | None = None) -> list[Case]:
    """Every pair at every variant, or those of one kind."""
    return [
        Case(pair, variant)
        for pair in PAIRS
        if kind in (None, pair.kind)
        for variant in pair.variants
    ]


@dataclass(frozen=True)
class ModelPair:
    """A report's network on both sides, with the loss and the optimizer that it is trained by.

    Args:
        name: as in a test's id.
        scratch, reference: make the network; the scratch side takes `generator`.
        loss, optimizer: what makes them, scratch's and torch's. An optimizer takes parameters.
        target: "one_hot" `[N, 2]`, "label" `[N, 1]`, or "class" `[N]`, int64.
    """

    name: str
    scratch: Callable[..., Sequential]
    reference: Callable[..., nn.Sequential]
    loss: tuple[Callable[[], Loss], Callable[[], nn.Module]]
    optimizer: tuple[Callable[..., Optimizer], Callable[..., torch.optim.Optimizer]]
    target: str = "one_hot"

    def __str__(self) -> str:
        return self.name

    def targets(self, labels: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Labels as the loss takes them."""
        match self.target:
            case "one_hot":
                return scratch.data.one_hot(labels, dtype=dtype)
            case "label":
                return labels.to(dtype or torch.get_default_dtype()).unsqueeze(-1)
        return labels

    def dropouts(self, model: nn.Module) -> list[layers.Dropout]:
        """The Dropout layers of a torch network, which can be given their masks."""
        return [layer for layer in model.modules() if isinstance(layer, layers.Dropout)]


def _network(name: str, **options: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    ours, theirs = getattr(scratch.models, name), getattr(models, name)
    return partial(ours, **options), partial(theirs, **options)


_SUMMED = (partial(scratch.MSELoss, reduction="sum"), partial(nn.MSELoss, reduction="sum"))
_BY_SGD = (partial(scratch.SGD, lr=1e-3), partial(torch.optim.SGD, lr=1e-3, fused=True))
_BY_ADAM = (partial(scratch.Adam, lr=1e-3), partial(torch.optim.Adam, lr=1e-3, fused=True))

#: The reports' networks, trained as they say where they say it.
MODELS: list[ModelPair] = [
    ModelPair("model_1", *_network("model_1"), _SUMMED, _BY_SGD),
    ModelPair("model_1_listing", *_network("model_1", variant="listing"), _SUMMED, _BY_SGD),
    ModelPair("model_2", *_network("model_2"), (scratch.BCELoss, nn.BCELoss), _BY_ADAM),
    *(
        ModelPair(
            f"model_a_{name}", *_network("model_a", activation=name), _SUMMED, _BY_SGD, "label"
        )
        for name in scratch.models.ACTIVATIONS
    ),
    ModelPair(
        "model_a_cross_entropy_dropout",
        *_network("model_a", outputs=2, dropout=0.2),
        (scratch.CrossEntropyLoss, nn.CrossEntropyLoss),
        _BY_SGD,
        "class",
    ),
]
