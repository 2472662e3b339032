"""`stateless` with a Linear that averages its gradients over the batch, as its loss has already."""

from dataclasses import replace

import stateless
import stateless_adapter
from torch import Tensor, nn


class Linear(stateless.Linear):
    def backward(self, x: Tensor, dy: Tensor) -> Tensor:
        super().backward(x, dy / len(x))
        return dy @ self.parameters[0]


LAYERS = {**stateless_adapter.subject.layers, nn.Linear: Linear}
subject = replace(stateless_adapter.subject, layers=LAYERS)
