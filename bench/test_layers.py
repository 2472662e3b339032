"""Every pair, scratch and torch side by side: forward, forward and backward, optimizer steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from bench import measure
from bench.torchs import torchs
from parity import Case
from parity.play.several import flat
from reference import pairs

SIDES = ("scratch", "torch")
PASSES = ("forward", "forward and backward")
QUICK = pytest.mark.benchmark(max_time=0.2, min_rounds=5, warmup=True, warmup_iterations=10)


@QUICK
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("what", PASSES)
@pytest.mark.parametrize("case", pairs.cases("layer"), ids=str)
def test_layer(benchmark: BenchmarkFixture, case: Case, what: str, side: str, device: str) -> None:
    benchmark.group = f"{case}: {what}, {device}"
    generator = torch.Generator().manual_seed(0)
    x = case.input(*case.shape, generator=generator, dtype=torch.float32)
    beside = case.inputs_beside(len(x), generator, torch.float32)
    inputs = [one.to(device) for one in (x, *beside.values())]
    layer = pairs.build(case).to(device) if side == "scratch" else torchs(case).to(device)
    dys = [torch.randn_like(y) for y in flat(layer(*inputs))]
    function = _pass(layer, side, what, inputs, dys)
    assert benchmark(measure.synchronised(function, device)) is not None


def _pass(
    layer: Any, side: str, what: str, inputs: list[torch.Tensor], dys: list[torch.Tensor]
) -> Callable[[], Any]:
    if what == "forward":
        return lambda: layer(*inputs)
    if side == "scratch":

        def both() -> Any:
            layer(*inputs)
            return layer.backward(*dys)

        return both
    leaves = [one.clone().requires_grad_(one.is_floating_point()) for one in inputs]

    def recorded() -> Any:
        ys = flat(layer(*leaves))
        torch.autograd.backward(ys, dys)
        return ys

    return recorded


@QUICK
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("case", pairs.cases("loss"), ids=str)
def test_loss(benchmark: BenchmarkFixture, case: Case, side: str, device: str) -> None:
    benchmark.group = f"{case}: forward and backward, {device}"
    prediction = torch.rand(case.shape, device=device)
    target = torch.rand(case.shape, device=device)
    if case.target == "index":
        target = target.argmax(-1)
    criterion = pairs.build(case) if side == "scratch" else case.reference().float()
    leaf = prediction.clone().requires_grad_()

    def both() -> torch.Tensor:
        if side == "scratch":
            criterion(prediction, target)
            return criterion.backward()
        criterion(leaf, target).sum().backward()
        return leaf

    assert benchmark(measure.synchronised(both, device)) is not None


@QUICK
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("cls", sorted({c.entry.name for c in pairs.cases("optimizer")}))
def test_optimizer(benchmark: BenchmarkFixture, cls: str, side: str, device: str) -> None:
    """A step on the parameters of Model 1, with the first options of the grid."""
    case = next(case for case in pairs.cases("optimizer") if case.entry.name == cls)
    benchmark.group = f"{cls}: step on Model 1, {device}"
    model_pair = pairs.MODELS[0]
    if side == "scratch":
        pair = model_pair.scratch().to(device).param()
        optimizer = pairs.build(case, pair)
    else:
        parameters = list(model_pair.reference().to(device).parameters())
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter)
        optimizer = case.reference(parameters)
    benchmark(measure.synchronised(optimizer.step, device))
    assert optimizer.state_dict()["param_groups"]
