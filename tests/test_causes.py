"""Who is to blame: small frameworks as people write them, each with what is due for it. One cause
is one finding, under the class that it is of."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import parity
from parity import cli
from parity.judge.comparison import CONVENTION, DIGITS, EDGE, MEMORY, WRONG
from parity.run.report import Report
from parity.show.json import as_json
from parity.show.text import text
from tests.subjects import course

PARTS: dict[Any, Any] = {
    nn.Linear: course.Linear,
    nn.Tanh: course.Tanh,
    nn.MSELoss: course.LossMSE,
    nn.Sequential: course.Sequential,
    torch.optim.SGD: course.SGD,
}
NETWORK = ("Linear-float32-*", "Tanh-float32-*", "MSELoss-*float32-*", "network-float32")


def checked(layers: Any, only: str | tuple[str, ...] = (), **settings: Any) -> Report:
    return parity.check(parity.Subject(layers, **settings), only=only, quick=True)


def told(report: Report) -> list[tuple[str, str]]:
    """The class and the sentence of each finding."""
    return [(one.severity, str(one)) for one in report.findings]


# Layers.


class RootOfSlope(course.Tanh):
    def backward(self, dy: Tensor) -> Tensor:
        return dy * (1 - self.y**2).sqrt()


class SlopeAtGradient(course.Tanh):
    def backward(self, dy: Tensor) -> Tensor:
        return 1 - torch.tanh(dy) ** 2


class OwnSlope:
    """Its slope is always 0.2."""

    def forward(self, x: Tensor) -> Tensor:
        self.slope = torch.where(x > 0, 1.0, 0.2)
        return x * self.slope

    def backward(self, dy: Tensor) -> Tensor:
        return dy * self.slope


class Classic:
    """Dropout without a scale in training, which evaluation makes up for."""

    def __init__(self, p: float) -> None:
        self.p, self.training = p, True

    def forward(self, x: Tensor) -> Tensor:
        drawn = (torch.rand_like(x) >= self.p).to(x)
        self.factor = drawn if self.training else torch.full_like(x, 1 - self.p)
        return x * self.factor

    def backward(self, dy: Tensor) -> Tensor:
        return dy * self.factor


class KeepsWithP(Classic):
    def forward(self, x: Tensor) -> Tensor:
        drawn = (torch.rand_like(x) < self.p).to(x) / self.p
        self.factor = drawn if self.training else torch.ones_like(x)
        return x * self.factor


class DropsBackwards(Classic):
    """Right, but for its backward in evaluation."""

    def forward(self, x: Tensor) -> Tensor:
        self.factor = (torch.rand_like(x) >= self.p).to(x) / max(1 - self.p, 1e-9)
        return x * self.factor if self.training else x


class DividesByZero(Classic):
    def forward(self, x: Tensor) -> Tensor:
        scaled = (torch.rand_like(x) >= self.p).to(x) / (1 - self.p)
        self.factor = scaled if self.training else torch.ones_like(x)
        return x * self.factor


class Unbiased(course.Linear):
    def forward(self, x: Tensor) -> Tensor:
        super().forward(x)
        return x @ self.w.T


class OneNumber(course.Linear):
    def backward(self, dy: Tensor) -> Tensor:
        dx = super().backward(dy)
        self.mean = dy.mean()
        return dx

    def param(self) -> Any:
        return [(self.w, self.dw), (self.b, getattr(self, "mean", self.db))]

    def zero_grad(self) -> None:
        self.dw.zero_()


class NoBias(course.Linear):
    """Gives a pair of nothing, and falls over it in its backward."""

    def __init__(self, n_in: int, n_out: int, bias: bool = True) -> None:
        super().__init__(n_in, n_out)
        self.bias: Any = self.b if bias else None

    def forward(self, x: Tensor) -> Tensor:
        self.x = x
        return x @ self.w.T + (0 if self.bias is None else self.bias)

    def backward(self, dy: Tensor) -> Tensor:
        self.dw += dy.T @ self.x
        self.bias.grad_like = None
        self.db += dy.sum(0)
        return dy @ self.w

    def param(self) -> Any:
        return [(self.w, self.dw), (self.bias, None if self.bias is None else self.db)]

    def zero_grad(self) -> None:
        self.dw.zero_()


class ZeroGradForgets(course.Linear):
    def zero_grad(self) -> None:
        self.dw.zero_()
        self.db.zero_()
        self.x = torch.zeros(0, self.w.shape[1])

    def backward(self, dy: Tensor) -> Tensor:
        if not len(self.x):
            return torch.zeros(0)
        return super().backward(dy)


class ZeroGradWrites(course.Linear):
    def backward(self, dy: Tensor) -> Tensor:
        self.dx = super().backward(dy)
        return self.dx

    def zero_grad(self) -> None:
        self.dw.zero_()
        self.db.zero_()
        if hasattr(self, "dx"):
            self.dx *= 0


class Single(course.ReLU):
    """Its mask has been through float32."""

    def forward(self, x: Tensor) -> Tensor:
        self.mask = (x > 0).float() * 0.7
        return x.clamp(min=0)

    def backward(self, dy: Tensor) -> Tensor:
        return (dy.double() * self.mask.double() / 0.7).to(dy)


# Losses.


class Loss(course.LossMSE):
    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        self.p, self.t = prediction, target
        return (prediction - target).pow(2).mean()

    def backward(self) -> Tensor:
        return 2 * (self.p - self.t) / self.p.numel()


class HalfBatch(Loss):
    def backward(self) -> Tensor:
        return (self.p - self.t) / len(self.p)


class SingleTarget(Loss):
    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        return super().forward(prediction, target.float().to(target))


class ByProbability:
    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        self.p, self.t = torch.sigmoid(x), t
        return nn.functional.binary_cross_entropy_with_logits(x, t)

    def backward(self) -> Tensor:
        return (self.p - self.t) / (self.p * (1 - self.p)) / self.p.numel()


class AddsEps:
    def forward(self, p: Tensor, t: Tensor) -> Tensor:
        self.p, self.t = p, t
        return -(t * (p + 1e-12).log() + (1 - t) * (1 - p + 1e-12).log()).mean()

    def backward(self) -> Tensor:
        p = self.p
        return ((1 - self.t) / (1 - p + 1e-12) - self.t / (p + 1e-12)) / p.numel()


class NotShifted:
    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        self.p, self.t = x.exp() / x.exp().sum(1, keepdim=True), t
        return -(t * self.p.log()).sum(1).mean()

    def backward(self) -> Tensor:
        return (self.p - self.t) / len(self.t)


class OneClassTurned(NotShifted):
    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        self.p, self.t = x.softmax(1), t
        return -(t * x.log_softmax(1)).sum(1).mean()

    def backward(self) -> Tensor:
        rows = torch.where(self.t[:, 1:2] == 1, -1.0, 1.0)
        return rows * super().backward()


class Absolute(Loss):
    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        self.p, self.t = prediction, target
        return (prediction - target).abs().mean()

    def backward(self) -> Tensor:
        return torch.where(self.p >= self.t, 1.0, -1.0) / self.p.numel()


class OverwritesToo(Absolute):
    def backward(self) -> Tensor:
        self.p.fill_(1.0)
        return self.p.clone()


# Optimizers.


class RootedEps(torch.optim.Adagrad):
    """eps inside of the root."""

    def __init__(self, pairs: Any, lr: float) -> None:
        self.pairs, self.lr = pairs, lr
        self.sums = [torch.zeros_like(p) for p, _ in pairs]

    def step(self) -> None:  # type: ignore[override]
        for (p, g), s in zip(self.pairs, self.sums, strict=True):
            s += g * g
            p -= self.lr * g / (s + 1e-6).sqrt()


class PapersOrder:
    """Adam in the order that its paper has as the faster one, and another eps."""

    eps = 1e-7

    def __init__(self, pairs: Any, lr: float, betas: tuple[float, float] = (0.9, 0.999)) -> None:
        self.pairs, self.lr, self.betas, self.t = pairs, lr, betas, 0
        self.m = [torch.zeros_like(p) for p, _ in pairs]
        self.v = [torch.zeros_like(p) for p, _ in pairs]

    def step(self) -> None:
        self.t += 1
        one, two = self.betas
        rate = self.lr * (1 - two**self.t) ** 0.5 / (1 - one**self.t)
        for (p, g), m, v in zip(self.pairs, self.m, self.v, strict=True):
            m.mul_(one).add_(g, alpha=1 - one)
            v.mul_(two).add_(g * g, alpha=1 - two)
            p -= rate * m / (v.sqrt() + self.eps)


class PapersOrderAndEps(PapersOrder):
    eps = 1e-8


class OwnAlpha:
    """RMSprop with another course's share of the old average."""

    def __init__(self, pairs: Any, lr: float) -> None:
        self.pairs, self.lr = pairs, lr
        self.v = [torch.zeros_like(p) for p, _ in pairs]

    def step(self) -> None:
        for (p, g), v in zip(self.pairs, self.v, strict=True):
            v.mul_(0.9).add_(g * g, alpha=0.1)
            p -= self.lr * g / (v.sqrt() + 1e-8)


class Opposed(course.SGD):
    """The momentum's sign is wrong."""

    def __init__(self, pairs: Any, lr: float, momentum: float = 0.0) -> None:
        self.pairs, self.lr, self.momentum = pairs, lr, momentum
        self.v = [torch.zeros_like(p) for p, _ in pairs]

    def step(self) -> None:
        for (p, g), v in zip(self.pairs, self.v, strict=True):
            v.copy_(g - self.momentum * v)
            p -= self.lr * v


class ByShape(course.SGD):
    """Parameters of one shape have one velocity."""

    def __init__(self, pairs: Any, lr: float, momentum: float = 0.0) -> None:
        self.pairs, self.lr, self.momentum = pairs, lr, momentum
        self.v: dict[Any, Tensor] = {}

    def step(self) -> None:
        for p, g in self.pairs:
            v = self.momentum * self.v.get(p.shape, torch.zeros_like(p)) + g
            self.v[p.shape] = v
            p -= self.lr * v


class Elu:
    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = alpha

    def forward(self, x: Tensor) -> Tensor:
        self.x, self.y = x, torch.where(x > 0, x, self.alpha * torch.expm1(x))
        return self.y

    def slope(self) -> Tensor:
        return self.x.exp()

    def backward(self, dy: Tensor) -> Tensor:
        return torch.where(self.x > 0, dy, dy * self.slope())


class EluByOutput(Elu):
    def slope(self) -> Tensor:
        return self.y


class SiLU:
    def forward(self, x: Tensor) -> Tensor:
        self.x, self.s = x, torch.sigmoid(x)
        return x * self.s

    def backward(self, dy: Tensor) -> Tensor:
        return dy * (self.s + self.x * self.s)


class Misplaced(course.SGD):
    """The momentum stands before the wrong term."""

    def __init__(self, pairs: Any, lr: float, momentum: float = 0.0) -> None:
        self.pairs, self.lr, self.momentum = pairs, lr, momentum
        self.v = [torch.zeros_like(p) for p, _ in pairs]

    def step(self) -> None:
        for (p, g), v in zip(self.pairs, self.v, strict=True):
            v.copy_(v + self.momentum * g if self.momentum else g)
            p -= self.lr * v


Due = tuple[str, dict[Any, Any], Any, dict[str, Any], list[tuple[str, str]]]
CASES: list[Due] = [
    ("root of the slope", {nn.Tanh: RootOfSlope}, "float64", {}, [
        (WRONG, "Tanh input gradient has the square root of the derivative: a square is missing")]),
    ("slope at dy alone", {nn.Tanh: SlopeAtGradient}, "float64", {}, [
        (WRONG, "Tanh input gradient is the derivative at the incoming gradient, and not")]),
    ("a slope of its own", {nn.LeakyReLU: OwnSlope}, "LeakyReLU-float", {}, [
        (CONVENTION, "LeakyReLU output takes negative_slope to be 0.2, not 0.01")]),
    ("classic dropout", {nn.Dropout: Classic}, "float64", {}, [
        (CONVENTION, "Dropout is the classic dropout, not the inverted one: not scaled in")]),
    ("p is to keep", {nn.Dropout: KeepsWithP}, "float64", {}, [
        (WRONG, "Dropout output takes p for the probability to keep")]),
    ("drops backwards", {nn.Dropout: DropsBackwards}, "p=0.*float64", {}, [
        (WRONG, "Dropout input gradient drops entries in evaluation too")]),
    ("0 / 0 at p = 1", {nn.Dropout: DividesByZero}, "float64", {}, [
        (EDGE, "Dropout is NaN at p = 1, where torch's is 0")]),
    ("ignores the bias", {nn.Linear: Unbiased}, "Linear-float", {}, [
        (WRONG, "Linear output lacks the bias")]),
    ("one number", {nn.Linear: OneNumber}, "Linear-float*-param_grad", {}, [
        (WRONG, "Linear.bias gradient is one number, the mean of the incoming gradient")]),
    ("falls over no bias", {nn.Linear: NoBias}, "no_bias-float32", {}, [
        (WRONG, "Linear: raises AttributeError: 'NoneType' object has no attribute 'grad_like' "
                "(test_causes.py:")]),
    ("zero_grad forgets", {nn.Linear: ZeroGradForgets}, "Linear-float32", {}, [
        (WRONG, "Linear's backward is wrong after zero_grad, which drops what it needs")]),
    ("zero_grad writes", {nn.Linear: ZeroGradWrites}, "Linear-float32", {}, [
        (MEMORY, "The zero_grad of Linear writes into the input gradient that it had returned")]),
    ("a mask of few digits", {nn.ReLU: Single}, "float64", {}, [
        (DIGITS, "ReLU input gradient is right to 7 digits alone")]),
    ("half the batch mean", {nn.MSELoss: HalfBatch}, "float64", {}, [
        (WRONG, "MSELoss gradient is that of the half batch mean, where the value is the mean")]),
    ("a target of few digits", {nn.MSELoss: SingleTarget}, "float64", {}, [
        (DIGITS, "MSELoss value rounds the target to float32")]),
    ("by the probability", {nn.BCEWithLogitsLoss: ByProbability}, "float64-gradient", {}, [
        (WRONG, "BCEWithLogitsLoss gradient is the derivative by the probability, not by")]),
    ("adds 1e-12", {nn.BCELoss: AddsEps}, "float64", {}, [
        (EDGE, "BCELoss value has 1e-12 added to the probabilities")]),
    ("is not shifted", {nn.CrossEntropyLoss: NotShifted}, "", {"targets": ("one_hot",)}, [
        (EDGE, "CrossEntropyLoss value is NaN or infinite in 1 of 1 entries, where torch's are "
               "finite, at predictions of ±1e4")]),
    ("one class turned", {nn.CrossEntropyLoss: OneClassTurned}, "", {"targets": ("one_hot",)}, [
        (WRONG, "CrossEntropyLoss gradient is wrong in the rows of class 1 alone, and the opposite "
                "there")]),
    ("1 at 0", {nn.L1Loss: Absolute}, "", {}, [
        (EDGE, "L1Loss gradient where the prediction equals the target is 0.0286, torch's is 0")]),
    ("overwrites too", {nn.L1Loss: OverwritesToo}, "", {}, [
        (WRONG, "L1Loss gradient is 1 everywhere"), (MEMORY, "L1Loss writes into the prediction")]),
    ("eps in the root", {nn.Linear: course.Linear, torch.optim.Adagrad: RootedEps},
     "Adagrad-float", {}, [
        (CONVENTION, "Adagrad adds 1e-06 inside the square root, where torch adds eps outside")]),
    ("eps before correction", {nn.Linear: course.Linear, torch.optim.Adam: PapersOrder},
     "Adam-float", {}, [
        (CONVENTION, "Adam adds 1e-07 before the bias correction, where torch adds eps after it")]),
    ("torch's eps there", {nn.Linear: course.Linear, torch.optim.Adam: PapersOrderAndEps},
     "Adam-float", {}, [
        (CONVENTION, "Adam adds eps before the bias correction, not after it")]),
    ("another alpha", {nn.Linear: course.Linear, torch.optim.RMSprop: OwnAlpha},
     "RMSprop-float", {}, [
        (CONVENTION, "RMSprop takes alpha to be 0.9, not 0.99: if that is meant, say it in")]),
    ("momentum opposed", {nn.Linear: course.Linear, torch.optim.SGD: Opposed}, "SGD-", {}, [
        (WRONG, "SGD subtracts the old velocity, where torch adds it: the sign of the momentum")]),
    ("no alpha", {nn.ELU: Elu}, "ELU-", {}, [
        (WRONG, "ELU input gradient takes alpha to be 1, not 0.01")]),
    ("the output", {nn.ELU: EluByOutput}, "ELU-", {}, [
        (WRONG, "ELU input gradient is y below 0, where y + alpha belongs")]),
    ("no 1 - s", {nn.SiLU: SiLU}, "SiLU-", {}, [
        (WRONG, "SiLU input gradient lacks the factor 1 - s in x * s * (1 - s)")]),
    ("momentum misplaced", {nn.Linear: course.Linear, torch.optim.SGD: Misplaced}, "SGD-", {}, [
        (WRONG, "SGD multiplies the new gradient by the momentum, and adds the old velocity")]),
]  # fmt: skip


def not_due(case: Due) -> str:
    """What is told of a small framework that is not as it is due; "" if all is."""
    _, layers, only, settings, due = case
    report = checked(layers, only, **settings)
    found = told(report)
    alike = len(found) == len(due) and all(
        severity == right and sentence.startswith(begins)
        for (severity, sentence), (right, begins) in zip(found, due, strict=True)
    )
    passes = all(severity in (CONVENTION, DIGITS, EDGE) for severity, _ in due)
    return "" if alike and report.passed == passes else f"{found}, and due are {due}"


@pytest.mark.parametrize("case", CASES, ids=[name.replace(" ", "_") for name, *_ in CASES])
def test_one_cause_is_one_finding_of_its_class(case: Due) -> None:
    assert not not_due(case)


def test_a_state_that_parameters_of_one_shape_share_is_named() -> None:
    """No two parameters have one shape but in `sizes`, which `quick` leaves out."""
    layers: dict[Any, Any] = {nn.Linear: course.Linear, torch.optim.SGD: ByShape}
    report = parity.check(parity.Subject(layers), only="SGD-*-float32-*")
    sentence = "SGD keeps one state for all parameters of one shape, where each has its own"
    assert told(report) == [(WRONG, sentence)]


def test_another_sentence_class_or_number_of_findings_is_not_due() -> None:
    name, layers, only, settings, due = CASES[0]
    assert not_due((name, layers, only, settings, []))
    assert not_due((name, layers, only, settings, [*due, *due]))
    assert not_due((name, layers, only, settings, [(EDGE, due[0][1])]))
    assert not_due((name, layers, only, settings, [(due[0][0], "Tanh is right")]))


# What is right under a setting.


class TwoClasses(NotShifted):
    """Right, for two classes."""

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        self.p, self.t = x.softmax(1), t
        return -(t * x.log_softmax(1)).sum(1).mean()

    def backward(self) -> Tensor:
        d = (self.t[:, 1] * self.p[:, 0] - self.t[:, 0] * self.p[:, 1])[:, None]
        return torch.cat([d, -d], 1) / len(d)


class Sum(Loss):
    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        super().forward(prediction, target)
        return (prediction - target).pow(2).sum()

    def backward(self) -> Tensor:
        return 2 * (self.p - self.t)


SUM = parity.Entry(nn.MSELoss, "loss", {"": {"reduction": "mean"}}, name="SumOfSquares")


@pytest.mark.parametrize(
    ("layers", "settings"),
    [
        (
            {**PARTS, nn.MSELoss: Loss, nn.CrossEntropyLoss: TwoClasses},
            {"targets": ("one_hot",), "outputs": {nn.CrossEntropyLoss: 2}},
        ),
        ({nn.LeakyReLU: OwnSlope}, {"fixed": {nn.LeakyReLU: {"negative_slope": 0.2}}}),
        ({nn.MSELoss: Loss, SUM: Sum}, {"reduction": {SUM: "sum"}}),
    ],
)
def test_what_is_right_under_a_setting_passes(layers: Any, settings: Any) -> None:
    report = checked(layers, **settings)
    assert told(report) == []
    assert report.passed


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"weigth": "in_out"}, "no setting 'weigth': did you mean weight?"),
        ({"outputs": 0}, "takes as outputs a number above 0, not 0"),
        ({"outputs": {nn.L1Loss: 2}}, "outputs has nn.L1Loss, which layers has not"),
        ({"fixed": {nn.Tanh: {"slope": 2}}}, "fixed: nn.Tanh has no slope"),
    ],
)
def test_a_setting_that_there_is_not_is_refused(settings: Any, says: str) -> None:
    with pytest.raises(parity.AdapterError, match=says):
        parity.Subject({nn.Tanh: course.Tanh}, **settings)


class WrongWithoutBias(course.Linear):
    def backward(self, dy: Tensor) -> Tensor:
        return super().backward(dy) * (1 if self.b is not None else 2)


def test_what_one_case_shows_alone_says_so() -> None:
    (finding,) = checked({nn.Linear: WrongWithoutBias}, "Linear-*float64").findings
    assert str(finding).startswith("Linear input gradient is 2 times what it should be")
    assert finding.notes == ["It is so at no_bias alone: the other cases of Linear do not show it"]


# Networks.


class SkipsTheFirst(course.Sequential):
    def backward(self, dy: Tensor) -> Tensor:
        for layer in self.layers[:0:-1]:
            dy = layer.backward(dy)
        return dy


class TooLarge(Loss):
    def backward(self) -> Tensor:
        return super().backward() * self.p.shape[1]


class IgnoresMomentum(course.SGD):
    def __init__(self, pairs: Any, lr: float, momentum: float = 0.0) -> None:
        super().__init__(pairs, lr, 0.0)


def test_a_frozen_layer_a_wrong_loss_and_an_optimizer_are_three_findings() -> None:
    wrong = {nn.Sequential: SkipsTheFirst, nn.MSELoss: TooLarge, torch.optim.SGD: IgnoresMomentum}
    found = {sentence for _, sentence in told(checked(PARTS | wrong))}
    assert found == {
        "Layer 0 (Linear) is skipped in backward",
        "MSELoss gradient is 5 times what it should be: 5 is the number of features",
        "SGD ignores momentum=0.9",
    }


class InPlace(course.ReLU):
    def forward(self, x: Tensor) -> Tensor:
        self.x = x
        return x.clamp_(min=0)


def test_a_training_is_filed_under_what_is_wrong_and_not_under_memory() -> None:
    layers = {**PARTS, nn.ReLU: InPlace, nn.Tanh: SlopeAtGradient}
    wrong, memory = checked(layers, ("ReLU-float32", *NETWORK)).findings
    assert (wrong.cls, memory.severity) == ("Tanh", MEMORY)
    shown = {one.id for one in wrong.outcomes}
    assert {"network-float32-training", "network-float32-layer_by_layer"} <= shown
    assert "network-float32-training" not in {one.id for one in memory.outcomes}


class NeverReset(course.SGD):
    """Right, but that its zero_grad does nothing: gradients add up from step to step."""

    def zero_grad(self) -> None:
        pass


class FewDigits(course.Tanh):
    def forward(self, x: Tensor) -> Tensor:
        self.y = torch.tanh(x) * (1 + 1e-9)
        return self.y


def test_a_training_goes_wrong_by_more_than_lost_digits() -> None:
    parts = {**PARTS, nn.Tanh: FewDigits}
    only = ("Tanh-float64", "network-float64")
    digits = checked(parts, only)
    assert [one.severity for one in digits.findings] == [DIGITS]
    assert digits.passed
    both = checked({**parts, torch.optim.SGD: NeverReset}, only)
    assert [one.severity for one in both.findings] == [WRONG, DIGITS]
    assert [one.check for one in both.findings[0].outcomes] == ["training"]


class FewDigitsAndWrong(FewDigits):
    def backward(self, dy: Tensor) -> Tensor:
        return dy.sin() + self.y.cos()


def test_lost_digits_of_a_value_hide_no_wrong_gradient() -> None:
    report = checked({nn.Tanh: FewDigitsAndWrong}, "Tanh-float64")
    assert [one.severity for one in report.findings] == [WRONG, DIGITS]


class Averages(course.Linear):
    def backward(self, dy: Tensor) -> Tensor:
        dx = dy @ self.w
        self.dw += dy.T @ self.x / len(dy)
        self.db += dy.sum(0) / len(dy)
        return dx


class DoesNotAverage(Loss):
    def backward(self) -> Tensor:
        return super().backward() * len(self.p)


def test_a_remark_on_a_value_hides_no_backward_that_raises() -> None:
    class Raises(AddsEps):
        def backward(self) -> Tensor:
            raise KeyError("left")

    report = checked({nn.BCELoss: Raises}, "float64")
    (raises, edge) = told(report)
    assert raises[0] == WRONG
    assert raises[1].startswith("BCELoss: raises KeyError: 'left'")
    assert edge[0] == EDGE
    assert not report.passed


def test_a_remark_on_a_value_hides_no_wrong_gradient() -> None:
    class Wrong(AddsEps):
        def backward(self) -> Tensor:
            return super().backward() ** 3

    report = checked({nn.BCELoss: Wrong}, "float64")
    assert [severity for severity, _ in told(report)] == [WRONG, EDGE]


def test_an_edge_beside_lost_digits_is_told_too() -> None:
    """A check of another rank gives the lost digits a name, which takes no edge with it."""

    class Rounded:
        def forward(self, x: Tensor) -> Tensor:
            self.x = x.clone()
            return x.clamp_min(0)

        def backward(self, dy: Tensor) -> Tensor:
            return (dy * (self.x >= 0)).half().to(dy)

    subject = parity.Subject({nn.ReLU: Rounded}, dtypes=("float32",))
    told = {one.severity: str(one) for one in parity.check(subject).findings}
    assert told == {
        "digits": "ReLU input gradient is rounded to float16 on its way",
        "edge": "ReLU input gradient is wrong where the input is 0 alone",
    }


def test_two_factors_of_one_loss_are_two_findings() -> None:
    class Summed:
        def forward(self, p: Tensor, t: Tensor) -> Tensor:
            self.d = p - t
            return (self.d**2).mean() * len(p)

        def backward(self) -> Tensor:
            return 2 * self.d

    subject = parity.Subject({nn.MSELoss: Summed}, dtypes=("float32",))
    value, gradient = parity.check(subject, only=("value", "gradient")).findings
    assert "value is 7 times what it should be: 7 is the batch size" in str(value)
    assert "gradient is 35 times what it should be: 35 is the number of entries" in str(gradient)


def test_why_it_trained_all_the_same_is_said_in_every_format() -> None:
    report = checked({**PARTS, nn.Linear: Averages, nn.MSELoss: DoesNotAverage}, NETWORK)
    linear, loss = report.findings
    assert (linear.cls, loss.cls) == ("Linear", "MSELoss")
    why = "Errors cancel: "
    assert linear.notes[0].startswith(why)
    assert "The network's own gradients are right" in linear.notes[0]
    assert why in text(report)
    assert why in as_json(report)


def test_a_mean_that_the_layers_take_in_the_losss_place_is_told_as_a_course_has_it() -> None:
    class Mean(course.Linear):
        def backward(self, dy: Tensor) -> Tensor:
            super().backward(dy / len(dy))
            return dy @ self.w

    class Summed(course.LossMSE):
        def backward(self) -> Tensor:
            dx = super().backward()
            return dx * len(dx)

    parts = {**PARTS, nn.Linear: Mean, nn.MSELoss: Summed}
    own = "The loss leaves the mean over the batch to the layers, as some courses do"
    report = checked(parts, NETWORK)
    assert len(report.findings) == 2
    assert all(any(note.startswith(own) for note in one.notes) for one in report.findings)
    assert all(one.severity == WRONG for one in report.findings)
    other = checked({**parts, nn.Linear: course.Linear}, NETWORK)
    assert not any(note.startswith(own) for one in other.findings for note in one.notes)


def test_one_instance_at_two_places_is_said_to_be_one() -> None:
    def linear(n_in: int, n_out: int) -> tuple[str, dict[str, int]]:
        return "Linear", {"in_features": n_in, "out_features": n_out}

    parts: Any = (linear(2, 4), ("Tanh", {}), linear(4, 4), ("Tanh", {}), linear(4, 2))
    network = parity.Network(name="twice", parts=parts)

    def build() -> Any:
        tanh = course.Tanh()
        layers = [course.Linear(2, 4), tanh, course.Linear(4, 4), tanh, course.Linear(4, 2)]
        return course.Sequential(*layers)

    report = checked({**PARTS, network: build}, "twice", children=lambda model: list(model.layers))
    (said,) = {sentence for _, sentence in told(report)}
    assert said.startswith("Layers 1 and 3 are one instance of Tanh")


# Classes, strictness, waivers, and what the command says.


def test_remarks_fail_a_strict_run_alone_and_come_last() -> None:
    layers = {nn.LeakyReLU: OwnSlope, nn.Tanh: RootOfSlope, nn.ReLU: InPlace}
    report = checked(layers, "float64")
    assert [one.severity for one in report.findings] == [WRONG, MEMORY, CONVENTION]
    assert [one.severity for one in report.remarks] == [CONVENTION]
    assert report.by_severity() == {WRONG: 1, MEMORY: 1, CONVENTION: 1}
    assert "2 faults (1 wrong, 1 memory), 1 remark (1 convention)." in text(report)
    remark = parity.Subject({nn.LeakyReLU: OwnSlope})
    only = "LeakyReLU-float64-forward"
    assert parity.check(remark, only=only).passed
    assert not parity.check(remark, only=only, strict=True).passed


def test_a_waiver_is_for_one_class_of_finding() -> None:
    class Wrong(InPlace):
        def backward(self, dy: Tensor) -> Tensor:
            return dy

    layers, reason = {nn.ReLU: Wrong}, "in place, as nn.ReLU(inplace=True)"
    broad = checked(layers, waivers={"ReLU-*": reason})
    assert not broad.passed
    assert broad.overreaching == ["ReLU-*"]
    assert "[wrong] ReLU input gradient is the incoming gradient itself" in text(broad)
    narrow = checked(layers, waivers={"ReLU-*-no_mutation": reason})
    assert [one.severity for one in narrow.faults] == [WRONG]
    assert not narrow.overreaching


ADAPTER = """
import parity, torch
class {name}:
    def forward(self, x): self.x = x; return {forward}
    def backward(self, dy): return {backward}
subject = parity.Subject({{torch.nn.{name}: {name}}})
"""


@pytest.mark.parametrize(
    ("name", "forward", "backward", "strict", "code"),
    [
        ("Tanh", "x.tanh()", "dy", False, cli.FAULT),
        ("ReLU", "x.clamp(min=0)", "dy * (self.x >= 0)", False, cli.PASSED),
        ("ReLU", "x.clamp(min=0)", "dy * (self.x >= 0)", True, cli.FAULT),
    ],
)
def test_the_exit_code_is_that_of_the_class(
    name: str, forward: str, backward: str, strict: bool, code: int, tmp_path: Any, capsys: Any
) -> None:
    path = tmp_path / "adapter.py"
    path.write_text(ADAPTER.format(name=name, forward=forward, backward=backward))
    only = ["--only", "float32-*grad", "--only", "float32-kink"]
    assert cli.main(["check", str(path), *only, *["--strict"] * strict]) == code
    out = capsys.readouterr().out
    assert f"in {name}.backward (adapter.py:5)" in out
    assert "due: dx = dy" in out
    if not strict and code == cli.PASSED:
        assert "PASSED, with 1 remark (1 edge)" in out
