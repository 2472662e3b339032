"""`flat` with a bias whose gradient is that of the last sample of a batch."""

from dataclasses import replace

import flat
import flat_adapter
from torch import Tensor, nn


class Linear(flat.Linear):
    def backward(self, dy: Tensor) -> Tensor:
        dx = super().backward(dy)
        for row in dy:
            self.db = row.clone()[None]
        return dx


subject = replace(flat_adapter.subject, layers={**flat_adapter.subject.layers, nn.Linear: Linear})
