"""What people get wrong in layers and losses, as the results that they would get.

Each mistake is evaluated at the very inputs of a check. That serves twice: a result that is
wrong and equals one of them is explained by it (`diagnosis.py`), and the distance of the
nearest one from the truth says how much a pass is worth.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from parity.arrays import Tensors
from parity.case import Case, reduced
from parity.evaluate import dropping
from parity.subject import REDUCTIONS

#: The derivative as a function of the output, for those that are written so.
OF_OUTPUT: dict[str, Callable[[Tensor], Tensor]] = {
    "Tanh": lambda y: 1 - y * y,
    "Sigmoid": lambda y: y * (1 - y),
}


@dataclass(frozen=True)
class Mistake:
    """A wrong result.

    Args:
        name: in a word or two, for a certificate.
        sentence: what there is to say of a result that equals it.
        value: that result, in float64.
        matches: how to recognise it, if it cannot be foretold; it has no value then.
    """

    name: str
    sentence: str
    value: Tensor | None = None
    matches: Callable[[Tensor], bool] | None = None


Mistakes = dict[str, list[Mistake]]  # by the name of the result
Masks = list[Tensor | None]


def simple(right: Tensor) -> list[Mistake]:
    """What can be wrong with any result."""
    return [
        Mistake("zero", "is zero everywhere", torch.zeros_like(right)),
        Mistake("sign", "has the wrong sign", -right),
    ]


def of_layer(
    case: Case, module: nn.Module, inputs: Tensors, oracle: Tensors, masks: Masks
) -> Mistakes:
    """The mistakes that can be made of a layer, at `inputs` in float64."""
    made: Mistakes = {name: simple(y) for name, y in oracle.items()}
    x, dy = inputs["x"], inputs["dy"]
    y = oracle["output"]

    def passed(module: nn.Module = module, x: Tensor = x, dy: Tensor = dy) -> Tensors:
        return _both(module, inputs, x, dy, masks)

    if x.shape == y.shape:
        made["output"].append(Mistake("identity", "is the input itself", x))
        made["input_grad"].append(
            Mistake("identity", "is the incoming gradient itself: the derivative is left out", dy)
        )
    if masks:
        _of_dropout(made, case, x, dy, masks)
    elif x.shape == y.shape and not any(True for _ in module.parameters()):
        _of_activation(made, case, passed, x, dy, y)
    for name, value in oracle.items():
        if name.endswith("weight.param_grad") and value.shape[-1] == value.shape[-2]:
            made[name].append(Mistake("transposed", "is transposed", value.mT))
    _of_batch(made, passed, x, dy, case)
    _of_linear(made, module, inputs, oracle)
    _of_options(made, case, passed)
    return made


def _both(module: nn.Module, own: Tensors, x: Tensor, dy: Tensor, masks: Masks) -> Tensors:
    """Forward and backward at another x or dy, with the parameters among `own`."""
    leaf = x.detach().requires_grad_()
    names = [name for name, _ in module.named_parameters()]
    parameters = {name: own[name].detach().requires_grad_() for name in names}
    with dropping(module, masks) if masks else contextlib.nullcontext():  # none in evaluation
        y = functional_call(module, parameters, (leaf,))
    gradients = torch.autograd.grad(y, [leaf, *parameters.values()], dy, allow_unused=True)
    results = {"output": y.detach()}
    for name, gradient in zip(["input_grad", *names], gradients, strict=True):
        if gradient is not None:
            results[name if name == "input_grad" else f"{name}.param_grad"] = gradient
    return results


def _of_activation(
    made: Mistakes, case: Case, passed: Callable[..., Tensors], x: Tensor, dy: Tensor, y: Tensor
) -> None:
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
    if case.entry.name == "SELU":
        _of_selu(made, x, dy, y, passed()["input_grad"])
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


def _of_dropout(made: Mistakes, case: Case, x: Tensor, dy: Tensor, masks: Masks) -> None:
    (mask,) = masks
    if mask is None or not 0 < (p := case.options["p"]) < 1:
        return
    made["output"].append(
        Mistake("no scale", f"lacks the factor 1 / (1 - p), here {1 / (1 - p):.3g}", x * mask)
    )

    def drops_others(dx: Tensor) -> bool:
        return bool(((dx != 0) != mask).any()) and bool((dx == 0).any())

    made["input_grad"] += [
        Mistake("no scale", f"lacks the factor 1 / (1 - p), here {1 / (1 - p):.3g}", dy * mask),
        Mistake("no mask", "is scaled, but the mask is not applied", dy / (1 - p)),
        Mistake(
            "another mask",
            "drops other entries than forward did: backward draws a mask of its own",
            matches=drops_others,
        ),
    ]


def _of_batch(
    made: Mistakes, passed: Callable[..., Tensors], x: Tensor, dy: Tensor, case: Case
) -> None:
    """Gradients of parameters that are reduced over the batch in a wrong way."""
    if len(x) < 2 or case.mixes:
        return
    keys = [key for key in made if key.endswith("param_grad")]
    if not keys:
        return
    one = "is that of the {} sample alone, not summed over the batch"
    for name, sentence, wrong in (
        ("last sample", one.format("last"), passed(x=x[-1:], dy=dy[-1:])),
        ("first sample", one.format("first"), passed(x=x[:1], dy=dy[:1])),
        ("not multiplied", "ignores the incoming gradient", passed(dy=torch.ones_like(dy))),
        ("absolute", "takes the absolute value of the input", passed(x=x.abs())),
    ):
        for key in keys:
            made[key].append(Mistake(name, sentence, wrong[key]))


def _of_linear(made: Mistakes, module: nn.Module, inputs: Tensors, oracle: Tensors) -> None:
    if not isinstance(module, nn.Linear):
        return
    x, dy, weight = inputs["x"], inputs["dy"], inputs["weight"]
    y = oracle["output"]
    if module.bias is not None:
        bias = inputs["bias"]
        made["output"] += [
            Mistake("no bias", "lacks the bias", y - bias),
            Mistake("minus bias", "has the bias subtracted", y - 2 * bias),
        ]
    if weight.shape[0] == weight.shape[1]:
        turned = y - x @ weight.mT + x @ weight
        made["output"].append(Mistake("transposed", "uses the weight transposed", turned))
        made["input_grad"].append(
            Mistake("transposed", "uses the weight transposed", dy @ weight.mT)
        )


def _of_options(made: Mistakes, case: Case, passed: Callable[..., Tensors]) -> None:
    """What comes out if one option is taken to be torch's default."""
    defaults = case.entry.defaults()
    for option, value in case.options.items():
        default = defaults.get(option)
        if option in case.entry.positional or default in (None, value):
            continue
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            continue
        other = passed(module=case.entry.reference(**case.options | {option: default}))
        for name, wrong in other.items():
            sentence = f"takes {option} to be {default:g}, not {value:g}"
            made[name].append(Mistake(f"{option}={default:g}", sentence, wrong))


def of_loss(case: Case, inputs: Tensors, oracle: Tensors) -> Mistakes:
    """The mistakes that can be made of a loss, at `inputs` in float64."""
    how = case.how
    made: Mistakes = {name: simple(y) for name, y in oracle.items()}
    x, t = inputs["prediction"], inputs["target"]
    none = case.entry.reference(**case.options | {"reduction": "none"})
    if how != "none":
        for other in REDUCTIONS:
            value = reduced(none(x, t), len(x), other)
            sentence = (
                f"is the {other.replace('_', ' ')}, where {how.replace('_', ' ')} is declared"
            )
            made["loss"].append(Mistake(other, sentence, value))
    derivative = made["prediction_grad"]
    count = _ratio_of(how, x, none(x, t))
    match case.entry.name:
        case "BCEWithLogitsLoss":
            y = torch.sigmoid(x)
            twice = count * (y - t) * y * (1 - y)
            derivative.append(Mistake("twice", "passes through the sigmoid twice", twice))
        case "CrossEntropyLoss":
            p = torch.softmax(x, -1)
            one_hot = nn.functional.one_hot(t, x.shape[-1]).to(x) if t.dim() < x.dim() else t
            derivative.append(Mistake("no target", "does not subtract the target", count * p))
            d = oracle["prediction_grad"]
            twice = p * (d - (p * d).sum(-1, keepdim=True))
            derivative.append(Mistake("twice", "passes through the softmax twice", twice))
            mistaken = count * (p - one_hot)
            sentence = "takes the targets of a sample to sum to 1"
            derivative.append(Mistake("sum of targets", sentence, mistaken))
        case "BCELoss":
            only = -count * t / x
            derivative.append(Mistake("one class", "has the positive class alone", only))
            made["loss"].append(
                Mistake("one class", "counts the positive class alone",
                        _scaled(-t * x.log(), how, len(x)))
            )  # fmt: skip
            _of_eps(made, x, t, how, count)
    options = case.entry.defaults()
    for option, value in case.options.items():
        default = options.get(option)
        if isinstance(value, float) and isinstance(default, (int, float)) and default != value:
            criterion = case.entry.reference(
                **case.options | {option: default, "reduction": "none"}
            )
            leaf = x.detach().requires_grad_()
            wrong = _scaled(criterion(leaf, t), how, len(x))
            (gradient,) = torch.autograd.grad(wrong.sum(), leaf)
            sentence = f"takes {option} to be {default:g}, not {value:g}"
            made["loss"].append(Mistake(f"{option}={default:g}", sentence, wrong.detach()))
            derivative.append(Mistake(f"{option}={default:g}", sentence, gradient))
    return made


def _of_eps(made: Mistakes, x: Tensor, t: Tensor, how: str, count: float) -> None:
    """A number added to the probabilities before their logarithms; near 0 it is no mistake of
    its own, so that it says nothing of what a pass is worth."""

    def same(value: Tensor) -> Callable[[Tensor], bool]:
        return lambda got: got.shape == value.shape and torch.allclose(got.to(value), value)

    for eps in (1e-1, 1e-2, 1e-3, 1e-4):
        entries = -t * (x + eps).log() - (1 - t) * (1 - x + eps).log()
        gradient = count * ((1 - t) / (1 - x + eps) - t / (x + eps))
        sentence = f"has {eps:g} added to the probabilities"
        for name, value in (("loss", _scaled(entries, how, len(x))), ("prediction_grad", gradient)):
            made[name].append(Mistake("eps", sentence, matches=same(value)))


def _scaled(entries: Tensor, how: str, batch: int) -> Tensor:
    return entries if how == "none" else reduced(entries, batch, how)


def _ratio_of(how: str, x: Tensor, entries: Tensor) -> float:
    """What the reduction multiplies each entry of a loss by."""
    if how == "none" or not entries.numel():
        return 1.0
    return float(_scaled(torch.ones_like(entries), how, len(x)) / entries.numel())


def constants(case: Case, inputs: Tensors) -> dict[str, float]:
    """The numbers that a result may be off by as a factor, by what they are."""
    x = inputs.get("x", inputs.get("prediction"))
    assert x is not None
    found = {"the batch size": float(len(x))}
    if x.dim() > 1:
        found["the number of features"] = float(x.shape[1])
        if case.kind == "loss":
            found["the number of entries"] = float(x.numel())
    for option, value in case.options.items():
        if isinstance(value, float) and option not in ("p", "lr"):
            found[option] = value
    if "p" in case.options:
        found["1 - p"] = 1 - case.options["p"]
    return {name: value for name, value in found.items() if value not in (0, 1)}
