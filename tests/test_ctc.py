"""CTCLoss: torch's side of it, right ones in several styles, and each known mistake by its name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import parity
from parity.catalogue import ctc
from parity.catalogue.table import CATALOGUE
from tests.subjects import ctc_by_loops as by_loops
from tests.subjects.wrong_ctc import WRONG

ENTRY = CATALOGUE[nn.CTCLoss]
ONE: dict[str, Any] = {"batch": "vector", "reduction": "sum"}
STYLES: dict[str, tuple[Any, dict[str, Any]]] = {
    "torch's gradient": (by_loops.CTCLoss, {}),
    "by log-probabilities": (by_loops.ByLogProbabilities, {}),
    "of logits": (by_loops.OfLogits, {}),
    "without lengths": (by_loops.WithoutLengths, {}),
    "one sequence": (by_loops.OneSequence, ONE),
    "a function": (
        parity.functions(by_loops.ctc_loss, options=lambda blank=0: blank),
        ONE,
    ),
    "a batch's mean": (by_loops.BatchMean, {"reduction": "batch_mean"}),
}


def subject(made: Any, **settings: Any) -> parity.Subject:
    return parity.Subject({nn.CTCLoss: made}, array="numpy", name="ctc", **settings)


@pytest.mark.parametrize("variant", ENTRY.variants)
def test_the_reference_is_torchs_own(variant: str) -> None:
    options, generator = ENTRY.variants[variant], torch.Generator().manual_seed(0)
    shape = ENTRY.shape_of(variant)
    drawn = ctc.drawn(shape[0], shape, variant, options, generator, torch.float64)
    x, *others = drawn.values()
    leaf = x.requires_grad_()
    own, torchs = ctc.CTCLoss(**options), nn.CTCLoss(**options)
    value, due = own(leaf, *others), torchs(leaf.transpose(0, 1), *others)
    torch.testing.assert_close(value, due)
    gradients = [torch.autograd.grad(one.sum(), leaf)[0] for one in (value, due)]
    torch.testing.assert_close(*gradients)


def test_a_target_without_an_alignment_has_an_infinite_loss_as_torchs() -> None:
    x = torch.log_softmax(torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0)), -1)
    given = torch.tensor([[1, 1, 2], [1, 2, 3]]), torch.tensor([3, 3]), torch.tensor([3, 3])
    own, due = ctc.CTCLoss(reduction="none"), nn.CTCLoss(reduction="none")
    torch.testing.assert_close(own(x, *given), due(x.transpose(0, 1), *given))
    assert own(x, *given)[0] == torch.inf


FAST = ("torch's gradient", "one sequence")


@pytest.mark.parametrize(
    "style",
    [pytest.param(one, marks=() if one in FAST else pytest.mark.slow) for one in STYLES],
)
def test_what_is_right_passes(style: str) -> None:
    made, settings = STYLES[style]
    seed = list(STYLES).index(style)
    only = () if seed == 0 or "reduction" in settings else ("mean-",)
    quick = style != "a function"
    report = parity.check(subject(made, **settings), strict=True, seed=seed, only=only, quick=quick)
    assert report.passed, [str(one) for one in report.findings]
    assert report.count("passed") >= 20


def test_who_takes_no_lengths_is_asked_for_none() -> None:
    report = parity.check(
        subject(by_loops.WithoutLengths), only=("CTCLoss-mean-*value", "equal_mean-*value")
    )
    assert {one.case for one in report.outcomes} == {"CTCLoss-equal_mean"}
    assert any("CTCLoss (its forward takes no lengths" in gap for gap in report.gaps)


@pytest.mark.parametrize("name", WRONG)
def test_each_mistake_is_named_and_is_one_finding(name: str) -> None:
    made, says = WRONG[name]
    telling = ("mean-float32-value", "mean-float32-gradient")
    report = parity.check(subject(made, dtypes=("float32",)), only=telling)
    (finding,) = report.findings
    assert says in str(finding)
    assert finding.severity == "wrong"


class RefusesNan(by_loops.CTCLoss):
    def forward(self, *given: Any) -> Any:
        if np.isnan(given[0]).any():
            raise ValueError("a log-probability is no number")
        return super().forward(*given)


def test_who_refuses_nan_is_asked_for_an_ordinary_loss_with_its_lengths() -> None:
    report = parity.check(subject(RefusesNan), only="CTCLoss-mean-float32-nan")
    assert report.count("passed") == 1
    assert report.passed, [str(one) for one in report.findings]
