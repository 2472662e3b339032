"""`course` with a Softmax whose backward has the diagonal of the Jacobian alone."""

from dataclasses import replace

import course
import course_adapter
from torch import Tensor, nn


class Softmax(course.Softmax):
    def backward(self, dy: Tensor) -> Tensor:
        return dy * self.y * (1 - self.y)


LAYERS = {**course_adapter.subject.layers, nn.Softmax: Softmax}
subject = replace(course_adapter.subject, layers=LAYERS)
