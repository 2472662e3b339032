"""Faults that are right somewhere: for one sample, in float32, at the first step, away from 0."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

import scratch
from scratch import activations
from tests.faults import Planting, fault, swap
from tests.faults.layers import _linear_gradients as linear_gradients
from tests.faults.layers import _right_bias as right_bias
from tests.faults.layers import _right_weight as right_weight


@fault(
    "bias gradient is scaled by out / in",
    "layer.param_grad",
    "Linear",
    "0.6 times",
    subtle="for a square layer",
)
def _() -> Planting:
    def bias(gradient: Tensor, dy: Tensor, x: Tensor) -> None:
        gradient.add_(dy.sum(-2) * (dy.shape[-1] / x.shape[-1]))

    return linear_gradients(right_weight, bias)


@fault(
    "the odd sample of a batch is left out", "layer.param_grad", "Linear", subtle="for even batches"
)
def _() -> Planting:
    def weight(gradient: Tensor, dy: Tensor, x: Tensor) -> None:
        even = len(x) // 2 * 2
        gradient.add_(dy[:even].mT @ x[:even])

    return linear_gradients(weight, right_bias)


@fault(
    "weight gradient is summed in float32",
    "layer.param_grad",
    "Linear",
    "is rounded to float32 on its way",
    dtype="float64",
    subtle="in float32",
)
def _() -> Planting:
    def weight(gradient: Tensor, dy: Tensor, x: Tensor) -> None:
        gradient.add_((dy.float().mT @ x.float()).to(gradient.dtype))

    return linear_gradients(weight, right_bias)


@fault(
    "dx is made in float32",
    "layer.input_grad",
    "Linear",
    "is rounded to float32 on its way",
    dtype="float64",
    subtle="in float32",
)
def _() -> Planting:
    def backward(self: Any, dy: Tensor) -> Tensor:
        self.backward_param(dy)
        return (dy.float() @ self.weight.float()).to(dy.dtype)

    return swap(scratch.Linear, backward=backward)


@fault("forward is made in bfloat16", "layer.forward", "Linear", subtle="in bfloat16")
def _() -> Planting:
    def forward(self: Any, x: Tensor) -> Tensor:
        self._kept = x
        y = x.bfloat16() @ self.weight.bfloat16().mT
        return y.to(x.dtype) + (0 if self.bias is None else self.bias)

    return swap(scratch.Linear, forward=forward)


@fault(
    "dx of one output is the mean weight's",
    "layer.input_grad",
    "Linear-one_output",
    subtle="for two outputs and more",
)
def _() -> Planting:
    def backward(self: Any, dy: Tensor) -> Tensor:
        self.backward_param(dy)
        if self.out_features == 1:
            return (dy * self.weight.mean()).expand(len(dy), self.in_features)
        return dy @ self.weight

    return swap(scratch.Linear, backward=backward)


@fault("x of the batch before", "layer.repeated", "Linear", subtle="at the first call")
def _() -> Planting:
    right = scratch.Linear.forward

    def forward(self: Any, x: Tensor) -> Tensor:
        before = getattr(self, "_before", x)
        y = right(self, x)
        self._kept, self._before = before if before.shape == x.shape else x, x
        return y

    return swap(scratch.Linear, forward=forward)


@fault(
    "gradients are made when they are asked for",
    "layer.aliasing",
    "Linear",
    subtle="until x or dy is used for something else",
)
def _() -> Planting:
    right = scratch.Linear.named_param

    def backward_param(self: Any, dy: Tensor) -> None:
        self._later = (dy, self._kept)

    def named_param(self: Any) -> Any:
        if getattr(self, "_later", None) is not None:
            dy, x = self._later
            self.dweight.copy_(dy.mT @ x)
            if self.bias is not None:
                self.dbias.copy_(dy.sum(0))
        return right(self)

    def zero_grad(self: Any) -> None:
        self._later = None

    return swap(
        scratch.Linear, backward_param=backward_param, named_param=named_param, zero_grad=zero_grad
    )


@fault(
    "zero_grad multiplies by 0 what is not initialised",
    "layer.uninitialised",
    "Linear",
    subtle="if memory happens to be finite",
)
def _() -> Planting:
    right = scratch.Module.register

    def register(self: Any, name: str, value: Tensor) -> None:
        right(self, name, value)
        empty = torch.empty_like(value)
        self._pairs[name] = (value, empty)
        setattr(self, f"d{name}", empty)

    def zero_grad(self: Any) -> None:
        for _, gradient in self.param():
            gradient.mul_(0)

    return swap(scratch.Module, register=register, zero_grad=zero_grad)


@fault(
    "the bias has its sign wrong, forward and backward",
    "layer.forward",
    "Linear",
    "has the bias subtracted",
    subtle="in training: the two compensate",
)
def _() -> Planting:
    def forward(self: Any, x: Tensor) -> Tensor:
        self._kept = x
        y = x @ self.weight.mT
        return y if self.bias is None else y - self.bias

    planted = linear_gradients(right_weight, lambda g, dy, x: g.sub_(dy.sum(-2)))
    return [planted, swap(scratch.Linear, forward=forward)]  # type: ignore[list-item]


@fault(
    "the loss does not average, the layer does",
    "network.layer_by_layer",
    "model_2",
    "Errors cancel",
    subtle="in the network's gradients",
)
def _() -> Planting:
    def backward_param(self: Any, dy: Tensor) -> None:
        self.dweight.add_(dy.mT @ self._kept / (2 * len(dy)))
        self.dbias.add_(dy.sum(-2) / (2 * len(dy)))

    loss = swap(scratch.Loss, backward=lambda self: self._derivative(*self._kept))
    return [loss, swap(scratch.Linear, backward_param=backward_param)]


@fault(
    "descent of a negated gradient",
    "loss.gradient",
    "MSELoss",
    "has the wrong sign",
    subtle="in training: the optimizer ascends",
)
def _() -> Planting:
    right = scratch.Loss.backward
    ascent = swap(scratch.SGD, _update=lambda self, p, g: p.add_(g, alpha=self.lr))
    return [swap(scratch.Loss, backward=lambda self: -right(self)), ascent]


@fault(
    "the optimizer ascends a negated gradient",
    "optimizer.first_step",
    "SGD",
    "goes up the gradient",
    subtle="in training: the loss is negated",
)
def _() -> Planting:
    return swap(scratch.SGD, _update=lambda self, p, g: p.add_(g, alpha=self.lr))


@fault("a single sample is normalised", "layer.samples", "ReLU", subtle="for two samples and more")
def _() -> Planting:
    right = scratch.ReLU.forward

    def forward(self: Any, x: Tensor) -> Tensor:
        return right(self, x / x.norm() if len(x) == 1 else x)

    return swap(scratch.ReLU, forward=forward)


@fault("values above 6 are cut", "layer.extremes", "ReLU", subtle="up to 6")
def _() -> Planting:
    def forward(self: Any, x: Tensor) -> Tensor:
        self._kept = y = x.clamp(0, 6)
        return y

    return swap(scratch.ReLU, forward=forward)


@fault(
    "derivative at 0 is 1/2", "layer.kink", "ReLU", "derivative at 0 is 0.5", subtle="away from 0"
)
def _() -> Planting:
    def forward(self: Any, x: Tensor) -> Tensor:
        self._kept = x
        return x.clamp_min(0)

    def backward(self: Any, dy: Tensor) -> Tensor:
        return dy * (self._kept > 0) + dy * (self._kept == 0) / 2

    return swap(scratch.ReLU, forward=forward, backward=backward)


@fault(
    "derivative at 0 is 1", "layer.kink", "LeakyReLU", "derivative at 0 is 1", subtle="away from 0"
)
def _() -> Planting:
    def backward(self: Any, dy: Tensor) -> Tensor:
        return torch.where(self._kept >= 0, dy, self.negative_slope * dy)

    return swap(scratch.LeakyReLU, backward=backward)


@fault(
    "derivative at 0 is 1",
    "layer.kink",
    "ELU-alpha=0.01",
    "derivative at 0 is 1",
    subtle="away from 0",
)
def _() -> Planting:
    def backward(self: Any, dy: Tensor) -> Tensor:
        x = self._kept
        return torch.where(x >= 0, dy, self.alpha * torch.exp(x) * dy)

    return swap(scratch.ELU, backward=backward)


@fault(
    "derivative at 0 is the scale",
    "layer.kink",
    "SELU",
    "derivative at 0 is 1.05",
    subtle="away from 0",
)
def _() -> Planting:
    def backward(self: Any, dy: Tensor) -> Tensor:
        x = self._kept
        return self.scale * torch.where(x >= 0, dy, self.alpha * torch.exp(x) * dy)

    return swap(scratch.SELU, backward=backward)


@fault(
    "the slope is always 0.01",
    "layer.forward",
    "LeakyReLU-slope=0.3",
    "takes negative_slope to be 0.01, not 0.3",
    subtle="for the default",
)
def _() -> Planting:
    def forward(self: Any, x: Tensor) -> Tensor:
        self._kept = x
        return torch.where(x > 0, x, 0.01 * x)

    return swap(scratch.LeakyReLU, forward=forward)


@fault(
    "constants of four digits",
    "layer.forward",
    "SELU",
    "is right to 4 digits",
    subtle="to 4 digits",
)
def _() -> Planting:
    def forward(self: Any, x: Tensor) -> Tensor:
        self._kept = x
        return 1.0507 * torch.where(x > 0, x, 1.6733 * torch.expm1(x))

    return swap(scratch.SELU, forward=forward)


@fault(
    "a series near 0",
    "layer.forward",
    "Tanh",
    "is right to 9 digits alone",
    dtype="float64",
    subtle="in float32",
)
def _() -> Planting:
    def forward(self: Any, x: Tensor) -> Tensor:
        self._kept = y = torch.where(x.abs() < 0.1, x - x**3 / 3 + 2 * x**5 / 15, torch.tanh(x))
        return y

    return swap(scratch.Tanh, forward=forward)


@fault(
    "derivative is off by 1 in 10,000",
    "layer.input_grad",
    "Sigmoid",
    "is right to 4 digits alone",
    subtle="for all that training can tell",
)
def _() -> Planting:
    right = scratch.Sigmoid.backward
    return swap(scratch.Sigmoid, backward=lambda self, dy: right(self, dy) * 1.0001)


@fault(
    "backward keeps what it returned",
    "layer.second_backward",
    "Tanh",
    subtle="at the first backward",
)
def _() -> Planting:
    def backward(self: Any, dy: Tensor) -> Tensor:
        y = self._kept
        self._kept = dx = dy * (1 - y * y)
        return dx

    return swap(scratch.Tanh, backward=backward)


@fault(
    "the first output is kept for ever", "layer.repeated", "Sigmoid", subtle="for the first batch"
)
def _() -> Planting:
    right = scratch.Sigmoid.forward

    def forward(self: Any, x: Tensor) -> Tensor:
        y = right(self, x)
        first = getattr(self, "_first", None)
        if first is not None and first.shape == y.shape:
            self._kept = first
        else:
            self._first = y
        return y

    return swap(scratch.Sigmoid, forward=forward)


@fault(
    "shifted by the batch's maximum",
    "layer.extremes",
    "Softmax",
    "is NaN or infinite at inputs as large as 1e4",
    subtle="unless rows are far apart",
)
def _() -> Planting:
    return swap(activations, _shifted=lambda x, dim: x - x.max() if x.numel() else x)


@fault(
    "sums are made in float32",
    "layer.forward",
    "Softmax",
    "is right to 7 digits alone",
    dtype="float64",
    subtle="in float32",
)
def _() -> Planting:
    def forward(self: Any, x: Tensor) -> Tensor:
        e = torch.exp(x - x.amax(self.dim, keepdim=True))
        self._kept = y = e / e.float().sum(self.dim, keepdim=True).to(e.dtype)
        return y

    return swap(scratch.Softmax, forward=forward)


@fault(
    "normalised over the batch",
    "layer.forward",
    "LogSoftmax",
    "is normalised over the batch",
    subtle="for dim=0",
)
def _() -> Planting:
    def forward(self: Any, x: Tensor) -> Tensor:
        self._kept = y = activations.log_softmax(x, -2)
        return y

    return swap(scratch.LogSoftmax, forward=forward)


@fault("the mask is drawn once", "layer.rate", "Dropout-p=0.5", subtle="at the first pass")
def _() -> Planting:
    right = scratch.Dropout._draw

    def draw(self: Any, x: Tensor) -> Tensor:
        first = getattr(self, "_first", None)
        if first is None or first.shape != x.shape:
            self._first = first = right(self, x)
        return first

    return swap(scratch.Dropout, _draw=draw)


@fault("whole rows are dropped", "layer.rate", "Dropout-p=0.5", subtle="in rate and scale")
def _() -> Planting:
    def draw(self: Any, x: Tensor) -> Tensor:
        kept = torch.rand_like(x[..., :1]) < 1 - self.p
        return kept.to(x.dtype).expand(x.shape) / (1 - self.p)

    return swap(scratch.Dropout, _draw=draw)


@fault(
    "scaled by the share that was kept",
    "layer.forward",
    "Dropout-p=0.2",
    "is 0.966 times what it should be",
    subtle="on average",
)
def _() -> Planting:
    def draw(self: Any, x: Tensor) -> Tensor:
        kept = (torch.rand_like(x) < 1 - self.p).to(x.dtype)
        return kept / kept.mean().clamp_min(1e-3)

    return swap(scratch.Dropout, _draw=draw)


@fault(
    "evaluation scales by 1 - p",
    "layer.eval_mode",
    "Dropout-p=0.2",
    "multiplied by 1 - p in evaluation",
    subtle="in training",
)
def _() -> Planting:
    right = scratch.Dropout.forward

    def forward(self: Any, x: Tensor) -> Tensor:
        return right(self, x) if self.training else right(self, x) * (1 - self.p)

    return swap(scratch.Dropout, forward=forward)


@fault(
    "evaluation skips the last layer", "network.eval_mode", "model_a_cross", subtle="in training"
)
def _() -> Planting:
    right = scratch.Sequential.forward

    def forward(self: Any, x: Tensor) -> Tensor:
        if self.training:
            return right(self, x)
        for module in self._chain[:-1]:
            x = module.forward(x)
        return x[:, :2]

    return swap(scratch.Sequential, forward=forward)


@fault(
    "dx of a Dropout is passed on",
    "network.layer_by_layer",
    "model_2",
    "Layer 5 is given something else",
    subtle="without dropout",
)
def _() -> Planting:
    def backward(self: Any, dy: Tensor) -> Tensor:
        for module in reversed(self._chain):
            dx = module.backward(dy)
            dy = dy if isinstance(module, scratch.Dropout) else dx
        return dy

    return swap(scratch.Sequential, backward=backward)


@fault(
    "divided by two outputs, whatever there are",
    "loss.gradient",
    "MSELoss-mean",
    "that of the half batch mean",
    subtle="for two outputs",
)
def _() -> Planting:
    def backward(self: Any) -> Tensor:
        return self._derivative(*self._kept) / (2 * len(self._kept[0]))

    return swap(scratch.MSELoss, backward=backward)


@fault(
    "divided by the batch twice",
    "loss.gradient",
    "CrossEntropyLoss-index_mean",
    "1 / 7, 7 is the batch size",
    subtle="for one sample",
)
def _() -> Planting:
    right = scratch.Loss.backward
    return swap(scratch.Loss, backward=lambda self: right(self) / self._shape[-1])


@fault(
    "made in float32",
    "loss.value",
    "BCEWithLogitsLoss-mean",
    "is right to 8 digits alone",
    dtype="float64",
    subtle="in float32",
)
def _() -> Planting:
    right = scratch.BCEWithLogitsLoss._entries

    def entries(self: Any, x: Tensor, t: Tensor) -> Any:
        loss, kept = right(self, x, t)
        return loss.float().to(x.dtype), kept

    return swap(scratch.BCEWithLogitsLoss, _entries=entries)


@fault(
    "probabilities are kept 1e-7 from 0 and 1",
    "loss.extremes",
    "BCELoss-mean",
    subtle="between them",
)
def _() -> Planting:
    right = scratch.BCELoss._entries

    def entries(self: Any, x: Tensor, t: Tensor) -> Any:
        return right(self, x.clamp(1e-7, 1 - 1e-7), t)

    return swap(scratch.BCELoss, _entries=entries)


@fault("the first target is kept", "loss.repeated", "MSELoss-mean", subtle="for the first batch")
def _() -> Planting:
    right = scratch.MSELoss._entries

    def entries(self: Any, x: Tensor, t: Tensor) -> Any:
        self._t = getattr(self, "_t", t)[: len(x)]
        if self._t.shape != x.shape:
            self._t = torch.zeros_like(t)
        return right(self, x, self._t)

    return swap(scratch.MSELoss, _entries=entries)


@fault(
    "the derivative is added to what is not initialised",
    "loss.uninitialised",
    "MSELoss",
    subtle="if memory happens to be finite",
)
def _() -> Planting:
    right = scratch.MSELoss._derivative

    def derivative(self: Any, difference: Tensor, t: Tensor) -> Tensor:
        return torch.empty_like(difference).mul_(0).add_(right(self, difference, t))

    return swap(scratch.MSELoss, _derivative=derivative)


@fault(
    "declared a mean, computed a sum",
    "loss.value",
    "L1Loss-mean",
    "is the sum, where mean is declared",
    subtle="in its own derivative",
)
def _() -> Planting:
    right = scratch.L1Loss._entries

    def entries(self: Any, x: Tensor, t: Tensor) -> Any:
        loss, kept = right(self, x, t)
        return loss * loss.numel(), kept

    return swap(scratch.L1Loss, _entries=entries)


@fault(
    "the first step is taken twice",
    "optimizer.first_step",
    "SGD",
    "takes a first step that is 2 times",
    subtle="from the second step on",
)
def _() -> Planting:
    right = scratch.SGD._update

    def update(self: Any, p: Tensor, g: Tensor) -> None:
        right(self, p, g)
        if self._steps == 1 and not self.momentum:
            p.add_(g, alpha=-self.lr)

    return swap(scratch.SGD, _update=update)


@fault(
    "the second moment is corrected as at step 1",
    "optimizer.twenty_steps",
    "Adam",
    subtle="at the first step",
)
def _() -> Planting:
    def adapt(self: Any, p: Tensor, g: Tensor) -> None:
        beta1, beta2 = self.betas
        m, v = self._slot("exp_avg"), self._slot("exp_avg_sq")
        m.lerp_(g, 1 - beta1)
        v.lerp_(g * g, 1 - beta2)
        divisor = (v / (1 - beta2)).sqrt() + self.eps
        p.addcdiv_(m, divisor, value=-self.lr / (1 - beta1**self._steps))

    return swap(scratch.Adam, _adapt=adapt)


@fault(
    "a gradient of zero resets the momentum",
    "optimizer.twenty_steps",
    "SGD-momentum=0.9",
    subtle="until a gradient is zero",
)
def _() -> Planting:
    right = scratch.SGD._update

    def update(self: Any, p: Tensor, g: Tensor) -> None:
        if self.momentum and not bool(g.any()):
            self._slot("momentum_buffer").zero_()
        right(self, p, g)

    return swap(scratch.SGD, _update=update)


@fault(
    "the second moment never falls", "optimizer.twenty_steps", "Adam", subtle="while gradients grow"
)
def _() -> Planting:
    right = scratch.Adam._adapt

    def adapt(self: Any, p: Tensor, g: Tensor) -> None:
        before = self._slot("exp_avg_sq").clone()
        right(self, p, g)
        self._slot("exp_avg_sq").copy_(torch.maximum(before, self._slot("exp_avg_sq")))

    return swap(scratch.Adam, _adapt=adapt)


@fault("the rate decays", "optimizer.twenty_steps", "SGD", subtle="at the first step")
def _() -> Planting:
    right = scratch.SGD._update

    def update(self: Any, p: Tensor, g: Tensor) -> None:
        lr, self.lr = self.lr, self.lr * math.exp(-1e-3 * (self._steps - 1))
        right(self, p, g)
        self.lr = lr

    return swap(scratch.SGD, _update=update)


@fault(
    "the first moment is as old as the second",
    "optimizer.twenty_steps",
    "Adam",
    subtle="at the first step",
)
def _() -> Planting:
    right = scratch.Adam._adapt

    def adapt(self: Any, p: Tensor, g: Tensor) -> None:
        betas, self.betas = self.betas, (self.betas[1], self.betas[1])
        right(self, p, g)
        self.betas = betas

    return swap(scratch.Adam, _adapt=adapt)
