"""A backward that moves the parameters itself, and keeps no gradient: these are taken from how far
they move."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

import parity
from parity import cli

Array = np.ndarray[Any, Any]


class Dense:
    """Of a course in which a layer learns as it passes the gradient on."""

    def __init__(self, n_in: int, n_out: int) -> None:
        self.weights = np.zeros((n_out, n_in))
        self.bias = np.zeros(n_out)

    def forward(self, x: Array) -> Array:
        self.x = x
        return x @ self.weights.T + self.bias

    def gradients(self, dy: Array) -> tuple[Array, Array]:
        return dy.T @ self.x, dy.sum(0)

    def backward(self, dy: Array, rate: float) -> Array:
        dw, db = self.gradients(dy)
        dx: Array = dy @ self.weights
        self.weights -= rate * dw
        self.bias -= rate * db
        return dx


class Anew(Dense):
    """Makes new arrays of its parameters."""

    def backward(self, dy: Array, rate: float) -> Array:
        dw, db = self.gradients(dy)
        dx: Array = dy @ self.weights
        self.weights = self.weights - rate * dw
        self.bias = self.bias - rate * db
        return dx


class MovesFirst(Dense):
    def backward(self, dy: Array, rate: float) -> Array:
        super().backward(dy, rate)
        dx: Array = dy @ self.weights
        return dx


class Uphill(Dense):
    def gradients(self, dy: Array) -> tuple[Array, Array]:
        dw, db = super().gradients(dy)
        return -dw, db


class FrozenBias(Dense):
    def gradients(self, dy: Array) -> tuple[Array, Array]:
        dw, db = super().gradients(dy)
        return dw, 0 * db


class LastSample(Dense):
    def gradients(self, dy: Array) -> tuple[Array, Array]:
        return super().gradients(dy)[0], dy[-1]


class Tanh:
    def forward(self, x: Array) -> Array:
        self.y: Array = np.tanh(x)
        return self.y

    def backward(self, dy: Array, rate: float) -> Array:
        found: Array = dy * (1 - self.y**2)
        return found


class MSE:
    def forward(self, p: Array, t: Array) -> Any:
        self.d = p - t
        return (self.d**2).mean()

    def backward(self) -> Array:
        return 2 * self.d / self.d.size


class Net:
    """A container of the framework's own, which hands the rate on."""

    def __init__(self, *layers: Any) -> None:
        self.layers = layers

    def forward(self, x: Array) -> Array:
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def backward(self, dy: Array, rate: float) -> Array:
        for layer in self.layers[::-1]:
            dy = layer.backward(dy, rate)
        return dy


def checked(
    linear: type[Dense],
    more: dict[Any, Any] | None = None,
    *,
    gradients: str = "accumulated",
    **options: Any,
) -> Any:
    subject = parity.Subject(
        {nn.Linear: linear, nn.Tanh: Tanh, nn.MSELoss: MSE, **(more or {})},
        array="numpy",
        dtypes=("float64",),
        name="stepping",
        parameters=lambda layer: (
            [(layer.weights, None), (layer.bias, None)] if hasattr(layer, "weights") else []
        ),
        step_in_backward=lambda layer, dy, rate: layer.backward(dy, rate),
        gradients=gradients,
    )
    return parity.check(subject, **options)


@pytest.mark.parametrize("linear", [Dense, Anew])
@pytest.mark.parametrize("more", [{}, {nn.Sequential: Net}], ids=["parity's row", "a container"])
def test_what_is_right_passes(linear: type[Dense], more: dict[Any, Any]) -> None:
    report = checked(linear, more, strict=True, quick=linear is Anew)
    assert report.passed, [str(one) for one in report.findings]
    judged = {(o.case, o.check) for o in report.outcomes if o.verdict == "passed"}
    assert {("Linear", "param_grad"), ("network", "layer_by_layer")} <= judged
    assert linear is Anew or {("Linear", "sizes"), ("Linear", "moving")} <= judged


def test_no_gradient_is_accumulated_where_the_adapter_says_so() -> None:
    assert checked(Dense, gradients="overwritten", quick=True, strict=True).passed


@pytest.mark.parametrize(
    ("linear", "said"),
    [
        (MovesFirst, "input gradient is by parameters that its backward has moved"),
        (Uphill, "weight gradient has the wrong sign"),
        (FrozenBias, "bias gradient is zero everywhere"),
        (LastSample, "bias gradient is that of the last sample alone"),
    ],
)
def test_what_is_wrong_has_its_name(linear: type[Dense], said: str) -> None:
    findings = checked(linear, quick=True).findings
    assert said in str(findings[0])
    others = [one for one in findings[1:] if one.severity == "wrong"]
    assert not others, list(map(str, others))


TUTORIAL = """
import numpy as np

class Layer:
    def forward(self, input):
        pass

    def backward(self, output_gradient, learning_rate):
        pass

class Dense(Layer):
    def __init__(self, input_size, output_size):
        self.weights = np.random.randn(output_size, input_size)
        self.bias = np.random.randn(output_size, 1)

    def forward(self, input):
        self.input = input
        return self.weights @ self.input + self.bias

    def backward(self, output_gradient, learning_rate):
        weights_gradient = output_gradient @ self.input.T
        input_gradient = self.weights.T @ output_gradient
        self.weights -= learning_rate * weights_gradient
        self.bias -= learning_rate * output_gradient
        return input_gradient

def sigmoid(x):
    return 1 / (1 + np.exp(-x))

def sigmoid_prime(x):
    return sigmoid(x) * (1 - sigmoid(x))

def tanh(x):
    return np.tanh(x)

def tanh_derivative(y):
    return 1 - y ** 2

def relu(x):
    return np.maximum(x, 0)

def relu_backward(dout, x):
    return dout * (x > 0)

def mse(y_true, y_pred):
    return np.mean((y_true - y_pred) ** 2)

def mse_prime(y_true, y_pred):
    return 2 * (y_pred - y_true) / np.size(y_true)
"""


def test_new_writes_layers_that_step_and_functions_with_derivatives(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tutorial.py").write_text(TUTORIAL)
    assert cli.main(["new", "tutorial.py", "-o", "adapter.py"]) == 0
    written = (tmp_path / "adapter.py").read_text()
    assert "return dy * tutorial.sigmoid_prime(self.x)" in written
    assert "return dy * tutorial.tanh_derivative(self.y)" in written
    assert "return tutorial.relu_backward(dy, self.x)" in written
    assert "return tutorial.mse_prime(self.t, self.p)" in written
    assert cli.main(["check", "adapter.py", "--quick", "--strict"]) == 0
    shown = capsys.readouterr().out
    for name in ("Linear-one_output", "Sigmoid", "Tanh", "ReLU", "MSELoss-mean", "network"):
        assert f"\n{name} " in shown
    wrong = TUTORIAL.replace("2 * (y_pred", "(y_pred").replace("1 - y ** 2", "1 - y")
    (tmp_path / "tutorial.py").write_text(wrong)
    assert cli.main(["check", "adapter.py", "--quick"]) == 1
    shown = capsys.readouterr().out
    assert "MSELoss gradient is 0.5 times what it should be" in shown
    assert "[wrong] Tanh input gradient" in shown
    assert "2 faults (2 wrong)" in shown
