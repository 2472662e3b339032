"""What people get wrong in a Linear layer."""

from __future__ import annotations

from torch import nn

from parity.catalogue.values import Tensors
from parity.explain.mistakes import Mistake, Mistakes


def of_linear(made: Mistakes, module: nn.Linear, inputs: Tensors, oracle: Tensors) -> None:
    x, dy, weight = inputs["x"], inputs["dy"], inputs["weight"]
    y = oracle["output"]
    if module.bias is not None:
        bias = inputs["bias"]
        text = "is one number, the mean of the incoming gradient, where each output has its own"
        made["bias.param_grad"].append(Mistake("one number", text, dy.mean().reshape(1)))
        if len(bias) == 1:  # there it is the mean over the batch as well: no telling which
            text = "is the mean over the batch"
            made["bias.param_grad"].append(Mistake("mean", text, dy.mean().reshape(1)))
        text = "is one number, the sum of the incoming gradient, where each output has its own"
        if len(bias) > 1:
            made["bias.param_grad"].append(Mistake("one sum", text, dy.sum().reshape(1)))
        made["output"] += [
            Mistake("no bias", "lacks the bias", y - bias),
            Mistake("minus bias", "has the bias subtracted", y - 2 * bias),
        ]
    if weight.shape[0] == weight.shape[1]:
        turned = y - x @ weight.mT + x @ weight
        made["output"].append(Mistake("transposed", "uses the weight transposed", turned))
        made["input_grad"].append(
            Mistake("transposed", "uses the weight transposed", dy @ weight.mT)
        )
