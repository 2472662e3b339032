"""`given` under parity's conventions: its Sequential takes whatever gradient comes, as its loss."""

from types import SimpleNamespace

import given
from torch import nn

import parity

AS_IT_IS = SimpleNamespace(backward=lambda output, dy: dy)
subject = parity.Subject(
    {
        nn.Linear: given.Affine,
        nn.Dropout: given.Dropout,
        nn.CrossEntropyLoss: given.CrossEntropy,
        nn.Sequential: lambda *layers: given.Sequential(layers, AS_IT_IS),
    },
    array="numpy",
    weight="in_out",
    parameters=lambda layer: [(p, layer.grads[name]) for name, p in layer.params.items()],
    targets=("one_hot", "distribution"),
    dtypes=("float64",),
    forward=lambda layer, x: layer.forward(x, getattr(layer, "trains", True)),
    train=lambda layer, mode: setattr(layer, "trains", mode),
    loss_backward=lambda loss, prediction, target: loss.backward(prediction, target),
)
