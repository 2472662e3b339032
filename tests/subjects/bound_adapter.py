"""`bound` under parity's conventions: something in the model's place hears what the loss sends."""

import bound
import torch
from torch import nn

import parity


class Ear:
    def backward(self, dy: torch.Tensor) -> None:
        self.heard = dy


subject = parity.Subject(
    {
        nn.Linear: bound.Linear,
        nn.ELU: bound.ELU,
        nn.BCEWithLogitsLoss: lambda: bound.LogitLoss(Ear()),
        nn.Sequential: bound.Model,
        torch.optim.Adam: bound.Adam,
    },
    parameters="objects",
    optimizer="model",
    dtypes=("float64",),
    loss_backward=lambda loss, *_: (loss.backward(), loss.model.heard)[1],
)
