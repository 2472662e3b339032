"""Faults of activations."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import scratch
from scratch import activations
from tests.faults import Planting, fault, swap


@fault("derivative is 1 everywhere", "layer.input_grad", "ReLU", "is the incoming gradient itself")
def _() -> Planting:
    return swap(scratch.ReLU, backward=lambda self, dy: dy.clone())


@fault(
    "derivative at 0 is 1",
    "layer.kink",
    "ReLU",
    "ReLU's derivative at 0 is 1",
    subtle="away from 0",
)
def _() -> Planting:
    def forward(self: Any, x: Tensor) -> Tensor:
        self._kept = x
        return x.clamp_min(0)

    def backward(self: Any, dy: Tensor) -> Tensor:
        return torch.where(self._kept >= 0, dy, 0)

    return swap(scratch.ReLU, forward=forward, backward=backward)


@fault("works in place", "layer.no_mutation", "ReLU", "ReLU writes into its input")
def _() -> Planting:
    def forward(self: Any, x: Tensor) -> Tensor:
        self._kept = x.clamp_min_(0)
        return x

    return swap(scratch.ReLU, forward=forward)


@fault("mask of earlier batches is kept", "layer.repeated", "ReLU", subtle="for the first batch")
def _() -> Planting:
    def forward(self: Any, x: Tensor) -> Tensor:
        self._mask = (x > 0) | getattr(self, "_mask", False)
        self._kept = x.clamp_min(0)
        return self._kept

    return swap(scratch.ReLU, forward=forward, backward=lambda self, dy: dy * self._mask)


@fault("masked by multiplication", "layer.infinite_gradient", "ReLU", subtle="for finite gradients")
def _() -> Planting:
    return swap(scratch.ReLU, backward=lambda self, dy: dy * (self._kept > 0))


@fault(
    "derivative of the negative side is 1",
    "layer.input_grad",
    "LeakyReLU",
    "is the incoming gradient itself",
)
def _() -> Planting:
    return swap(scratch.LeakyReLU, backward=lambda self, dy: dy.clone())


@fault(
    "negative side lacks alpha", "layer.forward", "ELU-alpha=0.01", "takes alpha to be 1, not 0.01"
)
def _() -> Planting:
    def forward(self: Any, x: Tensor) -> Tensor:
        self._kept = x
        return torch.where(x > 0, x, torch.expm1(x))

    return swap(scratch.ELU, forward=forward)


@fault(
    "derivative lacks alpha", "layer.input_grad", "ELU-alpha=0.01", "takes alpha to be 1, not 0.01"
)
def _() -> Planting:
    def backward(self: Any, dy: Tensor) -> Tensor:
        return torch.where(self._kept > 0, dy, dy * torch.exp(self._kept))

    return swap(scratch.ELU, backward=backward)


@fault("negative side lacks the scale, as in report B", "layer.forward", "SELU-own")
def _() -> Planting:
    def forward(self: Any, x: Tensor) -> Tensor:
        self._kept = x
        return torch.where(x > 0, self.scale * x, self.alpha * torch.expm1(x))

    return swap(scratch.SELU, forward=forward)


@fault("derivative lacks the scale", "layer.input_grad", "SELU")
def _() -> Planting:
    return swap(scratch.SELU, backward=scratch.ELU.backward)


@fault("slope is ignored", "layer.forward", "Sigmoid-slope=3", "takes slope to be 1, not 3")
def _() -> Planting:
    def forward(self: Any, x: Tensor) -> Tensor:
        self._kept = torch.sigmoid(x)
        return self._kept

    return swap(scratch.Sigmoid, forward=forward)


@fault("derivative lacks the slope", "layer.differences", "Sigmoid-slope=3", dtype="float64")
def _() -> Planting:
    def backward(self: Any, dy: Tensor) -> Tensor:
        return dy * self._kept * (1 - self._kept)

    return swap(scratch.Sigmoid, backward=backward)


@fault("e^x overflows", "layer.extremes", "Sigmoid", "is NaN or infinite at inputs as large as 1e4")
def _() -> Planting:
    def forward(self: Any, x: Tensor) -> Tensor:
        e = torch.exp(self.slope * x)
        self._kept = e / (1 + e)
        return self._kept

    return swap(scratch.Sigmoid, forward=forward)


@fault("derivative lacks its square", "layer.input_grad", "Tanh", "lacks the square in 1 - y^2")
def _() -> Planting:
    return swap(scratch.Tanh, backward=lambda self, dy: dy * (1 - self._kept))


@fault(
    "derivative is taken at the output",
    "layer.input_grad",
    "Tanh",
    "has the derivative taken at the output inste",
)
def _() -> Planting:
    return swap(scratch.Tanh, backward=lambda self, dy: dy * (1 - torch.tanh(self._kept) ** 2))


@fault(
    "derivative has the diagonal only",
    "layer.input_grad",
    "Softmax",
    "has the diagonal of the Jacobian alone",
)
def _() -> Planting:
    def backward(self: Any, dy: Tensor) -> Tensor:
        return dy * self._kept * (1 - self._kept)

    return swap(scratch.Softmax, backward=backward)


@fault(
    "is not shifted", "layer.extremes", "Softmax", "is NaN or infinite at inputs as large as 1e4"
)
def _() -> Planting:
    return swap(activations, _shifted=lambda x, dim: x)


@fault("axis is counted from the left", "layer.stacked", "Softmax")
def _() -> Planting:
    def forward(self: Any, x: Tensor) -> Tensor:
        e = torch.exp(x)
        self._kept = e / e.sum(self.dim + 2, keepdim=True)
        return self._kept

    return swap(scratch.Softmax, forward=forward)


@fault(
    "derivative lacks the sum",
    "layer.input_grad",
    "LogSoftmax",
    "has the diagonal of the Jacobian alone",
)
def _() -> Planting:
    return swap(scratch.LogSoftmax, backward=lambda self, dy: dy * (1 - torch.exp(self._kept)))
