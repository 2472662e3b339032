"""Frameworks that differentiate by themselves: `tensor=` says what their layers compute with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn, optim

import parity
from parity import cli

ENGINE = """
import numpy as np

class Tensor:
    def __init__(self, data, parents=(), back=None):
        self.data = np.asarray(data, dtype=float)
        self.grad = np.zeros_like(self.data)
        self.parents, self.back = parents, back

    def __add__(self, other):
        def back(dy):
            self.grad += shrink(dy, self.data.shape)
            other.grad += shrink(dy, other.data.shape)
        return Tensor(self.data + other.data, (self, other), back)

    def __sub__(self, other):
        return self + other * Tensor(-1.0)

    def __mul__(self, other):
        def back(dy):
            self.grad += shrink(dy * other.data, self.data.shape)
            other.grad += shrink(dy * self.data, other.data.shape)
        return Tensor(self.data * other.data, (self, other), back)

    def __matmul__(self, other):
        def back(dy):
            self.grad += dy @ other.data.T
            other.grad += self.data.T @ dy
        return Tensor(self.data @ other.data, (self, other), back)

    def relu(self):
        def back(dy):
            self.grad += dy * (self.data > 0)
        return Tensor(np.maximum(self.data, 0), (self,), back)

    def mean(self):
        def back(dy):
            self.grad += dy / self.data.size
        return Tensor(self.data.mean(), (self,), back)

    def backward(self):
        order, seen = [], set()
        def visit(one):
            if id(one) not in seen:
                seen.add(id(one))
                for parent in one.parents:
                    visit(parent)
                order.append(one)
        visit(self)
        self.grad = np.ones_like(self.data)
        for one in reversed(order):
            if one.back is not None:
                one.back(one.grad)

def shrink(dy, shape):
    while dy.ndim > len(shape):
        dy = dy.sum(0)
    for axis, size in enumerate(shape):
        if size == 1:
            dy = dy.sum(axis, keepdims=True)
    return dy

class Parameter(Tensor):
    pass

class Module:
    def parameters(self):
        return [one for one in vars(self).values() if isinstance(one, Parameter)]

    def zero_grad(self):
        for one in self.parameters():
            one.grad = np.zeros_like(one.data)

class Linear(Module):
    def __init__(self, n_in, n_out):
        self.weight = Parameter(np.random.randn(n_in, n_out))
        self.bias = Parameter(np.zeros((1, n_out)))

    def __call__(self, x):
        return x @ self.weight + self.bias

class ReLU(Module):
    def __call__(self, x):
        return x.relu()

class MSELoss:
    def __call__(self, prediction, target):
        apart = prediction - target
        return (apart * apart).mean()

class Sequential(Module):
    def __init__(self, *layers):
        self.layers = layers

    def __call__(self, x):
        for layer in self.layers:
            x = layer(x)
        return x

    def parameters(self):
        return [one for layer in self.layers for one in layer.parameters()]

class SGD:
    def __init__(self, parameters, lr):
        self.parameters, self.lr = list(parameters), lr

    def step(self):
        for one in self.parameters:
            one.data -= self.lr * one.grad
"""

WRONG = {
    "other.grad += self.data.T @ dy": (
        "other.grad += self.data.T @ dy / len(dy)",
        "1 / 7, 7 is the batch size",
    ),
    "self.grad += dy * (self.data > 0)": (
        "self.grad += dy * (self.data > -1)",
        "ReLU input gradient",
    ),
    "self.grad += dy @ other.data.T": (
        "self.grad = dy @ other.data",
        "Linear",
    ),
    "self.grad += dy / self.data.size": (
        "self.grad += dy / len(self.data)",
        "MSELoss gradient is 5 times what it should be",
    ),
}


def loaded(source: str = ENGINE) -> Any:
    made: dict[str, Any] = {"__name__": "engine"}
    exec(source, made)
    return type("engine", (), made)


def subject(engine: Any, **settings: Any) -> parity.Subject:
    layers = {nn.Linear: engine.Linear, nn.ReLU: engine.ReLU, nn.MSELoss: engine.MSELoss,
              nn.Sequential: engine.Sequential, optim.SGD: engine.SGD}  # fmt: skip
    return parity.Subject(
        layers,
        name="engine",
        array="numpy",
        dtypes=("float64",),
        parameters="objects",
        weight="in_out",
        **{"tensor": engine.Tensor} | settings,
    )


def test_what_is_right_passes() -> None:
    report = parity.check(subject(loaded()), strict=True)
    assert report.passed, [str(one) for one in report.findings]
    judged = {(o.case, o.check) for o in report.outcomes if o.verdict == "passed"}
    assert {
        ("Linear", "param_grad"),
        ("ReLU", "input_grad"),
        ("MSELoss-mean", "gradient"),
        ("MSELoss-mean", "upstream"),
        ("network", "layer_by_layer"),
        ("network", "training"),
    } <= judged
    assert any("second_backward" in gap for gap in report.gaps)


@pytest.mark.parametrize("right", WRONG)
def test_what_is_wrong_is_found(right: str) -> None:
    wrong, said = WRONG[right]
    assert right in ENGINE
    report = parity.check(subject(loaded(ENGINE.replace(right, wrong))), quick=True)
    assert said in str(report.findings[0])
    assert report.findings[0].severity == "wrong"


def test_an_adapter_that_does_not_say_it_is_told() -> None:
    with pytest.raises(parity.AdapterError) as raised:
        parity.check(subject(loaded(), tensor=None))
    assert "computes with engine.Tensor, and has no backward: tensor=engine.Tensor" in str(
        raised.value
    )
    assert str(raised.value).count("tensor=") == 1


def test_tensors_without_a_product_are_named() -> None:
    engine = loaded(ENGINE.replace("__mul__", "times").replace("apart * apart", "apart"))
    report = parity.check(subject(engine), only="ReLU-*-input_grad")
    assert "Tensor * Tensor is due, to begin with a gradient" in str(report.findings[0])


def test_new_finds_the_tensors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "engine.py").write_text(ENGINE)
    assert cli.main(["new", "engine.py", "-o", "adapter.py"]) == 0
    written = (tmp_path / "adapter.py").read_text()
    assert "tensor=engine.Tensor," in written
    assert 'parameters="objects",' in written
    assert 'gradients="overwritten"' not in written
    assert cli.main(["check", "adapter.py", "--quick", "--strict"]) == 0
    assert "network" in capsys.readouterr().out


class HalfDone:
    """A student's layer without a backward yet: no engine."""

    def __init__(self, n_in: int, n_out: int) -> None:
        self.w, self.b = np.zeros((n_out, n_in)), np.zeros(n_out)

    def forward(self, x: np.ndarray[Any, Any]) -> Any:
        return x @ self.w.T + self.b

    def param(self) -> list[tuple[Any, Any]]:
        return [(self.w, np.zeros_like(self.w)), (self.b, np.zeros_like(self.b))]


def test_a_layer_without_a_backward_is_no_engine() -> None:
    own = parity.Subject({nn.Linear: HalfDone}, array="numpy", name="half", dtypes=("float64",))
    report = parity.check(own, only="Linear-float64-*")
    assert [o for o in report.outcomes if o.check == "forward" and o.verdict == "passed"]
