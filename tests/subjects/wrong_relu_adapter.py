"""`course` with a ReLU that works in place: it writes into what it was given."""

from dataclasses import replace

import course
import course_adapter
from torch import Tensor, nn


class ReLU(course.ReLU):
    def forward(self, x: Tensor) -> Tensor:
        self.x = x
        return x.clamp_(min=0)


subject = replace(course_adapter.subject, layers={**course_adapter.subject.layers, nn.ReLU: ReLU})
