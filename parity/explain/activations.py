"""What people get wrong in activations: their derivatives."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from parity.catalogue.case import Case
from parity.catalogue.values import Tensors
from parity.explain.mistakes import Mistake, Mistakes
from parity.judge.comparison import CONVENTION

#: The derivative as a function of the output, for those that are written so.
OF_OUTPUT: dict[str, Callable[[Tensor], Tensor]] = {
    "Tanh": lambda y: 1 - y * y,
    "Sigmoid": lambda y: y * (1 - y),
}


def of_activation(
    made: Mistakes,
    case: Case,
    module: nn.Module,
    passed: Callable[..., Tensors],
    inputs: Tensors,
    y: Tensor,
) -> None:
    x, dy = inputs["x"], inputs["dy"]

    def put(name: str, sentence: str, value: Tensor) -> None:
        made["input_grad"].append(Mistake(name, sentence, value))

    at_output = passed(x=y)["input_grad"]
    put(
        "at the output", "has the derivative taken at the output instead of at the input", at_output
    )
    at_gradient = passed(x=dy)["input_grad"]
    put("at the gradient", "has the derivative taken at the incoming gradient", at_gradient)
    ones = passed(dy=torch.ones_like(dy))["input_grad"]
    put("not multiplied", "is the derivative alone, not multiplied by the incoming gradient", ones)
    alone = "is the derivative at the incoming gradient, and not multiplied by it"
    put("of the gradient alone", alone, passed(x=dy, dy=torch.ones_like(dy))["input_grad"])
    if not case.mixes:
        _of_factors(made, x, y, dy, ones, passed(x=ones)["input_grad"])
    formula = OF_OUTPUT.get(case.entry.name)
    if formula is not None and "slope" not in case.options:
        text = "has the derivative's formula, which takes the output, applied to the {}"
        put("of the input", text.format("input"), dy * formula(x))
        put("of the gradient", text.format("incoming gradient"), dy * formula(dy))
    if case.entry.name == "Tanh":
        put("no square", "lacks the square in 1 - y^2", dy * (1 - y))
        put("plus", "has 1 + y^2 where 1 - y^2 belongs", dy * (1 + y * y))
    if case.entry.name == "Sigmoid" and "slope" not in case.options:
        put("no 1 - y", "lacks the factor 1 - y", dy * y)
        put("no y", "lacks the factor y", dy * (1 - y))
    if case.entry.name == "ELU":
        alpha = case.options.get("alpha", 1.0)
        above, slope = torch.where(x > 0, dy, 0.0), torch.where(x > 0, 0.0, dy)
        put("the output", "is y below 0, where y + alpha belongs", above + slope * y)
        put("no e^x", "is alpha below 0, without its e^x", above + slope * alpha)
    if case.entry.name == "SiLU":
        s = torch.sigmoid(x)
        put("no 1 - s", "lacks the factor 1 - s in x * s * (1 - s)", dy * (s + x * s))
        put("y for s", "has y (1 - y) where x * s * (1 - s) belongs", dy * (s + y * (1 - y)))
    if case.options.get("approximate") == "tanh":
        phi, root = _by_tanh(x), math.sqrt(2 / math.pi)
        inner = 2 * phi * (1 - phi) * root * (1 + 0.044715 * x**2)
        put("no 3", "lacks the 3 in the derivative of x^3", dy * (phi + x * inner))
    if case.entry.name in ("SiLU", "GELU", "Mish"):
        _of_gates(made, case, x, dy)
    if isinstance(module, nn.Hardtanh):
        _of_limits(made, module, x, dy)
    if case.entry.name == "Softsign":
        put("no square", "lacks the square in 1 / (1 + |x|)^2", dy / (1 + x.abs()))
        put("plus x", "has 1 + x where 1 + |x| belongs", dy / (1 + x) ** 2)
    if case.entry.name == "SELU":
        _of_selu(made, x, dy, y, passed()["input_grad"])
    if case.entry.name == "LeakyReLU":
        _of_slope(made, case, x, dy)
    if "Softmax" in case.entry.name and not case.mixes:
        unit = torch.eye(x.shape[-1]).to(x)
        columns = [passed(dy=unit[j].expand_as(x))["input_grad"][:, j] for j in range(len(unit))]
        diagonal = torch.stack(columns, -1)  # [B, features], each d y_j / d x_j
        put("diagonal", "has the diagonal of the Jacobian alone", dy * diagonal)
        if case.entry.name == "Softmax":
            text = "has its sum taken over the batch, not over the features"
            put("sum over the batch", text, y * (dy - (dy * y).sum(0)))
            text = "has the diagonal of the Jacobian alone, without its factor e^x"
            put("diagonal without e^x", text, dy * (1 - y) / x.exp().sum(-1, keepdim=True))
        other = passed(module=case.entry.reference(dim=0))["output"]
        text = "is normalised over the batch, not over the features"
        made["output"].append(Mistake("over the batch", text, other))


def _of_gates(made: Mistakes, case: Case, x: Tensor, dy: Tensor) -> None:
    """Of x times a gate, s or Phi: one of the two terms of its derivative alone; another gate."""
    name = "s"
    own: Callable[[Tensor], Tensor] = torch.sigmoid
    if case.entry.name == "Mish":
        name, own = "tanh(softplus(x))", _of_mish
    if case.entry.name == "GELU":
        name, own = "Phi", GATES[case.options.get("approximate", "none")][1]
        for how, (text, gate) in GATES.items():
            leaf = x.detach().requires_grad_()
            y = leaf * gate(leaf)
            (dx,) = torch.autograd.grad(y, leaf, dy)
            made["output"].append(Mistake(how, text, y.detach()))
            made["input_grad"].append(Mistake(how, text, dx))
    leaf = x.detach().requires_grad_()
    value = own(leaf)
    (slope,) = torch.autograd.grad(value, leaf, dy)
    made["input_grad"] += [
        Mistake("gate alone", f"lacks the term x * {name}', as if {name} were a constant",
                dy * value.detach()),
        Mistake("slope alone", f"lacks the term {name}", x * slope),
        Mistake("slope", f"is the derivative of {name} alone", slope),
    ]  # fmt: skip


def _of_mish(x: Tensor) -> Tensor:
    return torch.tanh(nn.functional.softplus(x))


def _by_tanh(x: Tensor) -> Tensor:
    return (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2


GATES: dict[str, tuple[str, Callable[[Tensor], Tensor]]] = {
    "none": ("is by the exact Phi", torch.special.ndtr),
    "tanh": ("is by the approximation of Phi with a tanh", _by_tanh),
    "sigmoid": ("is by the approximation x * sigmoid(1.702 * x)",
                lambda x: torch.sigmoid(1.702 * x)),
}  # fmt: skip
"""What GELU multiplies x by, exactly and not."""


def _of_limits(made: Mistakes, module: nn.Hardtanh, x: Tensor, dy: Tensor) -> None:
    """What is cut off at one limit alone, or in one of the passes."""
    low, high = module.min_val, module.max_val
    inside = (x > low) & (x < high)
    for name, text, value, slope in (
        ("no lower", f"is not cut off below {low:g}", x.clamp(max=high), x < high),
        ("no upper", f"is not cut off above {high:g}", x.clamp(min=low), x > low),
    ):
        made["output"].append(Mistake(name, text, value))
        made["input_grad"].append(Mistake(name, text, dy * slope))
    text = "is 0 within the limits, and dy beyond them"
    made["input_grad"].append(Mistake("beyond", text, dy * ~inside))


def _of_slope(made: Mistakes, case: Case, x: Tensor, dy: Tensor) -> None:
    """A slope that is another number than it should be."""
    right = case.options.get("negative_slope", 0.01)
    severity = "" if "negative_slope" in case.options else CONVENTION

    def of(whole: Tensor) -> Callable[[Tensor], str]:
        def says(got: Tensor) -> str:
            below = got[x < 0] / whole[x < 0]
            if not below.numel() or not torch.allclose(got[x > 0].to(whole), whole[x > 0]):
                return ""
            slope = float(below.median())
            same = bool(((below - slope).abs() <= 1e-4 * abs(slope)).all())
            same = same and slope not in (0, 1) and abs(slope - right) > 1e-3 * abs(right)
            return f"takes negative_slope to be {slope:.4g}, not {right:g}" if same else ""

        return says

    made["output"].append(Mistake("slope", "", says=of(x), severity=severity))
    made["input_grad"].append(Mistake("slope", "", says=of(dy)))


def _of_factors(
    made: Mistakes, x: Tensor, y: Tensor, dy: Tensor, slope: Tensor, again: Tensor
) -> None:
    """The right gradient times or over something simple, and times some number."""
    for name, sentence, factor in (
        ("squared", "has the derivative squared", slope * slope),
        ("root", "has the square root of the derivative: a square is missing", slope.abs().sqrt()),
        ("inverse", "is divided by the derivative, where it is to be multiplied", 1 / slope),
        ("one minus", "has 1 minus the derivative in its place", 1 - slope),
        ("times input", "has the derivative multiplied by the input once more", slope * x),
        ("times output", "has the derivative multiplied by the output once more", slope * y),
        ("over output", "has the derivative divided by the output", slope / y),
        ("input", "is multiplied by the input, where the derivative belongs", x),
        ("output", "is multiplied by the output, where the derivative belongs", y),
        ("twice", "has the derivative of the derivative's own value", again / dy),
        ("times gradient", "is multiplied by the incoming gradient twice", slope * dy),
    ):
        wrong = dy * factor
        if bool(wrong.isfinite().all()):
            made["input_grad"].append(Mistake(name, sentence, wrong, scaled=True))


def _of_selu(made: Mistakes, x: Tensor, dy: Tensor, y: Tensor, dx: Tensor) -> None:
    positive, scale = x > 0, float(nn.functional.selu(x.new_ones(())))
    slopes = torch.where(positive, 1.0, x.exp())
    for name, sentence, output, input_grad in (
        ("constants of 1", "takes alpha and scale to be 1", nn.functional.elu(x), dy * slopes),
        (
            "no scale below 0", "leaves the scale out where x is negative",
            torch.where(positive, y, y / scale), torch.where(positive, dx, dx / scale),
        ),
    ):  # fmt: skip
        made["output"].append(Mistake(name, sentence, output))
        made["input_grad"].append(Mistake(name, sentence, input_grad))


def of_prelu(made: Mistakes, module: nn.PReLU, inputs: Tensors, oracle: Tensors) -> None:
    """What people get wrong of a ReLU whose slope is learned."""
    x, dy, weight = inputs["x"], inputs["dy"], inputs["weight"]
    own = weight if len(weight) == 1 else weight.view(-1, *[1] * (x.dim() - 2))
    positive = x > 0
    axes = [n for n in range(x.dim()) if n != 1 or len(weight) == 1]

    def of(share: Tensor) -> Tensor:
        return share.sum(axes).reshape(weight.shape)

    below = ~positive
    outputs = [
        ("no slope", "is 0 where x < 0: the slope is left out", x * positive),
        ("other side", "has the slope where x > 0, not where x < 0",
         torch.where(positive, own * x, x)),
        ("slope everywhere", "has the slope everywhere, not where x < 0 alone", own * x),
        ("slope alone", "is the slope itself where x < 0, not multiplied by x",
         torch.where(positive, x, own.expand_as(x))),
        ("0.01", "takes the slope to be 0.01, and does not learn it",
         torch.where(positive, x, 0.01 * x)),
        ("slope taken off", "has the slope's part taken off", torch.where(positive, x, -own * x)),
    ]  # fmt: skip
    gradients = [
        ("no slope", "is 0 where x < 0: the slope is left out", dy * positive),
        ("other side", "has the slope where x > 0, not where x < 0",
         torch.where(positive, own * dy, dy)),
        ("slope everywhere", "has the slope everywhere, not where x < 0 alone", own * dy),
        ("not multiplied", "ignores the incoming gradient",
         torch.where(positive, 1.0, own.expand_as(x))),
        ("0.01", "takes the slope to be 0.01, and does not learn it",
         torch.where(positive, dy, 0.01 * dy)),
        ("slope alone", "is the slope itself where x < 0, not multiplied by the incoming gradient",
         torch.where(positive, dy, own.expand_as(x))),
        ("by the output", "goes by the sign of the incoming gradient, not by that of x",
         torch.where(dy > 0, dy, own * dy)),
    ]  # fmt: skip
    learned = [
        ("everywhere", "is summed over every x, and those below 0 alone count", of(x * dy)),
        ("other side", "has the slope where x > 0, not where x < 0", of(x * dy * positive)),
        ("no input", "lacks x: it is the sum of the incoming gradient where x < 0",
         of(dy * below)),
        ("by slope", "is multiplied by the slope", of(own * x * dy * below)),
        ("by output", "is that by the input's gradient, not by the incoming one",
         of(x * torch.where(positive, dy, own * dy))),
        ("not multiplied", "ignores the incoming gradient", of(x * below)),
    ]  # fmt: skip
    if len(weight) > 1:
        text = "takes the first channel's slope for all"
        outputs.append(("first", text, torch.where(positive, x, weight[0] * x)))
        gradients.append(("first", text, torch.where(positive, dy, weight[0] * dy)))
        whole = (x * dy * below).sum()
        text = "is one number for all channels, where each has its own"
        learned += [
            ("one number", text, whole.expand(weight.shape)),
            ("one number", text, whole.reshape(1)),
            ("batch alone", "is summed over the batch alone", (x * dy * below).sum(0)),
        ]
    for result, listed in (
        ("output", outputs), ("input_grad", gradients), ("weight.param_grad", learned),
    ):  # fmt: skip
        for name, text, value in listed:
            if value.shape != oracle[result].shape or not torch.allclose(value, oracle[result]):
                made[result].append(Mistake(name, text, value))
