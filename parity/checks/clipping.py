"""Checks of gradient clipping: what becomes of gradients above the limit and below it, and what is
returned. The gradients are the judge's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from parity.catalogue.values import Tensors, normal
from parity.checks.optimizers import SIZES
from parity.checks.trial import Trial, equal, in_double
from parity.explain import clipping as mistakes
from parity.explain.diagnosis import judge
from parity.explain.mistakes import simple
from parity.judge import evaluate
from parity.judge.comparison import EDGE, Comparison, compare
from parity.judge.truth import Truth, truth
from parity.play.broken import Unoffered

SHAPES = {"0.weight": (3, 4), "0.bias": (3,), "1.weight": (2, 3), "1.bias": (2,)}
NORM = "norm"

Shapes = Mapping[str, tuple[int, ...]]


def _drawn(trial: Trial, shapes: Shapes = SHAPES) -> Tensors:
    """Random gradients, the last tensor's small: by itself it is below every limit."""
    generator = trial.generator()
    return {
        name: (0.01 if name == "1.bias" else 1.0)
        * normal(*shape, generator=generator, dtype=trial.dtype)
        for name, shape in shapes.items()
    }


def _of_norm(trial: Trial, gradients: Tensors, times: float) -> Tensors:
    """The gradients scaled to so many times the limit."""
    options = trial.case.options
    most = options["max_norm" if "max_norm" in options else "clip_value"]
    kind = options.get("norm_type", 2.0 if "max_norm" in options else torch.inf)
    whole = torch.cat([g.double().flatten() for g in gradients.values()])
    scale = times * most / torch.linalg.vector_norm(whole, kind)
    return {name: (g.double() * scale).to(trial.dtype) for name, g in gradients.items()}


def _played(trial: Trial, gradients: Tensors) -> tuple[Tensors, Tensors, Tensors, Any]:
    """The gradients as they were handed over, as they are then, the parameters, and what was
    returned."""
    values = {name: torch.ones_like(g) for name, g in gradients.items()}
    before, after, parameters, returned = trial.build().clip(values, gradients)
    return before, {f"step 1: {name}": g for name, g in after.items()}, parameters, returned


def _truth(trial: Trial, gradients: Tensors) -> Truth:
    clip = partial(trial.case.entry.reference, **trial.case.options)
    return truth(evaluate.clipping(clip), gradients, pure=True)


def _judged(trial: Trial, gradients: Tensors) -> list[Comparison]:
    given, results, _, _ = _played(trial, gradients)
    right = _truth(trial, given)
    right = right.only(name for name in right.oracle if name != NORM)
    verdicts, name = compare(results, right), trial.case.entry.name
    if all(verdict.passed for verdict in verdicts) or set(results) != set(right.oracle):
        return verdicts
    own = {place.removeprefix("step 1: "): g for place, g in results.items()}
    due = {place.removeprefix("step 1: "): g for place, g in right.oracle.items()}
    said = mistakes.explain(trial.case, own, due, in_double(given))
    wrong = next(place for place, one in enumerate(verdicts) if not one.passed)
    verdicts[wrong] = replace(
        verdicts[wrong],
        diagnosis=f"{name} {said.text}" if said.text else "",
        named=said.named,
        candidates=tuple((f"{name} {text}", severity) for text, severity in said.candidates),
    )
    return [v if v.passed else replace(v, severity=said.severity) for v in verdicts]


def above(trial: Trial) -> list[Comparison]:
    """Gradients whose norm, or whose entries, are above the limit, by far and by a little: of no
    tensor by itself then."""
    gradients = _drawn(trial)
    return [one for times in (7, 1.2) for one in
            _judged(trial, _of_norm(trial, gradients, times))]  # fmt: skip


def below(trial: Trial) -> list[Comparison]:
    """Gradients below the limit stay as they are."""
    return _judged(trial, _of_norm(trial, _drawn(trial), 0.5))


def sizes(trial: Trial) -> list[Comparison]:
    """Many tensors: some of one shape, one of 1,025 entries, one of one."""
    shapes = {name: shape for name, shape in SIZES.items() if name != "empty"}
    return _judged(trial, _drawn(trial, shapes))


def zero(trial: Trial) -> list[Comparison]:
    """Gradients that are all zero stay zero."""
    return _judged(trial, {name: 0 * g for name, g in _drawn(trial).items()})


def nan(trial: Trial) -> list[Comparison]:
    """An infinite gradient, or one that is not a number: as torch's."""
    gradients, verdicts, name = _drawn(trial), [], trial.case.entry.name
    for odd in (torch.inf, torch.nan):
        gradients["0.bias"][0] = odd
        verdicts += _judged(trial, gradients)
    text = f"{name} does with a gradient that is NaN or infinite what torch does not"
    return [v if v.passed else replace(v, diagnosis=text, named=True, severity=EDGE)
            for v in verdicts]  # fmt: skip


def norm(trial: Trial) -> list[Comparison]:
    """What is returned: the norm of all gradients as they were."""
    verdicts, case = [], trial.case
    for times in (7, 0.5):
        given, _, _, returned = _played(trial, _of_norm(trial, _drawn(trial), times))
        if returned is None:
            raise Unoffered("it returns no norm")
        right = _truth(trial, given).only([NORM])
        due = right.oracle[NORM]
        known = {NORM: [*simple(due), *mistakes.of_norm(case, due)]}
        results = {NORM: returned.to(trial.dtype).reshape(due.shape)}
        verdicts += judge(results, right, known, label=case.entry.name, strict=False)
    return verdicts


def no_mutation(trial: Trial) -> list[Comparison]:
    """The parameters stay as they are."""
    _, _, parameters, _ = _played(trial, _drawn(trial))
    return [equal(f"{name} untouched", p, torch.ones_like(p)) for name, p in parameters.items()]


CHECKS: dict[str, Callable[[Trial], list[Comparison]]] = {
    "above": above, "below": below, "norm": norm, "sizes": sizes, "zero": zero, "nan": nan,
    "no_mutation": no_mutation,
}  # fmt: skip


def applies(case: Any, name: str, dtype: torch.dtype) -> bool:
    """Clipping by value has no norm."""
    return name != "norm" or "max_norm" in case.options
