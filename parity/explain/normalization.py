"""What people get wrong in normalization: its axes, its eps, its two terms, what it keeps."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from parity.catalogue.values import Tensors
from parity.explain.mistakes import Mistake, Mistakes
from parity.judge.comparison import CONVENTION, DIGITS

OWN_BATCH = "is by the batch's own statistics, and in evaluation those that are kept are due"

SMALL = 1e-3
"""An eps below it can be told from none."""

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
NORMS: Any = (*BATCH_NORMS, nn.LayerNorm, nn.RMSNorm)


@dataclass(frozen=True)
class Norm:
    """A normalization at an input, and what becomes of it where something is taken otherwise.

    Args:
        x, dy, weight, bias: weight and bias as they are multiplied and added, or 1 and 0.
        axes: over which a mean is taken.
        eps: what is added to the variance.
        centred: whether the mean is taken off.
    """

    x: Tensor
    dy: Tensor
    weight: Tensor
    bias: Tensor
    axes: tuple[int, ...]
    eps: float
    centred: bool

    def mean(self, y: Tensor) -> Tensor:
        return y.mean(self.axes, keepdim=True)

    @property
    def count(self) -> int:
        """How many entries a mean is taken of."""
        return self.x.numel() // max(self.mean(self.x).numel(), 1)

    @property
    def off(self) -> Tensor:
        return self.x - self.mean(self.x) if self.centred else self.x

    @property
    def variance(self) -> Tensor:
        return self.mean(self.off**2)

    @property
    def unbiased(self) -> Tensor:
        return self.variance * self.count / max(self.count - 1, 1)

    @property
    def root(self) -> Tensor:
        return (self.variance + self.eps).sqrt()

    @property
    def normal(self) -> Tensor:
        return self.off / self.root

    def over(self, root: Tensor) -> Tensor:
        """The output, if this is what is divided by."""
        return self.off / root * self.weight + self.bias

    def back(self, dy: Tensor | None = None, *, mean: bool = True, second: float = 1.0) -> Tensor:
        """The input's gradient: the two terms can be left out, or have a factor."""
        d = self.dy * self.weight if dy is None else dy
        first = self.mean(d) if mean and self.centred else 0
        return (d - first - second * self.normal * self.mean(d * self.normal)) / self.root


def of(module: nn.Module, inputs: Tensors) -> Norm:
    """A module at its inputs."""
    x = inputs["x"]
    one, zero = x.new_ones(()), x.new_zeros(())
    weight, bias = inputs.get("weight", one), inputs.get("bias", zero)
    if isinstance(module, BATCH_NORMS):
        axes = tuple(n for n in range(x.dim()) if n != 1)
        shape = (1, -1, *[1] * (x.dim() - 2))
        weight, bias = (v.reshape(shape) if v.dim() else v for v in (weight, bias))
    else:
        count = len(module.normalized_shape)  # type: ignore[arg-type]
        axes = tuple(range(x.dim() - count, x.dim()))
    eps = float(module.eps) if module.eps is not None else torch.finfo(x.dtype).eps  # type: ignore[arg-type]
    return Norm(x, inputs["dy"], weight, bias, axes, eps, not isinstance(module, nn.RMSNorm))


def of_norm(made: Mistakes, module: nn.Module, inputs: Tensors, oracle: Tensors) -> None:
    norm = of(module, inputs)
    batch = isinstance(module, BATCH_NORMS)
    if batch and not module.training:
        _in_evaluation(made, norm)
        return
    if norm.x.numel():
        of_training(made, norm, _axes(norm.x.dim(), batch), inputs.keys())


def of_training(
    made: Mistakes, norm: Norm, axes: Mapping[str, tuple[int, ...]], names: Container[str]
) -> None:
    """The mistakes of a norm that goes by what it normalises.

    Args:
        made: where they are put, by result.
        norm: the right one.
        axes: what it may be normalised over in place of its own, in words.
        names: of its inputs: whether there are a weight and a bias.
    """
    _of_output(made, norm)
    _of_axes(made, norm, axes)
    _of_gradients(made, norm, "weight" in names)
    _of_parameters(made, norm, names)
    _of_digits(made, norm)


def _of_output(made: Mistakes, norm: Norm) -> None:
    x, variance, root, n = norm.x, norm.variance, norm.root, norm.count
    deviation = variance.sqrt()
    listed = [
        ("eps outside", "has eps added outside of the root", norm.over(deviation + norm.eps), True),
        ("by variance", "is divided by the variance, not by its root",
         norm.over(variance + norm.eps), False),
        ("not divided", "is not divided by the deviation", norm.over(torch.ones_like(root)), False),
        ("no bias", "lacks the bias", norm.normal * norm.weight, False),
        ("no weight", "lacks the weight", norm.normal + norm.bias, False),
        ("weight first", "has the weight multiplied before the normalization, and not after it",
         _again(norm, x * norm.weight) + norm.bias, False),
    ]  # fmt: skip
    if norm.centred:
        listed += [
            ("mean left in", "has the mean left in", x / root * norm.weight + norm.bias, False),
            ("not about the mean", "has the mean of squares in place of the variance",
             norm.over((norm.mean(x**2) + norm.eps).sqrt()), False),
        ]  # fmt: skip
        if n > 1:
            unbiased = (variance * n / (n - 1) + norm.eps).sqrt()
            listed.append(("unbiased", "is divided by the unbiased deviation: n - 1 for n",
                           norm.over(unbiased), False))  # fmt: skip
    else:
        centred = x - norm.mean(x)
        listed += [
            ("centred", "has the mean taken off, as LayerNorm does",
             centred / (norm.mean(centred**2) + norm.eps).sqrt() * norm.weight, False),
            ("mean off alone", "has the mean taken off", centred / root * norm.weight, False),
            ("one plus", "has 1 + weight, as Gemma does, where the weight belongs",
             norm.normal * (1 + norm.weight), False),
            ("norm for rms", "is divided by the norm, not by the root of the mean square",
             norm.over((norm.mean(x**2) * n + norm.eps).sqrt()), False),
        ]  # fmt: skip
    if norm.eps >= SMALL:
        text = f"has an eps far below {norm.eps:g}, or none"
        listed.append(("no eps", text, norm.over(deviation), False))
    for name, sentence, value, hidden in listed:
        if bool(value.isfinite().all()):
            made["output"].append(Mistake(name, sentence, value, hidden=hidden))
    severity = CONVENTION if norm.eps < SMALL else ""
    made["output"] += [
        Mistake("no eps", "", says=lambda got: _of_eps(norm, got, none=True)),
        Mistake("another eps", "", says=lambda got: _of_eps(norm, got), severity=severity),
    ]


def _of_eps(norm: Norm, got: Tensor, *, none: bool = False) -> str:
    """Says which eps an output is of, or that it has none, where inputs are so small as to show."""
    off, scaled = norm.off * norm.weight, got - norm.bias
    if got.shape != norm.x.shape or bool((off * scaled < 0).any()):
        return ""
    far = off.abs() > 0.5 * off.abs().amax(norm.axes, keepdim=True)
    found = ((off / scaled) ** 2 - norm.variance)[far]
    if not found.numel() or not bool(found.isfinite().all()):
        return ""
    eps, noise = float(found.median()), NEAR * float(norm.variance.max())
    if not bool(((found - eps).abs() <= 1e-2 * abs(eps) + noise).all()):
        return ""
    if none:
        return "has no eps" * (abs(eps) <= noise < 1e-4 * norm.eps)
    off_by = abs(eps - norm.eps)
    if eps <= noise or off_by <= max(noise, 1e-2 * norm.eps) or float(f"{eps:.1g}") == norm.eps:
        return ""
    return f"takes eps to be {eps:.2g}, not {norm.eps:g}"


NEAR = 1e-4
"""How far a variance may be off by rounding."""


def _again(norm: Norm, x: Tensor) -> Tensor:
    """Another input, normalised."""
    off = x - norm.mean(x) if norm.centred else x
    return off / (norm.mean(off**2) + norm.eps).sqrt()


def _axes(dims: int, batch: bool) -> dict[str, tuple[int, ...]]:
    """What a batch norm may be normalised over by mistake, or one over features."""
    pixels = tuple(range(2, dims))
    others: dict[str, tuple[int, ...]] = {"all axes": tuple(range(dims))}
    if batch:
        others |= {"the features": tuple(range(1, dims)), "the batch alone": (0,)}
        if pixels:
            others["the pixels of each sample"] = pixels
    else:
        others |= {"the batch": (0,), "the features of each sample": tuple(range(1, dims)),
                   "the last axis alone": (dims - 1,)}  # fmt: skip
    return others


def _of_axes(made: Mistakes, norm: Norm, others: Mapping[str, tuple[int, ...]]) -> None:
    """Statistics over other axes."""
    for name, axes in others.items():
        if axes != norm.axes:
            twin = Norm(norm.x, norm.dy, norm.weight, norm.bias, axes, norm.eps, norm.centred)
            text = f"is normalised over {name}"
            made["output"].append(Mistake(name, text, twin.over(twin.root)))


def _of_gradients(made: Mistakes, norm: Norm, has_weight: bool) -> None:
    d, root, n = norm.dy * norm.weight, norm.root, norm.count
    second = "lacks the term of the variance, xhat * mean(dy * xhat)"
    if not norm.centred:
        second = "takes the mean square for a constant: it lacks the term xhat * mean(dy * xhat)"
    listed = [
        ("no second term", second, norm.back(second=0.0)),
        ("second term added", "adds the term of the variance, and it is to be taken off",
         norm.back(second=-1.0)),
        ("second term twice", "has the term of the variance twice", norm.back(second=2.0)),
        ("sums", "has sums where the means are due", _summed(norm, d)),
        ("not divided", "is not divided by the deviation", norm.back() * root),
        ("by variance", "is divided by the variance, not by its root", norm.back() / root),
        ("by input", "has the term of the variance by the input, not by what has been normalised",
         (d - (norm.mean(d) if norm.centred else 0) - norm.x * norm.mean(d * norm.x)) / root),
    ]  # fmt: skip
    if norm.centred:
        constants = "takes the mean and the variance for constants, and they depend on the input"
        listed.append(("constants", constants, d / root))
        listed.append(("no mean", "lacks the term of the mean, mean(dy)", norm.back(mean=False)))
        if n > 1:
            listed.append(("unbiased", "has n - 1 for n in the term of the variance",
                           norm.back(second=n / (n - 1))))  # fmt: skip
    else:
        text = "has the mean of the gradient taken off, as LayerNorm does"
        listed.append(("mean off", text, norm.back() - norm.mean(d) / root))
    if has_weight:
        listed += [
            ("no weight", "lacks the weight", norm.back(norm.dy)),
            ("weight last", "has the weight multiplied last, and it belongs into the means",
             norm.back(norm.dy) * norm.weight),
        ]  # fmt: skip
    if norm.eps >= SMALL:
        twin = replace(norm, eps=0.0)
        text = f"has an eps far below {norm.eps:g}, or none"
        listed.append(("no eps", text, twin.back()))
        if has_weight:
            value = _reduced(norm.dy * twin.normal, norm.weight.shape)
            made["weight.param_grad"].append(Mistake("no eps", text, value))
    for name, sentence, value in listed:
        if bool(value.isfinite().all()):
            made["input_grad"].append(Mistake(name, sentence, value))


def _of_parameters(made: Mistakes, norm: Norm, names: Container[str]) -> None:
    """The gradients of weight and bias: by something else, or not of all that is summed."""
    position = _positions(norm)
    if "weight" in names:
        factors = [
            ("by input", "is multiplied by the input, not by what has been normalised", norm.x),
            ("by output", "is multiplied by the output, not by what has been normalised",
             norm.over(norm.root)),
        ]  # fmt: skip
        if norm.centred:
            factors.append(("by difference", "lacks the division by the deviation", norm.off))
        for name, sentence, factor in factors:
            value = _reduced(norm.dy * factor, norm.weight.shape)
            made["weight.param_grad"].append(Mistake(name, sentence, value))
        for text, mask in position:
            value = _reduced(norm.dy * norm.normal * mask, norm.weight.shape)
            made["weight.param_grad"].append(Mistake(text, f"is that of {text} alone", value))
    if "bias" in names:
        right = made["bias.param_grad"]
        value = _reduced(norm.dy * norm.weight, norm.bias.shape)
        right.append(Mistake("by weight", "is multiplied by the weight", value))
        value = _reduced(norm.dy * norm.normal, norm.bias.shape)
        right.append(Mistake("by normal", "is that of the weight", value))
        for text, mask in position:
            value = _reduced(norm.dy * mask, norm.bias.shape)
            right.append(Mistake(text, f"is that of {text} alone", value))


def _positions(norm: Norm) -> list[tuple[str, Tensor]]:
    """The first and the last place of each sample, where it has several of a feature."""
    x, found = norm.x, []
    axes = [
        n
        for n in range(1, x.dim())
        if x.shape[n] > 1 and (norm.bias.dim() == 0 or _size(norm.bias, n - x.dim()) == 1)
    ]
    for text, place in (
        ("the first place of each sample", 0),
        ("the last place of each sample", -1),
    ):
        mask = torch.zeros_like(x)
        index: list[Any] = [place if n in axes else slice(None) for n in range(x.dim())]
        mask[tuple(index)] = 1
        if axes:
            found.append((text, mask))
    return found


def _size(value: Tensor, axis: int) -> int:
    return value.shape[axis] if value.dim() >= -axis else 1


LARGE = 20.0
"""How many deviations a mean must be away from 0 to lose a one-pass variance its digits."""


def _of_digits(made: Mistakes, norm: Norm) -> None:
    """A variance that is the difference of two large numbers: where all means are so large."""
    means, deviations = norm.mean(norm.x).abs(), norm.variance.sqrt()
    if not norm.centred or not bool((means > LARGE * deviations).all()):
        return
    text = (
        "loses digits where the mean is far larger than the deviation, as a variance by "
        "E[x^2] - E[x]^2 does"
    )
    for name in made:
        wrong_sign: Any = next(one.value for one in made[name] if one.name == "sign")

        def loses(got: Tensor, wrong_sign: Tensor = wrong_sign) -> str:
            off = (got + wrong_sign).abs().max()
            return text * bool(off < 0.5 * wrong_sign.abs().max())

        made[name].append(Mistake("one pass", "", says=loses, scaled=True, severity=DIGITS))


def _summed(norm: Norm, d: Tensor) -> Tensor:
    first = norm.mean(d) if norm.centred else 0
    return (d - norm.count * (first + norm.normal * norm.mean(d * norm.normal))) / norm.root


def _reduced(value: Tensor, shape: torch.Size) -> Tensor:
    """Summed to the weight's shape."""
    aligned = (*[1] * (value.dim() - len(shape)), *shape)
    axes = [n for n, size in enumerate(aligned) if size == 1 and value.shape[n] != 1]
    summed = value.sum(axes) if axes else value
    return summed.reshape([n for n in shape if n != 1] or [1])


def _in_evaluation(made: Mistakes, norm: Norm) -> None:
    """What is kept is 0 and 1 at first."""
    if norm.x.numel():
        made["output"].append(Mistake("own batch", OWN_BATCH, norm.over(norm.root)))
        made["input_grad"].append(Mistake("own batch", OWN_BATCH, norm.back()))
    text = "has eps added outside of the root"
    outside = norm.x / (1 + norm.eps) * norm.weight + norm.bias
    made["output"].append(Mistake("eps outside", text, outside, hidden=True))
    if norm.eps >= SMALL:
        text = f"has an eps far below {norm.eps:g}, or none"
        made["output"].append(Mistake("no eps", text, norm.x * norm.weight + norm.bias))
        made["input_grad"].append(Mistake("no eps", text, norm.dy * norm.weight))
