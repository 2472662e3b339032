"""Checks of optimizers: the first step and twenty, and what happens to them in a longer life.

The gradients are the judge's own, at every step: none is computed by the subject.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from parity.catalogue.values import normal
from parity.checks.trial import Trial, fact, in_double
from parity.explain import optimizers as mistakes
from parity.explain.diagnosis import Explanation, certified
from parity.explain.mistakes import simple
from parity.judge import evaluate
from parity.judge.comparison import CONVENTION, Comparison, compare
from parity.judge.once import once
from parity.judge.truth import truth
from parity.play.arrays import same_bits
from parity.play.broken import Unoffered

STEPS = 20
LONG = 1000
"""Steps of a long run: a counter in bfloat16 stops at 256, and what is added up loses digits."""
SILENT = 10  # the step at which every gradient is zero; after it they are small
SMALL = 0.05  # how small: second moments must fall, or amsgrad's largest is always the last
TURN = 4
"""The step at which something happens: a new rate, another optimizer that goes on."""

SHAPES = {"0.weight": (3, 4), "0.bias": (3,)}
#: Layers that fit each other, some of one shape, one of 1,025 entries; and what no layer has.
SIZES = {
    "0.weight": (7, 7), "0.bias": (7,), "1.weight": (7, 7), "1.bias": (7,),
    "2.weight": (25, 7), "2.bias": (25,), "3.weight": (41, 25), "3.bias": (41,),
    "4.weight": (1, 41), "4.bias": (1,), "line": (1025,), "scalar": (), "empty": (0,),
}  # fmt: skip

Gradients = Callable[[int, str, Tensor], "Tensor | None"]  # of a step and a parameter


class _Life:
    """Some steps of the subject's optimizer, and of torch's.

    Args:
        gradients: at each step, of each parameter; by default random, zero at one step and small
            after it.
        rates, resumed: at which steps its rate changes, and a new one goes on in its place.
        every: one step in so many is judged.
    """

    def __init__(
        self,
        trial: Trial,
        steps: int,
        shapes: Mapping[str, tuple[int, ...]] = SHAPES,
        *,
        start: float = 1.0,
        gradients: Gradients | None = None,
        rates: Mapping[int, float] = MappingProxyType({}),
        resumed: tuple[int, ...] = (),
        every: int = 1,
    ) -> None:
        self.trial, self.count, self.rates, self.every = trial, steps, rates, every
        generator = trial.generator()

        def drawn(step: int, name: str, value: Tensor) -> Tensor:
            size = 1 if step < SILENT else 0 if step == SILENT else SMALL
            return size * normal(*value.shape, generator=generator, dtype=trial.dtype)

        values = {
            name: start * normal(*shape, generator=generator, dtype=trial.dtype)
            for name, shape in shapes.items()
        }
        self.player = trial.build()
        self.names = self.player.start(values)
        self.values = {name: values[name] for name in self.names}
        program = []
        for step in range(1, steps + 1):
            given = {n: (gradients or drawn)(step, n, v) for n, v in self.values.items()}
            changed = {"rate": rates[step]} if step in rates else {}
            program.append({"gradients": given, "resume": step in resumed, **changed})
        self.steps = self.player.steps(program)
        self.inputs, self.results = dict(self.values), dict[str, Tensor]()
        for step, (before, _, after) in enumerate(self.steps, 1):
            for name in self.names:
                if before[name] is not None:
                    self.inputs[f"step {step}: {name}"] = before[name]
                if step % every == 0:
                    self.results[f"step {step}: {name}"] = after[name]

    def judged(self) -> list[Comparison]:
        """Every parameter after every step that is judged, against torch's."""
        case = self.trial.case
        torchs = evaluate.optimizer(case.reference, self.count, self.rates, self.every)
        what = case, self.count, tuple(self.rates.items()), self.every

        def evaluated() -> Any:
            return truth(torchs, self.inputs, elementwise=True, pure=case.pure)

        right = once(("truth", what), self.inputs, evaluated)
        return compare(self.results, right.only(self.results))

    def explained(self) -> Explanation:
        """Which known mistake the steps are, if one."""
        case, inputs = self.trial.case, in_double(self.inputs)
        right = evaluate.optimizer(case.reference, self.count, self.rates)(inputs)
        known = mistakes.simulated(case, inputs, self.count)
        return mistakes.explain(self.results, right, known, self.inputs)

    def of_steps(self) -> bool:
        """Whether its momentum is of steps, and not of gradients."""
        made = self.trial.case.reference
        other = evaluate.optimizer(made, self.count, self.rates, inside=True)
        due = other(in_double(self.inputs))
        return all(
            torch.allclose(own.double(), due[name], rtol=1e-4) for name, own in self.results.items()
        )

    def unjudgeable(self) -> list[Comparison]:
        """That gradients are zero at every step, if they are: of whatever is done with them,
        nothing shows. They are a layer's, which cannot be written to."""
        if any(bool(value.any()) for name, value in self.inputs.items() if ":" in name):
            return []
        nearest = "one that ignores the gradients"
        return [Comparison("parameters", 0.0, distance=0.0, nearest=nearest)]


def _said(
    verdicts: list[Comparison],
    text: Callable[[Comparison], str],
    *,
    named: bool = True,
    severity: str = "",
) -> list[Comparison]:
    """The verdicts; of those that failed the first has something to say."""
    wrong = next((place for place, one in enumerate(verdicts) if not one.passed), None)
    if wrong is not None and (said := text(verdicts[wrong])):
        verdicts[wrong] = replace(verdicts[wrong], diagnosis=said, named=named)
    return [v if v.passed else replace(v, severity=severity) for v in verdicts]


def _step(verdict: Comparison) -> int:
    return int(verdict.name.split()[1].rstrip(":"))


def no_mutation(trial: Trial) -> list[Comparison]:
    """A step leaves the gradients as they are, bit for bit, or sets all of them to zero."""
    name, verdicts = trial.case.entry.name, []
    for step, (before, after, _) in enumerate(_Life(trial, 3).steps, 1):
        for parameter, gradient in before.items():
            now = after[parameter]
            holds = now is None or not bool(now.any()) or same_bits(now, gradient)
            text = f"{name} writes into the gradients that it steps by"
            verdicts.append(fact(f"step {step}: {parameter}", holds, "was modified", text))
    return verdicts


def long_run(trial: Trial) -> list[Comparison]:
    """Parameters in the course of a thousand steps: what counts them must go on counting."""
    life, name = _Life(trial, LONG, every=50), trial.case.entry.name

    def text(verdict: Comparison) -> str:
        step = _step(verdict)
        if step <= 50:
            return ""
        return (
            f"{name} is right to step {step - 50} and wrong at step {step}: something that it "
            "counts or adds up has stopped, such as a counter of few digits"
        )

    verdicts = life.judged()
    return life.unjudgeable() or _said(verdicts, text)


def sizes(trial: Trial) -> list[Comparison]:
    """Many parameters: some of one shape, one of 1,025 entries, of one, of none."""
    life, name = _Life(trial, 3, SIZES), trial.case.entry.name
    verdicts = life.judged()
    shapes = {parameter: tuple(value.shape) for parameter, value in life.values.items()}
    counts = Counter(shapes.values())
    wrong = {verdict.name.split(": ")[1] for verdict in verdicts if not verdict.passed}

    def text(verdict: Comparison) -> str:
        if all(counts[shapes[parameter]] > 1 for parameter in wrong):
            return f"{name} keeps one state for all parameters of one shape, where each has its own"
        shape = list(shapes[verdict.name.split(": ")[1]])
        return f"{name} moves a parameter of shape {shape} wrongly, among others"

    return _said(verdicts, text)


def magnitudes(trial: Trial) -> list[Comparison]:
    """Gradients from 1e-12 to 1e4, of parameters that begin at 0: each step by its own size."""
    generator = trial.generator()

    def spread(step: int, name: str, value: Tensor) -> Tensor:
        powers = torch.linspace(-12, 4, max(value.numel(), 2), dtype=torch.float64)
        signs = torch.randint(2, value.shape, generator=generator) * 2 - 1
        sizes = (10 ** powers[: value.numel()]).reshape(value.shape)
        return (signs * sizes).to(trial.dtype)

    life, name = _Life(trial, 3, start=0.0, gradients=spread), trial.case.entry.name
    verdicts = life.judged()
    if all(verdict.passed for verdict in verdicts):
        return verdicts
    said = life.explained()
    text = "takes steps of the wrong size where gradients are very small, or very large"
    return _said(
        verdicts, lambda verdict: f"{name} {said.text if said.named else text}",
        severity=said.severity,
    )  # fmt: skip


def nan(trial: Trial) -> list[Comparison]:
    """A gradient that is not a number, or infinite, reaches its own entry, as in torch, and no
    other."""
    generator = trial.generator()

    def odd(step: int, name: str, value: Tensor) -> Tensor:
        gradient = normal(*value.shape, generator=generator, dtype=trial.dtype)
        if step == 2:
            gradient.view(-1)[0] = torch.nan
            gradient.view(-1)[-1] = torch.inf
        return gradient

    life, name = _Life(trial, 2, gradients=odd), trial.case.entry.name
    torchs = evaluate.optimizer(trial.case.reference, 2)(life.inputs)
    for (
        key,
        result,
    ) in life.results.items():  # inf - inf is NaN, or was not computed: lost both ways
        lost = ~result.isfinite() & ~torchs[key].isfinite()
        life.results[key] = torch.where(lost, torchs[key], result)
    text = f"{name} does with a gradient that is NaN or infinite what torch does not"
    return _said(life.judged(), lambda verdict: text)


def rate(trial: Trial) -> list[Comparison]:
    """The learning rate changes on the way, down and up again."""
    first = float(trial.case.options["lr"])
    rates = {TURN: first / 4, 2 * TURN: first * 2}
    life, name = _Life(trial, 3 * TURN, rates=rates), trial.case.entry.name
    verdicts = life.judged()

    def text(verdict: Comparison) -> str:
        if _step(verdict) < TURN:
            return ""
        return f"{name} does not go by its rate, once that has changed: what it keeps is of the old"

    wrong = any(not verdict.passed for verdict in verdicts)
    if not (wrong and trial.case.options.get("momentum") and life.of_steps()):
        return _said(verdicts, text)
    said = (
        f"{name} has the rate inside of its velocity, v = momentum * v + lr * g, as Keras has it: "
        "the same as torch's until the rate changes"
    )
    return [
        v if v.passed else replace(v, diagnosis=said, named=True, severity=CONVENTION)
        for v in verdicts
    ]


def resume(trial: Trial) -> list[Comparison]:
    """A new optimizer goes on from the state of the one before as if nothing had been: twice, the
    second time among gradients that have become small."""
    life = _Life(trial, SILENT + TURN, resumed=(TURN, SILENT + 2))
    name = trial.case.entry.name

    def text(verdict: Comparison) -> str:
        before = _step(verdict) < TURN
        return "" if before else f"{name} does not go on as before from a state that was saved"

    return _said(life.judged(), text)


def gradient_none(trial: Trial) -> list[Comparison]:
    """A parameter without a gradient, at first, in between, and always, stays where it is."""
    if not _Life(trial, 0).player.starts_without():
        raise Unoffered("a gradient is never None")
    generator, name = trial.generator(), trial.case.entry.name
    without = {"0.weight": (1, 2, 5), "0.bias": (4,), "1.weight": range(1, 9)}

    def some(step: int, name: str, value: Tensor) -> Tensor | None:
        gradient = normal(*value.shape, generator=generator, dtype=trial.dtype)
        return None if step in without.get(name, ()) else gradient

    shapes = {**SHAPES, "1.weight": (2, 3), "1.bias": (2,)}
    life = _Life(trial, 8, shapes, gradients=some)
    text = f"{name} moves a parameter that has no gradient, where torch leaves it as it is"
    return _said(life.judged(), lambda verdict: text)


def _steps(steps: int, doc: str) -> Callable[[Trial], list[Comparison]]:
    def check(trial: Trial) -> list[Comparison]:
        life, case = _Life(trial, steps), trial.case
        if unjudgeable := life.unjudgeable():
            return unjudgeable
        verdicts, inputs = life.judged(), life.inputs
        torchs = evaluate.optimizer(case.reference, steps)
        right = once(
            ("truth", (case, steps, ())),
            inputs,
            lambda: truth(torchs, inputs, elementwise=True, pure=case.pure),
        ).only(life.results)
        known = once(
            ("mistakes", (case, steps)),
            inputs,
            lambda: mistakes.simulated(case, in_double(inputs), steps),
        )
        if any(not verdict.passed for verdict in verdicts):
            said = mistakes.explain(life.results, right.oracle, known, inputs)
            wrong = [verdict for verdict in verdicts if not verdict.passed]
            text = said.text
            if not text and not any(verdict.reason for verdict in wrong):
                text = mistakes.described(wrong, life.names, life.results, inputs)
            return _said(
                verdicts, lambda verdict: f"{case.entry.name} {text}" if text else "",
                named=said.named, severity=said.severity,
            )  # fmt: skip
        last = [v for v in verdicts if v.name.startswith(f"step {steps}:")]
        sure = [certified(v, right, simple(right.oracle[v.name])) for v in last]
        return mistakes.certified(sure, right, known) + verdicts[: -len(last)]

    check.__doc__ = doc
    return check


CHECKS: dict[str, Callable[[Trial], list[Comparison]]] = {
    "first_step": _steps(1, "Every parameter after one step."),
    "twenty_steps": _steps(STEPS, "Every parameter after each of twenty steps."),
    "long_run": long_run,
    "no_mutation": no_mutation,
    "sizes": sizes,
    "magnitudes": magnitudes,
    "nan": nan,
    "rate": rate,
    "resume": resume,
    "gradient_none": gradient_none,
}


OTHERWISE = ("sizes", "magnitudes", "nan", "rate", "resume")


def applies(case: Any, name: str, dtype: torch.dtype) -> bool:
    """Every check says something of every optimizer, where there is such a thing; the long one, of
    its defaults, and of SGD, which keeps nothing by default, of momentum. A step the other way is a
    step as any other: it needs no axes."""
    if case.options.get("maximize") and name in OTHERWISE:
        return False
    if name == "gradient_none":
        return bool(case.objects)
    if name == "resume":
        return not case.options.get("amsgrad")  # whose largest moment few keep
    return name != "long_run" or case.variant == (
        "momentum=0.9" if case.entry.name == "SGD" else ""
    )
