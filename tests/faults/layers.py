"""Faults of layers and of Sequential."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import scratch
from tests.faults import Planting, fault, swap


@fault("weight is not transposed", "layer.forward", "Linear-square", "uses the weight transposed")
def _() -> Planting:
    def forward(self: Any, x: Tensor) -> Tensor:
        self._kept = x
        return x @ self.weight + self.bias

    return swap(scratch.Linear, forward=forward)


@fault("bias is left out", "layer.forward", "Linear", "lacks the bias")
def _() -> Planting:
    def forward(self: Any, x: Tensor) -> Tensor:
        self._kept = x
        return x @ self.weight.mT

    return swap(scratch.Linear, forward=forward)


@fault(
    "dx uses the transposed weight",
    "layer.input_grad",
    "Linear-square",
    "uses the weight transposed",
)
def _() -> Planting:
    def backward(self: Any, dy: Tensor) -> Tensor:
        self.backward_param(dy)
        return dy @ self.weight.mT

    return swap(scratch.Linear, backward=backward)


def _linear_gradients(weight: Any, bias: Any) -> Planting:
    """Linear whose gradients are made by the two functions of (gradient, dy, x)."""

    def backward_param(self: Any, dy: Tensor) -> None:
        x, self._kept = self._kept, None
        weight(self.dweight, dy, x)
        if self.bias is not None:
            bias(self.dbias, dy, x)

    return swap(scratch.Linear, backward_param=backward_param)


def _right_weight(gradient: Tensor, dy: Tensor, x: Tensor) -> None:
    gradient.add_(dy.mT @ x)


def _right_bias(gradient: Tensor, dy: Tensor, x: Tensor) -> None:
    gradient.add_(dy.sum(-2))


@fault(
    "bias gradient is the last sample's",
    "layer.param_grad",
    "Linear",
    "is that of the last sample alone, not summed",
)
def _() -> Planting:
    return _linear_gradients(_right_weight, lambda g, dy, x: g.add_(dy[..., -1, :]))


@fault(
    "bias gradient is a mean over the batch",
    "layer.param_grad",
    "Linear",
    "1 / 7, 7 is the batch size",
)
def _() -> Planting:
    return _linear_gradients(_right_weight, lambda g, dy, x: g.add_(dy.mean(-2)))


@fault(
    "weight gradient is a mean over the batch",
    "layer.param_grad",
    "Linear",
    "1 / 7, 7 is the batch size",
)
def _() -> Planting:
    return _linear_gradients(lambda g, dy, x: g.add_(dy.mT @ x / x.shape[-2]), _right_bias)


@fault("weight gradient is transposed", "layer.param_grad", "Linear-square", "is transposed")
def _() -> Planting:
    return _linear_gradients(lambda g, dy, x: g.add_(x.mT @ dy), _right_bias)


@fault("weight gradient uses the absolute input", "layer.differences", "Linear", dtype="float64")
def _() -> Planting:
    return _linear_gradients(lambda g, dy, x: g.add_(dy.mT @ x.abs()), _right_bias)


@fault(
    "gradient is overwritten, not accumulated",
    "layer.accumulation",
    "Linear",
    "is that of the last backward alone, where gr",
)
def _() -> Planting:
    return _linear_gradients(lambda g, dy, x: g.copy_(dy.mT @ x), _right_bias)


@fault(
    "bias gradient is overwritten, not accumulated",
    "layer.accumulation",
    "Linear",
    "is that of the last backward alone, where gr",
)
def _() -> Planting:
    return _linear_gradients(_right_weight, lambda g, dy, x: g.copy_(dy.sum(-2)))


@fault(
    "bias gradient is wrong for a batch of one",
    "layer.batch_of_one",
    "Linear",
    subtle="for two samples and more",
)
def _() -> Planting:
    def bias(gradient: Tensor, dy: Tensor, x: Tensor) -> None:
        gradient.add_(dy.sum(-2) if dy.shape[-2] > 1 else dy.mean())

    return _linear_gradients(_right_weight, bias)


@fault(
    "an empty batch makes the gradient NaN",
    "layer.empty_batch",
    "Linear",
    subtle="for one sample and more",
)
def _() -> Planting:
    return _linear_gradients(_right_weight, lambda g, dy, x: g.add_(dy.mean(-2) * dy.shape[-2]))


@fault("bias gradient is summed over the runs too", "layer.stacked", "Linear")
def _() -> Planting:
    def bias(gradient: Tensor, dy: Tensor, x: Tensor) -> None:
        gradient.add_(dy.sum(-2) if dy.dim() == 2 else dy.sum((0, 1)))

    return _linear_gradients(_right_weight, bias)


@fault("weight gradient leaks from run to run", "layer.runs_apart", "Linear")
def _() -> Planting:
    def weight(gradient: Tensor, dy: Tensor, x: Tensor) -> None:
        own = dy.mT @ x
        gradient.add_(own if own.dim() == 2 else own + 1e-6 * own.roll(1, 0))

    return _linear_gradients(weight, _right_bias)


@fault(
    "strides of the input are ignored",
    "layer.noncontiguous",
    "Linear",
    subtle="for contiguous inputs",
)
def _() -> Planting:
    right = scratch.Linear.forward

    def forward(self: Any, x: Tensor) -> Tensor:
        return right(self, x.as_strided(x.shape, torch.empty(x.shape).stride()))

    return swap(scratch.Linear, forward=forward)


@fault("load_state_dict skips the bias", "layer.state_dicts", "Linear")
def _() -> Planting:
    def load_state_dict(self: Any, state: dict[str, Tensor]) -> None:
        for key, (parameter, _) in self.named_param().items():
            if "bias" not in key:
                parameter.copy_(state[key])

    return swap(scratch.Module, load_state_dict=load_state_dict)


@fault(
    "no 1 / (1 - p)", "layer.forward", "Dropout-p=0.2", "lacks the factor 1 / (1 - p), here 1.25"
)
def _() -> Planting:
    right = scratch.Dropout._draw
    return swap(scratch.Dropout, _draw=lambda self, x: right(self, x).bool().to(x.dtype))


@fault(
    "backward ignores the mask",
    "layer.input_grad",
    "Dropout-p=0.5",
    "is the incoming gradient itself",
)
def _() -> Planting:
    return swap(scratch.Dropout, backward=lambda self, dy: dy.clone())


@fault(
    "backward has no 1 / (1 - p)",
    "layer.input_grad",
    "Dropout-p=0.2",
    "lacks the factor 1 / (1 - p), here 1.25",
)
def _() -> Planting:
    return swap(scratch.Dropout, backward=lambda self, dy: dy * self.mask.bool())


@fault(
    "backward draws a new mask",
    "layer.input_grad",
    "Dropout-p=0.5",
    "drops other entries than forward did",
)
def _() -> Planting:
    return swap(scratch.Dropout, backward=lambda self, dy: dy * self._draw(dy))


@fault(
    "backward writes into dy",
    "layer.no_mutation",
    "Dropout-p=0.5",
    "Dropout writes into the incoming gradient",
)
def _() -> Planting:
    return swap(scratch.Dropout, backward=lambda self, dy: dy.mul_(self.mask))


@fault("live in evaluation mode", "layer.eval_mode", "Dropout-p=0.5")
def _() -> Planting:
    def forward(self: Any, x: Tensor) -> Tensor:
        self._kept, self.mask = x, self._draw(x)
        return x * self.mask

    return swap(scratch.Dropout, forward=forward)


@fault(
    "drops with probability 1 - p",
    "layer.rate",
    "Dropout-p=0.2",
    "Dropout drops with probability 1 - p = 0.8 i",
)
def _() -> Planting:
    def draw(self: Any, x: Tensor) -> Tensor:
        return (torch.rand_like(x) < self.p).to(x.dtype) / (1 - self.p)

    return swap(scratch.Dropout, _draw=draw)


@fault("rate is off by 1 in 100", "layer.rate", "Dropout-p=0.5")
def _() -> Planting:
    def draw(self: Any, x: Tensor) -> Tensor:
        return (torch.rand_like(x) < 1 - self.p * 1.01).to(x.dtype) / (1 - self.p)

    return swap(scratch.Dropout, _draw=draw)


@fault(
    "dim=1 is the batch",
    "layer.forward",
    "Softmax-dim=1",
    "is normalised over the batch, not over the f",
)
def _() -> Planting:
    def forward(self: Any, x: Tensor) -> Tensor:
        self._kept = torch.exp(x) / torch.exp(x).sum(-2, keepdim=True)
        return self._kept

    return swap(scratch.Softmax, forward=forward)


@fault("whole columns are dropped", "layer.rate", "Dropout-p=0.5")
def _() -> Planting:
    def draw(self: Any, x: Tensor) -> Tensor:
        kept = torch.rand_like(x[..., :1, :]) < 1 - self.p
        return kept.to(x.dtype).expand(x.shape) / (1 - self.p)

    return swap(scratch.Dropout, _draw=draw)


@fault(
    "backward skips the first layer", "network.layer_by_layer", "model_1", "is skipped in backward"
)
def _() -> Planting:
    def backward(self: Any, dy: Tensor) -> Tensor:
        for module in reversed(self._chain[1:]):
            dy = module.backward(dy)
        return dy

    return swap(scratch.Sequential, backward=backward)


@fault("backward_param skips the first layer", "layer.params_alone", "Sequential")
def _() -> Planting:
    def backward_param(self: Any, dy: Tensor) -> None:
        for module in reversed(self._chain[1:]):
            dy = module.backward(dy)

    return swap(scratch.Sequential, backward_param=backward_param)


@fault("the first layer is frozen in training", "network.fit", "model_1")
def _() -> Planting:
    def backward_param(self: Any, dy: Tensor) -> None:
        for module in reversed(self._chain[1:]):
            dy = module.backward(dy)

    return swap(scratch.Sequential, backward_param=backward_param)


@fault("one activation is shared by all layers", "network.layer_by_layer", "model_1")
def _() -> Planting:
    right = scratch.ReLU.forward
    shared: dict[str, Tensor] = {}

    def forward(self: Any, x: Tensor) -> Tensor:
        shared["y"] = right(self, x)
        return shared["y"]

    def backward(self: Any, dy: Tensor) -> Tensor:
        return torch.where(shared["y"] > 0, dy, 0)

    return swap(scratch.ReLU, forward=forward, backward=backward)


@fault("eval stops at the first level", "network.eval_mode", "model_2")
def _() -> Planting:
    def train(self: Any, mode: bool = True) -> Any:
        self.training = mode
        return self

    return swap(scratch.Module, train=train)


@fault("zero_grad forgets the bias", "layer.accumulation", "Linear")
def _() -> Planting:
    return swap(scratch.Module, zero_grad=lambda self: self.param()[0][1].zero_())


@fault(
    "another rate by default", "layer.defaults", "Dropout-p=0.5",
    "default of Dropout's p is 0.4; torch's is 0.5", subtle="where the rate is given",
)  # fmt: skip
def _() -> Planting:
    return swap(scratch.Dropout.__init__, __defaults__=(0.4,))


@fault(
    "rows after the first 1,024 add nothing to the bias gradient",
    "layer.sizes",
    "Linear",
    subtle="up to 1,024 rows",
)
def _() -> Planting:
    right = scratch.Linear.backward_param

    def backward_param(self: Any, dy: Tensor) -> None:
        right(self, dy)
        if self.bias is not None:
            self.dbias.sub_(dy[1024:].sum(-2))

    return swap(scratch.Linear, backward_param=backward_param)


@fault(
    "dy is read as if it lay in memory as x does",
    "layer.noncontiguous",
    "Tanh",
    subtle="where both lie so",
)
def _() -> Planting:
    right = scratch.Tanh.backward

    def backward(self: Any, dy: Tensor) -> Tensor:
        return right(self, dy.as_strided(dy.shape, self._kept.stride()))

    return swap(scratch.Tanh, backward=backward)


@fault("a NaN becomes 0", "layer.nan", "ReLU", "ReLU makes 0 of a NaN", subtle="of numbers")
def _() -> Planting:
    right = scratch.ReLU.forward
    return swap(scratch.ReLU, forward=lambda self, x: right(self, x.nan_to_num(0.0)))
