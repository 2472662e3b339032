"""`rough` under parity's conventions: each of its layers stands for some activation."""

import course
import rough
from torch import nn

import parity

subject = parity.Subject(
    {
        nn.Linear: course.Linear,
        nn.LeakyReLU: rough.LeakyReLU,
        nn.Tanh: rough.Hanging,
        nn.Sigmoid: rough.Exiting,
        nn.SELU: rough.Ending,
        nn.SiLU: rough.Crashing,
        nn.GELU: rough.Greedy,
        nn.ReLU: rough.Raising,
    }
)
