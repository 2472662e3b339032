"""`bound` under parity's conventions: something in the model's place hears what the loss sends."""

from typing import Any

import bound
import torch
from torch import nn

import parity


class Ear:
    def backward(self, dy: torch.Tensor) -> None:
        self.heard = dy


def loss_backward(loss: bound.LogitLoss, *_: torch.Tensor) -> Any:
    loss.backward()
    return loss.model.heard


def model(*layers: bound.Layer) -> bound.Model:
    made = bound.Model()
    for layer in layers:
        made.add(layer)
    return made


subject = parity.Subject(
    {
        nn.Linear: bound.Linear,
        nn.ELU: bound.ELU,
        nn.BCEWithLogitsLoss: lambda: bound.LogitLoss(Ear()),
        nn.Sequential: model,
        torch.optim.Adam: bound.Adam,
    },
    parameters="objects",
    optimizer="model",
    loss_backward=loss_backward,
)
