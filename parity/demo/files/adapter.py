"""Which class of the framework answers to which of torch's."""

import course
import torch
from torch import nn

import parity

subject = parity.Subject(
    {
        nn.Linear: course.Linear,
        nn.Tanh: course.Tanh,
        nn.MSELoss: course.MSELoss,
        nn.Sequential: course.Sequential,
        torch.optim.SGD: course.SGD,
    },
    name="a student's framework",
)
