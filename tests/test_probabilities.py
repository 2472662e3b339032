"""Losses of probabilities, of their logarithms, of logits: each by its own name; cross-entropy of
probabilities, which torch has no class of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import parity
from parity import cli
from parity.catalogue.table import CATALOGUE
from tests.subjects import course

ENTRY = CATALOGUE[parity.CategoricalCrossEntropy]
Array = np.ndarray[Any, Any]
KINDS = ("index", "one_hot", "distribution")


def hot(t: Array, classes: int) -> Array:
    return np.eye(classes)[t] if t.ndim == 1 else t


class Probable:
    """Right: of probabilities, a loop over the samples."""

    eps = 0.0

    def __init__(self, reduction: str = "mean") -> None:
        self.reduction = reduction

    def forward(self, p: Array, t: Array) -> Any:
        self.p, self.t = p, hot(t, p.shape[1]).astype(p.dtype)
        found = np.zeros(len(p), p.dtype)
        for i, (row, target) in enumerate(zip(p, self.t, strict=True)):
            found[i] = self.value(row, target)
        return self.reduced(found)

    def reduced(self, found: Array) -> Any:
        if self.reduction == "none":
            return found
        return found.mean() if self.reduction == "mean" else found.sum()

    def value(self, p: Array, t: Array) -> Any:
        own = t != 0
        return -(t[own] * np.log(p[own] + self.eps)).sum()

    def backward(self) -> Array:
        return self.by(self.p, self.t) / (len(self.p) if self.reduction == "mean" else 1)

    def by(self, p: Array, t: Array) -> Array:
        return -t / (p + self.eps)


class WithEps(Probable):
    eps = 1e-3


class Kept(Probable):
    """The probabilities away from 0 and 1."""

    def value(self, p: Array, t: Array) -> Any:
        return super().value(p.clip(1e-5, 1 - 1e-5), t)


class Shares(Probable):
    def value(self, p: Array, t: Array) -> Any:
        return super().value(p / p.sum(), t)

    def by(self, p: Array, t: Array) -> Array:
        return t.sum(1, keepdims=True) / p.sum(1, keepdims=True) - t / p


class WithSoftmax(Probable):
    def by(self, p: Array, t: Array) -> Array:
        return p - t


class NoTarget(Probable):
    def by(self, p: Array, t: Array) -> Array:
        return -1 / p


class NotDivided(Probable):
    def by(self, p: Array, t: Array) -> Array:
        return -t


class OfTwoEach(Probable):
    def value(self, p: Array, t: Array) -> Any:
        return super().value(p, t) - ((1 - t) * np.log(1 - p)).sum()

    def by(self, p: Array, t: Array) -> Array:
        return (1 - t) / (1 - p) - t / p


class Batched(Probable):
    """By the number of entries, where that of samples is due."""

    def backward(self) -> Array:
        return super().backward() / (self.p.shape[1] if self.reduction == "mean" else 1)


def checked(made: Any, *, targets: tuple[str, ...] = KINDS, **options: Any) -> parity.Report:
    subject = parity.Subject({parity.CategoricalCrossEntropy: made}, array="numpy", targets=targets,
                             name="probable")  # fmt: skip
    return parity.check(subject, **options)


@pytest.mark.parametrize("variant", ENTRY.variants)
def test_the_reference_is_torchs_own_of_logarithms(variant: str) -> None:
    options = ENTRY.variants[variant]
    x = torch.randn(7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    t = torch.softmax(x.roll(1, 0), -1)
    t = t if "distribution" in variant else t.argmax(-1)
    given = nn.functional.one_hot(t, 5).to(x) if "one_hot" in variant else t
    p = torch.softmax(x, -1).requires_grad_()
    own, due = parity.CategoricalCrossEntropy(**options)(p, given), nn.CrossEntropyLoss(**options)(
        p.log(), given)  # fmt: skip
    torch.testing.assert_close(own, due)
    gradients = [torch.autograd.grad(one.sum(), p)[0] for one in (own, due)]
    # Torch's subtracts the logarithm of what a row of p sums to, whose derivative is 1.
    weights = given.sum(-1, keepdim=True) if t.is_floating_point() else torch.ones(7, 1).to(x)
    share = 1 / 7 if options["reduction"] == "mean" else 1.0
    torch.testing.assert_close(gradients[0], gradients[1] - share * weights)


@pytest.mark.parametrize("seed", [0, 1])
def test_what_is_right_passes(seed: int) -> None:
    report = checked(Probable, seed=seed, strict=True, quick=seed > 0)
    assert report.passed, [str(one) for one in report.findings]
    assert report.count("passed") >= 100


@pytest.mark.parametrize(
    ("made", "said", "severity"),
    [
        (WithEps, "has 0.001 added to the probabilities", "wrong"),
        (Kept, "keeps the probabilities 1e-05 away from 0 and 1", "edge"),
        (Shares, "divides the probabilities by their sum first", "convention"),
        (WithSoftmax, "is the derivative by the logits, that of a softmax before it", "wrong"),
        (NoTarget, "lacks the target's class", "wrong"),
        (NotDivided, "is not divided by the probability", "wrong"),
        (OfTwoEach, "counts all classes as of two each", "wrong"),
        (Batched, "the number of features", "wrong"),
    ],
)
def test_what_is_wrong_has_its_name(made: type[Probable], said: str, severity: str) -> None:
    report = checked(made, quick=made not in (Kept, Shares), only="*one_hot_mean*")
    first, *others = report.findings
    assert said in str(first)
    assert first.severity == severity
    assert not [one for one in others if one.severity in ("wrong", "memory")], others


class OfLogits(Probable):
    def value(self, p: Array, t: Array) -> Any:
        z = p - p.max()
        return -(t * (z - np.log(np.exp(z).sum()))).sum()

    def by(self, p: Array, t: Array) -> Array:
        e = np.exp(p - p.max(1, keepdims=True))
        return e / e.sum(1, keepdims=True) * t.sum(1, keepdims=True) - t


class OfLogarithms(Probable):
    def value(self, p: Array, t: Array) -> Any:
        return -(t * p).sum()

    def by(self, p: Array, t: Array) -> Array:
        return -t


class Binary(Probable):
    """Of the probability of one of two classes."""

    def forward(self, p: Array, t: Array) -> Any:
        self.p, self.t = p, t
        return self.reduced(-(t * np.log(p) + (1 - t) * np.log(1 - p)))

    def backward(self) -> Array:
        by = (self.p - self.t) / (self.p * (1 - self.p))
        return by / (self.p.size if self.reduction == "mean" else 1)


class BinaryOfLogits(Binary):
    def forward(self, p: Array, t: Array) -> Any:
        self.p, self.t = p, t
        return self.reduced(np.maximum(p, 0) - p * t + np.log1p(np.exp(-np.abs(p))))


PROBABLE, LOGARITHMS = "parity.CategoricalCrossEntropy", "nn.NLLLoss"


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize(
    ("key", "made", "name", "kind"),
    [
        (nn.CrossEntropyLoss, Probable, PROBABLE, "probabilities, not logits"),
        (nn.CrossEntropyLoss, OfLogarithms, LOGARITHMS, "log-probabilities, not logits"),
        (nn.NLLLoss, Probable, PROBABLE, "probabilities, not their logarithms"),
        (nn.NLLLoss, OfLogits, "nn.CrossEntropyLoss", "logits, not log-probabilities"),
        (parity.CategoricalCrossEntropy, OfLogits, "nn.CrossEntropyLoss",
         "logits, not probabilities"),
        (parity.CategoricalCrossEntropy, OfLogarithms, LOGARITHMS,
         "log-probabilities, not probabilities"),
        (nn.BCELoss, BinaryOfLogits, "nn.BCEWithLogitsLoss", "logits, not probabilities"),
        (nn.BCEWithLogitsLoss, Binary, "nn.BCELoss", "probabilities, not logits"),
    ],
)  # fmt: skip
def test_a_loss_of_another_kind_is_named_by_what_it_takes(
    key: Any, made: Callable[..., Any], name: str, kind: str, reduction: str
) -> None:
    torchs = key.__name__
    # What a student has is of one reduction, which the adapter may not have said.
    for subject in (
        parity.Subject({key: made}, array="numpy", name="x"),
        parity.Subject({key: lambda: made(reduction)}, array="numpy", name="x"),
    ):
        with pytest.raises(parity.AdapterError) as raised:
            parity.check(subject)
        assert f"its {torchs} takes {kind}: if that is meant, name it by {name}" in str(
            raised.value
        )


@pytest.mark.parametrize("made", [OfLogits, OfLogarithms, Probable])
def test_a_loss_under_its_own_name_is_asked_nothing(made: type[Probable]) -> None:
    key = {OfLogits: nn.CrossEntropyLoss, OfLogarithms: nn.NLLLoss}.get(
        made, parity.CategoricalCrossEntropy
    )
    subject = parity.Subject({key: made}, array="numpy", name="x")
    assert parity.check(subject, quick=True, only="*value").passed


def test_one_that_takes_one_hot_targets_and_probabilities_is_told_both() -> None:
    class Hot(Probable):
        def forward(self, p: Array, t: Array) -> Any:
            assert t.shape == p.shape
            return super().forward(p, t)

    subject = parity.Subject({nn.CrossEntropyLoss: Hot}, array="numpy", name="x")
    with pytest.raises(parity.AdapterError) as raised:
        parity.check(subject)
    assert 'targets=("one_hot",)' in str(raised.value)
    assert f"name it by {PROBABLE}" in str(raised.value)


FRAMEWORK = """
import numpy as np

class Dense:
    def __init__(self, n_in, n_out):
        self.weights = 0.1 * np.random.randn(n_in, n_out)
        self.biases = np.zeros((1, n_out))

    def forward(self, inputs):
        self.inputs = inputs
        self.output = inputs @ self.weights + self.biases

    def backward(self, dvalues):
        self.dweights = self.inputs.T @ dvalues
        self.dbiases = dvalues.sum(0, keepdims=True)
        self.dinputs = dvalues @ self.weights.T

class Softmax:
    def forward(self, inputs):
        e = np.exp(inputs - inputs.max(1, keepdims=True))
        self.output = e / e.sum(1, keepdims=True)

    def backward(self, dvalues):
        own = self.output
        self.dinputs = own * (dvalues - (dvalues * own).sum(1, keepdims=True))

class CategoricalCrossentropy:
    def forward(self, y_pred, y_true):
        self.p, self.t = y_pred, y_true
        return np.mean(-np.log((np.clip(y_pred, 1e-7, 1 - 1e-7) * y_true).sum(1)))

    def backward(self):
        self.dinputs = -self.t / self.p / len(self.p)
"""


def test_new_names_it_by_what_it_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shallow.py").write_text(FRAMEWORK)
    assert cli.main(["new", "shallow.py", "-o", "adapter.py"]) == 0
    written = (tmp_path / "adapter.py").read_text()
    assert f"    {PROBABLE}: shallow.CategoricalCrossentropy," in written
    assert 'targets=("one_hot",),' in written
    assert cli.main(["check", "adapter.py", "--quick"]) == 0
    shown = capsys.readouterr().out
    assert "network" in shown  # of a Linear layer and the Softmax that the loss is behind
    assert "PASSED" in shown


def test_a_softmax_that_is_left_out_and_a_loss_that_has_it_cancel() -> None:
    class Softmax:
        def forward(self, x: Array) -> Array:
            e = np.exp(x - x.max(1, keepdims=True))
            found: Array = e / e.sum(1, keepdims=True)
            return found

        def backward(self, dy: Array) -> Array:
            return dy.copy()

    class Linear(course.Linear):
        """Of numpy, with the course's arithmetic."""

        def forward(self, x: Any) -> Any:
            return super().forward(torch.from_numpy(x)).numpy()

        def backward(self, dy: Any) -> Any:
            return super().backward(torch.from_numpy(dy)).numpy()

    subject = parity.Subject(
        {nn.Linear: Linear, nn.Softmax: Softmax, parity.CategoricalCrossEntropy: WithSoftmax},
        array="numpy",
        name="both",
        targets=("one_hot",),
    )
    report = parity.check(subject, quick=True, only=("Softmax-*", "Categorical*mean*", "network*"))
    wrong = [one for one in report.findings if one.severity == "wrong"]
    assert len(wrong) == 2
    assert all("The network's own gradients are right" in " ".join(one.notes) for one in wrong)
