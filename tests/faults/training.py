"""Faults of training: of the loop, and of many runs at once."""

from __future__ import annotations

from typing import Any

from torch import Tensor

import scratch
from scratch import runs
from scratch.engines import eager
from tests.faults import Planting, fault, swap


@fault("gradient of the updated weight", "network.fit", "model_1")
def _() -> Planting:
    def step(model: Any, criterion: Any, optimizer: Any, x: Tensor, t: Tensor) -> None:
        """Each layer is moved as soon as its gradient is there, before it hands dx on."""
        optimizer.zero_grad()
        criterion(model(x), t)
        dy = criterion.backward()
        for layer in reversed(list(model)):
            if isinstance(layer, scratch.Linear):
                layer.backward_param(dy)
                for parameter, gradient in layer.param():
                    parameter.sub_(optimizer.lr * gradient)
                dy = dy @ layer.weight
            else:
                dy = layer.backward(dy)

    return swap(eager, step=step)


@fault("gradients are never reset", "network.training", "model_1")
def _() -> Planting:
    return swap(scratch.Optimizer, zero_grad=lambda self: None)


@fault("dropout is off in training", "network.fit", "model_2")
def _() -> Planting:
    def train_mode(self: Any, mode: bool = True) -> Any:
        for module in self.modules():
            module.training = False
        return self

    return swap(scratch.Module, train=train_mode)


@fault("all runs share one order", "network.runs_together", "model_1")
def _() -> Planting:
    right = scratch.Draws.order

    def order(self: Any, epoch: int, samples: int) -> Tensor:
        drawn = right(self, epoch, samples)
        return drawn if drawn.dim() == 1 else drawn[:1].expand(drawn.shape)

    return swap(scratch.Draws, order=order)


@fault("targets keep their order", "network.runs_together", "model_1")
def _() -> Planting:
    right = eager._in_order

    def in_order(data: Tensor, order: Tensor, dims: int) -> Tensor:
        if order.dim() == 2 and bool(((data == 0) | (data == 1)).all()):
            return data.expand(len(order), *data.shape)
        return right(data, order, dims)

    return swap(eager, _in_order=in_order)


@fault("stack repeats the first model", "network.runs_together", "model_1")
def _() -> Planting:
    right = runs.stack

    def stack(models: Any) -> Any:
        stacked = right(models)
        for parameter, _ in stacked.param():
            parameter.copy_(parameter[:1].expand(parameter.shape))
        return stacked

    return swap(runs, stack=stack)


@fault("all runs share one dropout mask", "network.runs_together", "model_2")
def _() -> Planting:
    right = scratch.Dropout._draw

    def draw(self: Any, x: Tensor) -> Tensor:
        mask = right(self, x)
        return mask[:1].expand(mask.shape) if mask.dim() == 3 else mask

    return swap(scratch.Dropout, _draw=draw)


@fault("the last batch is left out", "network.fit", "model_1")
def _() -> Planting:
    right = eager._in_order

    def in_order(data: Tensor, order: Tensor, dims: int) -> Tensor:
        return right(data, order[: len(order) // 30 * 30], dims)

    return swap(eager, _in_order=in_order)


@fault("every epoch has the order of the first", "network.fit", "model_1")
def _() -> Planting:
    right = scratch.Draws.order
    return swap(scratch.Draws, order=lambda self, epoch, samples: right(self, 1, samples))
