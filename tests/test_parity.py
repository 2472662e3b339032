"""The harness itself: what is right passes, and nothing trivial, lucky or incomplete does."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import parity
import scratch
from bench.own import SUBJECT
from parity import Comparison, Tensors, Truth
from parity.judge.outcome import FAILED, MISTRUSTED, PASSED
from parity.play.arrays import tensor
from parity.play.broken import Misfit
from parity.play.describe import describe
from parity.play.guard import randomness_kept, seed_all
from parity.run.plan import planned

SEEDS = 3
SESSION = parity.Local(SUBJECT)


@pytest.fixture
def truth() -> Truth:
    """Of a Linear layer in float32."""
    torch.manual_seed(0)
    module = nn.Linear(5, 3)
    inputs = {"x": torch.randn(7, 5), "dy": torch.randn(7, 3), **module.state_dict()}
    return parity.truth(parity.evaluate.layer(module), inputs)


def failed(subject: Tensors, truth: Truth) -> list[str]:
    return [c.name for c in parity.compare(subject, truth) if not c.passed]


def test_torch_itself_passes(truth: Truth) -> None:
    assert failed(dict(truth.reference), truth) == []
    rounded = {name: value.float() for name, value in truth.oracle.items()}
    assert failed(rounded, truth) == []


@pytest.mark.parametrize(
    "trivial",
    [torch.zeros_like, torch.ones_like, torch.randn_like, lambda y: y.flip(0), lambda y: -y],
    ids=["zeros", "ones", "noise", "reversed", "negative"],
)
def test_trivial_candidates_fail_on_every_result(trivial: object, truth: Truth) -> None:
    assert callable(trivial)
    subject = {name: trivial(value) for name, value in truth.reference.items()}
    assert failed(subject, truth) == list(truth.oracle)


@pytest.mark.parametrize("factor", [1 + 1e-5, 1 - 1e-5, 1.001, 2, 1 / 7])
def test_a_constant_factor_fails(factor: float, truth: Truth) -> None:
    subject = {name: value * factor for name, value in truth.reference.items()}
    assert failed(subject, truth) == list(truth.oracle)


def test_one_small_entry_does_not_hide_among_large_ones() -> None:
    x = torch.tensor([[1e6, 1e-3]])
    truth = parity.truth(lambda inputs: {"output": 2 * inputs["x"]}, {"x": x})
    subject = {"output": torch.tensor([[2e6, 2.001e-3]])}
    assert failed(subject, truth) == ["output"]


def test_an_exact_reference_leaves_room_for_rounding() -> None:
    """Where torch is exact by luck, the floor keeps a good subject from failing."""
    x = torch.full((4, 4), 1 / 3)
    truth = parity.truth(lambda inputs: {"output": inputs["x"] * 3}, {"x": x})
    assert failed({"output": x + x + x}, truth) == []


def test_missing_extra_and_misshapen_results_fail(truth: Truth) -> None:
    whole = dict(truth.reference)
    lacking = {k: v for k, v in whole.items() if k != "bias.param_grad"}
    assert failed(lacking, truth) == ["bias.param_grad"]
    assert failed({**whole, "more": torch.ones(1)}, truth) == ["more"]
    assert failed({**whole, "output": whole["output"][:1]}, truth) == ["output"]
    assert failed({**whole, "output": whole["output"].double()}, truth) == ["output"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_one_entry_that_is_not_finite_fails(value: float, truth: Truth) -> None:
    output = truth.reference["output"].clone()
    output[2, 1] = value
    assert failed({**truth.reference, "output": output}, truth) == ["output"]


def test_infinities_must_be_torchs() -> None:
    truth = parity.truth(
        lambda inputs: {"output": torch.log(inputs["x"])}, {"x": torch.tensor([0.0, 1.0])}, draws=0
    )
    assert failed({"output": torch.tensor([-math.inf, 0.0])}, truth) == []
    for wrong in (math.inf, math.nan, -100.0):
        assert failed({"output": torch.tensor([wrong, 0.0])}, truth) == ["output"]


def test_finite_where_torch_overflows_is_judged_by_the_oracle() -> None:
    def evaluate(inputs: Tensors) -> Tensors:
        return {"output": torch.log(torch.exp(inputs["x"]))}

    truth = parity.truth(evaluate, {"x": torch.tensor([100.0])})
    assert truth.reference["output"].isinf()
    assert failed({"output": torch.tensor([100.0])}, truth) == []
    assert failed({"output": torch.tensor([101.0])}, truth) == ["output"]


def test_an_evaluation_that_draws_its_own_numbers_is_refused() -> None:
    module = nn.Dropout(0.5)
    with pytest.raises(ValueError, match="output differs from call to call"):
        parity.truth(parity.evaluate.layer(module), {"x": torch.ones(9, 9), "dy": torch.ones(9, 9)})


def test_nothing_to_compare_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing to compare"):
        parity.compare({}, Truth({}, {}, {}, {}))


def test_first_divergence_is_in_the_order_of_computation(truth: Truth) -> None:
    subject = {name: value * 2 for name, value in truth.reference.items()}
    subject["output"] = truth.reference["output"]
    first = parity.first_divergence(parity.compare(subject, truth))
    assert first is not None
    assert first.name == "input_grad"
    assert parity.first_divergence(parity.compare(dict(truth.reference), truth)) is None


def test_a_layer_at_fault_is_named_before_those_behind_it() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 2))
    inputs = {"x": torch.randn(5, 2), "target": torch.randn(5, 2), **model.state_dict()}
    truth = parity.truth(parity.evaluate.network(model, nn.MSELoss()), inputs)
    broken = nn.Sequential(model[0], nn.Sigmoid(), model[2])
    subject = parity.evaluate.network(broken, nn.MSELoss())(inputs)
    first = parity.first_divergence(parity.compare(subject, truth))
    assert first is not None
    assert first.name == "1.output"


def test_results_come_in_the_order_of_computation() -> None:
    model = nn.Sequential(nn.Linear(2, 4), nn.Tanh())
    inputs = {"x": torch.randn(5, 2), "target": torch.randn(5, 4), **model.state_dict()}
    assert list(parity.evaluate.network(model, nn.MSELoss())(inputs)) == [
        "0.output",
        "1.output",
        "loss",
        "prediction_grad",
        "1.input_grad",
        "0.weight.param_grad",
        "0.bias.param_grad",
        "0.input_grad",
    ]


def _cube(x: Tensor) -> Tensor:
    return (x**3).sum()


def test_differences_pass_the_derivative_alone() -> None:
    x = torch.linspace(-2, 2, 6, dtype=torch.float64)
    right = parity.compare_with_differences("grad", _cube, x, 3 * x**2)
    assert right.passed, str(right)
    for wrong in (3 * x**2 * (1 + 1e-5), 2 * x**2, torch.zeros_like(x), (3 * x**2)[:2]):
        assert not parity.compare_with_differences("grad", _cube, x, wrong).passed
    nothing = torch.full_like(x, math.nan)
    assert not parity.compare_with_differences("grad", _cube, x, nothing).passed


def test_differences_take_float64() -> None:
    with pytest.raises(TypeError, match="float64"):
        parity.compare_with_differences("grad", _cube, torch.ones(2), torch.ones(2))


@pytest.mark.parametrize("place", [0, 41, 599])
def test_differences_see_one_wrong_entry_of_hundreds(place: int) -> None:
    """Though they go in few directions."""
    x = torch.linspace(-1, 1, 600, dtype=torch.float64)
    wrong = 3 * x**2
    assert parity.compare_with_differences("grad", _cube, x, wrong.clone()).ratio < 0.5
    wrong[place] += 1e-6
    assert not parity.compare_with_differences("grad", _cube, x, wrong).passed


def test_a_verdict_reads_as_a_sentence() -> None:
    truth = parity.truth(lambda inputs: {"y": 2 * inputs["x"]}, {"x": torch.tensor([[1.0, 3.0]])})
    (verdict,) = parity.compare({"y": torch.tensor([[2.0, 7.0]])}, truth)
    assert str(verdict).startswith("y: WRONG, ")
    assert "times the error allowed; at [0, 1] it is 7, the oracle 6 (error: subject 1, " in str(
        verdict
    )
    assert str(Comparison("x", math.inf, reason="gone")) == "x: gone"


@pytest.mark.parametrize(
    "seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 1 + SEEDS))]
)
def test_what_is_right_raises_no_alarm_at_other_seeds(seed: int) -> None:
    names = ("noncontiguous", "layer_by_layer", "first_step")
    checks = [one for one in planned(SESSION, seed=seed) if one.name in names]
    outcomes = [one.run() for one in checks]
    assert len(outcomes) > 200
    assert [str(outcome) for outcome in outcomes if outcome.verdict != PASSED] == []


def test_a_network_is_made_of_whatever_there_is() -> None:
    parts: dict[Any, Any] = {
        nn.Linear: scratch.Linear,
        nn.MSELoss: scratch.MSELoss,
        torch.optim.SGD: scratch.SGD,
    }
    for more in ({}, {nn.Dropout: scratch.Dropout}, {nn.Tanh: scratch.Tanh}):
        subject = parity.Subject({**parts, **more})
        report = parity.check(subject, only=("network",))
        assert report.passed, report.findings
        assert {outcome.check for outcome in report.outcomes} >= {"layer_by_layer", "training"}


def test_a_subject_leaves_the_process_as_it_was() -> None:
    """It may switch off what it likes: the judge is not to notice."""

    class Rough(scratch.ReLU):
        def forward(self, x: Tensor) -> Tensor:
            torch.set_grad_enabled(False)
            torch.set_default_dtype(torch.float64)
            torch.manual_seed(7)
            return super().forward(x)

    def state() -> list[object]:
        settings = [torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_default_device()]
        return [*settings, torch.get_rng_state().tolist()]

    before = state()
    report = parity.check(parity.Subject({nn.ReLU: Rough}), only=("forward",))
    assert report.passed
    assert state() == before
    assert {
        "switches torch's grad mode off",
        "changes torch's default dtype",
        "seeds torch's global generator",
    } <= set(report.habits)


def test_the_assembled_network_is_of_the_catalogue() -> None:
    own = parity.Entry(torch.nn.Softplus, "layer", {"": {}}, name="Mine")
    make: dict[Any, Any] = {nn.Linear: nn.Linear, own: nn.Softplus, nn.MSELoss: nn.MSELoss}
    (network,) = [c for c in describe(parity.Subject(make)).cases if c.kind == "network"]
    assert {type(layer) for layer in network.network.make()} == {nn.Linear}


@pytest.mark.parametrize(
    ("seed", "identity"),
    [
        (503, "model_2-float32-layer_by_layer"),  # a softmax's sum of what cancels
        (594, "model_a_elu-float32-training"),  # a kink that rounding crosses, torch's too
        (681, "LogSoftmax-float32-noncontiguous"),  # a sum of powers of e, near 1
    ],
)
def test_what_was_a_false_alarm_is_none(seed: int, identity: str) -> None:
    checks = {str(check): check for check in planned(SESSION, seed=seed, only=identity)}
    outcome = checks[identity].run()
    assert outcome.verdict == PASSED
    assert outcome.ratio < 0.6


def test_the_callers_number_of_threads_is_given_back() -> None:
    seen = []

    class Tanh:
        def forward(self, x: Tensor) -> Tensor:
            seen.append(torch.get_num_threads())
            self.y = torch.tanh(x)
            return self.y

        def backward(self, dy: Tensor) -> Tensor:
            return dy * (1 - self.y**2)

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert parity.check(parity.Subject({nn.Tanh: Tanh}), only="-forward").passed
        assert set(seen) == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_seeds_are_torchs_and_leave_nothing_behind() -> None:
    with randomness_kept():
        seed_all(3)
        drawn = torch.rand(4)
        assert torch.initial_seed() == 3
        torch.manual_seed(3)
        assert torch.rand(4).equal(drawn)


class Forgetful(scratch.Linear):
    """Its backward stores nothing."""

    def backward_param(self, dy: torch.Tensor) -> None:
        self._kept = None


def test_an_optimizer_is_judged_by_gradients_that_no_layer_has_spoilt() -> None:
    def steps(sgd: Any, **options: Any) -> set[str]:
        parts = {nn.Linear: Forgetful, torch.optim.SGD: sgd}
        subject = parity.Subject(parts, dtypes=("float32",), **options)
        only = ("SGD-momentum=0.9-float32-*step*", "SGD-momentum=0.9-float32-long_run")
        checks = planned(parity.Local(subject), only=only)
        assert len(checks) == 3
        return {one.run().verdict for one in checks}

    assert steps(scratch.SGD) == {PASSED}
    # Over a model it has the model's gradients, which here can be written to.
    assert steps(_over_model, optimizer="model") == {PASSED}
    assert steps(_ignoring) >= {FAILED}


def _over_model(model: Any, lr: float, momentum: float = 0.0) -> Any:
    return scratch.SGD([pair for layer in model.parts for pair in layer.param()], lr, momentum)


def _ignoring(pairs: Any, lr: float, momentum: float = 0.0) -> Any:
    return scratch.SGD(pairs, lr)


class Computed:
    """A Linear whose gradients are zero, and made anew whenever they are asked for."""

    def __init__(self, width: int, out: int) -> None:
        self.w, self.b = torch.zeros(out, width), torch.zeros(out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.w.T + self.b

    def backward(self, dy: torch.Tensor) -> torch.Tensor:
        return dy @ self.w

    def param(self) -> Any:
        return [(self.w, torch.zeros_like(self.w)), (self.b, torch.zeros_like(self.b))]


def test_an_optimizer_is_not_judged_by_gradients_that_are_zero() -> None:
    parts: dict[Any, Any] = {nn.Linear: Computed, torch.optim.SGD: _over_model}
    subject = parity.Subject(parts, dtypes=("float32",), optimizer="model", gradients="overwritten")
    checks = planned(parity.Local(subject), only="SGD-momentum=0.9-float32-*step*")
    assert {one.run().verdict for one in checks} == {MISTRUSTED}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"kind": "loos"}, "kind 'loos', and it is of 'layer', 'loss'"),
        ({"domain": "complex"}, "domain 'complex', and it is of 'real'"),
        ({"target": "label"}, "target 'label', and it is of 'real'"),
        ({"mixes": ("dim=0",)}, r"mixes 'dim=0', and it is of ''"),
        ({"variants": {}}, "variants that are not options"),
        ({"variants": {"": [1]}}, "variants that are not options"),
        ({"shape": (7,)}, r"shape \(7,\), and it is \(batch, features\)"),
        ({"shape": (7, 0)}, r"shape \(7, 0\)"),
        ({"reference": "Tanh"}, "'Tanh' makes nothing"),
    ],
)
def test_an_entry_refuses_what_there_is_not(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parity.Entry(**dict[str, Any](reference=nn.Tanh, kind="layer") | settings)


def test_numbers_in_the_other_order_of_bytes_are_numbers() -> None:
    x = np.array([1.5, -2.0, 3.25])
    assert torch.equal(tensor(x.astype(">f8")), torch.from_numpy(x))
    with pytest.raises(Misfit, match="masked array, of which some entries are not there"):
        tensor(np.ma.masked_array(x, [False, True, False]))
