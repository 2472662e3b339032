"""What people get wrong in optimizers, as the steps that they would take."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from parity.catalogue.case import Case, made
from parity.catalogue.values import Tensors
from parity.explain import adaptive
from parity.explain.diagnosis import EQUAL, Explanation, alike
from parity.judge import evaluate
from parity.judge.comparison import CONVENTION, Comparison, compare_one
from parity.judge.truth import Truth

FINE = ("eps in the root", "eps uncorrected", "decay after", "eps", "another default")
"""Mistakes that make so little of a difference, at usual options, that they certify nothing."""

ASCENDS = "goes up the gradient: the sign of the step is wrong"
State = dict[str, Tensor]
Rule = Callable[[Tensor, Tensor, State, int], Tensor]  # p, g, state, t: the next p


@dataclass(frozen=True)
class Trajectory:
    """A wrong optimizer's steps: what to say of it, where it leads, and its class, if it is not
    simply wrong."""

    name: str
    sentence: str
    results: Tensors
    severity: str = ""


def simulated(case: Case, inputs: Tensors, steps: int) -> list[Trajectory]:
    """Where each known mistake leads, on the gradients in `inputs`, in float64."""
    found = []
    for name, sentence, options in _ignoring(case):
        make = _maker(case, options)
        results = evaluate.optimizer(make, steps)(inputs)
        found.append(Trajectory(name, sentence, results))
    for name, sentence, rule in _rules(case):
        severity = CONVENTION if name == "eps uncorrected" else ""
        found.append(Trajectory(name, sentence, _steps(rule, inputs, steps), severity))
    for sentence, options in _of_defaults(case):
        results = evaluate.optimizer(_maker(case, options), steps)(inputs)
        found.append(Trajectory("another default", sentence, results, CONVENTION))
    for sentence, rule in _of_eps(case):
        results = _steps(rule, inputs, steps)
        found.append(Trajectory("eps", sentence, results, CONVENTION))
    return found


def explain(
    got: Tensors, right: Tensors, known: Sequence[Trajectory], inputs: Tensors
) -> Explanation:
    """What a wrong trajectory is, to follow the optimizer's name; nothing if nothing fits."""
    if all(bool((value == inputs[_of(name)].to(value)).all()) for name, value in got.items()):
        return Explanation("leaves the parameters as they are", named=True)
    told = {
        one.sentence: one
        for one in known
        if all(_near(got[name], one.results[name], inputs[_of(name)]) for name in got)
        and _accounts(got, one.results, right)
    }
    if len(told) == 1:
        (one,) = told.values()
        return Explanation(one.sentence, named=True, severity=one.severity)
    if told:
        return Explanation()
    first = [name for name in got if name.startswith("step 1:")]
    moved = torch.cat([(got[n].double() - inputs[_of(n)].double()).flatten() for n in first])
    due = torch.cat([(right[n] - inputs[_of(n)].double()).flatten() for n in first])
    ratio = float((moved * due).sum() / (due * due).sum())
    if alike(moved, ratio * due, 1e-3) and abs(ratio - 1) > 1e-3:
        return Explanation(f"takes a first step that is {ratio:.3g} times the right one")
    return Explanation()


def described(
    wrong: Sequence[Comparison], names: Sequence[str], got: Tensors, inputs: Tensors
) -> str:
    """Where an optimizer is wrong that makes no known mistake, to follow its name: from which step
    on, and in which of these parameters; or which entries it leaves as they were."""
    first = wrong[0].name
    if _step(first) == 1 and got[first].shape == inputs[_of(first)].shape:
        still = (got[first] == inputs[_of(first)]).flatten()
        count, of = int(still.sum()), still.numel()
        if 0 < count < of and bool(still[of - count :].all()):
            return f"moves the first {of - count} of the {of} entries of {_of(first)} alone"
    step = min(_step(verdict.name) for verdict in wrong)
    hit = [_of(verdict.name) for verdict in wrong if _step(verdict.name) == step]
    alone = f", in {' and '.join(hit)} alone" if len(hit) < len(names) else ""
    if step == 1:
        return f"takes a wrong first step{alone}"
    right = "step 1 is" if step == 2 else f"steps 1 to {step - 1} are"
    return (
        f"is wrong from step {step} on{alone}, and {right} right: what it keeps from step to step "
        "is not as it should be"
    )


def certified(
    verdicts: list[Comparison], truth: Truth, known: Sequence[Trajectory]
) -> list[Comparison]:
    """The verdicts of one step with the distance of the nearest mistake: the farthest that any
    of the parameters shows, since one of them is enough to notice."""
    for one in known:
        if one.name in FINE:
            continue
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


def _step(result: str) -> int:
    return int(result.split(": ")[0].removeprefix("step "))


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
    return made > 400 * eps * size and left <= max(0.02 * made, 8 * eps * size)


def _maker(case: Case, options: dict[str, Any]) -> Callable[[list[Tensor]], Any]:
    return lambda parameters: made(case.entry, parameters, **options)


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
    return _rules_at(case.entry.name, case.entry.defaults() | case.options)


def _rules_at(kind: str, options: dict[str, Any]) -> list[tuple[str, str, Rule]]:
    match kind:
        case "SGD":
            return _of_sgd(options)
        case "Adam" | "AdamW" if options["amsgrad"]:
            return _of_amsgrad(options, coupled=kind == "Adam")
        case "Adam" | "AdamW":
            return _of_adam(options, coupled=kind == "Adam")
        case "RMSprop" if not options["centered"]:
            return _of_rmsprop(options)
        case "Adagrad":
            return _of_adagrad(options)
        case "Adadelta":
            return adaptive.of_adadelta(options)
        case "Adamax":
            return adaptive.of_adamax(options)
        case "NAdam":
            return adaptive.of_nadam(options)
        case "RAdam":
            return adaptive.of_radam(options)
    return []


_BETAS = ((0.9, 0.99), (0.9, 0.9), (0.9, 0.95), (0.5, 0.999), (0.95, 0.999))
OTHERS: dict[str, dict[str, tuple[Any, ...]]] = {
    "SGD": {"momentum": (0.5, 0.9, 0.95, 0.99)},
    "RMSprop": {"alpha": (0.9, 0.95, 0.999)},
    "Adadelta": {"rho": (0.95, 0.99)},
    **{name: {"betas": _BETAS} for name in ("Adam", "AdamW", "NAdam", "RAdam", "Adamax")},
}
"""What others have by default, where torch's default is another."""


def _of_defaults(case: Case) -> Iterator[tuple[str, dict[str, Any]]]:
    """An option at a value that is another's default, where torch's is asked for."""
    defaults = case.entry.defaults()
    for name, values in OTHERS.get(case.entry.name, {}).items():
        default = defaults[name]
        for value in values if case.options.get(name, default) == default else ():
            text = f"takes {name} to be {value}, not {default}: if that is meant, say it in `fixed`"
            yield text, {**case.options, name: value}


def _of_eps(case: Case) -> list[tuple[str, Rule]]:
    """Another eps, or at another place, where that alone is another choice than torch's."""
    options = case.entry.defaults() | case.options
    if "eps" not in options or options.get("amsgrad") or options.get("centered"):
        return []
    found = []
    for power in range(3, 17):
        eps = 10.0**-power
        other = options | {"eps": eps}
        for name, _, rule in _rules_at(case.entry.name, other):
            if name in PLACES and eps != options["eps"]:
                found.append((PLACES[name].format(eps), rule))
        plain = _plain_rule(case.entry.name, other)
        if eps != options["eps"] and plain is not None:
            found.append((f"takes eps to be {eps:g}, not {options['eps']:g}", plain))
    return found


PLACES = {
    "eps in the root": "adds {:g} inside the square root, where torch adds eps outside",
    "eps uncorrected": "adds {:g} before the bias correction, where torch adds eps after it",
}
"""Where else an eps may be added."""


def _plain_rule(name: str, options: dict[str, Any]) -> Rule | None:
    """The right steps, at these options."""
    match name:
        case "Adam" | "AdamW":
            return _adam(options, coupled=name == "Adam")()
        case "RMSprop":
            return _rmsprop(options)()
        case "Adagrad":
            return _adagrad(options)()
    return None


def _of_sgd(o: dict[str, Any]) -> list[tuple[str, str, Rule]]:
    sign = -1.0 if o["maximize"] else 1.0

    def sgd(
        *,
        late: bool = False,
        damp_first: bool = False,
        ascend: bool = False,
        averaged: bool = False,
        scaled: bool = False,
        behind: bool = False,
        shared: float = 0.0,
        misplaced: bool = False,
        opposed: bool = False,
        decays: float = 1.0,
    ) -> Rule:
        def rule(p: Tensor, g: Tensor, state: State, t: int) -> Tensor:
            g = sign * g if late else sign * g + decays * o["weight_decay"] * p
            if o["momentum"]:
                first = "b" not in state
                share = 1 - o["dampening"] if damp_first or not first else 1.0
                share = 1 - o["momentum"] if averaged else o["momentum"] if scaled else share
                before = torch.zeros_like(p) if first else state["b"]
                old = -before if opposed else before
                state["b"] = o["momentum"] * old + share * g
                if misplaced:
                    state["b"] = before + o["momentum"] * g
                if shared and not first:  # the first gradient's own array, which is written anew
                    state["b"] = shared * g
                ahead = -o["momentum"] if behind else o["momentum"]
                g = g + ahead * state["b"] if o["nesterov"] else state["b"]
            step = g + o["weight_decay"] * p if late else g
            return p + o["lr"] * step if ascend else p - o["lr"] * step

        return rule

    found = []
    if not o["maximize"]:
        found.append(("ascends", ASCENDS, sgd(ascend=True)))
    if o["momentum"]:
        found += [
            ("averaged", "averages the gradients in its momentum: 1 - momentum times the new one, "
             "where torch adds it whole", sgd(averaged=True)),
            ("opposed", "subtracts the old velocity, where torch adds it: the sign of the momentum "
             "is wrong", sgd(opposed=True)),
            ("scaled", "multiplies the new gradient by the momentum too",
             sgd(scaled=True)),
            ("misplaced", "multiplies the new gradient by the momentum, and adds the old velocity "
             "whole", sgd(misplaced=True)),
        ]  # fmt: skip
        text = "keeps the gradient's own array as its velocity, which the next backward overwrites"
        found += [
            ("shared", text, sgd(shared=factor))
            for factor in (1 + o["momentum"], 2 * o["momentum"])
        ]
    if o["momentum"] and o["nesterov"]:
        text = "looks behind, where Nesterov's momentum looks ahead: the sign is wrong"
        found.append(("behind", text, sgd(behind=True)))
    if o["weight_decay"]:
        text = "decays the weights by 2 * weight_decay * p: the derivative of weight_decay * p^2"
        found.append(("decay twice", text, sgd(decays=2.0)))
    if o["weight_decay"] and o["momentum"]:
        text = "decouples the weight decay: it enters after the momentum, not into the gradient"
        found.append(("decoupled decay", text, sgd(late=True)))
    if o["momentum"] and o["dampening"]:
        text = "dampens the first step too; torch starts the momentum at the gradient itself"
        found.append(("dampened start", text, sgd(damp_first=True)))
    return found


def _adam(o: dict[str, Any], *, coupled: bool) -> Callable[..., Rule]:
    """Adam's steps, or AdamW's, with one thing wrong in them."""
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
        kept: bool = False,
        kept_both: bool = False,
        forgets: bool = False,
        each: bool = False,
        after: bool = False,
        bare_decay: bool = False,
        both: bool = False,
    ) -> Rule:
        def rule(p: Tensor, g: Tensor, state: State, t: int) -> Tensor:
            if each:
                t = (t - 1) * int(state["of"]) + int(state["place"]) + 1
            g = sign * g
            if couple or both:
                g = g + decay * p
            if not couple and not after:
                p = p * (1 - (1.0 if bare_decay else lr) * decay)
            old = 0.0 if forgets else 1.0
            m = state["m"] = beta1 * old * state.get("m", 0 * p) + (1 - beta1) * g
            power = (g * g).sum().expand_as(g) if whole else g * g if square else g.abs()
            v = state["v"] = beta2 * old * state.get("v", 0 * p) + (1 - beta2) * power
            c1 = 1 - beta1 ** time(t) if corrected else 1.0
            c2 = 1 - beta2 ** time(t) if corrected else 1.0
            if kept:
                state["m"] = m / c1
            if kept_both:
                state["m"], state["v"] = m / c1, v / c2
            if bare_eps:
                divisor = (v.sqrt() + eps) / c2**0.5
            else:
                divisor = (v / c2 + eps).sqrt() if inside else (v / c2).sqrt() + eps
            step = lr * (m / c1) / divisor
            moved = p + step if ascend else p - step
            return moved * (1 - lr * decay) if after else moved

        return rule

    return adam


def _of_adam(o: dict[str, Any], *, coupled: bool) -> list[tuple[str, str, Rule]]:
    adam, decay = _adam(o, coupled=coupled), o["weight_decay"]
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
        ("eps in the root", "adds eps inside the square root", adam(inside=True)),
        # The order of computation that Kingma and Ba (2015), section 2, have as an alternative.
        ("eps uncorrected", "adds eps before the bias correction, not after it",
         adam(bare_eps=True)),
        ("kept correction", "keeps the first moment as corrected: the next step corrects it again",
         adam(kept=True)),
        ("kept corrections", "keeps both moments as corrected: the next step corrects them again",
         adam(kept_both=True)),
        ("forgets", "keeps no moments: each step begins anew", adam(forgets=True)),
        ("t for each", "counts a step for each parameter, not one for all of them",
         adam(each=True)),
    ]  # fmt: skip
    if decay and not coupled:
        found += [
            ("decay after", "decays the weights after the step, not before it", adam(after=True)),
            ("bare decay", "decays the weights by weight_decay alone, not times the rate",
             adam(bare_decay=True)),
            ("both decays", "decays the weights twice: in the gradient too, as Adam does",
             adam(both=True)),
        ]  # fmt: skip
    if decay:
        text = "decouples the weight decay, as AdamW does" if coupled else (
            "couples the weight decay into the gradient, as Adam does"
        )  # fmt: skip
        found.append(("decay", text, adam(couple=not coupled)))
    return found


def _of_amsgrad(o: dict[str, Any], *, coupled: bool) -> list[tuple[str, str, Rule]]:
    (beta1, beta2), lr, eps, decay = o["betas"], o["lr"], o["eps"], o["weight_decay"]
    sign = -1.0 if o["maximize"] else 1.0

    def rule(p: Tensor, g: Tensor, state: State, t: int) -> Tensor:
        g = sign * g + decay * p if coupled else sign * g
        p = p if coupled else p * (1 - lr * decay)
        m = state["m"] = beta1 * state.get("m", 0 * p) + (1 - beta1) * g
        v = state["v"] = beta2 * state.get("v", 0 * p) + (1 - beta2) * g * g
        most = state["most"] = torch.maximum(state.get("most", 0 * p), v / (1 - beta2**t))
        return p - lr * (m / (1 - beta1**t)) / (most.sqrt() + eps)

    text = "takes the largest of the corrected second moments; torch corrects the largest"
    return [("maximum of the corrected", text, rule)]


def _rmsprop(o: dict[str, Any]) -> Callable[..., Rule]:
    """RMSprop's steps, with one thing wrong in them."""
    alpha, lr, eps = o["alpha"], o["lr"], o["eps"]

    def rmsprop(*, inside: bool = False, forgets: bool = False, swapped: bool = False) -> Rule:
        def rule(p: Tensor, g: Tensor, state: State, t: int) -> Tensor:
            g = g + o["weight_decay"] * p
            share = alpha if swapped else 1 - alpha
            before = torch.zeros_like(p) if forgets else state.get("v", 0 * p)
            v = state["v"] = (1 - share) * before + share * g * g
            step = g / ((v + eps).sqrt() if inside else v.sqrt() + eps)
            if o["momentum"]:
                step = state["b"] = o["momentum"] * state.get("b", 0 * p) + step
            return p - lr * step

        return rule

    return rmsprop


def _of_rmsprop(o: dict[str, Any]) -> list[tuple[str, str, Rule]]:
    rmsprop, alpha = _rmsprop(o), o["alpha"]
    found = [
        ("eps in the root", "adds eps inside the square root", rmsprop(inside=True)),
        ("forgets", "keeps no second moment: each step begins anew", rmsprop(forgets=True)),
    ]
    if alpha != 0.5:
        text = "weighs the new square by alpha, and the old ones by 1 - alpha"
        found.append(("alpha swapped", text, rmsprop(swapped=True)))
    return found


def _adagrad(o: dict[str, Any]) -> Callable[..., Rule]:
    """Adagrad's steps, with one thing wrong in them."""
    lr, eps, start = o["lr"], o["eps"], o["initial_accumulator_value"]

    def adagrad(*, inside: bool = False, forgets: bool = False) -> Rule:
        def rule(p: Tensor, g: Tensor, state: State, t: int) -> Tensor:
            g = g + o["weight_decay"] * p
            before = state.get("v", torch.full_like(p, start))
            v = g * g if forgets else before + g * g
            state["v"] = v
            rate = lr / (1 + (t - 1) * o["lr_decay"])
            return p - rate * g / ((v + eps).sqrt() if inside else v.sqrt() + eps)

        return rule

    return adagrad


def _of_adagrad(o: dict[str, Any]) -> list[tuple[str, str, Rule]]:
    adagrad = _adagrad(o)
    return [
        ("eps in the root", "adds eps inside the square root", adagrad(inside=True)),
        ("forgets", "keeps no sum of squares: each step begins anew", adagrad(forgets=True)),
    ]


def _steps(rule: Rule, inputs: Tensors, steps: int) -> Tensors:
    results = {}
    names = [name for name in inputs if ":" not in name]
    for place, name in enumerate(names):
        p = inputs[name].clone()
        state: State = {"place": torch.tensor(place), "of": torch.tensor(len(names))}
        for step in range(1, steps + 1):
            p = rule(p, inputs[f"step {step}: {name}"], state, step)
            results[f"step {step}: {name}"] = p
    return results
