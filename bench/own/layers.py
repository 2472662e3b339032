"""Layers of scratch beyond one forward and backward: stacked runs, weights, `backward_param`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

import scratch
from bench.own.defaults import defaults
from parity import Comparison, Tensors, Trial
from parity.checks.passes import of_pass, one_pass
from parity.checks.trial import beside, equal, fact, weights
from parity.play.broken import Unoffered
from parity.play.several import flat
from reference import pairs
from scratch import runs

RUNS = 3


def build(trial: Trial) -> scratch.Module:
    """The scratch layer of a trial, with weights that depend on its seed alone."""
    layer: scratch.Module = pairs.build(trial.case).to(trial.device, trial.dtype)
    layer.load_state_dict(layer.state_dict() | weights(trial.inputs()))
    return layer


def passed_through(layer: scratch.Module, inputs: Tensors, seed: int = 0) -> Tensors:
    """One forward and backward, by the names of `parity.evaluate.layer`."""
    layer.zero_grad()
    torch.manual_seed(seed)
    given, dys = beside(inputs)
    y, *more = flat(layer(inputs["x"], *given.values()))
    dx, *others = flat(layer.backward(inputs["dy"], *dys.values()))
    results = {f"{name}.output": one for name, one in zip(dys, more, strict=False)}
    real = [name for name, one in given.items() if one.is_floating_point()]
    results |= {f"{name}.input_grad": one for name, one in zip(real, others, strict=True)}
    dx = dx if inputs["x"].is_floating_point() else None
    return of_pass(y, dx, results | gradients(layer))


def gradients(layer: scratch.Module) -> Tensors:
    return {f"{k}.param_grad": g.clone() for k, (_, g) in layer.named_param().items()}


def inputs_on(trial: Trial) -> Tensors:
    """The trial's inputs, on its device."""
    return {name: tensor.to(trial.device) for name, tensor in trial.inputs().items()}


def params_alone(trial: Trial) -> list[Comparison]:
    """`backward_param` leaves the gradients that `backward` leaves."""
    layer = build(trial)
    inputs = {name: x for name, x in inputs_on(trial).items() if not name.endswith(".dy")}
    whole = {k: v for k, v in passed_through(layer, inputs).items() if k.endswith("param_grad")}
    layer.zero_grad()
    layer(inputs["x"], *beside(inputs)[0].values())
    layer.backward_param(inputs["dy"])
    alone = gradients(layer)
    if not whole:
        return [fact("no parameters", not alone, "there are gradients without parameters")]
    return [equal(f"{name} by backward_param", alone[name], whole[name]) for name in whole]


def stacked(trial: Trial) -> list[Comparison]:
    """Run i of a stacked layer is what torch makes of model i alone; `unstack` gives it back."""
    trials = [replace(trial, seed=trial.seed + run) for run in range(RUNS)]
    singles = [build(one) for one in trials]
    if not singles[0].stackable:
        return _refused(singles[0])
    layer = runs.stack(singles)
    each = [inputs_on(one) for one in trials]
    inputs = {name: torch.stack([one[name] for one in each]) for name in ("x", "dy")}
    results = passed_through(layer, inputs, trial.seed)
    verdicts = []
    for run, single in enumerate(singles):
        got = {name: tensor[run].cpu() for name, tensor in results.items()}
        judged = trial.judge_layer(trials[run].inputs(), got)
        verdicts += [replace(c, name=f"{c.name} of run {run}") for c in judged]
        again = runs.unstack(layer)[run].state_dict()
        verdicts += [equal(f"{k} unstacked", again[k], v) for k, v in single.state_dict().items()]
    return verdicts


def runs_apart(trial: Trial) -> list[Comparison]:
    """Touching run 1, in parameters and inputs, leaves the other runs the same to the bit."""
    singles = [build(replace(trial, seed=trial.seed + run)) for run in range(RUNS)]
    if not singles[0].stackable:
        return _refused(singles[0])
    layer = runs.stack(singles)
    first = inputs_on(trial)
    inputs = {k: torch.stack([first[k]] * RUNS) for k in ("x", "dy")}
    before = passed_through(layer, inputs, trial.seed)
    touched = {name: tensor.clone() for name, tensor in inputs.items()}
    for tensor in (*touched.values(), *(parameter for parameter, _ in layer.param())):
        tensor[1] += 1
    after = passed_through(layer, touched, trial.seed)
    return [
        equal(f"{name} of run {run}", after[name][run], before[name][run])
        for name in before
        for run in range(RUNS)
        if run != 1
    ]


def _refused(layer: scratch.Module) -> list[Comparison]:
    """That a layer which cannot be stacked is not, and that this is said."""
    try:
        runs.stack([layer])
    except ValueError as error:
        return [fact("refused", type(layer).__name__ in str(error), f"without its name: {error}")]
    return [fact("refused", False, "is stacked, and says that it cannot be")]


def state_dicts(trial: Trial) -> list[Comparison]:
    """Weights go to torch and back through `state_dict`, and compute the same there."""
    layer = build(trial)
    module = trial.case.module().to(trial.device, trial.dtype)
    module.load_state_dict(layer.state_dict())
    other: scratch.Module = pairs.build(trial.case).to(trial.device, trial.dtype)
    other.load_state_dict(module.state_dict())
    ours, theirs = layer.state_dict(), other.state_dict()
    return [
        fact("keys", list(ours) == list(module.state_dict()), "differ from torch's"),
        *(equal(f"{name} there and back", theirs[name], ours[name]) for name in ours),
    ]


def infinite_gradient(trial: Trial) -> list[Comparison]:
    """An infinity in dy goes where torch lets it go: through no mask that is multiplied by. In a
    sum with the zeros of a padding, or in a mean, what is NaN depends on the order."""
    entry = trial.case.entry
    if entry.ranges or entry.reference in CONVOLUTIONS or entry.several or entry.chained:
        raise Unoffered("where infinities are added up, what is NaN depends on the order")

    def change(inputs: Tensors) -> Tensors:
        dy = inputs["dy"].clone()
        dy.view(len(dy), -1)[0, 0] = math.inf
        return inputs | {"dy": dy}

    return one_pass(trial, change)


CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d)

CHECKS: dict[str, Callable[[Trial], Any]] = {
    "params_alone": params_alone,
    "stacked": stacked,
    "runs_apart": runs_apart,
    "state_dicts": state_dicts,
    "infinite_gradient": infinite_gradient,
    "defaults": defaults,
}
