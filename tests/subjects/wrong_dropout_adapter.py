"""`course` with a Dropout whose backward forgets what forward dropped."""

from dataclasses import replace

import course
import course_adapter
from torch import Tensor, nn


class Dropout(course.Dropout):
    def backward(self, dy: Tensor) -> Tensor:
        scale = 1 / (1 - self.p) if self.p < 1 else 0
        return dy * scale if self.training else dy


LAYERS = {**course_adapter.subject.layers, nn.Dropout: Dropout}
subject = replace(course_adapter.subject, layers=LAYERS)
