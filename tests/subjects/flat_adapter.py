"""`flat` under parity's conventions: how parameters, weights, gradients and the loss are held."""

import flat
import torch
from torch import nn

import parity

subject = parity.Subject(
    {
        nn.Linear: flat.Linear,
        nn.Sigmoid: flat.Sigmoid,
        nn.MSELoss: flat.SquaredError,
        nn.Sequential: lambda *layers: flat.Sequential(list(layers)),
        torch.optim.SGD: flat.SGD,
    },
    parameters="flat",
    weight="in_out",
    gradients="overwritten",
    reduction="sum",
    optimizer="model",
    loss_backward=lambda loss, prediction, target: loss.backward(prediction, target),
)
