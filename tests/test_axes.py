"""What shows along one axis alone is seen along it, also in what scratch does not offer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import parity
from parity.judge.outcome import FAILED, PASSED, UNCHECKED
from tests import axes
from tests.subjects import course


@pytest.mark.parametrize("small", axes.SMALL, ids=str)
def test_a_small_framework_is_right_and_its_fault_is_seen(small: axes.Small) -> None:
    right = axes.checks(small.right())
    assert {one.run().verdict for one in right} <= {PASSED, UNCHECKED}
    assert PASSED in {one.run().verdict for one in right if one.name == small.check}
    assert FAILED in {one.run().verdict for one in axes.checks(small.wrong(), small.check)}


class InPlace(course.ReLU):
    """Right, but for what it does to its input."""

    def forward(self, x: Tensor) -> Tensor:
        self.x = x.clone()
        return x.clamp_(min=0)


class InPlaceAndWrong(InPlace):
    def backward(self, dy: Tensor) -> Tensor:
        return 2 * super().backward(dy)


def test_what_is_modified_is_told_once_and_hides_nothing() -> None:
    subject = parity.Subject({nn.ReLU: InPlace})
    report = parity.check(subject)
    assert {one.check for one in report.outcomes if one.verdict == FAILED} == {"no_mutation"}
    waived = {"ReLU-*-no_mutation": "we mean it"}
    assert parity.check(parity.Subject({nn.ReLU: InPlace}, waivers=waived)).passed
    faults = parity.check(parity.Subject({nn.ReLU: InPlaceAndWrong}, waivers=waived)).findings
    assert [str(one) for one in faults] == ["ReLU input gradient is 2 times what it should be"]


def test_an_adapter_says_how_a_rate_changes_and_a_state_is_saved() -> None:
    class Sgd(course.SGD):
        """Its rate and its velocity have names of its own."""

        def __init__(self, params: Any, lr: float, momentum: float = 0.0) -> None:
            super().__init__(params, lr, momentum)
            self.tempo = self.__dict__.pop("lr")

        def step(self) -> None:
            self.lr = self.tempo
            super().step()
            del self.lr

    parts: dict[Any, Any] = {nn.Linear: course.Linear, torch.optim.SGD: Sgd}
    only = ("SGD-*-rate", "SGD-*-resume")
    report = parity.check(parity.Subject(parts), only=only)
    assert [gap.split(" of ")[0] for gap in report.gaps] == ["rate", "resume"]
    assert "rate=lambda optimizer, rate: …" in report.gaps[0]
    assert not report.passed  # nothing was checked

    def save(optimizer: Any) -> Any:
        return {k: v for k, v in vars(optimizer).items() if k not in ("params", "tempo")}

    hooks: dict[str, Any] = {
        "rate": lambda optimizer, rate: setattr(optimizer, "tempo", rate),
        "state": (save, lambda optimizer, saved: optimizer.__dict__.update(saved)),
    }
    report = parity.check(parity.Subject(parts, **hooks), only=only)
    assert report.passed
    assert not report.gaps
    forgetful = hooks | {"state": (save, lambda optimizer, saved: None)}
    (fault,) = parity.check(parity.Subject(parts, **forgetful), only=only).findings
    assert str(fault) == "SGD does not go on as before from a state that was saved"


def test_what_follows_a_loss_may_come_by_a_hook() -> None:
    class Mse(course.LossMSE):
        def following(self, how_much: Tensor) -> Tensor:
            return self.backward() * how_much

    def upstream(loss: Any, dy: Tensor) -> Tensor:
        result: Tensor = loss.following(dy)
        return result

    report = parity.check(parity.Subject({nn.MSELoss: Mse}, upstream=upstream), only="upstream")
    assert report.passed
    (gap,) = parity.check(parity.Subject({nn.MSELoss: Mse}), only="upstream").gaps
    assert gap.startswith("upstream of MSELoss (its backward takes no gradient of the loss")


def test_a_generator_of_a_layers_own_is_seeded() -> None:
    class Dropout(course.Dropout):
        def __init__(self, p: float) -> None:
            super().__init__(p)
            self.generator = torch.Generator().manual_seed(int(torch.randint(1 << 31, ())))

        def forward(self, x: Tensor) -> Tensor:
            self.mask = torch.ones_like(x)
            if self.training:
                kept = torch.rand(x.shape, generator=self.generator) >= self.p
                self.mask = kept.to(x) / (1 - self.p) if self.p < 1 else 0 * x
            return x * self.mask

        def backward(self, dy: Tensor) -> Tensor:
            return dy * self.mask

    assert parity.check(parity.Subject({nn.Dropout: Dropout})).passed


def test_options_that_no_check_touches_are_listed() -> None:
    class Relu(course.ReLU):
        def __init__(self, ceiling: float = 6.0, device: str = "cpu") -> None:
            self.ceiling = ceiling

    report = parity.check(parity.Subject({nn.ReLU: Relu}))
    assert "options that no check touches (ReLU's ceiling)" in report.gaps


def test_quick_leaves_the_axes_out_and_says_so() -> None:
    subject = parity.Subject({nn.ReLU: course.ReLU})
    whole, quick = parity.check(subject), parity.check(subject, quick=True)
    left = {one.check for one in whole.outcomes} - {one.check for one in quick.outcomes}
    assert left == {"sizes", "rank", "magnitudes", "instances"}
