"""Checks of layers: one forward and backward, modes, batches; and the list of all."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from parity.checks import domain, life, masks, memory
from parity.checks.passes import of_pass, one_pass, outputs, passed, rows_of, taken
from parity.checks.trial import Trial, beside, fact, weights
from parity.explain import normalization
from parity.judge.comparison import EDGE, Comparison
from parity.judge.differences import compare_with_differences
from parity.judge.truth import HALF
from parity.play.broken import Unoffered


def _ending(ending: str, doc: str) -> Callable[[Trial], list[Comparison]]:
    def check(trial: Trial) -> list[Comparison]:
        # Half precision sees coarse mistakes alone; the fine ones are for float32 and float64.
        return one_pass(trial, deep=trial.dtype not in HALF, ending=ending)

    check.__doc__ = doc
    return check


def eval_mode(trial: Trial) -> list[Comparison]:
    """In evaluation mode as torch in evaluation mode; training mode leads back, and leaves nothing
    behind it that a backward in evaluation goes by."""
    inputs = trial.inputs()
    layer = trial.layer(inputs)
    drops = isinstance(trial.case.module(), nn.Dropout)
    without = layer.train(False)
    if without and _keeps(trial.case.module()):
        raise Unoffered(without)
    if without and drops:
        text = f"Dropout has no evaluation mode: {without}"
        return [fact("evaluation mode", False, without, text)]
    layer.zero_grad()
    layer.seed(trial.seed)
    results = outputs(trial, layer, inputs["x"])
    refused, dx = layer.attempt("backward", inputs["dy"])  # nobody has to train in evaluation
    if not refused:
        results = of_pass(results["output"], dx, layer.results())
    verdicts = trial.judge_layer(
        inputs, results, training=False, ending="output" if refused else ""
    )
    if drops:
        layer.train(True)
        again = passed(layer, inputs, seed=trial.seed)
        verdicts += trial.judge_layer(inputs, again, training=True)
        layer.train(False)
        results = outputs(trial, layer, inputs["x"])
        refused, dx = layer.attempt("backward", inputs["dy"])
        if not refused and all(verdict.passed for verdict in verdicts):
            results = of_pass(results["output"], dx, layer.results())
            text = "Dropout's backward in evaluation drops what the last pass in training dropped"
            verdicts += [
                v if v.passed or v.name == "output"
                else replace(v, diagnosis=text, named=True, severity=EDGE)
                for v in trial.judge_layer(inputs, results, training=False)
            ]  # fmt: skip
    return verdicts


def batch_of_one(trial: Trial) -> list[Comparison]:
    """A single sample: as every other."""
    if not trial.takes(1, *trial.case.shape[1:]):
        raise Unoffered("torch itself takes no batch of one sample")
    return one_pass(trial, rows=1)


def empty_batch(trial: Trial) -> list[Comparison]:
    """No samples: empty results of the right shape, and gradients of zero; or they are refused."""
    inputs = trial.inputs(0)
    if trial.layer(inputs).attempt("forward", inputs["x"])[0]:
        taken(trial)
        raise Unoffered("it refuses an empty batch")
    return one_pass(trial, rows=0)


def samples(trial: Trial) -> list[Comparison]:
    """The samples of a batch one by one: outputs and input gradients are the batch's rows, and
    parameter gradients add up to the batch's."""
    inputs = trial.inputs()
    layer = trial.layer(inputs)
    whole: dict[str, list[Tensor]] = {}
    for row in range(len(inputs["x"])):
        one = rows_of(inputs, slice(row, row + 1))
        for name, value in passed(layer, one, seed=trial.seed).items():
            whole.setdefault(name, []).append(value)
    results = {
        name: torch.stack(parts).sum(0) if name.endswith("param_grad") else torch.cat(parts)
        for name, parts in whole.items()
    }
    return trial.judge_layer(inputs, results)


def differences(trial: Trial) -> list[Comparison]:
    """Every gradient is the derivative of the layer's own forward, by finite differences."""
    inputs = trial.inputs()
    layer = trial.layer(inputs)
    results = passed(layer, inputs, seed=trial.seed)
    others, gradients = beside(inputs)

    def value(x: Tensor) -> Tensor:
        layer.seed(trial.seed)
        given = outputs(trial, layer, x)
        weighed = [given["output"] * inputs["dy"]]
        weighed += [given[f"{name}.output"] * dy for name, dy in gradients.items()]
        return torch.stack([one.sum() for one in weighed]).sum()

    verdicts = []
    if inputs["x"].is_floating_point():
        dx = results.get("input_grad")
        verdicts.append(compare_with_differences("input_grad", value, inputs["x"], dx))
    for name, other in others.items():
        if not other.is_floating_point():
            continue

        def value_beside(other: Tensor, name: str = name) -> Tensor:
            layer.set_beside(others | {name: other}, gradients)
            return value(inputs["x"])

        gradient = results.get(f"{name}.input_grad")
        verdicts.append(
            compare_with_differences(f"{name}.input_grad", value_beside, other, gradient)
        )
        layer.set_beside(others, gradients)
    for name, parameter in weights(inputs).items():

        def value_at(p: Tensor, name: str = name) -> Tensor:
            layer.set_parameters(weights(inputs) | {name: p})
            return value(inputs["x"])

        gradient = results.get(f"{name}.param_grad")
        name = f"{name}.param_grad"
        verdicts.append(compare_with_differences(name, value_at, parameter, gradient))
        layer.set_parameters(weights(inputs))
    return verdicts


CHECKS: dict[str, Callable[[Trial], list[Comparison]]] = {
    "forward": _ending("output", "The output."),
    "input_grad": _ending("input_grad", "The gradient with respect to the input."),
    "param_grad": _ending("param_grad", "The gradients with respect to the parameters."),
    "eval_mode": eval_mode,
    "noncontiguous": memory.noncontiguous,
    "sizes": domain.sizes,
    "rank": domain.rank,
    "instances": life.instances,
    "tied": life.tied,
    "moving": life.moving,
    "batch_of_one": batch_of_one,
    "empty_batch": empty_batch,
    "samples": samples,
    "accumulation": life.accumulation,
    "no_mutation": memory.no_mutation,
    "aliasing": memory.aliasing,
    "repeated": life.repeated,
    "second_backward": life.second_backward,
    "uninitialised": memory.uninitialised,
    "kink": domain.kink,
    "nan": domain.nan,
    "magnitudes": domain.magnitudes,
    "extremes": domain.extremes,
    "ranges": domain.ranges,
    "statistics": life.statistics,
    "differences": differences,
    "rate": masks.rate,
}


def _keeps(module: nn.Module) -> bool:
    """Whether it keeps statistics of its batches."""
    return any(name in module.state_dict() for name, _ in module.named_buffers())


OF_PARAMETERS = ("param_grad", "accumulation")


LONG = "long"
"""A variant that shows what many places do to a sequence: its values alone are checked, twice."""
OF_VALUES = ("forward", "input_grad", "param_grad", "repeated")


OF_NUMBERS = ("input_grad", "kink", "nan", "magnitudes", "extremes")
"""The checks of an input of real numbers."""


@dataclass(frozen=True)
class _Seen:
    """What decides which checks there are of a layer.

    Args:
        drops: whether it is a Dropout; `norm`, a norm over the batch.
        keeps: whether it keeps statistics; `learns`, whether it has parameters.
    """

    drops: bool
    norm: bool
    keeps: bool
    learns: bool


@functools.lru_cache(maxsize=4096)
def _seen(case: Any) -> _Seen:
    """Looked up once for a case: to make its module takes longer than to decide."""
    module = case.module()
    norm = isinstance(module, normalization.BATCH_NORMS)
    learns = any(True for _ in module.parameters())
    return _Seen(isinstance(module, nn.Dropout), norm, _keeps(module), learns)


def applies(case: Any, name: str, dtype: torch.dtype) -> bool:
    """Whether a check says anything of a layer: of its gradients, if it has parameters."""
    if case.variant == LONG and name not in OF_VALUES:
        return False
    of = _seen(case)
    drops = of.drops
    if name == "differences":  # at padding_idx torch's gradient is none, at a threshold y jumps
        return dtype == torch.float64 and not case.options.keys() & {"padding_idx", "threshold"}
    norm = of.norm and name == "param_grad"
    if dtype in HALF and (norm or (case.entry.chained and name.endswith("_grad"))):
        return False  # rounding leaves too little for a pass to mean anything
    if name == "ranges":
        return bool(case.entry.ranges)
    if name == "statistics":
        return of.keeps
    if case.indexed and name in OF_NUMBERS:
        return False
    if name == "rate":
        return drops
    if name == "nan":
        return not drops  # what it drops is 0, or NaN
    if name == "magnitudes":
        return len(case.shape) == 2 and not (drops or case.mixes or case.single) and not of.learns
    if case.entry.several and name in ("rank", "tied", "moving"):
        return False
    if name == "tied":
        return bool(case.objects) and of.learns
    if name == "moving":
        return bool(case.moves)
    if name == "rank":
        return not (case.mixes or case.single or drops) and len(case.shape) == 2
    if name in OF_PARAMETERS:
        return of.learns
    if name == "samples":
        return not (case.mixes or case.single or drops)
    # One sample at a time: it has no batches, and its bias gradient may well be dy itself.
    return not (case.single and name in ("empty_batch", "batch_of_one", "aliasing", "sizes"))
