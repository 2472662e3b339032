"""`course` under parity's conventions: nothing needs to be said but which class is which."""

import course
import torch
from torch import nn

import parity

subject = parity.Subject(
    {
        nn.Linear: course.Linear,
        nn.Dropout: course.Dropout,
        nn.ReLU: course.ReLU,
        nn.Tanh: course.Tanh,
        nn.Softmax: course.Softmax,
        nn.MSELoss: course.LossMSE,
        nn.CrossEntropyLoss: course.LossCrossEntropy,
        nn.Sequential: course.Sequential,
        torch.optim.SGD: course.SGD,
    }
)
