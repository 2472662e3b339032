"""What is checked of each torch class: at which options, on which inputs.

A row is an `Entry`; a subject says which classes it has its own version of. The shapes are
such that no two of their numbers are alike: a factor that a gradient is off by tells where it
comes from.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import nn

Options = dict[str, Any]
Variants = dict[str, Options]


@dataclass(frozen=True, eq=False)
class Entry:
    """One torch class, and the settings at which a subject's version of it is compared.

    Args:
        reference: makes the torch side from the options of a variant. An optimizer's takes its
            parameters first.
        kind: "layer", "loss", "optimizer", or "network": a whole model, see `checks.networks`.
        variants: options by a name that reads well in a test's id.
        shape: of a layer's input or a loss's prediction: `(batch, features)`.
        domain: of that input: "real" or "probability".
        target: of a loss: "real", "probability" (for each entry), or one of a class, "index"
            (int64, one for each sample), "one_hot", "distribution" (a weight for each class,
            which need not sum to 1); by the variant's name where it differs.
        positional: options that are handed over by position, since frameworks name them in
            their own ways: the widths of a layer, an optimizer's rate.
        mixes: whether samples of a batch see each other, as in `Softmax(dim=0)`; by variant.
        name: default: the name of the torch class.
    """

    reference: Callable[..., Any]
    kind: str
    variants: Variants = field(default_factory=lambda: {"": {}})
    shape: tuple[int, ...] = (7, 5)
    domain: str = "real"
    target: str | dict[str, str] = "real"
    positional: tuple[str, ...] = ()
    mixes: tuple[str, ...] = ()
    name: str = ""

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", self.reference.__name__)

    def __reduce__(self) -> Any:
        """Crosses to another process by name; one that is not in the catalogue cannot."""
        if any(self is entry for entry in CATALOGUE.values()):
            return by_name, (self.name,)
        return super().__reduce__()

    def target_of(self, variant: str) -> str:
        return self.target if isinstance(self.target, str) else self.target[variant]

    def defaults(self) -> Options:
        """The torch side's own defaults of its options."""
        parameters = inspect.signature(self.reference).parameters.values()
        return {p.name: p.default for p in parameters if p.default is not p.empty}


def _no_reference() -> nn.Sequential:
    raise NotImplementedError("a network without a reference is made of its parts")


@dataclass(frozen=True, eq=False)
class Network(Entry):
    """A whole model, and how it is trained: a case of its own.

    Args:
        name: as in a test's id.
        loss: the entry's name and the options of the loss; `optimizer`, of the optimizer.
        target: "one_hot" `[N, 2]`, "label" `[N, 1]`, or "index" `[N]`, int64.
        parts: the layers in a row, each by its entry's name and its options.
        reference: makes the torch side. Default: from `parts`.
    """

    reference: Callable[..., Any] = _no_reference
    kind: str = "network"
    loss: tuple[str, Options] = ("MSELoss", {"reduction": "mean"})
    optimizer: tuple[str, Options] | None = None
    target: str = "one_hot"
    parts: tuple[tuple[str, Options], ...] = ()

    def make(self) -> nn.Sequential:
        """The torch side."""
        if not self.parts:
            made: nn.Sequential = self.reference()
            return made
        return nn.Sequential(*(by_name(name).reference(**o) for name, o in self.parts))


def by_name(name: str) -> Entry:
    """The catalogue's entry of that name."""
    return next(entry for entry in CATALOGUE.values() if entry.name == name)


def grid(**choices: list[Any]) -> Iterator[Options]:
    """Every combination of the choices."""
    for values in itertools.product(*choices.values()):
        yield dict(zip(choices, values, strict=True))


def named(options: Iterator[Options]) -> Variants:
    """Options by a name made of what differs from the first choice: `momentum=0.9,nesterov`."""
    listed = list(options)
    defaults = {key: value for one in reversed(listed) for key, value in one.items()}
    names: Variants = {}
    for one in listed:
        changed = {k: v for k, v in one.items() if v != defaults[k]}
        parts = [k if v is True else f"{k}={v}".replace(" ", "") for k, v in changed.items()]
        names[",".join(parts)] = one
    return names


def reductions(**variants: Options) -> Variants:
    """Each variant with each reduction."""
    return {
        "_".join(part for part in (name, reduction) if part): options | {"reduction": reduction}
        for name, options in variants.items()
        for reduction in ("mean", "sum", "none")
    }


_SGD = (
    options
    for options in grid(
        lr=[0.1],
        momentum=[0, 0.9],
        dampening=[0, 0.5],
        nesterov=[False, True],
        weight_decay=[0, 0.1],
        maximize=[False, True],
    )
    if not options["nesterov"] or (options["momentum"] and not options["dampening"])
)
_ADAM = partial(
    grid,
    lr=[0.01],
    betas=[(0.9, 0.999), (0.5, 0.9)],
    eps=[1e-8, 1e-2],
    amsgrad=[False, True],
    maximize=[False, True],
)
_DIMS: Variants = {"": {"dim": -1}, "dim=0": {"dim": 0}, "dim=1": {"dim": 1}, "dim=-2": {"dim": -2}}
_LOSS = reductions(**{"": {}})
_CROSS_ENTROPY = reductions(index={}, one_hot={}, distribution={})
_CLASS = {name: name.rsplit("_", 1)[0] for name in _CROSS_ENTROPY}

LINEAR: Variants = {
    "": {"in_features": 5, "out_features": 3},
    "square": {"in_features": 5, "out_features": 5},
    "no_bias": {"in_features": 5, "out_features": 3, "bias": False},
    "one_output": {"in_features": 5, "out_features": 1},
}

_softmax = partial(Entry, kind="layer", variants=_DIMS, mixes=("dim=0", "dim=-2"))
_optimizer = partial(Entry, kind="optimizer", positional=("lr",))

#: The rows, by torch class.
CATALOGUE: dict[type, Entry] = {
    entry.reference: entry  # type: ignore[misc]
    for entry in (
        Entry(nn.Linear, "layer", LINEAR, positional=("in_features", "out_features")),
        Entry(
            nn.Dropout,
            "layer",
            {"p=0.5": {"p": 0.5}, "p=0.2": {"p": 0.2}, "p=0": {"p": 0.0}, "p=1": {"p": 1.0}},
            positional=("p",),
        ),
        Entry(nn.ReLU, "layer"),
        Entry(nn.LeakyReLU, "layer", {"": {}, "slope=0.3": {"negative_slope": 0.3}}),
        Entry(nn.ELU, "layer", {"": {}, "alpha=0.01": {"alpha": 0.01}}),
        Entry(nn.SELU, "layer"),
        Entry(nn.GELU, "layer", {"": {}, "tanh": {"approximate": "tanh"}}),
        Entry(nn.SiLU, "layer"),
        Entry(nn.Softplus, "layer", {"": {}, "beta=3": {"beta": 3.0}}),
        Entry(nn.Sigmoid, "layer"),
        Entry(nn.Tanh, "layer"),
        _softmax(nn.Softmax),
        _softmax(nn.LogSoftmax),
        Entry(nn.MSELoss, "loss", _LOSS),
        Entry(nn.L1Loss, "loss", _LOSS),
        Entry(nn.HuberLoss, "loss", reductions(**{"": {}, "delta=0.5": {"delta": 0.5}})),
        Entry(nn.BCELoss, "loss", _LOSS, domain="probability", target="probability"),
        Entry(nn.BCEWithLogitsLoss, "loss", _LOSS, target="probability"),
        Entry(nn.CrossEntropyLoss, "loss", _CROSS_ENTROPY, target=_CLASS),
        Entry(nn.NLLLoss, "loss", reductions(index={}), target="index"),
        _optimizer(torch.optim.SGD, variants=named(_SGD)),
        _optimizer(torch.optim.Adam, variants=named(_ADAM(weight_decay=[0, 0.1]))),
        _optimizer(torch.optim.AdamW, variants=named(_ADAM(weight_decay=[0.01, 0]))),
        _optimizer(
            torch.optim.RMSprop,
            variants=named(grid(lr=[0.01], alpha=[0.99, 0.5], momentum=[0, 0.9])),
        ),
        _optimizer(torch.optim.Adagrad, variants=named(grid(lr=[0.01], weight_decay=[0, 0.1]))),
    )
}
