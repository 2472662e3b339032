"""Checks of layers over the domain of their inputs: sizes, ranks, magnitudes, corners."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from parity.catalogue.case import Case
from parity.catalogue.values import Tensors
from parity.checks.passes import of_pass, one_pass, passed, taken
from parity.checks.trial import Trial, fact, weights
from parity.judge import evaluate
from parity.judge.comparison import DIGITS, WRONG, Comparison, compare, compare_one
from parity.judge.truth import truth
from parity.play.broken import Unoffered


def sizes(trial: Trial) -> list[Comparison]:
    """Batches of one more than 8, 64 and 1,024 rows; and, where the features may be any number, of
    1, of 33, and of one more than 128 and 1,024.

    x and dy are small integers, so that sums of many are exact in whatever order they are added;
    of what divides by a deviation, and of what takes no such numbers, x is random.
    Where samples see each other, the largest is left out: there the order counts.
    """
    verdicts = []
    own, domain = trial.case.shape[1:], trial.case.entry.domain
    most = 1025 if math.prod(own) <= 64 else 129
    shapes = [(9, *own), (65, *own)] + [(most, *own)] * (not trial.case.mixes)
    if len(own) == 1 and domain == "real" and trial.takes(3, own[0] + 1):
        shapes += [(3, 1), (3, 33), (2, 129)] + [(2, 1025)] * (not trial.case.mixes)
    for shape in shapes:
        generator = trial.generator()

        def whole(
            inputs: Tensors, shape: Any = shape, generator: torch.Generator = generator
        ) -> Tensors:
            def drawn(*shape: int) -> Tensor:
                values = torch.tensor([-2, -1, 1, 2], dtype=trial.dtype)
                return values[torch.randint(4, shape, generator=generator)]

            outputs = inputs["dy"].shape[1:] if shape[1:] == own else shape[1:]
            exact = domain == "real" and not trial.case.entry.ranges
            x = drawn(*shape) if exact else trial.x(*shape, generator=generator)
            return inputs | {"x": x, "dy": drawn(shape[0], *outputs)}

        counts = terms_of(shape, trial.case.mixes), terms_of(shape, True)
        summed = max(counts[1], math.prod(shape[:-1]))
        for verdict in one_pass(trial, whole, rows=shape[0], terms=counts[0], summed=summed):
            verdicts.append(replace(verdict, name=f"{list(shape)}: {verdict.name}"))
    return verdicts


def terms_of(shape: tuple[int, ...], mixes: bool) -> int:
    """Of how many terms the sums are whose order counts: over the features, or, where samples see
    each other, over all that a channel has."""
    return math.prod(shape) // shape[1] if mixes else shape[-1]


def rank(trial: Trial) -> list[Comparison]:
    """An input of three dimensions, `[B, T, features]`: if it is taken, and the output is torch's,
    so are the gradients."""
    inputs = trial.inputs(6)
    three = {name: inputs[name].unflatten(0, (2, 3)) for name in ("x", "dy")}
    inputs = inputs | three
    layer = trial.layer(inputs)
    layer.zero_grad()
    refused, y = layer.attempt("forward", inputs["x"])
    right = truth(evaluate.layer(trial.case.module().train()), inputs)
    if refused or not compare_one("output", y, right).passed:
        raise Unoffered("it takes inputs of two dimensions alone")
    refused, dx = layer.attempt("backward", inputs["dy"])
    late, gradients = layer.attempt("gradients")
    if refused or late:
        raise Unoffered("its backward takes inputs of two dimensions alone")
    verdicts = compare(of_pass(y, dx, gradients), right)
    name = trial.case.entry.name
    text = f"{name} is wrong on inputs of three dimensions, which its forward takes"
    return [v if v.passed else replace(v, diagnosis=text, named=True) for v in verdicts]


def magnitudes(trial: Trial) -> list[Comparison]:
    """Inputs of either sign from 1e-30 to 1e4, evenly by their logarithms.

    Where a function is the difference of two that are of order 1, none of its digits is left of a
    value that is far below. A mistake is what is wrong by more than such digits; and a value that
    is 0 where torch's is not, of an input that is not small.
    """
    rows, features = 20, trial.case.shape[-1]
    powers = torch.linspace(-30, 4, rows * features // 2, dtype=torch.float64)
    dense = torch.linspace(0, 2, rows * features // 4, dtype=torch.float64)
    sizes = 10 ** torch.cat([powers[::2], dense])
    sizes = torch.cat([sizes, -sizes])
    sizes = torch.cat([sizes, torch.ones(rows * features - len(sizes), dtype=torch.float64)])
    inputs = trial.inputs(rows)
    inputs["x"] = sizes.reshape(features, rows).mT.contiguous().to(trial.dtype)
    layer = trial.layer({})
    results = passed(layer, inputs, seed=trial.seed)
    least = SMALLEST[trial.dtype]
    verdicts = trial.judge_layer(inputs, results, least=least)
    right, name = evaluate.layer(trial.case.module())(inputs), trial.case.entry.name
    for key, value in results.items():
        if value.shape != inputs["x"].shape:
            continue  # it is no function of each entry
        lost = (value == 0) & (right[key].abs() > torch.finfo(trial.dtype).tiny)
        lost &= inputs["x"].abs() >= 1
        if bool(lost.any()):
            place = torch.where(lost, inputs["x"].abs(), torch.inf).argmin()
            x, y = (float(z.flatten()[place]) for z in (inputs["x"], right[key]))
            what = f"{name} {key.replace('_grad', ' gradient').replace('_', ' ')}"
            text = f"{what} is 0 where torch's is small: its tail is lost"
            reason = f"is 0 at {x:.3g}, where torch's is {y:.3g}"
            verdicts.append(fact(key, False, reason, text, DIGITS))
    return verdicts


SMALLEST = {torch.float32: 1e-6, torch.float64: 1e-8}
"""How far values of order 1 may be off, at any input. Torch's own Softplus is off by so much: from
20 on it is the input."""


def nan(trial: Trial) -> list[Comparison]:
    """What is not a number stays none: the output is NaN wherever torch's is, or the input is
    refused."""
    inputs = trial.inputs()
    inputs["x"].view(-1)[0] = math.nan
    layer = trial.layer(inputs)
    refused, y = layer.attempt("forward", inputs["x"])
    if refused:
        taken(trial)
        return [fact("output", True, "")]
    right = evaluate.layer(trial.case.module().train())(inputs)["output"]
    if y.shape != right.shape:
        return [fact("output", False, f"is {list(y.shape)}, where torch's is {list(right.shape)}")]
    lost = right.isnan() & ~y.isnan()
    value = f"{float(y[lost][0]):g}" if bool(lost.any()) else ""
    text = f"{trial.case.entry.name} makes {value} of a NaN, which nobody hears of any more"
    return [fact("output", not value, f"is {value}, where torch's is NaN", text)]


def kink(trial: Trial) -> list[Comparison]:
    """At 0 and beside it, and at the limits of a Hardtanh, values and gradients are torch's."""
    module = trial.case.module().eval()
    limits = [module.min_val, module.max_val] if isinstance(module, nn.Hardtanh) else []

    def change(inputs: Tensors) -> Tensors:
        x = inputs["x"].clone()
        tiny = torch.finfo(x.dtype).tiny
        corners = torch.tensor([0.0, -0.0, tiny, -tiny, *limits], dtype=x.dtype)
        count = max(1, x.numel() // 8)  # half of the entries: the others keep the scale
        x.view(-1)[: 4 * count] = corners.repeat(count)[: 4 * count]
        return inputs | {"x": x}

    inputs = change(trial.inputs())
    layer = trial.layer(inputs)
    results = passed(layer, inputs, seed=trial.seed)
    verdicts = trial.judge_layer(inputs, results)
    name = trial.case.entry.name
    torchs = evaluate.layer(module)(inputs)["input_grad"]
    dx = results["input_grad"]
    if dx.shape != inputs["dy"].shape:
        return verdicts  # no function of each entry
    verdicts = [_at_zero(v, _slopes(inputs, dx, torchs, 0.0), name) for v in verdicts]
    for limit in limits:  # where the floor, which moves the input, is as large as the jump
        own, right = _slopes(inputs, dx, torchs, limit)
        text = f"{name}'s derivative at {limit:g} is {own:g}, torch's is {right:g}"
        verdicts.append(fact("input_grad", own == right, f"is {own:g} at {limit:g}", text))
    return verdicts


def _slopes(inputs: Tensors, dx: Tensor, torchs: Tensor, place: float) -> tuple[float, float]:
    """The derivative at a place, the subject's and torch's; NaN where it is not one number."""
    here = inputs["x"] == place
    slopes = [(gradient / inputs["dy"])[here] for gradient in (dx, torchs)]
    one = [float(s.max() - s.min()) <= 1e-4 for s in slopes]
    own, right = (round(float(s.mean()), 4) + 0.0 for s in slopes)  # -0 is 0
    return (own, right) if all(one) else (math.nan, math.nan)


def _at_zero(verdict: Comparison, slopes: tuple[float, float], label: str) -> Comparison:
    """Says what the derivative at 0 is, where that is what is wrong."""
    own, right = slopes
    wrong = not (verdict.passed or verdict.reason) and verdict.name == "input_grad"
    if not wrong or own == right or math.isnan(own):
        return verdict
    text = f"{label}'s derivative at 0 is {own:g}, torch's is {right:g}"
    return replace(verdict, diagnosis=text)


def extremes(trial: Trial) -> list[Comparison]:
    """Inputs of ±1e4, subnormal ones, 0 and ±inf: right wherever torch is finite."""
    verdicts = []
    tiny = torch.finfo(trial.dtype).tiny
    for name, values in {
        "large": [1e4, -1e4, 100.0, -100.0, 0.5],
        "subnormal": [tiny / 4, -tiny / 4, 0.5, 1.0, -1.0],
        "infinite": [math.inf, -math.inf, 1.0, -1.0, 0.5],
    }.items():
        if name == "infinite" and not _takes_infinities(trial.case):
            continue
        inputs = trial.inputs()
        size = inputs["x"][0].numel()
        row = torch.tensor(values * size, dtype=trial.dtype)
        x = torch.stack([row.roll(i)[:size] for i in range(len(inputs["x"]))])
        x[1::2] = -x[1::2].abs()  # rows whose largest entry is far below that of the batch
        inputs["x"] = x.reshape(inputs["x"].shape)
        layer = trial.layer(inputs)
        results = passed(layer, inputs, seed=trial.seed)
        judged = trial.judge_layer(inputs, results, finite=True)
        at = {"large": "as large as 1e4", "subnormal": "as small as 1e-39"}.get(name, name)
        verdicts += [_at(name, at, verdict, trial.case.entry.name) for verdict in judged]
        if not all(verdict.passed for verdict in judged) and weights(inputs):
            verdicts = _by_moved(verdicts, layer, trial.case.entry.name)
    return verdicts


def _takes_infinities(case: Case) -> bool:
    """Whether an infinity tells anything: one that is dropped is NaN, and tells not that it was
    dropped."""
    drops = isinstance(case.module(), nn.Dropout)
    return not (drops or case.entry.several or case.entry.chained)


def _by_moved(verdicts: list[Comparison], layer: Any, label: str) -> list[Comparison]:
    """Says so of an input gradient that is NaN as the parameters are: backward has moved them."""
    if all(bool(value.isfinite().all()) for value in layer.parameters().values()):
        return verdicts
    text = f"{label} input gradient is by parameters that its backward has moved already"
    return [
        replace(v, diagnosis=text, named=True, severity=WRONG)
        if not v.passed and v.name.endswith("input_grad")
        else v
        for v in verdicts
    ]


def ranges(trial: Trial) -> list[Comparison]:
    """Inputs that are small, where eps tells, and far from 0, where a mean that is not taken off
    first loses digits."""
    verdicts = []
    for name, (scale, shift) in trial.case.entry.ranges.items():
        inputs = trial.inputs()
        inputs["x"] = inputs["x"] * scale + shift
        layer = trial.layer(inputs)
        results = passed(layer, inputs, seed=trial.seed)
        for verdict in trial.judge_layer(inputs, results):
            verdicts.append(replace(verdict, name=f"{name}: {verdict.name}"))
    return verdicts


def _at(name: str, size: str, verdict: Comparison, label: str) -> Comparison:
    """A verdict at extreme inputs by its name, with what there is to say of a NaN, unless it has a
    name."""
    text = verdict.diagnosis
    if not verdict.named and verdict.reason.startswith("NaN or infinite"):
        result = verdict.name.replace("_grad", " gradient").replace("_", " ")
        text = f"{label} {result} is NaN or infinite at inputs {size}, where torch's is finite"
    return replace(verdict, name=f"{name}: {verdict.name}", diagnosis=text)
