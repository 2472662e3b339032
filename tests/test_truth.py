"""What torch says: once for all checks, the draws of the floor at once, float64's own error."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import parity
from parity import Case, Entry, Subject, Tensors, evaluate
from parity.catalogue.table import CATALOGUE
from parity.checks.trial import Trial
from parity.judge.once import KEPT, once
from parity.judge.truth import DRAWS

CASES = [Case(entry, variant) for entry in CATALOGUE.values() for variant in entry.variants]
PASSES = [case for case in CASES if case.kind in ("layer", "loss")]


def stacked(inputs: Tensors) -> Tensors:
    """Three times the inputs: as they are, halved, and turned around; integers as they are."""
    return {
        name: torch.stack([x, x / 2, x.flip(0)] if x.is_floating_point() else [x] * 3)
        for name, x in inputs.items()
    }


def same_as_one_by_one(evaluate: Any, inputs: Tensors) -> None:
    """Whether many evaluations at once are each what it is alone, to the last digits of float64."""
    many = stacked(inputs)
    together = evaluate(many, over=torch.vmap)
    for place in range(3):
        alone = evaluate({name: x[place] for name, x in many.items()})
        assert list(alone) == list(together)
        for name, y in alone.items():
            torch.testing.assert_close(together[name][place], y, rtol=1e-11, atol=1e-13)


def by_vmap(case: Case) -> bool:
    """Not where torch takes out what is ignored: each draw may have another number of it."""
    smooths = "label_smoothing" in case.options
    return not (smooths and case.options.keys() & {"weight", "ignore_index"})


@pytest.mark.parametrize("case", [*filter(by_vmap, PASSES)], ids=str)
def test_draws_at_once_are_what_they_are_one_by_one(case: Case) -> None:
    trial = Trial(None, case, torch.float64)
    if case.kind == "layer":
        same_as_one_by_one(evaluate.layer(case.module().eval()), trial.inputs())
    else:
        same_as_one_by_one(evaluate.loss(case.reference()), trial.loss_inputs())


def network() -> tuple[nn.Sequential, Tensors]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Dropout(0.5), nn.Linear(5, 2)).double()
    inputs = {"x": torch.rand(6, 2).double(), "target": torch.tensor([0, 1, 1, 0, 1, 0])}
    return model, inputs | dict(model.state_dict())


def test_so_are_a_networks_passes_and_its_training() -> None:
    model, inputs = network()
    mask = torch.rand(6, 5) > 0.5
    with evaluate.dropping(model, [mask]):
        same_as_one_by_one(evaluate.network(model, nn.CrossEntropyLoss()), inputs)
    x, t = inputs.pop("x"), inputs.pop("target")
    batches = {f"{name} {step}": value for step in (1, 2) for name, value in (("x", x), ("t", t))}
    trained = evaluate.training(
        model, nn.CrossEntropyLoss(), lambda ps: torch.optim.Adam(ps, lr=0.1), [[mask], [~mask]]
    )
    same_as_one_by_one(trained, inputs | batches)
    assert all(p.equal(inputs[name]) for name, p in model.named_parameters()), "it was modified"


def test_a_module_that_looks_at_its_numbers_is_evaluated_draw_by_draw() -> None:
    class Shy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.exp(x) if bool((x > 0).all()) else torch.zeros_like(x)

    inputs = {"x": torch.rand(3, 4) + 0.1, "dy": torch.ones(3, 4)}
    truths = [parity.truth(evaluate.layer(module), inputs) for module in (Shy(), Exp())]
    for name, floor in truths[0].floor.items():  # other draws, of the same size
        ratio = floor / truths[1].floor[name]
        assert bool(((ratio > 0.3) & (ratio < 3)).all()), name


class Exp(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.exp(x)


def test_each_draw_moves_by_itself() -> None:
    inputs = {"x": torch.ones(1, 1000), "dy": torch.ones(1, 1), "weight": torch.ones(1, 1000)}
    module = nn.Linear(1000, 1, bias=False)
    few, many = (parity.truth(evaluate.layer(module), inputs, draws=n) for n in (2, DRAWS))
    floors = [float(truth.floor["weight.param_grad"].mean()) for truth in (few, many)]
    assert floors[0] < 0.9 * floors[1], "the most of 16 draws is more than the most of 2"
    assert len(many.floor["weight.param_grad"].unique()) > 100


def test_a_sum_of_thousands_in_float64_may_err_as_torch_errs() -> None:
    """One term after another, which no order of torch's is; float32 has torch's own error."""
    for dtype in (torch.float64, torch.float32):
        for seed in range(5):
            generator = torch.Generator().manual_seed(seed)
            module = nn.Conv2d(4, 2, 3)
            shapes = {
                "x": (4, 4, 34, 34),
                "dy": (4, 2, 32, 32),
                "weight": (2, 4, 3, 3),
                "bias": (2,),
            }
            inputs = {
                name: torch.randn(shape, generator=generator, dtype=dtype)
                for name, shape in shapes.items()
            }
            truth = parity.truth(evaluate.layer(module), inputs)
            one_by_one = inputs["dy"].movedim(1, -1).reshape(-1, 2).cumsum(0)[-1]
            verdicts = parity.compare(
                {"bias.param_grad": one_by_one}, truth.only(["bias.param_grad"])
            )
            assert verdicts[0].passed, (dtype, seed, verdicts[0])
            wrong = {"bias.param_grad": one_by_one * (1 + 1e-5)}
            assert not parity.compare(wrong, truth.only(wrong))[0].passed


def test_an_overflow_of_float32_excuses_nobody_in_float64() -> None:
    x = torch.tensor([100.0, 1.0], dtype=torch.float64)  # e^100 is infinite in float32
    truth = parity.truth(lambda inputs: {"y": torch.exp(inputs["x"])}, {"x": x})
    right = torch.exp(x)
    assert parity.compare({"y": right}, truth)[0].passed
    assert not parity.compare({"y": right * (1 + 1e-13)}, truth)[0].passed


def test_what_torch_says_is_evaluated_once_for_all_checks() -> None:
    calls = []

    class Counted(nn.Tanh):
        def forward(self, x: Tensor) -> Tensor:
            calls.append(x.shape)
            return super().forward(x)

    class Tanh:
        def forward(self, x: Tensor) -> Tensor:
            self.y = torch.tanh(x)
            return self.y

        def backward(self, dy: Tensor) -> Tensor:
            return dy * (1 - self.y**2)

    subject = Subject({Entry(Counted, "layer"): Tanh}, name="counted", dtypes=("float32",))
    counts = []
    for only in ("-noncontiguous", ("-noncontiguous", "-uninitialised", "-second_backward")):
        calls.clear()
        assert parity.check(subject, only=only).passed
        counts.append(sum(len(shape) == 2 and shape[0] > 2 for shape in calls))
    assert counts[0] > 0
    assert counts[1] == 0, "the second run found all that it needs"


def test_other_tensors_and_other_questions_are_others() -> None:
    made: list[int] = []

    def make() -> int:
        made.append(len(made))
        return made[-1]

    x = torch.tensor([1.0, 2.0])
    assert once("a", {"x": x}, make) == once("a", {"x": x.clone()}, make) == 0
    others = [
        ("b", {"x": x}), ("a", {"y": x}), ("a", {"x": -x}), ("a", {"x": x[:1]}),
        ("a", {"x": x.double()}), ("a", {"x": x[:, None]}), ("a", {"x": torch.tensor([1.0, -0.0])}),
        ("a", {"x": torch.tensor([1.0, 0.0])}),
    ]  # fmt: skip
    assert [once(*other, make) for other in others] == list(range(1, 9))
    for number in range(KEPT):  # the oldest are forgotten
        once(number, {}, make)
    assert once("a", {"x": x}, make) == made[-1]


@pytest.mark.skipif(
    not hasattr(TorchDispatchMode, "_should_skip_dynamo"),
    reason="this torch imports its compiler for every dispatch mode",
)
def test_a_check_of_a_layer_does_not_import_torchs_compiler() -> None:
    program = (
        "import sys, torch, parity; from torch import nn\n"
        "x = torch.ones(2, 3)\n"
        "parity.truth(parity.evaluate.layer(nn.Softmax(-1)), {'x': x, 'dy': x})\n"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
