"""`cmu11785` as parity checks it."""

import cmu11785 as own
from torch import nn

from parity import Subject

NAMES = ("Linear", "Sigmoid", "ReLU", "MSELoss", "CrossEntropyLoss")
subject = Subject(
    {getattr(nn, name): getattr(own, name) for name in NAMES},
    conventions="cmu11785",
    dtypes=("float64",),
)
