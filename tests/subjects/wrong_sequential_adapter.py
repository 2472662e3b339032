"""`course` with a Sequential whose backward stops before the first layer, which stays frozen."""

from dataclasses import replace

import course
import course_adapter
from torch import Tensor, nn


class Sequential(course.Sequential):
    def backward(self, dy: Tensor) -> Tensor:
        for layer in reversed(self.layers[1:]):
            dy = layer.backward(dy)
        return dy


LAYERS = {**course_adapter.subject.layers, nn.Sequential: Sequential}
subject = replace(course_adapter.subject, layers=LAYERS)
