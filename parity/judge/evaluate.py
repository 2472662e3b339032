"""Torch's side as pure functions from named inputs to named results, for `truth` to evaluate.

The names are the contract between the two sides: a subject's results are compared by them.

Each function takes `over` beside its inputs: how torch's modules are called. With `torch.vmap`,
inputs and results have a leading axis, and each entry of it is an evaluation by itself.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from parity.catalogue.values import Tensors
from parity.judge.truth import Evaluate

Function = Callable[..., Any]
Over = Callable[[Function], Function]


def alone(function: Function) -> Function:
    """A function as it is: one evaluation."""
    return function


def called(module: nn.Module, parameters: Tensors, x: Tensor, *others: Tensor) -> Any:
    """A module with these parameters, at `x` and other inputs, in whose dtype its buffers are. It
    keeps its own. Of one output, that; of several, a tuple."""
    buffers = {
        name: (buffer.to(x.dtype) if buffer.is_floating_point() else buffer).clone()
        for name, buffer in module.named_buffers()
    }
    return functional_call(module, parameters | buffers, (x, *others))


def layer(module: nn.Module) -> Evaluate:
    """A layer's forward and backward.

    Inputs: `x`, `dy`, and the module's parameters by name; where it takes or returns more, `h.x`
    for its next input, called h, and `c.dy` for its next output, called c, in order. Results:
    `output`, `c.output`, `input_grad`, unless `x` is made of indices, `h.input_grad`, and
    `weight.param_grad` for a parameter called weight.
    """
    module = without_statistics(module)

    def evaluate(inputs: Tensors, over: Over = alone) -> Tensors:
        ys, wanted = forward(module, inputs, over)
        gradients = torch.autograd.grad(list(ys.values()), list(wanted.values()), incoming(inputs))
        outputs = {name: y.detach() for name, y in ys.items()}
        return {**outputs, **dict(zip(wanted, gradients, strict=True))}

    if getattr(module, "padding_idx", None) is not None:  # of which vmap does not know
        return partial(_one_by_one, evaluate)
    return evaluate


def forward(module: nn.Module, inputs: Tensors, over: Over = alone) -> tuple[Tensors, Tensors]:
    """A layer's outputs, attached to autograd's graph, and what there are gradients with respect
    to, by the gradients' names; inputs as for `layer`."""
    leaves = {name: _leaf(inputs[name]) for name, _ in module.named_parameters()}
    given = {"input_grad": inputs["x"]}
    given |= {f"{n[:-2]}.input_grad": x for n, x in inputs.items() if n.endswith(".x")}
    given = {name: _leaf(x) if x.is_floating_point() else x for name, x in given.items()}
    found = over(partial(called, module))(leaves, *given.values())
    names = ["output", *(f"{n[:-3]}.output" for n in inputs if n.endswith(".dy"))]
    ys = dict(zip(names, [found] if isinstance(found, Tensor) else found, strict=True))
    wanted = {name: x for name, x in given.items() if x.is_floating_point()}
    return ys, wanted | {f"{name}.param_grad": leaf for name, leaf in leaves.items()}


def incoming(inputs: Tensors) -> list[Tensor]:
    """The gradients of a layer's outputs, in their order."""
    return [inputs["dy"], *(dy for name, dy in inputs.items() if name.endswith(".dy"))]


def _one_by_one(evaluate: Evaluate, inputs: Tensors, over: Over = alone) -> Tensors:
    """Evaluations one after another, where they are asked for at once."""
    if over is alone:
        return evaluate(inputs)
    count = len(next(iter(inputs.values())))
    each = [evaluate({name: x[n] for name, x in inputs.items()}) for n in range(count)]
    return {name: torch.stack([one[name] for one in each]) for name in each[0]}


def without_statistics(module: nn.Module) -> nn.Module:
    """A module that normalises a batch by the batch's own statistics, in training, as one that
    keeps none: the same results, and nothing is written."""
    if not isinstance(module, nn.modules.batchnorm._BatchNorm) or not module.training:
        return module
    twin = copy.deepcopy(module)
    twin.track_running_stats = False
    twin.running_mean = twin.running_var = twin.num_batches_tracked = None
    return twin


def statistics(module: nn.Module, batches: int, biased: bool = False) -> Evaluate:
    """A layer in evaluation, after so many batches in training; `biased`: of which the biased
    variance is kept, where torch keeps the unbiased one.

    Inputs: `x 1`, `x 2`, …, and then `x` and `dy`, and the parameters. Results: those of `layer`.
    """

    def evaluate(inputs: Tensors) -> Tensors:
        own: Any = copy.deepcopy(module).to(inputs["x"].dtype).train()
        parameters = {name: inputs[name] for name, _ in module.named_parameters()}
        with torch.no_grad():
            for batch in range(1, batches + 1):
                x = inputs[f"x {batch}"]
                functional_call(own, parameters, (x,))
                if biased:
                    momentum, count = own.momentum, x.numel() / x.shape[1]
                    new = x.transpose(0, 1).flatten(1).var(1)
                    own.running_var -= momentum * new / count
        return layer(own.eval())(inputs)

    return evaluate


def loss(criterion: nn.Module) -> Evaluate:
    """A loss and its derivative.

    Inputs: `prediction`, `target`, lengths, if it takes some, and `dy`, the gradient of the loss;
    without it, that is 1 in each entry. Results: `loss`, and `prediction_grad`.
    """

    def evaluate(inputs: Tensors, over: Over = alone) -> Tensors:
        prediction = _leaf(inputs["prediction"])
        criterion.to(prediction.dtype)  # its weights, of few digits, lose nothing by it
        others = [x for name, x in inputs.items() if name not in ("prediction", "dy")]
        value = over(criterion)(prediction, *others)
        dy = inputs.get("dy", torch.ones_like(value))
        (gradient,) = torch.autograd.grad(value, prediction, dy)
        return {"loss": value.detach(), "prediction_grad": gradient}

    return evaluate


def network(model: nn.Sequential, criterion: nn.Module) -> Evaluate:
    """Every intermediate of one pass through a whole model, forward and then backward.

    Inputs: `x`, `target`, and parameters by name. Results, in the order of computation:
    `0.output`, `1.output`, …, `loss`, `prediction_grad`, and from the last layer to the first
    its `2.weight.param_grad`, … and `2.input_grad`; not that of `x` if it is made of indices.
    """

    def evaluate(inputs: Tensors, over: Over = alone) -> Tensors:
        parameters = {name: _leaf(inputs[name]) for name, _ in model.named_parameters()}
        x = inputs["x"]
        values, results = [_leaf(x) if x.is_floating_point() else x], {}
        for place, child in model.named_children():
            module = without_statistics(child)
            own = {k.removeprefix(f"{place}."): v for k, v in parameters.items() if _of(k, place)}
            values.append(over(partial(functional_call, module))(own, (values[-1],)))
            results[f"{place}.output"] = values[-1].detach()
        value = over(criterion)(values[-1], inputs["target"])
        results["loss"] = value.detach()
        wanted = {"prediction_grad": values[-1]}
        for place in reversed([place for place, _ in model.named_children()]):
            wanted |= {f"{k}.param_grad": v for k, v in parameters.items() if _of(k, place)}
            if values[int(place)].requires_grad:
                wanted[f"{place}.input_grad"] = values[int(place)]
        gradients = torch.autograd.grad(value.sum(), list(wanted.values()))
        return results | dict(zip(wanted, gradients, strict=True))

    return evaluate


def optimizer(
    make: Callable[[list[Tensor]], torch.optim.Optimizer],
    steps: int,
    rates: Mapping[int, float] = MappingProxyType({}),
    every: int = 1,
    inside: bool = False,
) -> Evaluate:
    """An optimizer's steps on given gradients; `rates`: those that change, by step. Results are of
    one step in `every`. With `inside` its momentum is of steps, `v = momentum * v + lr * g`, and
    not of gradients, as torch has it: the same while the rate does not change.

    Inputs: parameters `p0`, `p1`, …, and their gradients at each step, `step 1: p0`, …; one that is
    not among them is None. Results: after each step, `step 1: p0`, and its state, `step 1:
    p0.exp_avg`. No entry sees another, so that many evaluations are one on larger tensors: there is
    no `over`.
    """

    def evaluate(inputs: Tensors) -> Tensors:
        parameters = {k: inputs[k].clone().requires_grad_() for k in inputs if ":" not in k}
        with _by_default(next(iter(parameters.values())).dtype):  # NAdam keeps a product in it
            moved = make(list(parameters.values()))
            return _stepped(moved, parameters, inputs, steps, rates, every, inside)

    return evaluate


def clipping(clip: Callable[[list[Tensor]], Tensor | None]) -> Evaluate:
    """Gradients clipped by torch's function.

    Inputs: gradients by parameter. Results: what they are then, `step 1: 0.weight`, and `norm`, if
    one is returned.
    """

    def evaluate(inputs: Tensors) -> Tensors:
        parameters = {name: torch.zeros_like(g) for name, g in inputs.items()}
        for name, parameter in parameters.items():
            parameter.grad = inputs[name].clone()
        norm = clip(list(parameters.values()))
        clipped = {f"step 1: {n}": p.grad for n, p in parameters.items() if p.grad is not None}
        return clipped if norm is None else {**clipped, "norm": norm}

    return evaluate


@contextlib.contextmanager
def _by_default(dtype: torch.dtype) -> Iterator[None]:
    """Makes tensors of this dtype where none is said."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _stepped(
    moved: torch.optim.Optimizer,
    parameters: Tensors,
    inputs: Tensors,
    steps: int,
    rates: Mapping[int, float],
    every: int,
    inside: bool,
) -> Tensors:
    results: Tensors = {}
    for step in range(1, steps + 1):
        for name, parameter in parameters.items():
            gradient = inputs.get(f"step {step}: {name}")
            parameter.grad = None if gradient is None else gradient.clone()
        for group in moved.param_groups:
            before, group["lr"] = group["lr"], rates.get(step, group["lr"])
            kept = [state.get("momentum_buffer") for state in moved.state.values() if inside]
            for velocity in filter(lambda one: one is not None, kept):
                velocity *= before / group["lr"]
        moved.step()
        if step % every:
            continue
        for name, parameter in parameters.items():
            results[f"step {step}: {name}"] = parameter.detach().clone()
            for slot, value in moved.state.get(parameter, {}).items():
                if slot not in ("step", "mu_product") and value is not None:
                    results[f"step {step}: {name}.{slot}"] = value.clone()
    return results


def training(
    model: nn.Module,
    criterion: nn.Module,
    make: Callable[[list[Tensor]], torch.optim.Optimizer],
    masks: Sequence[Sequence[Tensor | None]],
) -> Evaluate:
    """A whole training, step by step.

    Inputs: initial parameters by name, and batches `x 1`, `t 1`, `x 2`, … Results: parameters
    after each step, `step 1: 0.weight`. `masks` are, for each step, those of the model's
    Dropout layers, as `dropping` takes them. `model` itself keeps the parameters that it has.
    """

    def evaluate(inputs: Tensors, over: Over = alone) -> Tensors:
        names = [name for name, _ in model.named_parameters()]
        parameters = {name: inputs[name].clone().requires_grad_() for name in names}
        moved = make(list(parameters.values()))
        results = {}
        for step, dropped in enumerate(masks, 1):
            with dropping(model, dropped):
                prediction = over(partial(functional_call, model))(
                    parameters, (inputs[f"x {step}"],)
                )
            value = over(criterion)(prediction, inputs[f"t {step}"])
            gradients = torch.autograd.grad(value.sum(), list(parameters.values()))
            for parameter, gradient in zip(parameters.values(), gradients, strict=True):
                parameter.grad = gradient
            moved.step()
            for name, parameter in parameters.items():
                results[f"step {step}: {name}"] = parameter.detach().clone()
        return results

    return evaluate


@contextlib.contextmanager
def dropping(module: nn.Module, masks: Sequence[Tensor | None]) -> Iterator[None]:
    """Within it, the n-th Dropout of `module` drops what the n-th mask drops: True is kept.

    The scale is torch's, 1 / (1 - p). A mask of None leaves that Dropout out.
    """
    dropouts = [one for one in module.modules() if isinstance(one, nn.Dropout)]
    hooks, modes = [], [dropout.training for dropout in dropouts]
    for dropout, mask in zip(dropouts, masks, strict=True):
        dropout.eval()  # it passes its input on, and the hook drops
        scale = 1 / (1 - dropout.p) if dropout.p < 1 else 0.0
        factor = torch.ones(()) if mask is None else mask.double() * scale

        def dropped(module: nn.Module, args: Any, y: Tensor, factor: Tensor = factor) -> Tensor:
            return args[0] * factor.to(args[0])

        hooks.append(dropout.register_forward_hook(dropped))
    try:
        yield
    finally:
        for hook, dropout, mode in zip(hooks, dropouts, modes, strict=True):
            hook.remove()
            dropout.train(mode)


def _leaf(x: Tensor) -> Tensor:
    return x.detach().requires_grad_()


def _of(name: str, place: str) -> bool:
    return name.startswith(f"{place}.")
