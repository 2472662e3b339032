"""Checks of layers in the course of their life: several passes, or several of a class."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from parity.catalogue.values import Tensors
from parity.checks.passes import another, of_pass, passed, rows_of
from parity.checks.trial import Trial, beside, fact, in_double, weights
from parity.explain.diagnosis import judge
from parity.explain.mistakes import Mistake
from parity.explain.statistics import of_statistics
from parity.judge import evaluate
from parity.judge.comparison import Comparison, compare
from parity.judge.evaluate import Over, alone
from parity.judge.truth import truth
from parity.play.broken import Unoffered


def instances(trial: Trial) -> list[Comparison]:
    """Two of a class, their passes interleaved: neither knows of the other. Two Dropouts drop
    each by itself."""
    first = trial.inputs()
    second = first | {"x": another(first["x"]), "dy": first["dy"] / 2}
    both = []
    for number, inputs in enumerate((first, second)):
        layer = trial.session.new(trial.case, trial.dtype, trial.device, trial.seed + number)
        layer.set_parameters(weights(inputs))
        if trial.case.entry.several:
            layer.set_beside(*beside(inputs))
        layer.zero_grad()
        both.append(layer)
    outputs = [one.forward(i["x"]) for one, i in zip(both, (first, second), strict=True)]
    verdicts = []
    name = trial.case.entry.name
    text = f"of two {name}s that are alive at once, the two share what forward keeps"
    gradients = [one.backward(i["dy"]) for one, i in zip(both, (first, second), strict=True)]
    for number, inputs in enumerate((first, second)):
        results = of_pass(outputs[number], gradients[number], both[number].results())
        for verdict in trial.judge_layer(inputs, results):
            whose = "first" if number == 0 else "second"
            verdict = replace(verdict, name=f"{whose}: {verdict.name}")
            if not verdict.passed and not verdict.reason:
                verdict = replace(verdict, diagnosis=text, named=True)
            verdicts.append(verdict)
    module = trial.case.module()
    if isinstance(module, nn.Dropout) and 0 < module.p < 1:
        ones = torch.ones(1 if trial.case.single else 64, 64, dtype=trial.dtype)
        masks = [one.forward(ones) == 0 for one in both]
        text = "two Dropouts have the same masks: they draw from one seed"
        verdicts.append(fact("masks", not torch.equal(*masks), "are the same", text))
    return verdicts


def tied(trial: Trial) -> list[Comparison]:
    """Two layers that share their parameters: the gradients of both add up."""
    inputs = trial.inputs()
    other = inputs | {"x": another(inputs["x"]), "dy": inputs["dy"] / 2}
    layer = trial.layer(inputs)
    results = layer.tied([(one["x"], one["dy"]) for one in (inputs, other)])

    def both(given: Tensors, over: Over = alone) -> Tensors:
        one_of = evaluate.layer(trial.case.module())
        flipped = over(another)
        one = one_of(given, over)
        two = one_of(given | {"x": flipped(given["x"]), "dy": given["dy"] / 2}, over)
        return {n: one[n] + two[n] for n in one if n.endswith("param_grad")}

    right = truth(both, inputs)
    name = trial.case.entry.name
    text = f"two {name}s share a parameter, and its gradient is that of one of them alone"
    verdicts = compare(results, right)
    return [v if v.passed else replace(v, diagnosis=text, named=True) for v in verdicts]


def accumulation(trial: Trial) -> list[Comparison]:
    """Gradients of two backwards add up, or the second replaces the first, as declared; and
    `zero_grad` starts anew."""
    first = trial.inputs()
    second = first | {"x": another(first["x"]), "dy": first["dy"] * 2}
    one_of = evaluate.layer(trial.case.module())
    accumulates = trial.case.accumulates

    def both(inputs: Tensors, over: Over = alone) -> Tensors:
        one = one_of(inputs, over)
        two = one_of(inputs | {"x": over(another)(inputs["x"]), "dy": inputs["dy"] * 2}, over)
        names = [name for name in one if name.endswith("param_grad")]
        return {name: one[name] + two[name] if accumulates else two[name] for name in names}

    layer = trial.layer(first)
    passed(layer, first)
    layer.forward(second["x"])
    layer.backward(second["dy"])
    right = truth(both, first)
    first_alone = one_of(in_double(first))
    wrongs = {
        name: [
            Mistake(
                "overwritten" if accumulates else "accumulated",
                "is that of the last backward alone, where gradients are declared to accumulate"
                if accumulates
                else "is the sum of both backwards, where gradients are declared overwritten",
                value - first_alone[name] if accumulates else value + first_alone[name],
            )
        ]
        for name, value in right.oracle.items()
    }
    verdicts = judge(layer.gradients(), right, wrongs, label=trial.case.entry.name)
    if accumulates:
        layer.zero_grad()
        verdicts += [
            fact(
                f"{name} after zero_grad",
                not bool(gradient.any()),
                "it is not zero",
                f"{trial.case.entry.name}'s zero_grad does not set "
                f"{name.removesuffix('.param_grad')}'s gradient to zero",
            )
            for name, gradient in layer.gradients().items()
        ]
    return verdicts


def repeated(trial: Trial) -> list[Comparison]:
    """A batch leaves nothing of itself: another after it is right, or a longer one, and itself once
    more; and so it is once the parameters are others."""
    inputs = trial.inputs()
    layer = trial.layer(inputs)
    one = rows_of(inputs, slice(1)) | {
        "x": another(inputs["x"])[-1:],
        "dy": inputs["dy"][:1] / 2,
    }
    other = {"x": another(inputs["x"]), "dy": inputs["dy"] / 2}
    verdicts = []
    batches = {"": inputs, "one sample": one, "another": other, "again": inputs}
    if not trial.takes(*one["x"].shape):
        del batches["one sample"]
    if trial.case.entry.sequence and inputs["x"].dim() == 3:
        steps = [n for n in ("x", "dy") if inputs[n].dim() == 3]  # dy may be of the last alone
        longer = {n: torch.cat([inputs[n], inputs[n][:, :2] / 2], 1) for n in steps}
        batches = {"": inputs, "a longer sequence": longer} | batches
    for name, batch in batches.items():
        results = passed(layer, inputs | batch, seed=trial.seed)
        if name:
            judged = trial.judge_layer(inputs | batch, results)
            verdicts += [replace(v, name=f"{name}: {v.name}") for v in judged]
    if own := weights(inputs):
        moved = inputs | {name: value / 2 for name, value in own.items()}
        layer.set_parameters(weights(moved))
        judged = trial.judge_layer(moved, passed(layer, moved, seed=trial.seed))
        if any(not v.passed for v in judged) and all(v.passed for v in verdicts):
            text = (
                f"{trial.case.entry.name} goes by its parameters as they were before they changed"
            )
            judged = [v if v.passed else replace(v, diagnosis=text, named=True) for v in judged]
        verdicts += [replace(v, name=f"other parameters: {v.name}") for v in judged]
    return verdicts


def second_backward(trial: Trial) -> list[Comparison]:
    """A second backward after one forward gives what the first gave, or is refused."""
    inputs = trial.inputs()
    layer = trial.layer(inputs)
    results = passed(layer, inputs, seed=trial.seed)
    layer.zero_grad()
    refused, dx = layer.attempt("backward", inputs["dy"])
    if refused:
        return [fact("second backward", True, "")]
    verdicts = trial.judge_layer(inputs, of_pass(results["output"], dx, layer.results()))
    if all(verdict.passed for verdict in verdicts):
        return verdicts
    layer = trial.layer(inputs)
    passed(layer, inputs, seed=trial.seed)
    refused, dx = layer.attempt("backward", inputs["dy"])
    ending = "output" if dx is None else "input_grad"
    first = of_pass(results["output"], dx, {})
    if refused or not trial.judge_layer(inputs, first, ending=ending)[0].passed:
        return verdicts
    text = f"{trial.case.entry.name}'s backward is wrong after zero_grad, which drops what it needs"
    return [v if v.passed else replace(v, diagnosis=text, named=True) for v in verdicts]


BATCHES = 3
"""How many batches go before an evaluation."""


def statistics(trial: Trial) -> list[Comparison]:
    """In evaluation after three batches in training: what is kept of them is torch's."""
    inputs = trial.inputs()
    generator = trial.generator()
    x = inputs["x"]
    for batch in range(1, BATCHES + 1):
        inputs[f"x {batch}"] = batch * trial.x(*x.shape, generator=generator) + batch
    layer = trial.layer(inputs)
    for batch in range(1, BATCHES + 1):
        layer.forward(inputs[f"x {batch}"])
    if without := layer.train(False):
        raise Unoffered(without)
    layer.zero_grad()
    results = {"output": layer.forward(x)}
    refused, dx = layer.attempt("backward", inputs["dy"])  # nobody has to train in evaluation
    if not refused:
        results = of_pass(results["output"], dx, layer.gradients())
    module = trial.case.module()
    right = truth(evaluate.statistics(module, BATCHES, trial.case.biased), inputs)
    given = in_double(inputs)
    known = of_statistics(module, given, right.oracle, BATCHES, trial.case.biased)
    if refused:
        right = right.only(["output"])
    return judge(results, right, known, label=trial.case.entry.name, strict=False, inputs=inputs)


def moving(trial: Trial) -> list[Comparison]:
    """A backward that moves the parameters passes on what they were, and moves them by the rate
    times their gradients."""
    inputs, rate_ = trial.inputs(), 0.5
    layer = trial.layer(inputs)
    layer.forward(inputs["x"])
    results = {"input_grad": layer.backward_at(inputs["dy"], rate_), **layer.parameters()}
    one_of = evaluate.layer(trial.case.module())

    def moved(given: Tensors, over: Over = alone) -> Tensors:
        passed_on = one_of(given, over)
        steps = {n: given[n] - rate_ * passed_on[f"{n}.param_grad"] for n in weights(given)}
        return {"input_grad": passed_on["input_grad"], **steps}

    verdicts = compare(results, truth(moved, inputs))
    name = trial.case.entry.name
    texts = {"input_grad": "input gradient is by parameters that have moved already"}
    return [
        v
        if v.passed
        else replace(v, diagnosis=f"{name} {texts.get(v.name, 'moves wrongly')}", named=True)
        for v in verdicts
    ]
