"""`given` under parity's conventions: its Sequential takes whatever gradient comes, as its loss."""

from types import SimpleNamespace
from typing import Any

import given
import torch
from torch import nn

import parity

AS_IT_IS = SimpleNamespace(gradient=lambda output, dy: dy)


def step(pair: Any) -> None:
    optimizer, model = pair
    for layer in model.layers:
        optimizer.update(layer)


subject = parity.Subject(
    {
        nn.Linear: given.Affine,
        nn.Sigmoid: given.Sigmoid,
        nn.Dropout: given.Dropout,
        nn.CrossEntropyLoss: given.CrossEntropy,
        nn.Sequential: lambda *layers: given.Sequential(layers, AS_IT_IS),
        torch.optim.SGD: lambda model, lr: (given.SGD(lr), model),
    },
    array="numpy",
    weight="in_out",
    parameters=lambda layer: [(p, layer.grads[name]) for name, p in layer.params.items()],
    gradients="overwritten",
    targets=("one_hot", "distribution"),
    optimizer="model",
    dtypes=("float64",),
    forward=lambda layer, x: layer.forward(x, getattr(layer, "mode", True)),
    train=lambda layer, mode: setattr(layer, "mode", mode),
    loss_forward=lambda loss, prediction, target: loss.value(prediction, target),
    loss_backward=lambda loss, prediction, target: loss.gradient(prediction, target),
    step=step,
)
