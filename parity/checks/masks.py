"""The check of what a Dropout draws."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from parity.checks.trial import NO_SCALE, Trial, fact
from parity.judge.comparison import EDGE, Comparison


def rate(trial: Trial) -> list[Comparison]:
    """Dropout's factors are 0 or 1 / (1 - p) to the last bit; 0 at the rate p, each by itself.

    Counts are held to five standard deviations of the binomial distribution: of the zeros, and
    of those that follow a zero, along either axis and from one pass to the next.
    """
    layer = trial.layer({})
    p, size = trial.case.options["p"], 1000
    layer.seed(trial.seed)
    rows = 1 if trial.case.single else size
    ones = torch.ones(rows, size * size // rows, dtype=trial.dtype)
    factors = layer.forward(ones)
    keep = torch.tensor(1, dtype=trial.dtype) / torch.tensor(1 - p, dtype=trial.dtype)
    if p == 1 and bool(factors.isnan().any()):
        return [fact("output", False, "is NaN", NO_SCALE, EDGE)]
    exact = bool(((factors == 0) | (factors == keep)).all())
    zero, again = factors == 0, layer.forward(ones) == 0
    counts = {
        "zeros": (zero, p),
        "zeros side by side": (zero[:, 1:] & zero[:, :-1], p * p),
        "zeros in two passes": (zero & again, p * p),
    }
    if rows > 1:
        counts["zeros one below the other"] = (zero[1:] & zero[:-1], p * p)
    verdicts = [fact("factors", exact, f"are not all 0 or 1 / (1 - p) = {float(keep):g}")]
    if 0 < p < 1 and (text := _dependent(zero, again)):
        return [*verdicts, fact("zeros", False, "depend on each other", text)]
    if 0 < p < 1 and (text := _of_output(layer, trial)):
        return [*verdicts, fact("input_grad", False, "is 0 wherever the input is", text)]
    for name, (hits, share) in counts.items():
        count, trials = int(hits.sum()), hits.numel()
        # Neighbouring pairs overlap, which at most triples the variance of their count.
        overlap = 1 if name == "zeros" else 3
        spread = math.sqrt(overlap * trials * share * (1 - share))
        near = abs(count - trials * share) <= 5 * spread
        text = f"are {count / trials:.4f} of all, where p makes {share:g}"
        verdicts.append(fact(name, near, text, _rate(count / trials, p, name)))
        if not near:  # and what follows from it
            break
    return verdicts


def _of_output(layer: Any, trial: Trial) -> str:
    """What a backward does wrong that takes the mask to be where the output is not 0."""
    zeros = torch.zeros(1 if trial.case.single else 20, 50, dtype=trial.dtype)
    layer.forward(zeros)
    refused, dx = layer.attempt("backward", torch.ones_like(zeros))
    if refused or bool(dx.any()):
        return ""
    return (
        "Dropout passes no gradient on where the input is 0: its mask is no function of the input"
    )


def _dependent(zero: Tensor, again: Tensor) -> str:
    """What two masks have that drop more than one entry by one chance, `[B, features]`."""
    for axis, name in enumerate(("columns", "rows")):
        if zero.shape[axis] > 1 and bool((zero.any(axis) == zero.all(axis)).all()):
            return f"Dropout drops whole {name}, where each entry has a chance of its own"
    return "Dropout has the same mask in every pass" if zero.equal(again) else ""


def _rate(found: float, p: float, name: str) -> str:
    swapped = name == "zeros" and abs(found - (1 - p)) < 0.005 < abs(1 - 2 * p)
    return f"Dropout drops with probability 1 - p = {1 - p:g} instead of p" if swapped else ""
