"""What people get wrong in layers: in any of them, and, by its family, in the one at hand."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import torch
from torch import Tensor, nn

from parity.catalogue.case import Case
from parity.catalogue.values import Tensors
from parity.explain import activations, dropout, linear
from parity.explain.mistakes import Masks, Mistake, Mistakes, simple
from parity.judge.evaluate import called, dropping


def of_layer(
    case: Case, module: nn.Module, inputs: Tensors, oracle: Tensors, masks: Masks
) -> Mistakes:
    """The mistakes that can be made of a layer, at `inputs` in float64."""
    made: Mistakes = {name: simple(y) for name, y in oracle.items()}
    x, dy = inputs["x"], inputs["dy"]
    y = oracle["output"]

    def passed(module: nn.Module = module, x: Tensor = x, dy: Tensor = dy) -> Tensors:
        return _both(module, inputs, x, dy, masks)

    if x.shape == y.shape:
        made["output"].append(Mistake("identity", "is the input itself", x))
        made["input_grad"].append(
            Mistake("identity", "is the incoming gradient itself: the derivative is left out", dy)
        )
    if isinstance(module, nn.Dropout):
        dropout.of_dropout(made, case, x, dy, masks)
    elif x.shape == y.shape and not any(True for _ in module.parameters()):
        activations.of_activation(made, case, passed, x, dy, y)
    for name, value in oracle.items():
        square = value.dim() > 1 and value.shape[-1] == value.shape[-2]
        if name.endswith("weight.param_grad") and square:
            made[name].append(Mistake("transposed", "is transposed", value.mT))
    _of_batch(made, passed, x, dy, case)
    linear.of_linear(made, module, inputs, oracle)
    _of_options(made, case, passed)
    return made


def _both(module: nn.Module, own: Tensors, x: Tensor, dy: Tensor, masks: Masks) -> Tensors:
    """Forward and backward at another x or dy, with the parameters among `own`."""
    leaf = x.detach().requires_grad_()
    names = [name for name, _ in module.named_parameters()]
    parameters = {name: own[name].detach().requires_grad_() for name in names}
    with dropping(module, masks) if masks else contextlib.nullcontext():  # none in evaluation
        y = called(module, parameters, leaf)
    gradients = torch.autograd.grad(y, [leaf, *parameters.values()], dy, allow_unused=True)
    results = {"output": y.detach()}
    for name, gradient in zip(["input_grad", *names], gradients, strict=True):
        if gradient is not None:
            results[name if name == "input_grad" else f"{name}.param_grad"] = gradient
    return results


def _of_batch(
    made: Mistakes, passed: Callable[..., Tensors], x: Tensor, dy: Tensor, case: Case
) -> None:
    """Gradients of parameters that are reduced over the batch in a wrong way."""
    if len(x) < 2 or case.mixes:
        return
    keys = [key for key in made if key.endswith("param_grad")]
    if not keys:
        return
    one = "is that of the {} sample alone, not summed over the batch"
    for name, sentence, wrong in (
        ("last sample", one.format("last"), passed(x=x[-1:], dy=dy[-1:])),
        ("first sample", one.format("first"), passed(x=x[:1], dy=dy[:1])),
        ("all but last", "leaves out the last sample", passed(x=x[:-1], dy=dy[:-1])),
        ("all but first", "leaves out the first sample", passed(x=x[1:], dy=dy[1:])),
        ("not multiplied", "ignores the incoming gradient", passed(dy=torch.ones_like(dy))),
        ("absolute", "takes the absolute value of the input", passed(x=x.abs())),
    ):
        for key in keys:
            made[key].append(Mistake(name, sentence, wrong[key]))


def _of_options(made: Mistakes, case: Case, passed: Callable[..., Tensors]) -> None:
    """What comes out if one option is taken to be torch's default."""
    defaults = case.entry.defaults()
    for option, value in case.options.items():
        default = defaults.get(option)
        if option in case.entry.positional or default in (None, value):
            continue
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            continue
        other = passed(module=case.entry.reference(**case.options | {option: default}))
        for name, wrong in other.items():
            sentence = f"takes {option} to be {default:g}, not {value:g}"
            made[name].append(Mistake(f"{option}={default:g}", sentence, wrong))
