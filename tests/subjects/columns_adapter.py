"""`columns` under parity's conventions: numpy computes in float64, so nothing else is checked."""

import columns
import torch
from torch import nn

import parity

subject = parity.Subject(
    {
        nn.Linear: columns.Dense,
        nn.ReLU: columns.ReLU,
        nn.Softmax: columns.Softmax,
        nn.MSELoss: columns.Quadratic,
        torch.optim.SGD: columns.GradientDescent,
    },
    array="numpy",
    batch="columns",
    parameters="lists",
    reduction="half_batch_mean",
    zero_grad=lambda layer: layer.clear(),
    dtypes=("float64",),
)
