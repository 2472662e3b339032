"""Checks of layers and their memory: how arrays lie, who writes into them, who shares them."""

from __future__ import annotations

from dataclasses import replace

import torch

from parity.checks.passes import LAID, laid, one_pass, passed, rows_of, written
from parity.checks.trial import Trial, equal, fact
from parity.judge.comparison import Comparison


def noncontiguous(trial: Trial) -> list[Comparison]:
    """x and dy lie in memory with gaps, transposed, or from the middle of something else: both of
    them, and each alone."""
    return [
        replace(verdict, name=f"{laid(lie, ('x', 'dy'))}: {verdict.name}")
        for lie in LAID
        for verdict in one_pass(trial, lie=lie)
    ]


def no_mutation(trial: Trial) -> list[Comparison]:
    """Neither x, nor dy, nor a parameter is modified, and backward leaves the output as it was: in
    training and in evaluation, however x and dy lie, also of one sample."""
    inputs = trial.inputs()
    layer = trial.layer(inputs)
    before, changed, reset = layer.parameters(), dict[str, None](), dict[str, None]()
    one = rows_of(inputs, slice(1))
    batches = [(inputs, ("", "")), (inputs, ("gaps", "gaps"))]
    batches += [(one, ("", ""))] * trial.takes(*one["x"].shape)
    for batch, lie in batches:
        passed(layer, batch, seed=trial.seed, lie=lie)
        changed |= dict.fromkeys(layer.modified())
        layer.zero_grad()
        reset |= dict.fromkeys(layer.modified())
    layer.train(False)
    layer.attempt("forward", inputs["x"])  # in evaluation it may refuse the one or the other
    layer.attempt("backward", inputs["dy"])
    changed |= dict.fromkeys(layer.modified())
    watched = ("x", *trial.case.beside, "dy", "output", *(() if trial.case.indexed else GRADIENT))
    verdicts = [written(name, trial.case.entry.name, name not in changed) for name in watched]
    verdicts += [written(name, f"the zero_grad of {trial.case.entry.name}") for name in reset]
    after = layer.parameters()
    return verdicts + [equal(f"{name} untouched", after[name], before[name]) for name in before]


GRADIENT = ("input_grad",)


def aliasing(trial: Trial) -> list[Comparison]:
    """What is done to x, dy, the output or the input gradient after the pass reaches neither
    parameters nor gradients: they have memory of their own."""
    inputs = trial.inputs()
    layer = trial.layer(inputs)
    passed(layer, inputs, seed=trial.seed)
    kept = layer.parameters if layer.lazy() else lambda: layer.parameters() | layer.gradients()
    before = kept()
    layer.scribble()
    after = kept()
    shared = [
        fact(f"{name} is its own", bool(torch.equal(after[name], before[name])),
             "shares memory with an input or a result",
             f"{trial.case.entry.name}'s {name.replace('.param_grad', ' gradient')} shares memory "
             "with an input or a result")
        for name in before
    ]  # fmt: skip
    again = passed(layer, inputs, seed=trial.seed)
    return [*shared, *trial.judge_layer(inputs, again)]


def uninitialised(trial: Trial) -> list[Comparison]:
    """With all memory that nobody has written to full of NaN, and gradients as a new layer has
    them: the same results."""
    return one_pass(trial, poison=True)
