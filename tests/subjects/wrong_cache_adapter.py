"""`flat` with Linear layers that keep their input in the class: two of them share it."""

from dataclasses import replace

import flat
import flat_adapter
from torch import Tensor, nn


class Linear(flat.Linear):
    def forward(self, x: Tensor) -> Tensor:
        Linear.x = x
        return x.mm(self.w) + self.b


subject = replace(flat_adapter.subject, layers={**flat_adapter.subject.layers, nn.Linear: Linear})
