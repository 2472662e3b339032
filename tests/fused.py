"""The fused engine as a subject of `parity`, and its trainings beside eager's.

The adapter takes the place of scratch's `forward` and `backward`, layer by layer; what the engine
has no need of, the value of a loss and evaluation, is scratch's own.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

import parity
import scratch
from parity import Comparison, Tensors
from reference import pairs
from scratch import runs
from scratch.engines import fused, layout


class Layer(scratch.Module):
    """A scratch layer, or a chain of them, in the engine."""

    def __init__(self, inside: scratch.Module) -> None:
        super().__init__()
        self.inside = inside

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return self.inside(x)
        self.seed = int(torch.randint(2**62, ()))
        self.x = x
        self._kept = y = fused.trace(self.inside, x, seed=self.seed).outputs[-1]
        return y

    def backward(self, dy: Tensor) -> Tensor:
        if not self.training:
            return self.inside.backward(dy)
        self._take(dy)
        traced = fused.trace(self.inside, self.x, dy=dy, seed=self.seed)
        for (_, gradient), new in zip(self.inside.param(), traced.gradients, strict=True):
            gradient += new
        return traced.dx


class Loss:
    """A scratch loss: its derivative as the engine has it, by the output of a layer that does
    nothing."""

    def __init__(self, inside: scratch.Loss) -> None:
        self.inside = inside

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        self.given = prediction, target
        return self.inside(prediction, target)

    def backward(self) -> Tensor:
        x, t = self.given
        same = scratch.LeakyReLU(negative_slope=1.0)
        return fused.trace(same, x, criterion=self.inside, t=t).dys[-1]


def _made(wrap: Callable[[Any], Any], make: Callable[..., Any], *args: Any, **options: Any) -> Any:
    return wrap(make(*args, **options))


def _builder(pair: pairs.Pair) -> Any:
    """Makes the layer or loss of a pair, from the options that its own takes."""
    own = pair.build or pair.cls
    made: Any = partial(_made, Layer if pair.entry.kind == "layer" else Loss, own)
    made.__signature__ = inspect.signature(own)
    if own is scratch.CrossEntropyLoss:  # the engine takes no other of its options
        parameters = made.__signature__.parameters
        made.__signature__ = inspect.Signature([parameters["reduction"]])
    return made


def _takes(pair: pairs.Pair) -> bool:
    """Whether the engine has it."""
    taken = {*layout.CRITERIA, *layout.KINDS, scratch.Sequential}
    return pair.cls in taken


SUBJECT = parity.Subject(
    {pair.entry: _builder(pair) for pair in pairs.PAIRS if _takes(pair)},
    name="fused",
    targets=("index", "one_hot", "distribution"),
)


@dataclass(frozen=True)
class Training:
    """A training that an engine must do as eager does; the last batch is smaller."""

    activation: Callable[[], scratch.Module] = scratch.Tanh
    loss: Callable[[], scratch.Loss] = scratch.MSELoss
    optimizer: Callable[..., scratch.Optimizer] = scratch.Adam
    last: Callable[[], scratch.Module] = scratch.Sigmoid
    target: str = "probability"
    runs: int | None = None
    dtype: torch.dtype = torch.float32
    samples: int = 17
    batch_size: int = 7
    epochs: int = 2
    device: str = "cpu"
    seed: int = 0

    def model(self) -> scratch.Module:
        """Dropout after each hidden activation; stacked, if it is of several runs."""
        return copy.deepcopy(_untrained(self))

    def inputs(self) -> Tensors:
        """Data and initial weights."""
        generator = torch.Generator().manual_seed(self.seed)
        x = torch.randn(self.samples, 3, generator=generator, dtype=torch.float64)
        t = torch.rand(self.samples, 4, generator=generator, dtype=torch.float64)
        data = {"x": x.to(self.dtype), "t": t.to(self.dtype)}
        return {k: v.to(self.device) for k, v in (data | self.model().state_dict()).items()}

    def results(self, engine: str, inputs: Tensors) -> Tensors:
        """Parameters, gradients and the optimizer's state after it, in the inputs' dtype."""
        model = self.model().to(inputs["x"].dtype).to(self.device)
        names = list(model.named_param())
        model.load_state_dict({name: inputs[name] for name in names})
        optimizer, t = self.optimizer(model.param()), inputs["t"]
        if self.target == "index":
            t = t.argmax(-1)
        seeds: Any = 5 if self.runs is None else [5 + run for run in range(self.runs)]
        scratch.fit(
            model, self.loss(), optimizer, inputs["x"], t,
            epochs=self.epochs, batch_size=self.batch_size, seed=seeds, engine=engine,
        )  # fmt: skip
        left = dict(model.state_dict())
        left |= {f"{name}.param_grad": g.clone() for name, (_, g) in model.named_param().items()}
        for index, kept in optimizer.state_dict()["state"].items():
            left |= {f"{names[index]}.{slot}": v for slot, v in kept.items() if v is not None}
        return left

    def judged(self) -> list[Comparison]:
        """What the fused engine leaves, against eager's, in the dtype and in float64."""
        return parity.compare(self.results("fused", self.inputs()), _truth(self))

    def __str__(self) -> str:
        return ""


@cache  # a truth trains it some twenty times, and its weights take long to draw
def _untrained(training: Training) -> scratch.Module:
    made = []
    for run in range(training.runs or 1):
        linear = partial(scratch.Linear, generator=torch.Generator().manual_seed(run))
        layers = [
            linear(3, 17), training.activation(), scratch.Dropout(0.3),
            linear(17, 9, bias=False), training.activation(), scratch.Dropout(0.6),
            linear(9, 4), training.last(),
        ]  # fmt: skip
        made.append(scratch.Sequential(layers).to(training.dtype))
    return made[0] if training.runs is None else runs.stack(made)


@cache  # faults are planted in the engine alone, several for one training
def _truth(training: Training) -> parity.Truth:
    return parity.truth(partial(training.results, "eager"), training.inputs())


ACTIVATIONS: dict[str, Callable[[], scratch.Module]] = {
    "relu": scratch.ReLU,
    "leaky_relu": partial(scratch.LeakyReLU, 0.2),
    "elu": partial(scratch.ELU, 0.7),
    "selu": scratch.SELU,
    "selu_own": partial(scratch.SELU, 0.7, 1.9),
    "sigmoid": partial(scratch.Sigmoid, 3.0),
    "tanh": scratch.Tanh,
    "softmax": scratch.Softmax,
    "softmax_batch": partial(scratch.Softmax, 0),
    "log_softmax": scratch.LogSoftmax,
    "log_softmax_batch": partial(scratch.LogSoftmax, 0),
}
LOSSES: dict[str, dict[str, Any]] = {
    "mse": {"loss": scratch.MSELoss},
    "mse_none": {"loss": partial(scratch.MSELoss, "none")},
    "l1": {"loss": scratch.L1Loss},
    "bce": {"loss": scratch.BCELoss},
    "bce_eps": {"loss": partial(scratch.BCELoss, 0.01, "sum")},
    "bce_logits": {"loss": scratch.BCEWithLogitsLoss, "last": scratch.LeakyReLU},
    "cross_entropy": {"loss": scratch.CrossEntropyLoss, "last": scratch.ReLU},
    "cross_entropy_sum": {"loss": partial(scratch.CrossEntropyLoss, reduction="sum"),
                          "last": scratch.ELU},
    "cross_entropy_index": {"loss": scratch.CrossEntropyLoss, "last": scratch.Tanh,
                            "target": "index"},
}  # fmt: skip
OPTIMIZERS: dict[str, Callable[..., scratch.Optimizer]] = {
    "sgd": partial(scratch.SGD, lr=0.1, weight_decay=0.1),
    "sgd_maximize": partial(scratch.SGD, lr=0.01, maximize=True),
    "momentum": partial(scratch.SGD, lr=0.1, momentum=0.9, dampening=0.3, weight_decay=0.1),
    "nesterov": partial(scratch.SGD, lr=0.1, momentum=0.9, nesterov=True, maximize=True),
    "adam": partial(scratch.Adam, lr=0.01, weight_decay=0.1),
    "adam_eps": partial(scratch.Adam, lr=0.01, betas=(0.5, 0.9), eps=0.1, maximize=True),
    "amsgrad": partial(scratch.Adam, lr=0.01, amsgrad=True),
    "adamw": partial(scratch.AdamW, lr=0.01, weight_decay=0.2),
    "adamw_amsgrad": partial(scratch.AdamW, lr=0.01, amsgrad=True, maximize=True),
}
TRAININGS: dict[str, Training] = {
    **{name: Training(activation=make) for name, make in ACTIVATIONS.items()},
    **{name: Training(**options) for name, options in LOSSES.items()},
    **{name: Training(optimizer=make) for name, make in OPTIMIZERS.items()},
}


#: One of each kind.
KINDS = ("tanh", "softmax_batch", "bce", "cross_entropy_index", "momentum", "adam")


def training(name: str, runs: int | None, dtype: torch.dtype) -> Training:
    return replace(TRAININGS[name], runs=runs, dtype=dtype)
