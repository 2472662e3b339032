"""A training as the fused engine has it on every device: numbers, and tensors in a row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from scratch import activations as act
from scratch import losses, optim
from scratch.dropout import Dropout
from scratch.engines.eager import target_dims
from scratch.linear import Linear
from scratch.module import Module
from scratch.optimizer import Optimizer
from scratch.philox import FIRST_DROPOUT
from scratch.sequential import Sequential

WIDEST = 128

# The numbers are those of the enumerations in cpu.cpp, and of the constants in kernel.py.
KINDS: dict[type[Module], int] = {
    Linear: 0, act.ReLU: 1, act.LeakyReLU: 2, act.ELU: 3, act.SELU: 3, act.Sigmoid: 4,
    act.Tanh: 5, act.Softmax: 6, act.LogSoftmax: 7, Dropout: 8,
}  # fmt: skip
CRITERIA: dict[type[losses.Loss], int] = {
    losses.MSELoss: 0, losses.L1Loss: 1, losses.BCELoss: 2, losses.BCEWithLogitsLoss: 3,
    losses.CrossEntropyLoss: 4,
}  # fmt: skip
CROSS_ENTROPY_INDEX = 5
RULES: dict[type[Optimizer], int] = {optim.SGD: 0, optim.Adam: 1, optim.AdamW: 2}
#: What an optimizer keeps for each parameter, and the buffer that it is in.
SLOTS = {
    "momentum_buffer": "first",
    "exp_avg": "first",
    "exp_avg_sq": "second",
    "max_exp_avg_sq": "largest",
}


class Refused(Exception):
    """BCELoss refuses a prediction.

    Args:
        low, high: the range of what is in it.
    """

    def __init__(self, low: float, high: float) -> None:
        super().__init__(low, high)
        self.low, self.high = low, high


@dataclass
class Layer:
    """A layer in numbers."""

    kind: int
    inputs: int
    outputs: int
    bias: bool = False  # of a Linear
    over_batch: bool = False  # of a softmax: whether it runs over the batch
    stream: int = 0  # of a Dropout: its place among those of the model
    offset: int = 0  # of a Linear: where its parameters begin
    alpha: float = 0.0  # of an activation; of a Dropout its bound for words
    scale: float = 0.0  # of an activation; of a Dropout the share kept


@dataclass
class Training:
    """A training in numbers and tensors; `[R, …]`, of one run too."""

    layers: list[Layer]
    parameters: int  # of one run
    samples: int
    batch: int
    features: int
    outputs: int
    x: Tensor
    x_stride: int  # from one run's data to the next one's: 0 if they share it
    seeds: Tensor
    t: Tensor | None = None
    t_stride: int = 0
    criterion: int = 0
    mean: bool = False  # whether the loss is a mean
    eps: float = 0.0  # of BCELoss
    rule: int = 0
    nesterov: bool = False
    amsgrad: bool = False
    maximize: bool = False
    lr: float = 0.0
    momentum: float = 0.0
    dampening: float = 0.0
    beta1: float = 0.0
    beta2: float = 0.0
    adam_eps: float = 0.0
    weight_decay: float = 0.0
    steps: int = 0  # that the optimizer has made before
    started: bool = False  # whether SGD has its momentum from them
    base: int = 0  # the epoch that they were before
    buffers: dict[str, Tensor] = field(default_factory=dict)  # p, g, and those of SLOTS


class Layout:
    """A model's layers in a row, and its parameters in one buffer.

    Args:
        lanes: rows of numbers in memory are padded to a multiple of it.
    """

    def __init__(self, model: Module, x: Tensor, lanes: int) -> None:
        self.runs, self.lanes = model.runs, lanes
        self.dtype, self.device = x.dtype, x.device
        self.layers: list[Layer] = []
        self.size = 0  # of one run's parameters
        width, dropouts = x.shape[-1], 0
        for layer in chain(model):
            made = Layer(KINDS[type(layer)], width, width)
            match layer:
                case Linear():
                    width = made.outputs = layer.out_features
                    made.bias, made.offset = layer.bias is not None, self.size
                    self.size += (made.inputs + made.bias) * self.padded(width)
                case Dropout():
                    made.stream = FIRST_DROPOUT + dropouts
                    made.alpha, made.scale = round((1 - layer.p) * 2**32), 1 - layer.p
                    dropouts += 1
                case act.LeakyReLU():
                    made.alpha = layer.negative_slope
                case act.ELU():
                    made.alpha, made.scale = layer.alpha, getattr(layer, "scale", 1.0)
                case act.Sigmoid():
                    made.scale = layer.slope
                case act.Softmax() | act.LogSoftmax():
                    made.over_batch = layer.dim == -2
            self.layers.append(made)
        self.widths = [made.outputs for made in self.layers]
        self.widest = max(max(made.inputs, made.outputs) for made in self.layers)

    def padded(self, width: int) -> int:
        """A width, up to a multiple of the lanes."""
        return -(-width // self.lanes) * self.lanes

    def packed(self, tensors: Sequence[Tensor]) -> Tensor:
        """Tensors like the parameters, in one buffer: `[R, size]`; zeros for none."""
        buffer = torch.zeros(self.runs or 1, self.size, dtype=self.dtype, device=self.device)
        for view, tensor in zip(self.views(buffer), tensors, strict=False):
            view.copy_(tensor)
        return buffer

    def views(self, buffer: Tensor) -> Iterator[Tensor]:
        """Of a packed buffer, each parameter in its own shape, in the model's order."""
        for made in self.layers:
            if made.kind == KINDS[Linear]:
                rows, width = made.inputs + made.bias, self.padded(made.outputs)
                part = buffer[:, made.offset : made.offset + rows * width]
                own = part.unflatten(1, (rows, width))[..., : made.outputs]
                if self.runs is None:
                    own = own[0]
                yield own[..., : made.inputs, :].mT  # [R, out, in]
                if made.bias:
                    yield own[..., made.inputs, :]  # [R, out]

    def training(
        self, x: Tensor, t: Tensor | None, criterion: losses.Loss | None, seeds: Tensor
    ) -> Training:
        """Everything of a training but its optimizer and its parameters."""
        made = Training(
            self.layers, self.size,
            samples=x.shape[-2], batch=x.shape[-2], features=x.shape[-1],
            outputs=self.widths[-1], x=x.contiguous(),
            x_stride=x[0].numel() if x.dim() > 2 else 0, seeds=seeds.reshape(-1).contiguous(),
        )  # fmt: skip
        if criterion is not None and t is not None:
            indices = isinstance(criterion, losses.CrossEntropyLoss) and not t.is_floating_point()
            made.criterion = CROSS_ENTROPY_INDEX if indices else CRITERIA[type(criterion)]
            made.mean, made.eps = criterion.reduction == "mean", getattr(criterion, "eps", 0.0)
            made.t, made.t_stride = (
                t.contiguous(),
                t[0].numel() if t.dim() > target_dims(t) else 0,
            )
        return made


def chain(model: Module) -> Iterator[Module]:
    """The layers of a Sequential, and of those within it, in their order."""
    if type(model) is Sequential:
        for module in model:
            yield from chain(module)
    else:
        yield model
