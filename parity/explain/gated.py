"""What people get wrong in gated layers: SwiGLU, GeGLU, GLU."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from parity.catalogue.attention import SwiGLU
from parity.catalogue.values import Tensors
from parity.explain.mistakes import Mistakes
from parity.explain.taps import Slip, Taps, cut, keeping, put, sloped
from parity.judge.comparison import CONVENTION


def of_gated(made: Mistakes, module: Any, inputs: Tensors, oracle: Tensors) -> None:
    """Of SwiGLU and GeGLU."""
    swish = isinstance(module, SwiGLU)
    activation = functional.silu if swish else functional.gelu
    name = "SiLU" if swish else "GELU"

    def formula(inputs: Tensors, tap: Taps) -> Tensors:
        x = inputs["x"]
        of_gate, of_up = tap("x", (x, x))
        weights = tap("weights", (inputs["gate.weight"], inputs["up.weight"]))
        biases = tap("weights", (inputs.get("gate.bias"), inputs.get("up.bias")))
        gate = functional.linear(of_gate, weights[0], biases[0])
        up = functional.linear(of_up, weights[1], biases[1])
        gate, up = tap("swapped", (gate, up))
        acted = tap("acted", activation(gate), gate)
        hidden = tap("hidden", acted * up, acted, up, gate)
        down = tap("down", inputs["down.weight"])
        y = functional.linear(hidden, down, tap("down bias", inputs.get("down.bias")))
        return {"output": tap("y", y, hidden, acted, gate, down)}

    put(made, formula, [*_gated(activation, name), *(_OF_SILU if swish else _OF_GELU)], inputs)


def _gated(activation: Callable[[Tensor], Tensor], name: str) -> list[Slip]:
    return [
        Slip("has gate and up swapped", {"swapped": lambda both: both[::-1]}),
        Slip(f"has {name} of the product of gate and up", {
            "hidden": lambda y, acted, up, gate: activation(gate * up)}),
        Slip("has gate and up added, not multiplied", {
            "hidden": lambda y, acted, up, gate: acted + up}),
        Slip("leaves the activation out", {"acted": lambda y, a: a}),
        Slip(f"has ReLU for {name}", {"acted": lambda y, a: a.relu()}),
        Slip("lacks the activation of the gate in the gradient of up", {
            "hidden": lambda y, acted, up, gate: keeping(y, acted * up.detach(), up)}),
        Slip("has the gate, not its activation, in the gradient of up", {
            "hidden": lambda y, acted, up, gate: keeping(
                y, acted * up.detach(), gate.detach() * up)}),
        Slip("lacks up in the gradient of the gate", {
            "hidden": lambda y, acted, up, gate: keeping(y, acted, acted.detach() * up)}),
        Slip(f"lacks the derivative of {name}", {"acted": lambda y, a: sloped(a, y, 1.0)}),
        Slip(f"has the derivative of {name} at its value, not at its argument", {
            "acted": lambda y, a: sloped(a, y, _slope(activation, y))}),
        Slip("has the gradients of gate and up exchanged", {
            "weights": lambda both: both if both[0] is None else (
                keeping(both[0], both[1]), keeping(both[1], both[0]))}),
        Slip("has the part of the gate alone", {"x": lambda both: (both[0], both[1].detach())}),
        Slip("has the part of up alone", {"x": lambda both: (both[0].detach(), both[1])}),
        Slip("lacks up in what went into down", {
            "y": lambda y, hidden, acted, gate, down: keeping(
                y, functional.linear(hidden, down.detach()),
                functional.linear(acted.detach(), down))}, only="down.weight.param_grad"),
        Slip("lacks down's bias", {
            "down bias": lambda bias: None if bias is None else torch.zeros_like(bias)}),
    ]  # fmt: skip


def _slope(f: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    at = at.detach().requires_grad_()
    (slope,) = torch.autograd.grad(f(at).sum(), at)
    return slope


_OF_SILU = [
    Slip("has a sigmoid for SiLU", {"acted": lambda y, a: a.sigmoid()}),
    Slip("has sigma(a) alone for SiLU'", {"acted": lambda y, a: sloped(a, y, a.sigmoid())}),
    Slip("has a sigma'(a) alone for SiLU'", {
        "acted": lambda y, a: sloped(a, y, a * a.sigmoid() * (1 - a.sigmoid()))}),
    Slip("has sigma'(a) for SiLU'", {
        "acted": lambda y, a: sloped(a, y, a.sigmoid() * (1 - a.sigmoid()))}),
]  # fmt: skip


def _phi(a: Tensor) -> Tensor:
    """The normal density."""
    return torch.exp(-a * a / 2) / math.sqrt(2 * math.pi)


_OF_GELU = [
    Slip("has GELU by its tanh approximation", {
        "acted": lambda y, a: functional.gelu(a, approximate="tanh")}, CONVENTION),
    Slip("has a sigma(1.702 a) for GELU", {
        "acted": lambda y, a: a * (1.702 * a).sigmoid()}, CONVENTION),
    Slip("lacks the root of 2 in GELU's erf", {"acted": lambda y, a: a * (1 + torch.erf(a)) / 2}),
    Slip("has SiLU for GELU", {"acted": lambda y, a: functional.silu(a)}),
    Slip("has Phi(a) alone for GELU'", {
        "acted": lambda y, a: sloped(a, y, torch.special.ndtr(a))}),
    Slip("has a phi(a) alone for GELU'", {"acted": lambda y, a: sloped(a, y, a * _phi(a))}),
    Slip("has phi(a) for a phi(a) in GELU'", {
        "acted": lambda y, a: sloped(a, y, torch.special.ndtr(a) + _phi(a))}),
    Slip("has phi(a) alone for GELU'", {"acted": lambda y, a: sloped(a, y, _phi(a))}),
]  # fmt: skip


def of_glu(made: Mistakes, module: Any, inputs: Tensors, oracle: Tensors) -> None:
    """Of GLU: one half of the features times the sigmoid of the other."""

    def formula(inputs: Tensors, tap: Taps) -> Tensors:
        a, b = tap("halves", inputs["x"].chunk(2, module.dim))
        gate = tap("gate", b.sigmoid(), b)
        return {"output": tap("y", a * gate, a, gate)}

    put(made, formula, _OF_GLU, inputs)


_OF_GLU = [
    Slip("has the first half as the gate, where it is the second", {
        "halves": lambda halves: halves[::-1]}),
    Slip("has a tanh for the sigmoid", {"gate": lambda y, b: b.tanh()}),
    Slip("lacks the sigmoid", {"gate": lambda y, b: b}),
    Slip("lacks sigma' in the gradient of the gate", {"gate": lambda y, b: sloped(b, y, 1.0)}),
    Slip("lacks the other half in the gradient of the gate", {
        "y": lambda y, a, gate: keeping(y, a * gate.detach(), gate)}),
    Slip("lacks the gate in the gradient of the other half", {
        "y": lambda y, a, gate: keeping(y, a, a.detach() * gate)}),
    Slip("lacks the gradient of the gate", {"gate": cut}),
]  # fmt: skip
