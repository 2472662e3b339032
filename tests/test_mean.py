"""Frameworks in which the layers take the mean over the batch, and not the loss; and functions
whose batch is in columns, as that course has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import parity
from parity import cli
from tests.test_causes import told


class Linear:
    def __init__(self, n_in: int, n_out: int) -> None:
        self.W, self.b = np.zeros((n_out, n_in)), np.zeros((n_out, 1))
        self.dW: Any = None
        self.db: Any = None

    def forward(self, a: Any) -> Any:
        self.a = a
        return self.W @ a + self.b

    def backward(self, dz: Any) -> Any:
        m = dz.shape[1]
        self.dW, self.db = dz @ self.a.T / m, dz.sum(1, keepdims=True) / m
        return self.W.T @ dz


class Summed(Linear):
    """The mean of one gradient is forgotten."""

    def backward(self, dz: Any) -> Any:
        dx = super().backward(dz)
        self.dW = self.dW * dz.shape[1]
        return dx


class ReLU:
    def forward(self, z: Any) -> Any:
        self.z = z
        return np.maximum(z, 0)

    def backward(self, da: Any) -> Any:
        return da * (self.z > 0)


class CrossEntropy:
    """Its value is a mean, its gradient that of a sum."""

    def forward(self, z: Any, t: Any) -> Any:
        self.z, self.t = z - z.max(0), t
        return -(t * (self.z - np.log(np.exp(self.z).sum(0)))).sum() / z.shape[1]

    def backward(self) -> Any:
        e = np.exp(self.z)
        return e / e.sum(0) * self.t.sum(0) - self.t


class Descent:
    def __init__(self, layers: Any, lr: float) -> None:
        self.layers, self.lr = layers, lr

    def step(self) -> None:
        for layer in self.layers:
            layer.W -= self.lr * layer.dW
            layer.b -= self.lr * layer.db


PARTS: dict[Any, Any] = {
    nn.Linear: Linear, nn.ReLU: ReLU, nn.CrossEntropyLoss: CrossEntropy,
    torch.optim.SGD: Descent,
}  # fmt: skip
COLUMNS: dict[str, Any] = {
    "array": "numpy", "dtypes": ("float64",), "batch": "columns", "gradients": "overwritten",
    "targets": ("one_hot",), "optimizer": "layers",
    "parameters": lambda one: [(one.W, one.dW), (one.b, one.db)] if hasattr(one, "W") else [],
}  # fmt: skip


def checked(parts: dict[Any, Any], **settings: Any) -> parity.Report:
    return parity.check(parity.Subject(parts, **COLUMNS | settings))


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_layers_that_take_the_mean_are_right_where_that_is_said() -> None:
    report = checked(PARTS, mean="layers")
    assert {severity for severity, _ in told(report)} == {"edge"}, "a mean over none is none"
    assert "network" in {one.case for one in report.outcomes if one.check == "training"}
    assert report.passed


def test_where_it_is_not_said_both_findings_say_what_to_say() -> None:
    report = checked(PARTS)
    assert [one.cls for one in report.findings if one.severity == "wrong"] == [
        "Linear", "CrossEntropyLoss",
    ]  # fmt: skip
    assert all('say mean="layers"' in " ".join(one.notes) for one in report.findings)


def test_a_layer_alone_says_so_too() -> None:
    (finding,) = checked({nn.Linear: Linear}).findings
    assert finding.sentence.endswith("times what it should be: 1 / 7, 7 is the batch size")
    assert 'say mean="layers"' in " ".join(finding.notes)


@pytest.mark.parametrize(("mean", "factor"), [("layers", "7 times"), ("loss", "0.143 times")])
def test_a_mean_that_one_gradient_lacks_is_named(mean: str, factor: str) -> None:
    report = checked({**PARTS, nn.Linear: Summed}, mean=mean)
    wrong = [one.sentence for one in report.findings if one.cls == "Linear" and one.fails]
    whose = "weight" if mean == "layers" else "bias"
    assert len(wrong) == 1
    assert wrong[0].startswith(f"Linear.{whose} gradient is {factor} what it should be")


FUNCTIONS = """
import numpy as np

def sigmoid(Z):
    A = 1 / (1 + np.exp(-Z))
    return A, Z

def sigmoid_backward(dA, cache):
    s = 1 / (1 + np.exp(-cache))
    return dA * s * (1 - s)

def linear_forward(A, W, b):
    return np.dot(W, A) + b, (A, W, b)

def linear_backward(dZ, cache):
    A, W, b = cache
    m = A.shape[1]
    return np.dot(W.T, dZ), np.dot(dZ, A.T) / m, np.sum(dZ, axis=1, keepdims=True) / m

def linear_activation_forward(A, W, b, activation):
    Z, linear_cache = linear_forward(A, W, b)
    return sigmoid(Z), linear_cache

def linear_activation_backward(dA, cache, activation):
    return linear_backward(dA, cache)
"""


def test_functions_of_columns_are_ready_to_be_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "course_utils.py").write_text(FUNCTIONS)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["new", "course_utils.py"]) == cli.PASSED
    adapter = tmp_path / "parity_adapter.py"
    written = adapter.read_text()
    assert 'batch="columns",  # a guess' in written
    assert "# course_utils.linear_activation_forward: not taken up" in written
    report = parity.check(adapter, quick=True)
    assert [one.cls for one in report.findings] == ["Linear"]
    assert 'say mean="layers"' in " ".join(report.findings[0].notes)
    adapter.write_text(written.replace("    batch=", '    mean="layers",\n    batch='))
    report = parity.check(adapter, quick=True, only=("Linear-*-param_grad", "Sigmoid-*"))
    assert report.passed, report.findings
