"""Checks of layers: forward, backward, gradients, modes, memory, batches."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from parity.catalogue.values import Tensors
from parity.checks.trial import Trial, equal, fact
from parity.explain.diagnosis import judge
from parity.explain.mistakes import Mistake
from parity.judge import evaluate
from parity.judge.comparison import Comparison
from parity.judge.differences import compare_with_differences
from parity.judge.evaluate import Over, alone
from parity.judge.truth import truth
from parity.play.arrays import LIES


def passed(
    layer: Any, inputs: Tensors, *, seed: int = 0, lie: tuple[str, str] = ("", "")
) -> Tensors:
    """One forward and backward of the subject's layer, by the names of `evaluate.layer`; `lie`:
    how x and dy lie in memory."""
    layer.zero_grad()
    layer.seed(seed)
    y = layer.forward(inputs["x"], lie[0])
    dx = layer.backward(inputs["dy"], lie[1])
    return {"output": y, "input_grad": dx, **layer.gradients()}


def weights(inputs: Tensors) -> Tensors:
    """The parameters among a layer's inputs."""
    return {name: value for name, value in inputs.items() if name not in ("x", "dy")}


def one_pass(
    trial: Trial,
    change: Callable[[Tensors], Tensors] = lambda inputs: inputs,
    *,
    rows: int | None = None,
    training: bool = True,
    lie: tuple[str, str] = ("", ""),
    poison: bool = False,
    deep: bool = False,
    ending: str = "",
) -> list[Comparison]:
    """The same inputs through the subject's layer and torch's; results compared whose names end
    so, by default all."""
    inputs = change(trial.inputs(rows))
    layer = trial.layer(weights(inputs), poison=poison)
    if not training:
        layer.train(False)
    results = passed(layer, inputs, seed=trial.seed, lie=lie)
    verdicts = trial.judge_layer(inputs, results, training=training, deep=deep, ending=ending)
    return [*verdicts, *untouched(layer, trial.case.entry.name)]


WRITTEN = {
    "x": "its input",
    "dy": "the incoming gradient",
    "output": "the output that it had returned",
    "input_grad": "the input gradient that it had returned",
    "prediction": "the prediction",
    "target": "the target",
    "prediction_grad": "the gradient that it had returned",
}


def untouched(player: Any, label: str) -> list[Comparison]:
    """A verdict for each array that the subject modified and should not have."""
    return [written(name, label) for name in player.modified()]


def written(name: str, label: str, holds: bool = False) -> Comparison:
    """The verdict on one array that is not to be modified."""
    text = f"{label} writes into {WRITTEN.get(name, name)}"
    return fact(f"{name} untouched", holds, "was modified in place", text)


def _ending(ending: str, doc: str) -> Callable[[Trial], list[Comparison]]:
    def check(trial: Trial) -> list[Comparison]:
        # Half precision sees coarse mistakes alone; the fine ones are for float32 and float64.
        return one_pass(trial, deep=trial.dtype != torch.bfloat16, ending=ending)

    check.__doc__ = doc
    return check


def eval_mode(trial: Trial) -> list[Comparison]:
    """In evaluation mode as torch in evaluation mode; and training mode leads back."""
    inputs = trial.inputs()
    layer = trial.layer(weights(inputs))
    drops = isinstance(trial.case.module(), nn.Dropout)
    without = layer.train(False)
    results = passed(layer, inputs, seed=trial.seed)
    verdicts = trial.judge_layer(inputs, results, training=False)
    verdicts.append(fact("evaluation mode", not (without and drops), without))
    if drops and bool(((results["output"] == 0) & (inputs["x"] != 0)).any()):
        text = "Dropout drops in evaluation mode too"
        return [fact("output", False, "has zeros, where evaluation passes all on", text)]
    if drops and not without:
        layer.train(True)
        again = passed(layer, inputs, seed=trial.seed)
        verdicts += trial.judge_layer(inputs, again, training=True)
    return [*verdicts, *untouched(layer, trial.case.entry.name)]


def noncontiguous(trial: Trial) -> list[Comparison]:
    """x and dy lie in memory with gaps, transposed, or from the middle of something else: both of
    them, and each alone."""
    verdicts = []
    for lie in (*((one, one) for one in LIES), ("gaps", ""), ("", "transposed")):
        how = "x and dy" if all(lie) else "x" if lie[0] else "dy"
        for verdict in one_pass(trial, lie=lie):
            name = f"{how} {lie[0] or lie[1]}: {verdict.name}"
            verdicts.append(replace(verdict, name=name))
    return verdicts


def sizes(trial: Trial) -> list[Comparison]:
    """Batches of one more than 8, 64 and 1,024 rows.

    x and dy are small integers, so that sums of many are exact in whatever order they are added.
    Where samples see each other, the largest is left out: there the order counts.
    """
    verdicts = []
    for rows in (9, 65) if trial.case.mixes else (9, 65, 1025):
        generator = trial.generator()

        def whole(inputs: Tensors, generator: torch.Generator = generator) -> Tensors:
            def drawn(x: Tensor) -> Tensor:
                values = torch.tensor([-2, -1, 1, 2], dtype=x.dtype)
                return values[torch.randint(4, x.shape, generator=generator)]

            return inputs | {name: drawn(inputs[name]) for name in ("x", "dy")}

        for verdict in one_pass(trial, whole, rows=rows):
            verdicts.append(replace(verdict, name=f"{rows} rows: {verdict.name}"))
    return verdicts


def nan(trial: Trial) -> list[Comparison]:
    """What is not a number stays none: the output is NaN wherever torch's is, or the input is
    refused."""
    inputs = trial.inputs()
    inputs["x"].view(-1)[0] = math.nan
    layer = trial.layer(weights(inputs))
    refused, y = layer.attempt("forward", inputs["x"])
    if refused:
        return [fact("output", True, "")]
    right = evaluate.layer(trial.case.module().train())(inputs)["output"]
    if y.shape != right.shape:
        return [fact("output", False, f"is {list(y.shape)}, where torch's is {list(right.shape)}")]
    lost = right.isnan() & ~y.isnan()
    value = f"{float(y[lost][0]):g}" if bool(lost.any()) else ""
    text = f"{trial.case.entry.name} makes {value} of a NaN, which nobody hears of any more"
    return [fact("output", not value, f"is {value}, where torch's is NaN", text)]


def batch_of_one(trial: Trial) -> list[Comparison]:
    """A single sample: as every other."""
    return one_pass(trial, rows=1)


def empty_batch(trial: Trial) -> list[Comparison]:
    """No samples: empty results of the right shape, and gradients of zero."""
    return one_pass(trial, rows=0)


def samples(trial: Trial) -> list[Comparison]:
    """The samples of a batch one by one: outputs and input gradients are the batch's rows, and
    parameter gradients add up to the batch's."""
    inputs = trial.inputs()
    layer = trial.layer(weights(inputs))
    whole: dict[str, list[Tensor]] = {}
    for row in range(len(inputs["x"])):
        one = {"x": inputs["x"][row : row + 1], "dy": inputs["dy"][row : row + 1]}
        for name, value in passed(layer, one, seed=trial.seed).items():
            whole.setdefault(name, []).append(value)
    results = {
        name: torch.stack(parts).sum(0) if name.endswith("param_grad") else torch.cat(parts)
        for name, parts in whole.items()
    }
    return [*trial.judge_layer(inputs, results), *untouched(layer, trial.case.entry.name)]


def accumulation(trial: Trial) -> list[Comparison]:
    """Gradients of two backwards add up, or the second replaces the first, as declared; and
    `zero_grad` starts anew."""
    first = trial.inputs()
    second = first | {"x": first["x"].flip(0) / 2, "dy": first["dy"] * 2}
    one_of = evaluate.layer(trial.case.module())
    accumulates = trial.case.accumulates

    def both(inputs: Tensors, over: Over = alone) -> Tensors:
        flipped = over(lambda x: x.flip(0))
        one = one_of(inputs, over)
        two = one_of(inputs | {"x": flipped(inputs["x"]) / 2, "dy": inputs["dy"] * 2}, over)
        names = [name for name in one if name.endswith("param_grad")]
        return {name: one[name] + two[name] if accumulates else two[name] for name in names}

    layer = trial.layer(weights(first))
    passed(layer, first)
    layer.forward(second["x"])
    layer.backward(second["dy"])
    right = truth(both, first)
    first_alone = one_of({k: v.double() for k, v in first.items()})
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
            fact(f"{name} after zero_grad", not bool(gradient.any()), "it is not zero")
            for name, gradient in layer.gradients().items()
        ]
    return [*verdicts, *untouched(layer, trial.case.entry.name)]


def no_mutation(trial: Trial) -> list[Comparison]:
    """Neither x, nor dy, nor a parameter is modified, and backward leaves the output as it was."""
    inputs = trial.inputs()
    layer = trial.layer(weights(inputs))
    before = layer.parameters()
    passed(layer, inputs, seed=trial.seed)
    changed = layer.modified()
    verdicts = [
        written(name, trial.case.entry.name, name not in changed)
        for name in ("x", "dy", "output", "input_grad")
    ]
    after = layer.parameters()
    return verdicts + [equal(f"{name} untouched", after[name], before[name]) for name in before]


def aliasing(trial: Trial) -> list[Comparison]:
    """What is done to x, dy, the output or the input gradient after the pass reaches neither
    parameters nor gradients: they have memory of their own."""
    inputs = trial.inputs()
    layer = trial.layer(weights(inputs))
    passed(layer, inputs, seed=trial.seed)
    before = layer.parameters() | layer.gradients()
    layer.scribble()
    after = layer.parameters() | layer.gradients()
    shared = [
        fact(f"{name} is its own", bool(torch.equal(after[name], before[name])),
             "shares memory with an input or a result")
        for name in before
    ]  # fmt: skip
    again = passed(layer, inputs, seed=trial.seed)
    return [*shared, *trial.judge_layer(inputs, again), *untouched(layer, trial.case.entry.name)]


def repeated(trial: Trial) -> list[Comparison]:
    """A batch leaves nothing of itself: another after it is right, and itself once more."""
    inputs = trial.inputs()
    layer = trial.layer(weights(inputs))
    one = {"x": -inputs["x"][:1], "dy": inputs["dy"][:1] / 2}
    other = {"x": -inputs["x"].flip(0), "dy": inputs["dy"] / 2}
    verdicts = []
    for name, batch in {"": inputs, "one sample": one, "another": other, "again": inputs}.items():
        results = passed(layer, inputs | batch, seed=trial.seed)
        if name:
            judged = trial.judge_layer(inputs | batch, results)
            verdicts += [replace(v, name=f"{name}: {v.name}") for v in judged]
    return [*verdicts, *untouched(layer, trial.case.entry.name)]


def second_backward(trial: Trial) -> list[Comparison]:
    """A second backward after one forward gives what the first gave, or is refused."""
    inputs = trial.inputs()
    layer = trial.layer(weights(inputs))
    results = passed(layer, inputs, seed=trial.seed)
    layer.zero_grad()
    refused, dx = layer.attempt("backward", inputs["dy"])
    if refused:
        return [fact("second backward", True, "")]
    again = {"output": results["output"], "input_grad": dx, **layer.gradients()}
    return [*trial.judge_layer(inputs, again), *untouched(layer, trial.case.entry.name)]


def uninitialised(trial: Trial) -> list[Comparison]:
    """With all memory that nobody has written to full of NaN: the same results."""
    return one_pass(trial, poison=True)


def kink(trial: Trial) -> list[Comparison]:
    """At 0, and beside it, values and gradients are torch's."""

    def change(inputs: Tensors) -> Tensors:
        x = inputs["x"].clone()
        tiny = torch.finfo(x.dtype).tiny
        corners = torch.tensor([0.0, -0.0, tiny, -tiny], dtype=x.dtype)
        count = max(1, x.numel() // 8)  # half of the entries: the others keep the scale
        x.view(-1)[: 4 * count] = corners.repeat(count)
        return inputs | {"x": x}

    inputs = change(trial.inputs())
    layer = trial.layer(weights(inputs))
    results = passed(layer, inputs, seed=trial.seed)
    verdicts = trial.judge_layer(inputs, results)
    name = trial.case.entry.name
    module = trial.case.module().eval()
    torchs = evaluate.layer(module)(inputs)["input_grad"]
    told = [_at_zero(v, inputs, results["input_grad"], torchs, name) for v in verdicts]
    return [*told, *untouched(layer, name)]


def _at_zero(
    verdict: Comparison, inputs: Tensors, dx: Tensor, torchs: Tensor, label: str
) -> Comparison:
    """Says what the derivative at 0 is, where that is what is wrong."""
    if verdict.passed or verdict.name != "input_grad" or verdict.reason:
        return verdict
    zero = inputs["x"] == 0
    if dx.shape != inputs["dy"].shape:
        return verdict  # no function of each entry
    slopes = [(gradient / inputs["dy"])[zero] for gradient in (dx, torchs)]
    own, right = (round(float(s.mean()), 4) + 0.0 for s in slopes)  # -0 is 0
    if own == right or any(float(s.max() - s.min()) > 1e-4 for s in slopes):
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
        if name == "infinite" and isinstance(trial.case.module(), nn.Dropout):
            continue  # a dropped infinity is NaN, and tells not that it was dropped
        inputs = trial.inputs()
        row = torch.tensor(values, dtype=trial.dtype)
        x = torch.stack([row.roll(i) for i in range(len(inputs["x"]))])
        x[1::2] = -x[1::2].abs()  # rows whose largest entry is far below that of the batch
        inputs["x"] = x.reshape(inputs["x"].shape)
        layer = trial.layer(weights(inputs))
        results = passed(layer, inputs, seed=trial.seed)
        judged = trial.judge_layer(inputs, results, finite=True)
        size = {"large": "as large as 1e4", "subnormal": "as small as 1e-39"}.get(name, name)
        verdicts += [_at(name, size, verdict, trial.case.entry.name) for verdict in judged]
        verdicts += untouched(layer, trial.case.entry.name)
    return verdicts


def _at(name: str, size: str, verdict: Comparison, label: str) -> Comparison:
    """A verdict at extreme inputs by its name, with what there is to say of a NaN."""
    text = verdict.diagnosis
    if not verdict.passed and verdict.reason.startswith("NaN or infinite"):
        result = verdict.name.replace("_grad", " gradient").replace("_", " ")
        text = f"{label} {result} is NaN or infinite at inputs {size}, where torch's is finite"
    return replace(verdict, name=f"{name}: {verdict.name}", diagnosis=text)


def differences(trial: Trial) -> list[Comparison]:
    """Every gradient is the derivative of the layer's own forward, by finite differences."""
    inputs = trial.inputs()
    layer = trial.layer(weights(inputs))
    results = passed(layer, inputs, seed=trial.seed)

    def value(x: Tensor) -> Tensor:
        layer.seed(trial.seed)
        return (layer.forward(x) * inputs["dy"]).sum()

    given, dx = inputs["x"], results["input_grad"]
    verdicts = [compare_with_differences("input_grad", value, given, dx)]
    for name, parameter in weights(inputs).items():

        def value_at(p: Tensor, name: str = name) -> Tensor:
            layer.set_parameters(weights(inputs) | {name: p})
            return value(inputs["x"])

        gradient = results[f"{name}.param_grad"]
        name = f"{name}.param_grad"
        verdicts.append(compare_with_differences(name, value_at, parameter, gradient))
        layer.set_parameters(weights(inputs))
    return verdicts


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
    for name, (hits, share) in counts.items():
        count, trials = int(hits.sum()), hits.numel()
        # Neighbouring pairs overlap, which at most triples the variance of their count.
        overlap = 1 if name == "zeros" else 3
        spread = math.sqrt(overlap * trials * share * (1 - share))
        near = abs(count - trials * share) <= 5 * spread
        text = f"are {count / trials:.4f} of all, where p makes {share:g}"
        verdicts.append(fact(name, near, text, _rate(count / trials, p, name)))
    return verdicts


def _dependent(zero: Tensor, again: Tensor) -> str:
    """What two masks have that drop more than one entry by one chance, `[B, features]`."""
    for axis, name in enumerate(("columns", "rows")):
        if zero.shape[axis] > 1 and bool((zero.any(axis) == zero.all(axis)).all()):
            return f"Dropout drops whole {name}, where each entry has a chance of its own"
    return "Dropout has the same mask in every pass" if zero.equal(again) else ""


def _rate(found: float, p: float, name: str) -> str:
    swapped = name == "zeros" and abs(found - (1 - p)) < 0.005 < abs(1 - 2 * p)
    return f"Dropout drops with probability 1 - p = {1 - p:g} instead of p" if swapped else ""


CHECKS: dict[str, Callable[[Trial], list[Comparison]]] = {
    "forward": _ending("output", "The output."),
    "input_grad": _ending("input_grad", "The gradient with respect to the input."),
    "param_grad": _ending("param_grad", "The gradients with respect to the parameters."),
    "eval_mode": eval_mode,
    "noncontiguous": noncontiguous,
    "sizes": sizes,
    "batch_of_one": batch_of_one,
    "empty_batch": empty_batch,
    "samples": samples,
    "accumulation": accumulation,
    "no_mutation": no_mutation,
    "aliasing": aliasing,
    "repeated": repeated,
    "second_backward": second_backward,
    "uninitialised": uninitialised,
    "kink": kink,
    "nan": nan,
    "extremes": extremes,
    "differences": differences,
    "rate": rate,
}

OF_PARAMETERS = ("param_grad", "accumulation")


def applies(case: Any, name: str, dtype: torch.dtype) -> bool:
    """Whether a check says anything of a layer: of its gradients, if it has parameters."""
    module = case.module()
    drops = isinstance(module, nn.Dropout)
    if name == "differences":
        return dtype == torch.float64
    if name == "rate":
        return drops
    if name == "nan":
        return not drops  # what it drops is 0, or NaN
    if name in OF_PARAMETERS:
        return any(True for _ in module.parameters())
    if name == "samples":
        return not (case.mixes or case.single or drops)
    # One sample at a time: it has no batches, and its bias gradient may well be dy itself.
    return not (case.single and name in ("empty_batch", "batch_of_one", "aliasing", "sizes"))
