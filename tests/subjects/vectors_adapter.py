"""`vectors` under parity's conventions: what adds layers, and a loss whose arguments are turned."""

import torch
import vectors
from torch import nn

import parity


def sequential(*layers: vectors.Layer) -> vectors.Sequential:
    model = vectors.Sequential()
    for layer in layers:
        model.add(layer)
    return model


subject = parity.Subject(
    {
        nn.Linear: vectors.Linear,
        nn.LeakyReLU: lambda negative_slope: vectors.LeakyReLU(negative_slope),
        nn.MSELoss: vectors.SquaredError,
        nn.Sequential: sequential,
        torch.optim.SGD: vectors.SGD,
    },
    batch="vector",
    parameters="objects",
    reduction="half_sum",
    dtypes=("float32",),
    loss_forward=lambda loss, prediction, target: loss(target, prediction),
)
