"""`course` with a derivative of Tanh that takes the input for the output."""

from dataclasses import replace

import course
import course_adapter
from torch import Tensor, nn


class Tanh(course.Tanh):
    def forward(self, x: Tensor) -> Tensor:
        self.x = x
        return x.tanh()

    def backward(self, dy: Tensor) -> Tensor:
        return dy * (1 - self.x**2)


subject = replace(course_adapter.subject, layers={**course_adapter.subject.layers, nn.Tanh: Tanh})
