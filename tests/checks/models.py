"""Checks of whole models: layer by layer, and training in lockstep, dropout masks shared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import parity
import scratch
from bench.lockstep import in_lockstep, truth_of
from parity import Comparison, Tensors
from scratch import data, runs
from tests.checks.layers import share_masks
from tests.checks.setting import Setting, fact

POINTS, BATCH = 1000, 10
RUNS = 3


def build(setting: Setting) -> scratch.Sequential:
    """The scratch model; it draws its dropout masks from a generator of its own."""
    model = setting.case.scratch(generator=setting.generator())
    model.to(setting.device, setting.dtype)
    return model


def points(setting: Setting, count: int) -> tuple[Tensor, Tensor]:
    """Points of the disk problem, and targets as the network takes them."""
    x, labels = data.disk(count, seed=setting.seed, dtype=setting.dtype, device=setting.device)
    return x, setting.case.targets(labels, setting.dtype)


def traced(model: scratch.Sequential, criterion: scratch.Loss, x: Tensor, t: Tensor) -> Tensors:
    """One pass of a scratch model by the names of `parity.network`: each layer's output, each
    gradient that it returned, and what was left in its parameters' gradients."""
    results: Tensors = {}

    def record(place: str, layer: scratch.Module) -> None:
        forward, backward = layer.forward, layer.backward

        def recorded_forward(x: Tensor) -> Tensor:
            results[f"{place}.output"] = y = forward(x)
            return y

        def recorded_backward(dy: Tensor) -> Tensor:
            results[f"{place}.input_grad"] = dx = backward(dy)
            return dx

        layer.forward, layer.backward = recorded_forward, recorded_backward  # type: ignore[method-assign]

    model.zero_grad()
    for place, layer in model.children():
        record(place, layer)
    results["loss"] = criterion(model(x), t)
    results["prediction_grad"] = criterion.backward()
    model.backward(results["prediction_grad"])
    for layer in model:
        del layer.forward, layer.backward
    gradients = {f"{k}.param_grad": g for k, (_, g) in model.named_param().items()}
    return {name: tensor.clone() for name, tensor in (results | gradients).items()}


def layer_by_layer(setting: Setting) -> list[Comparison]:
    """Every intermediate output and gradient of one pass."""
    model, (loss, torch_loss) = build(setting), setting.case.loss
    x, t = points(setting, BATCH)
    results = traced(model, loss(), x, t)
    twin = setting.case.reference().to(setting.device)
    share_masks(model, twin)
    inputs = {"x": x, "target": t, **model.state_dict()}
    truth = parity.truth(parity.network(twin, torch_loss()), inputs)
    return parity.compare(results, truth)


def lockstep(setting: Setting) -> list[Comparison]:
    """A whole epoch: weights after every step, on the same batches, with the same masks."""
    x, t = points(setting, POINTS)
    batches = list(zip(x.split(BATCH), t.split(BATCH), strict=True))
    return in_lockstep(setting.case, build(setting), batches)


def fit(setting: Setting) -> list[Comparison]:
    """`fit` leaves the weights that torch reaches on the same batches, in the order of the
    seed, the last one smaller, with the masks that `fit` drew."""
    seed, epochs, size = 7, 2, 30
    x, t = points(setting, 100)
    model = build(setting)
    before = model.state_dict()
    masks: list[Tensor] = []
    for layer in model:
        if isinstance(layer, scratch.Dropout):
            _record_masks(layer, masks)
    optimizer, loss = setting.case.optimizer[0](model.param()), setting.case.loss[0]()
    scratch.train.fit(model, loss, optimizer, x, t, epochs=epochs, batch_size=size, seed=seed)

    generator = torch.Generator().manual_seed(seed)
    batches: list[tuple[Tensor, Tensor]] = []
    for _ in range(epochs):
        order = torch.randperm(len(x), generator=generator).to(x.device)
        batches += zip(x[order].split(size), t[order].split(size), strict=True)
    per_step = len(masks) // len(batches)
    shared = [masks[i * per_step : (i + 1) * per_step] for i in range(len(batches))]
    truth = truth_of(setting.case, before, batches, shared)
    results = {f"step {len(batches)}: {name}": v for name, v in model.state_dict().items()}
    return parity.compare(results, truth.only(results))


def _record_masks(layer: scratch.Dropout, masks: list[Tensor]) -> None:
    forward = layer.forward

    def recorded(x: Tensor) -> Tensor:
        y = forward(x)
        if layer.mask is not None:
            masks.append(layer.mask)
        return y

    layer.forward = recorded  # type: ignore[method-assign]


def runs_together(setting: Setting) -> list[Comparison]:
    """`fit` of stacked runs leaves each run where `fit` of it alone leaves it, by the oracle
    rule, alone being the reference; and one run's other seed changes no other run."""
    x, t = points(setting, 200)
    together = _fitted(setting, runs.stack(_singles(setting)), x, t, list(range(RUNS)))
    verdicts = []
    for run, model in enumerate(runs.unstack(together)):
        truth = _alone(setting, run, x, t)
        verdicts += [
            Comparison(**(vars(c) | {"name": f"{c.name}, run {run}"}))
            for c in parity.compare(model.state_dict(), truth)
        ]
    other = _fitted(setting, runs.stack(_singles(setting)), x, t, [0, 99, 2]).state_dict()
    for name, before in together.state_dict().items():
        apart = all(bool((other[name][run] == before[run]).all()) for run in (0, 2))
        verdicts.append(fact(f"{name} of the other runs", apart, "changed with run 1's seed"))
        moved = bool((other[name][1] != before[1]).any())
        verdicts.append(fact(f"{name} of run 1", moved, "does not depend on its seed"))
    return verdicts


def _singles(setting: Setting) -> list[scratch.Sequential]:
    generators = [torch.Generator().manual_seed(100 + run) for run in range(RUNS)]
    models = [setting.case.scratch(generator=generator) for generator in generators]
    return [model.to(setting.device, setting.dtype) for model in models]


def _fitted(
    setting: Setting, model: scratch.Sequential, x: Tensor, t: Tensor, seed: Any
) -> scratch.Sequential:
    optimizer = setting.case.optimizer[0](model.param())
    loss = setting.case.loss[0]()
    scratch.train.fit(model, loss, optimizer, x, t, epochs=2, batch_size=30, seed=seed)
    return model


def _alone(setting: Setting, run: int, x: Tensor, t: Tensor) -> parity.Truth:
    """One run trained alone: in the dtype, in float64, and around for the floor."""

    def evaluate(inputs: Tensors) -> Tensors:
        model = _singles(setting)[run].to(dtype=inputs["x"].dtype)
        model.load_state_dict({name: inputs[name] for name in model.state_dict()})
        return _fitted(setting, model, inputs["x"], inputs["t"], run).state_dict()

    return parity.truth(evaluate, {"x": x, "t": t, **_singles(setting)[run].state_dict()})


CHECKS: dict[str, Callable[[Setting], Any]] = {
    "layer_by_layer": layer_by_layer,
    "lockstep": lockstep,
    "fit": fit,
    "runs_together": runs_together,
}
