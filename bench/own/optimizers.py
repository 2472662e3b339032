"""Optimizers of scratch: their state, which crosses to torch and back, and how they pack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

import parity
from bench.own.defaults import defaults
from parity import Comparison, Tensors, Trial
from parity.checks.trial import equal, fact
from reference import pairs

STEPS = 20
SILENT = 10  # the step before which nothing was backpropagated
SHAPES = {"p0": (4, 3), "p1": (4,), "p2": (1, 4)}


def inputs_of(trial: Trial) -> Tensors:
    """Initial parameters, and their gradients at every step: none, that is zero, at one."""
    generator = trial.generator()
    inputs = {k: trial.random(*shape, generator=generator) for k, shape in SHAPES.items()}
    for step in range(1, STEPS + 1):
        for name, shape in SHAPES.items():
            gradient = trial.random(*shape, generator=generator)
            inputs[f"step {step}: {name}"] = gradient * 0 if step == SILENT else gradient
    return inputs


def pairs_of(inputs: Tensors) -> dict[str, tuple[Tensor, Tensor]]:
    return {name: (inputs[name].clone(), torch.zeros_like(inputs[name])) for name in SHAPES}


def stepped(
    optimizer: Any, held: dict[str, tuple[Tensor, Tensor]], inputs: Tensors, steps: range
) -> Tensors:
    """Steps of a scratch optimizer, by the names of `parity.optimizer`."""
    results = {}
    for step in steps:
        optimizer.zero_grad()
        for name, (_, gradient) in held.items():
            gradient.add_(inputs[f"step {step}: {name}"])
        optimizer.step()
        state = optimizer.state_dict()["state"]
        for index, (name, (parameter, _)) in enumerate(held.items()):
            results[f"step {step}: {name}"] = parameter.clone()
            for slot, value in state.get(index, {}).items():
                if slot != "step":
                    results[f"step {step}: {name}.{slot}"] = value
    return results


def states(trial: Trial) -> list[Comparison]:
    """Parameters and state after each of 20 steps, as `state_dict` has them."""
    inputs = inputs_of(trial)
    held = pairs_of(inputs)
    results = stepped(_scratch(trial, held), held, inputs, range(1, STEPS + 1))
    evaluate = parity.evaluate.optimizer(trial.case.reference, STEPS)
    return parity.compare(results, parity.truth(evaluate, inputs, elementwise=True))


def handover(trial: Trial) -> list[Comparison]:
    """Half of the steps by torch and half by scratch, and the other way round: state crosses."""
    inputs = inputs_of(trial)
    truth = parity.truth(
        parity.evaluate.optimizer(trial.case.reference, STEPS), inputs, elementwise=True
    )
    names = [name for name in truth.oracle if name.startswith(f"step {STEPS}:")]
    verdicts = []
    for way in (_torch_then_scratch, _scratch_then_torch):
        results = {name: value for name, value in way(trial, inputs).items() if name in names}
        verdicts += [
            replace(c, name=f"{c.name}, {way.__name__[1:]}")
            for c in parity.compare(results, truth.only(names))
        ]
    return verdicts


def _torch_then_scratch(trial: Trial, inputs: Tensors) -> Tensors:
    theirs = [inputs[name].clone().requires_grad_() for name in SHAPES]
    optimizer = trial.case.reference(theirs)
    _step_torch(optimizer, theirs, inputs, range(1, STEPS // 2))
    held = pairs_of({name: p.detach() for name, p in zip(SHAPES, theirs, strict=True)})
    ours = _bare(trial, held)  # other options, to be overwritten
    for _ in range(STEPS):  # and further on: the state that is loaded must count, not its own
        ours.step()
    for (parameter, _), theirs_now in zip(held.values(), theirs, strict=True):
        parameter.copy_(theirs_now.detach())
    ours.load_state_dict(optimizer.state_dict())
    return stepped(ours, held, inputs, range(STEPS // 2, STEPS + 1))


def _scratch_then_torch(trial: Trial, inputs: Tensors) -> Tensors:
    held = pairs_of(inputs)
    ours = _scratch(trial, held)
    stepped(ours, held, inputs, range(1, STEPS // 2))
    theirs = [parameter.clone().requires_grad_() for parameter, _ in held.values()]
    optimizer = trial.case.reference(theirs)
    optimizer.load_state_dict(ours.state_dict())
    _step_torch(optimizer, theirs, inputs, range(STEPS // 2, STEPS + 1))
    results = {}
    for index, (name, parameter) in enumerate(zip(SHAPES, theirs, strict=True)):
        results[f"step {STEPS}: {name}"] = parameter.detach()
        for slot, value in optimizer.state_dict()["state"].get(index, {}).items():
            if slot != "step" and value is not None:
                results[f"step {STEPS}: {name}.{slot}"] = value
    return results


def _step_torch(
    optimizer: torch.optim.Optimizer, parameters: list[Tensor], inputs: Tensors, steps: range
) -> None:
    for step in steps:
        for name, parameter in zip(SHAPES, parameters, strict=True):
            parameter.grad = inputs[f"step {step}: {name}"].clone()
        optimizer.step()


def packing(trial: Trial) -> list[Comparison]:
    """Parameters stay the tensors that they are; moved, or shared by a second optimizer, they
    are followed; gradients are left as they are."""
    inputs = inputs_of(trial)
    held, plain = pairs_of(inputs), pairs_of(inputs)
    tensors = [id(tensor) for pair in held.values() for tensor in pair]
    optimizer = _scratch(trial, held)
    second = _scratch(trial, {"p2": held["p2"]})
    half = range(1, STEPS // 2)
    stepped(optimizer, held, inputs, half)
    second.zero_grad()  # packs anew: the first must notice
    for pair in held.values():
        for tensor in pair:
            tensor.data = tensor.clone()  # as `Module.to` moves them
    got = stepped(optimizer, held, inputs, range(STEPS // 2, STEPS))
    want = stepped(_scratch(trial, plain), plain, inputs, range(1, STEPS))
    gradient = held["p0"][1]
    same = [id(tensor) for pair in held.values() for tensor in pair] == tensors
    return [
        fact("parameters", same, "are other tensors than before"),
        equal("gradient after step", gradient, inputs[f"step {STEPS - 1}: p0"]),
        *(equal(name, got[name], want[name]) for name in got),
    ]


def _bare(trial: Trial, held: dict[str, tuple[Tensor, Tensor]]) -> Any:
    """The optimizer without the trial's options."""
    cls = next(pair.cls for pair in pairs.PAIRS if pair.entry is trial.case.entry)
    return cls(list(held.values()))


def _scratch(trial: Trial, held: dict[str, tuple[Tensor, Tensor]]) -> Any:
    return pairs.build(trial.case, list(held.values()))


CHECKS: dict[str, Callable[[Trial], Any]] = {
    "states": states,
    "handover": handover,
    "packing": packing,
    "defaults": defaults,
}
