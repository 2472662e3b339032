"""Every pair, scratch and torch side by side: forward, forward and backward, optimizer steps.
One table has the time and the memory of layers at the sizes of real use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from tabulate import tabulate

from bench import cost, measure
from bench.environment import caption, environment
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


def test_cost(
    benchmark: BenchmarkFixture,
    device: str,
    show: Callable[[str, str], None],
    request: pytest.FixtureRequest,
) -> None:
    """Time and peak memory of a pass at the sizes of real use, beside torch's, in one table."""
    rounds = request.config.getoption("--rounds")
    found: list[cost.Cost] = []
    benchmark.pedantic(lambda: found.extend(cost.costs(device, rounds)), rounds=1, iterations=1)
    benchmark.extra_info["seconds of a pass"] = {one.row.name: one.seconds for one in found}
    table = tabulate([_row(one) for one in found], headers="keys", disable_numparse=True)
    show(
        f"forward and backward of a layer on {device}, float32",
        f"{table}\n\nMedian of {rounds} passes, the two sides in turn; in brackets the 95 % "
        f"interval. Memory: the bytes that a pass holds at most.\nParity: the largest error of a "
        f"result at this size, over what is allowed; 1 or less is right.\n"
        f"{'' if rounds >= cost.ENOUGH else cost.TOO_FEW}"
        f"Measured on {caption(environment(device))}.",
    )
    assert all(one.parity.passed for one in found), table
    judged = found if rounds >= cost.ENOUGH else []
    slow = [one.row.name for one in judged if one.ratio.low > cost.MOST]
    assert not slow, f"more than {cost.MOST} times torch's time: {slow}\n{table}"


def _row(one: cost.Cost) -> dict[str, str]:
    millis = [1e3 * measure.median(side).median for side in one.seconds]
    mebibytes = [held / 2**20 for held in one.bytes]
    return {
        "layer": one.row.name,
        "input": str(list(one.row.shape)),
        "scratch, ms": f"{millis[0]:.2f}",
        "torch, ms": f"{millis[1]:.2f}",
        "ratio [95 %]": str(one.ratio),
        "scratch, MiB": f"{mebibytes[0]:.2f}",
        "torch, MiB": f"{mebibytes[1]:.2f}",
        "parity": f"{'ok' if one.parity.passed else 'WRONG'}, {one.parity.ratio:.2f}",
    }


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
