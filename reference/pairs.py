"""Which torch class each scratch class answers to: scratch as a subject of `parity`.

The one place that knows both sides. Tests and layer benchmarks are generated from `PAIRS` and
`MODELS`: a new layer is its class and its row here, and all else follows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

import scratch
from parity import (
    CATALOGUE,
    Case,
    Entry,
    GeGLU,
    Network,
    RoPE,
    ScaledDotProductAttention,
    Subject,
    SwiGLU,
)
from parity.catalogue.entry import Options, reductions
from parity.play.describe import describe
from reference import layers, models
from scratch.losses import Loss
from scratch.optimizer import Optimizer
from scratch.sequential import Sequential


@dataclass(frozen=True)
class Pair:
    """One scratch class and its mirror.

    Args:
        cls: the scratch class.
        entry: the mirror, and the settings at which the two are compared: a torch class of
            parity's catalogue, or an entry of our own where the reports parametrise more.
        build: makes the scratch side from the entry's options. Default: `cls`.
    """

    cls: type
    entry: Entry
    build: Callable[..., Any] | None = None


def _scratch_chain(width: int) -> scratch.Sequential:
    inner = scratch.Sequential(scratch.Linear(width, 3), scratch.Tanh())
    return scratch.Sequential([scratch.Linear(5, width), scratch.ELU(), inner])


def _reference_chain(width: int) -> nn.Sequential:
    inner = nn.Sequential(nn.Linear(width, 3), nn.Tanh())
    return nn.Sequential(nn.Linear(5, width), nn.ELU(), inner)


def _scratch_residual(width: int) -> scratch.Residual:
    return scratch.Residual(scratch.Linear(5, width), scratch.Tanh(), scratch.Linear(width, 5))


def _reference_residual(width: int) -> nn.Sequential:
    return layers.Residual(nn.Linear(5, width), nn.Tanh(), nn.Linear(width, 5))


class _RotaryByParts(layers.RotaryAttention):
    """The same as sums and products: a fused operation has no inner rounding to move."""

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        with sdpa_kernel(SDPBackend.MATH):
            return super().forward(x, memory)


_SELU: dict[str, Options] = {
    "": {},
    "report_b": {"alpha": 1.0, "scale": 1.0},
    "own": {"alpha": 0.7, "scale": 1.9},
}
_BCE = Entry(
    layers.BCELoss,
    "loss",
    reductions(**{"": {}, "eps": {"eps": 0.01}}),
    domain="probability",
    target="probability",
)
_SIGMOID = Entry(layers.Sigmoid, "layer", {"": {}, "slope=3": {"slope": 3.0}})
_RESIDUAL = Entry(
    _reference_residual, "layer", {"": {"width": 4}, "wide": {"width": 8}}, name="Residual"
)
_HEADS: Options = {"embed_dim": 8, "num_heads": 2}
_ROTARY = Entry(
    _RotaryByParts,
    "layer",
    {"": _HEADS, "causal": _HEADS | {"causal": True}, "memory": _HEADS | {"bias": False}},
    (3, 5, 8),
    positional=("embed_dim", "num_heads"),
    sequence=True,
    beside={"memory": {"memory": (3, 7, 8)}},
    blocks={"in_proj": "qkv"},
    chained=True,
    stands_for=layers.RotaryAttention,
    name="RotaryAttention",
)
_NESTED = Entry(_reference_chain, "layer", {"nested": {"width": 4}}, name="Sequential")

#: One row for each public class of scratch.
PAIRS: list[Pair] = [
    Pair(scratch.Linear, CATALOGUE[nn.Linear]),
    Pair(scratch.Sequential, _NESTED, build=_scratch_chain),
    Pair(scratch.Residual, _RESIDUAL, build=_scratch_residual),
    Pair(scratch.Conv2d, CATALOGUE[nn.Conv2d]),
    Pair(scratch.Conv1d, CATALOGUE[nn.Conv1d]),
    Pair(scratch.ConvTranspose2d, CATALOGUE[nn.ConvTranspose2d]),
    Pair(scratch.MaxPool2d, CATALOGUE[nn.MaxPool2d]),
    Pair(scratch.AvgPool2d, CATALOGUE[nn.AvgPool2d]),
    Pair(scratch.Upsample, CATALOGUE[nn.Upsample]),
    Pair(scratch.Flatten, CATALOGUE[nn.Flatten]),
    Pair(scratch.BatchNorm1d, CATALOGUE[nn.BatchNorm1d]),
    Pair(scratch.BatchNorm2d, CATALOGUE[nn.BatchNorm2d]),
    Pair(scratch.LayerNorm, CATALOGUE[nn.LayerNorm]),
    Pair(scratch.RMSNorm, CATALOGUE[nn.RMSNorm]),
    Pair(scratch.GroupNorm, CATALOGUE[nn.GroupNorm]),
    Pair(scratch.Embedding, CATALOGUE[nn.Embedding]),
    Pair(scratch.RNNCell, CATALOGUE[nn.RNNCell]),
    Pair(scratch.GRUCell, CATALOGUE[nn.GRUCell]),
    Pair(scratch.LSTMCell, CATALOGUE[nn.LSTMCell]),
    Pair(scratch.RNN, CATALOGUE[nn.RNN]),
    Pair(scratch.GRU, CATALOGUE[nn.GRU]),
    Pair(scratch.LSTM, CATALOGUE[nn.LSTM]),
    Pair(scratch.ScaledDotProductAttention, CATALOGUE[ScaledDotProductAttention]),
    Pair(scratch.MultiheadAttention, CATALOGUE[nn.MultiheadAttention]),
    Pair(scratch.MultiheadAttention, _ROTARY, partial(scratch.MultiheadAttention, rotary=True)),
    Pair(scratch.SwiGLU, CATALOGUE[SwiGLU]),
    Pair(scratch.GeGLU, CATALOGUE[GeGLU]),
    Pair(scratch.RoPE, CATALOGUE[RoPE]),
    Pair(scratch.Dropout, CATALOGUE[nn.Dropout]),
    Pair(scratch.ReLU, CATALOGUE[nn.ReLU]),
    Pair(scratch.LeakyReLU, CATALOGUE[nn.LeakyReLU]),
    Pair(scratch.PReLU, CATALOGUE[nn.PReLU]),
    Pair(scratch.ELU, CATALOGUE[nn.ELU]),
    Pair(scratch.SELU, Entry(layers.SELU, "layer", _SELU)),
    Pair(scratch.GELU, CATALOGUE[nn.GELU]),
    Pair(scratch.SiLU, CATALOGUE[nn.SiLU]),
    Pair(scratch.Softplus, CATALOGUE[nn.Softplus]),
    Pair(scratch.Sigmoid, _SIGMOID),
    Pair(scratch.Tanh, CATALOGUE[nn.Tanh]),
    Pair(scratch.Softmax, CATALOGUE[nn.Softmax]),
    Pair(scratch.LogSoftmax, CATALOGUE[nn.LogSoftmax]),
    Pair(scratch.MSELoss, CATALOGUE[nn.MSELoss]),
    Pair(scratch.L1Loss, CATALOGUE[nn.L1Loss]),
    Pair(scratch.HuberLoss, CATALOGUE[nn.HuberLoss]),
    Pair(scratch.BCELoss, _BCE),
    Pair(scratch.BCEWithLogitsLoss, CATALOGUE[nn.BCEWithLogitsLoss]),
    Pair(scratch.CrossEntropyLoss, CATALOGUE[nn.CrossEntropyLoss]),
    Pair(scratch.NLLLoss, CATALOGUE[nn.NLLLoss]),
    Pair(scratch.KLDivLoss, CATALOGUE[nn.KLDivLoss]),
    Pair(scratch.SGD, CATALOGUE[torch.optim.SGD]),
    Pair(scratch.Adam, CATALOGUE[torch.optim.Adam]),
    Pair(scratch.AdamW, CATALOGUE[torch.optim.AdamW]),
    Pair(scratch.RMSprop, CATALOGUE[torch.optim.RMSprop]),
    Pair(scratch.Adagrad, CATALOGUE[torch.optim.Adagrad]),
]


@dataclass(frozen=True)
class ModelPair:
    """A report's network on both sides, with the loss and the optimizer that it is trained by.

    Args:
        name: as in a test's id.
        scratch, reference: make the network; the scratch side takes `generator`.
        criterion, moved: name and options of the loss, and of the optimizer.
        target: "one_hot" `[N, 2]`, "label" `[N, 1]`, or "index" `[N]`, int64.
    """

    name: str
    scratch: Callable[..., Sequential]
    reference: Callable[..., nn.Sequential]
    criterion: tuple[str, Options]
    moved: tuple[str, Options]
    target: str = "one_hot"

    def __str__(self) -> str:
        return self.name

    @property
    def loss(self) -> tuple[Callable[[], Loss], Callable[[], nn.Module]]:
        """What makes the loss, scratch's and torch's."""
        name, options = self.criterion
        return partial(getattr(scratch, name), **options), partial(getattr(nn, name), **options)

    @property
    def optimizer(self) -> tuple[Callable[..., Optimizer], Callable[..., torch.optim.Optimizer]]:
        """What makes the optimizer from parameters, scratch's and torch's fastest."""
        name, options = self.moved
        theirs = partial(getattr(torch.optim, name), fused=True, **options)
        return partial(getattr(scratch, name), **options), theirs

    def targets(self, labels: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Labels as the loss takes them."""
        match self.target:
            case "one_hot":
                return scratch.data.one_hot(labels, dtype=dtype)
            case "label":
                return labels.to(dtype or torch.get_default_dtype()).unsqueeze(-1)
        return labels

    def network(self) -> Network:
        """The same as `parity` takes it."""
        return Network(
            reference=self.reference,
            name=self.name,
            loss=self.criterion,
            optimizer=self.moved,
            target=self.target,
        )


def _network(name: str, **options: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    ours, theirs = getattr(scratch.models, name), getattr(models, name)
    return partial(ours, **options), partial(theirs, **options)


_SUMMED = ("MSELoss", {"reduction": "sum"})
_BY_SGD = ("SGD", {"lr": 1e-3})
_BY_ADAM = ("Adam", {"lr": 1e-3})

#: The reports' networks, trained as they say where they say it.
MODELS: list[ModelPair] = [
    ModelPair("model_1", *_network("model_1"), _SUMMED, _BY_SGD),
    ModelPair("model_1_listing", *_network("model_1", variant="listing"), _SUMMED, _BY_SGD),
    ModelPair("model_2", *_network("model_2"), ("BCELoss", {"reduction": "mean"}), _BY_ADAM),
    *(
        ModelPair(
            f"model_a_{name}", *_network("model_a", activation=name), _SUMMED, _BY_SGD, "label"
        )
        for name in scratch.models.ACTIVATIONS
    ),
    ModelPair(
        "model_a_cross_entropy_dropout",
        *_network("model_a", outputs=2, dropout=0.2),
        ("CrossEntropyLoss", {"reduction": "mean"}),
        _BY_SGD,
        "index",
    ),
]

#: Scratch, as `parity` checks it.
subject = Subject(
    {pair.entry: pair.build or pair.cls for pair in PAIRS}
    | {pair.network(): pair.scratch for pair in MODELS},
    name="scratch",
    targets=("index", "one_hot", "distribution"),
    dtypes=("float64", "float32", "bfloat16"),
)
CASES: list[Case] = [case for case in describe(subject).cases if not case.missing]


def cases(kind: str | None = None) -> list[Case]:
    """Every case of scratch, or those of one kind."""
    return [case for case in CASES if kind in (None, case.kind)]


def build(case: Case, *args: Any, **options: Any) -> Any:
    """A new scratch instance of a case; an optimizer takes its parameters."""
    if case.kind == "network":
        pair = next(pair for pair in MODELS if pair.name == case.entry.name)
        return pair.scratch(*args, **options)
    pair_of = next(pair for pair in PAIRS if pair.entry is case.entry)
    return (pair_of.build or pair_of.cls)(*args, **case.options)
