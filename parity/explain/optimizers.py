"""What people get wrong in optimizers, as the steps that they would take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from parity.catalogue.case import Case
from parity.catalogue.values import Tensors
from parity.explain.diagnosis import EQUAL, alike
from parity.judge import evaluate
from parity.judge.comparison import Comparison, compare_one
from parity.judge.truth import Truth

ASCENDS = "goes up the gradient: the sign of the step is wrong"
State = dict[str, Tensor]
Rule = Callable[[Tensor, Tensor, State, int], Tensor]  # p, g, state, t: the next p


@dataclass(frozen=True)
class Trajectory:
    """A wrong optimizer's steps: what to say of it, and where it leads."""

    name: str
    sentence: str
    results: Tensors


def simulated(case: Case, inputs: Tensors, steps: int) -> list[Trajectory]:
    """Where each known mistake leads, on the gradients in `inputs`, in float64."""
    found = []
    for name, sentence, options in _ignoring(case):
        make = _maker(case, options)
        results = evaluate.optimizer(make, steps)(inputs)
        found.append(Trajectory(name, sentence, results))
    for name, sentence, rule in _rules(case):
        found.append(Trajectory(name, sentence, _steps(rule, inputs, steps)))
    return found


def explain(
    got: Tensors, right: Tensors, known: Sequence[Trajectory], inputs: Tensors, case: Case
) -> str:
    """What a wrong trajectory is, to follow the optimizer's name; empty if nothing fits."""
    if all(bool((value == inputs[_of(name)].to(value)).all()) for name, value in got.items()):
        return "leaves the parameters as they are"
    told = {
        one.sentence
        for one in known
        if all(_near(got[name], one.results[name], inputs[_of(name)]) for name in got)
        and not all(_near(one.results[name], right[name], inputs[_of(name)]) for name in got)
        and _accounts(got, one.results, right)
    }
    if len(told) == 1:
        return told.pop()
    first = [name for name in got if name.startswith("step 1:")]
    moved = torch.cat([(got[n].double() - inputs[_of(n)].double()).flatten() for n in first])
    due = torch.cat([(right[n] - inputs[_of(n)].double()).flatten() for n in first])
    ratio = float((moved * due).sum() / (due * due).sum())
    if not told and alike(moved, ratio * due, 1e-3) and abs(ratio - 1) > 1e-3:
        return f"takes a first step that is {ratio:.3g} times the right one"
    return ""


def certified(
    verdicts: list[Comparison], truth: Truth, known: Sequence[Trajectory]
) -> list[Comparison]:
    """The verdicts of one step with the distance of the nearest mistake: the farthest that any
    of the parameters shows, since one of them is enough to notice."""
    for one in known:
        seen = {
            v.name: compare_one(
                v.name, one.results[v.name].to(truth.reference[v.name]), truth
            ).ratio
            for v in verdicts
        }
        distance = max(seen.values(), default=0.0)
        if distance <= 1:
            verdicts = [replace(v, blind=(*v.blind, one.name)) for v in verdicts]
            continue
        verdicts = [
            replace(v, distance=distance, nearest=one.name) if distance < v.distance else v
            for v in verdicts
        ]
    return verdicts


def _of(result: str) -> str:
    return result.split(": ")[1]


def _near(x: Tensor, y: Tensor, start: Tensor) -> bool:
    """Whether two positions are the same, by the way from where they started."""
    tolerance = max(10 * EQUAL, 64 * torch.finfo(x.dtype).eps)
    scale = float((y.double() - start.double()).abs().max())
    return bool(((x.double() - y.double()).abs() <= tolerance * max(scale, 1e-300)).all())


def _accounts(got: Tensors, known: Tensors, right: Tensors) -> bool:
    """Whether a mistake makes all of the difference to what is right, and not most of it."""
    left = max(float((got[n].double() - known[n].double()).abs().max()) for n in got)
    made = max(float((known[n].double() - right[n].double()).abs().max()) for n in got)
    size = max(float(known[n].abs().max()) for n in got)
    eps = max(torch.finfo(got[n].dtype).eps for n in got)
    return left <= max(0.02 * made, 8 * eps * size)


def _maker(case: Case, options: dict[str, Any]) -> Callable[[list[Tensor]], Any]:
    return lambda parameters: case.entry.reference(parameters, **options)


def _ignoring(case: Case) -> list[tuple[str, str, dict[str, Any]]]:
    """Each option that is not torch's default, taken to be the default."""
    found = []
    defaults = case.entry.defaults()
    for option, value in case.options.items():
        default = defaults.get(option)
        if option == "lr" or value == default:
            continue
        options = case.options | {option: default}
        if option == "momentum":  # without which there are none of these
            options |= {name: 0 for name in ("nesterov", "dampening") if name in options}
        sentence = f"ignores {option}={value}"
        found.append((f"no {option}", sentence, options))
    return found


def _rules(case: Case) -> list[tuple[str, str, Rule]]:
    options = case.options
    if options.get("amsgrad"):
        return []
    if case.entry.name == "SGD":
        return _of_sgd(options)
    if case.entry.name in ("Adam", "AdamW"):
        return _of_adam(options, coupled=case.entry.name == "Adam")
    return []


def _of_sgd(o: dict[str, Any]) -> list[tuple[str, str, Rule]]:
    sign = -1.0 if o["maximize"] else 1.0

    def sgd(*, late: bool = False, damp_first: bool = False, ascend: bool = False) -> Rule:
        def rule(p: Tensor, g: Tensor, state: State, t: int) -> Tensor:
            g = sign * g if late else sign * g + o["weight_decay"] * p
            if o["momentum"]:
                first = "b" not in state
                share = 1 - o["dampening"] if damp_first or not first else 1.0
                state["b"] = share * g if first else o["momentum"] * state["b"] + share * g
                g = g + o["momentum"] * state["b"] if o["nesterov"] else state["b"]
            step = g + o["weight_decay"] * p if late else g
            return p + o["lr"] * step if ascend else p - o["lr"] * step

        return rule

    found = []
    if not o["maximize"]:
        found.append(("ascends", ASCENDS, sgd(ascend=True)))
    if o["weight_decay"] and o["momentum"]:
        text = "decouples the weight decay: it enters after the momentum, not into the gradient"
        found.append(("decoupled decay", text, sgd(late=True)))
    if o["momentum"] and o["dampening"]:
        text = "dampens the first step too; torch starts the momentum at the gradient itself"
        found.append(("dampened start", text, sgd(damp_first=True)))
    return found


def _of_adam(o: dict[str, Any], *, coupled: bool) -> list[tuple[str, str, Rule]]:
    (beta1, beta2), lr, eps, decay = o["betas"], o["lr"], o["eps"], o["weight_decay"]
    sign = -1.0 if o["maximize"] else 1.0

    def adam(
        *,
        time: Callable[[int], int] = lambda t: t,
        corrected: bool = True,
        couple: bool = coupled,
        inside: bool = False,
        whole: bool = False,
        square: bool = True,
        ascend: bool = False,
        bare_eps: bool = False,
    ) -> Rule:
        def rule(p: Tensor, g: Tensor, state: State, t: int) -> Tensor:
            g = sign * g
            if couple:
                g = g + decay * p
            else:
                p = p * (1 - lr * decay)
            m = state["m"] = beta1 * state.get("m", 0 * p) + (1 - beta1) * g
            power = (g * g).sum().expand_as(g) if whole else g * g if square else g.abs()
            v = state["v"] = beta2 * state.get("v", 0 * p) + (1 - beta2) * power
            c1 = 1 - beta1 ** time(t) if corrected else 1.0
            c2 = 1 - beta2 ** time(t) if corrected else 1.0
            if bare_eps:
                divisor = (v.sqrt() + eps) / c2**0.5
            else:
                divisor = (v / c2 + eps).sqrt() if inside else (v / c2).sqrt() + eps
            step = lr * (m / c1) / divisor
            return p + step if ascend else p - step

        return rule

    found = [] if o["maximize"] else [("ascends", ASCENDS, adam(ascend=True))]
    found += [
        ("no t", "divides by 1 - beta at every step, not by 1 - beta^t: the bias correction "
         "does not know the step", adam(time=lambda t: 1)),
        ("no correction", "has no bias correction", adam(corrected=False)),
        ("late t", "corrects the bias by the number of the step before",
         adam(time=lambda t: max(t - 1, 1))),
        ("whole", "keeps one second moment for a whole tensor: the square of the gradient's norm",
         adam(whole=True)),
        ("not squared", "has the size of the gradient as second moment, not its square",
         adam(square=False)),
        ("eps inside", "adds eps inside the square root", adam(inside=True)),
        ("eps uncorrected", "adds eps before the bias correction, not after it",
         adam(bare_eps=True)),
    ]  # fmt: skip
    if decay:
        text = "decouples the weight decay, as AdamW does" if coupled else (
            "couples the weight decay into the gradient, as Adam does"
        )  # fmt: skip
        found.append(("decay", text, adam(couple=not coupled)))
    return found


def _steps(rule: Rule, inputs: Tensors, steps: int) -> Tensors:
    results = {}
    for name in [name for name in inputs if ":" not in name]:
        p = inputs[name].clone()
        state: State = {}
        for step in range(1, steps + 1):
            p = rule(p, inputs[f"step {step}: {name}"], state, step)
            results[f"step {step}: {name}"] = p
    return results
