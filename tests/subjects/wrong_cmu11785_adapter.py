"""`cmu11785` with a bias gradient that is a mean over the batch."""

from typing import Any

import cmu11785 as own
import numpy as np
from torch import nn

from parity import Subject


class Linear(own.Linear):
    def backward(self, dLdZ: Any) -> Any:
        dLdA = super().backward(dLdZ)
        self.dLdb = dLdZ.T @ np.ones((len(dLdZ), 1)) / len(dLdZ)
        return dLdA


layers = {nn.Linear: Linear, nn.ReLU: own.ReLU}
subject = Subject(layers, conventions="cmu11785", dtypes=("float64",))
