"""Checks of a model that cannot be taken apart: output, loss and gradients of one step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from parity.catalogue.case import Case
from parity.catalogue.values import Tensors
from parity.checks.networks import loss_of, points
from parity.checks.passes import untouched
from parity.checks.trial import Trial, in_double
from parity.explain.diagnosis import judge
from parity.explain.mistakes import Mistake, Mistakes, simple
from parity.judge import evaluate
from parity.judge.comparison import Comparison
from parity.judge.truth import truth

ROWS = 7


def step(trial: Trial, rows: int | None = None, *, repeat: bool = False) -> list[Comparison]:
    """Output, loss and gradients at the parameters that the subject has."""
    model, twin = trial.build(), trial.case.network.make()
    x, t = points(trial, 1 if trial.case.single else rows or ROWS)
    names = [name for name, _ in twin.named_parameters()]
    if repeat:
        model.step(x.flip(0) / 2, t, names)
    got = model.step(x, t, names)
    criterion = loss_of(trial)
    inputs = {"x": x, "target": t, **{name: got.pop(name) for name in names}}
    got[f"{len(twin) - 1}.output"] = got.pop("output")
    right = truth(evaluate.network(twin, criterion.reference()), inputs).only(got)
    known = _mistakes(twin, criterion, in_double(inputs), right.oracle)
    constants = {"the batch size": float(len(x)), "the number of entries": float(2 * len(x))}
    averages = criterion.how.endswith("mean")
    verdicts = judge(got, right, known, constants, "the model's", averages=averages)
    return [*verdicts, *untouched(model, "the model")]


def batch_of_one(trial: Trial) -> list[Comparison]:
    """A single sample: as every other."""
    return step(trial, rows=1)


def repeated(trial: Trial) -> list[Comparison]:
    """A step on another batch before it changes nothing."""
    return step(trial, repeat=True)


@dataclass(frozen=True)
class Backward:
    """Backpropagation through a chain, with one thing wrong in it.

    Args:
        derivative: what an activation does: its `(module, x, y, dy) -> dx`; default: the right one.
        weight, bias: what is made of `(dy, x)`.
        frozen: how many of the first Linear layers get no gradient.
        passes: what dx is of a Linear's `(dy, weight)`.
    """

    derivative: Callable[..., Tensor] | None = None
    weight: Callable[[Tensor, Tensor], Tensor] = lambda dy, x: dy.mT @ x
    bias: Callable[[Tensor], Tensor] = lambda dy: dy.sum(0)
    frozen: int = 0

    def gradients(self, twin: nn.Sequential, inputs: Tensors, dy: Tensor) -> Tensors:
        """The parameters' gradients by torch's names."""
        values = [inputs["x"]]
        for place, layer in enumerate(twin):
            if isinstance(layer, nn.Linear):
                weight, bias = inputs[f"{place}.weight"], inputs[f"{place}.bias"]
                values.append(values[-1] @ weight.mT + bias)
            else:
                values.append(layer(values[-1]))
        results = {}
        linears = [place for place, layer in enumerate(twin) if isinstance(layer, nn.Linear)]
        for place in reversed(range(len(twin))):
            x, y, layer = values[place], values[place + 1], twin[place]
            if isinstance(layer, nn.Linear):
                off = place in linears[: self.frozen]
                weight, bias = self.weight(dy, x), self.bias(dy)
                results[f"{place}.weight.param_grad"] = weight * 0 if off else weight
                results[f"{place}.bias.param_grad"] = bias * 0 if off else bias
                dy = dy @ inputs[f"{place}.weight"]
            elif self.derivative is None:
                dy = _slope(layer, x, dy)
            else:
                dy = self.derivative(layer, x, y, dy)
        return results


def _slope(layer: nn.Module, x: Tensor, dy: Tensor) -> Tensor:
    leaf = x.detach().requires_grad_()
    return torch.autograd.grad(layer(leaf), leaf, dy)[0]


def _backwards(linears: int) -> Iterator[tuple[str, str, Backward]]:
    text = "fits a backward pass in which "
    yield (
        "no derivative",
        text + "the activations' derivative is left out",
        Backward(derivative=lambda layer, x, y, dy: dy),
    )
    yield (
        "at the output",
        text + "the activations' derivative is taken at their output",
        Backward(derivative=lambda layer, x, y, dy: _slope(layer, y, dy)),
    )
    yield (
        "at the gradient",
        text + "the activations' derivative is taken at the gradient",
        Backward(derivative=lambda layer, x, y, dy: _slope(layer, dy, dy)),
    )
    yield (
        "tanh of input",
        text + "the derivative's formula takes the input for the output",
        Backward(derivative=lambda layer, x, y, dy: dy * (1 - x * x)),
    )
    yield (
        "last sample",
        "is that of the last sample alone",
        Backward(weight=lambda dy, x: dy[-1:].mT @ x[-1:], bias=lambda dy: dy[-1]),
    )
    yield "bias mean", "is a mean over the batch, not a sum", Backward(bias=lambda dy: dy.mean(0))
    for frozen in range(1, linears):
        yield f"{frozen} frozen", "is zero everywhere", Backward(frozen=frozen)


def _mistakes(twin: nn.Sequential, criterion: Case, inputs: Tensors, oracle: Tensors) -> Mistakes:
    """The results of each wrong backward pass."""
    known = {name: simple(value) for name, value in oracle.items()}
    exact = evaluate.network(twin, criterion.reference())(inputs)
    dy = exact["prediction_grad"]
    linears = sum(isinstance(layer, nn.Linear) for layer in twin)
    for name, sentence, backward in _backwards(linears):
        for result, value in backward.gradients(twin, inputs, dy).items():
            known[result].append(Mistake(name, sentence, value))
    return known


CHECKS: dict[str, Callable[[Trial], list[Comparison]]] = {
    "step": step,
    "batch_of_one": batch_of_one,
    "repeated": repeated,
}


def applies(case: Any, name: str, dtype: torch.dtype) -> bool:
    """A model that takes one sample at a time has been given one in `step`."""
    return name != "batch_of_one" or not case.single
