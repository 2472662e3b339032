"""Checks of layers: forward, backward, gradients, modes, memory, batches."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from parity.catalogue.values import Tensors
from parity.checks.trial import Trial, equal, fact, in_double
from parity.explain import normalization
from parity.explain.diagnosis import judge
from parity.explain.mistakes import Mistake
from parity.judge import evaluate
from parity.judge.comparison import DIGITS, MEMORY, WRONG, Comparison, compare, compare_one
from parity.judge.differences import compare_with_differences
from parity.judge.evaluate import Over, alone
from parity.judge.truth import HALF, truth
from parity.play.arrays import LIES
from parity.play.broken import Unoffered


def passed(
    layer: Any,
    inputs: Tensors,
    *,
    seed: int = 0,
    lie: tuple[str, str] = ("", ""),
    fresh: bool = False,
) -> Tensors:
    """One forward and backward of the subject's layer, by the names of `evaluate.layer`.

    Args:
        lie: how x and dy lie in memory.
        fresh: gradients are as the layer began with them: they are not set to zero.
    """
    if not fresh:
        layer.zero_grad()
    layer.seed(seed)
    y = layer.forward(inputs["x"], lie[0])
    dx = layer.backward(inputs["dy"], lie[1])
    return of_pass(y, dx, layer.gradients())


def of_pass(y: Tensor, dx: Tensor | None, gradients: Tensors) -> Tensors:
    """The results of a pass by their names; `dx` is None where the input is made of indices."""
    return {"output": y, **({} if dx is None else {"input_grad": dx}), **gradients}


def another(x: Tensor) -> Tensor:
    """An input like `x`, of the same kind, whose samples are others."""
    return -x.flip(0) if x.is_floating_point() else x.flip(0)


def weights(inputs: Tensors) -> Tensors:
    """The parameters among a layer's inputs."""
    return {n: v for n, v in inputs.items() if n not in ("x", "dy") and not n.startswith("x ")}


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
    terms: int = 1,
) -> list[Comparison]:
    """The same inputs through the subject's layer and torch's; results compared whose names end
    so, by default all."""
    inputs = change(trial.inputs(rows))
    layer = trial.layer(weights(inputs), poison=poison)
    if not training:
        layer.train(False)
    if ending == "output":  # of a layer without a backward, forward is judged all the same
        layer.seed(trial.seed)
        results = {"output": layer.forward(inputs["x"], lie[0])}
    else:
        results = passed(layer, inputs, seed=trial.seed, lie=lie, fresh=poison)
    return trial.judge_layer(
        inputs, results, training=training, deep=deep, ending=ending, terms=terms
    )


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
    return fact(f"{name} untouched", holds, "was modified in place", text, MEMORY)


def _ending(ending: str, doc: str) -> Callable[[Trial], list[Comparison]]:
    def check(trial: Trial) -> list[Comparison]:
        # Half precision sees coarse mistakes alone; the fine ones are for float32 and float64.
        return one_pass(trial, deep=trial.dtype not in HALF, ending=ending)

    check.__doc__ = doc
    return check


def eval_mode(trial: Trial) -> list[Comparison]:
    """In evaluation mode as torch in evaluation mode; and training mode leads back."""
    inputs = trial.inputs()
    layer = trial.layer(weights(inputs))
    drops = isinstance(trial.case.module(), nn.Dropout)
    without = layer.train(False)
    if without and any(True for _ in trial.case.module().buffers()):
        raise Unoffered(without)
    if without and drops:
        text = f"Dropout has no evaluation mode: {without}"
        return [fact("evaluation mode", False, without, text)]
    layer.zero_grad()
    layer.seed(trial.seed)
    results = {"output": layer.forward(inputs["x"])}
    refused, dx = layer.attempt("backward", inputs["dy"])  # nobody has to train in evaluation
    if not refused:
        results = of_pass(results["output"], dx, layer.gradients())
    verdicts = trial.judge_layer(
        inputs, results, training=False, ending="output" if refused else ""
    )
    if drops:
        layer.train(True)
        again = passed(layer, inputs, seed=trial.seed)
        verdicts += trial.judge_layer(inputs, again, training=True)
    return verdicts


LAID = (*((one, one) for one in LIES), ("gaps", ""), ("", "transposed"))
"""How two arrays lie in memory: both of them oddly, and each alone."""


def laid(lie: tuple[str, str], whose: tuple[str, str]) -> str:
    """How two arrays lie, in words: `x and dy gaps`."""
    named = [name for name, how in zip(whose, lie, strict=True) if how]
    return f"{' and '.join(named)} {lie[0] or lie[1]}"


def noncontiguous(trial: Trial) -> list[Comparison]:
    """x and dy lie in memory with gaps, transposed, or from the middle of something else: both of
    them, and each alone."""
    return [
        replace(verdict, name=f"{laid(lie, ('x', 'dy'))}: {verdict.name}")
        for lie in LAID
        for verdict in one_pass(trial, lie=lie)
    ]


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

        for verdict in one_pass(trial, whole, terms=terms_of(shape, trial.case.mixes)):
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
    layer = trial.layer(weights(inputs))
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


def instances(trial: Trial) -> list[Comparison]:
    """Two of a class, their passes interleaved: neither knows of the other. Two Dropouts drop
    each by itself."""
    first = trial.inputs()
    second = first | {"x": another(first["x"]), "dy": first["dy"] / 2}
    both = []
    for number, inputs in enumerate((first, second)):
        layer = trial.session.new(trial.case, trial.dtype, trial.device, trial.seed + number)
        layer.set_parameters(weights(inputs))
        layer.zero_grad()
        both.append(layer)
    outputs = [one.forward(i["x"]) for one, i in zip(both, (first, second), strict=True)]
    verdicts = []
    name = trial.case.entry.name
    text = f"of two {name}s that are alive at once, the two share what forward keeps"
    gradients = [one.backward(i["dy"]) for one, i in zip(both, (first, second), strict=True)]
    for number, inputs in enumerate((first, second)):
        results = of_pass(outputs[number], gradients[number], both[number].gradients())
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
    layer = trial.layer(weights(inputs))
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
    if not trial.takes(1, *trial.case.shape[1:]):
        raise Unoffered("torch itself takes no batch of one sample")
    return one_pass(trial, rows=1)


def empty_batch(trial: Trial) -> list[Comparison]:
    """No samples: empty results of the right shape, and gradients of zero; or they are refused."""
    inputs = trial.inputs(0)
    if trial.layer(weights(inputs)).attempt("forward", inputs["x"])[0]:
        raise Unoffered("it refuses an empty batch")
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
    return trial.judge_layer(inputs, results)


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

    layer = trial.layer(weights(first))
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


def no_mutation(trial: Trial) -> list[Comparison]:
    """Neither x, nor dy, nor a parameter is modified, and backward leaves the output as it was: in
    training and in evaluation, however x and dy lie, also of one sample."""
    inputs = trial.inputs()
    layer = trial.layer(weights(inputs))
    before, changed, reset = layer.parameters(), dict[str, None](), dict[str, None]()
    one = {name: inputs[name][:1] for name in ("x", "dy")}
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
    watched = ("x", "dy", "output") + ("input_grad",) * (not trial.case.indexed)
    verdicts = [written(name, trial.case.entry.name, name not in changed) for name in watched]
    verdicts += [written(name, f"the zero_grad of {trial.case.entry.name}") for name in reset]
    after = layer.parameters()
    return verdicts + [equal(f"{name} untouched", after[name], before[name]) for name in before]


def aliasing(trial: Trial) -> list[Comparison]:
    """What is done to x, dy, the output or the input gradient after the pass reaches neither
    parameters nor gradients: they have memory of their own."""
    inputs = trial.inputs()
    layer = trial.layer(weights(inputs))
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


def repeated(trial: Trial) -> list[Comparison]:
    """A batch leaves nothing of itself: another after it is right, and itself once more."""
    inputs = trial.inputs()
    layer = trial.layer(weights(inputs))
    one = {"x": another(inputs["x"])[-1:], "dy": inputs["dy"][:1] / 2}
    other = {"x": another(inputs["x"]), "dy": inputs["dy"] / 2}
    verdicts = []
    batches = {"": inputs, "one sample": one, "another": other, "again": inputs}
    if not trial.takes(*one["x"].shape):
        del batches["one sample"]
    for name, batch in batches.items():
        results = passed(layer, inputs | batch, seed=trial.seed)
        if name:
            judged = trial.judge_layer(inputs | batch, results)
            verdicts += [replace(v, name=f"{name}: {v.name}") for v in judged]
    return verdicts


def second_backward(trial: Trial) -> list[Comparison]:
    """A second backward after one forward gives what the first gave, or is refused."""
    inputs = trial.inputs()
    layer = trial.layer(weights(inputs))
    results = passed(layer, inputs, seed=trial.seed)
    layer.zero_grad()
    refused, dx = layer.attempt("backward", inputs["dy"])
    if refused:
        return [fact("second backward", True, "")]
    verdicts = trial.judge_layer(inputs, of_pass(results["output"], dx, layer.gradients()))
    if all(verdict.passed for verdict in verdicts):
        return verdicts
    layer = trial.layer(weights(inputs))
    passed(layer, inputs, seed=trial.seed)
    refused, dx = layer.attempt("backward", inputs["dy"])
    ending = "output" if dx is None else "input_grad"
    first = of_pass(results["output"], dx, {})
    if refused or not trial.judge_layer(inputs, first, ending=ending)[0].passed:
        return verdicts
    text = f"{trial.case.entry.name}'s backward is wrong after zero_grad, which drops what it needs"
    return [v if v.passed else replace(v, diagnosis=text, named=True) for v in verdicts]


def uninitialised(trial: Trial) -> list[Comparison]:
    """With all memory that nobody has written to full of NaN, and gradients as a new layer has
    them: the same results."""
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
    return [_at_zero(v, inputs, results["input_grad"], torchs, name) for v in verdicts]


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
        size = inputs["x"][0].numel()
        row = torch.tensor(values * size, dtype=trial.dtype)
        x = torch.stack([row.roll(i)[:size] for i in range(len(inputs["x"]))])
        x[1::2] = -x[1::2].abs()  # rows whose largest entry is far below that of the batch
        inputs["x"] = x.reshape(inputs["x"].shape)
        layer = trial.layer(weights(inputs))
        results = passed(layer, inputs, seed=trial.seed)
        judged = trial.judge_layer(inputs, results, finite=True)
        at = {"large": "as large as 1e4", "subnormal": "as small as 1e-39"}.get(name, name)
        verdicts += [_at(name, at, verdict, trial.case.entry.name) for verdict in judged]
        if not all(verdict.passed for verdict in judged) and weights(inputs):
            verdicts = _by_moved(verdicts, layer, trial.case.entry.name)
    return verdicts


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
        layer = trial.layer(weights(inputs))
        results = passed(layer, inputs, seed=trial.seed)
        for verdict in trial.judge_layer(inputs, results):
            verdicts.append(replace(verdict, name=f"{name}: {verdict.name}"))
    return verdicts


BATCHES = 3
"""How many batches go before an evaluation."""


def statistics(trial: Trial) -> list[Comparison]:
    """In evaluation after three batches in training: what is kept of them is torch's."""
    inputs = trial.inputs()
    generator = trial.generator()
    x = inputs["x"]
    for batch in range(1, BATCHES + 1):
        inputs[f"x {batch}"] = batch * trial.x(*x.shape, generator=generator) + batch
    layer = trial.layer(weights(inputs))
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
    known = normalization.of_statistics(module, given, right.oracle, BATCHES, trial.case.biased)
    if refused:
        right = right.only(["output"])
    return judge(results, right, known, label=trial.case.entry.name, strict=False, inputs=inputs)


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

    verdicts = []
    if "input_grad" in results:
        dx = results["input_grad"]
        verdicts.append(compare_with_differences("input_grad", value, inputs["x"], dx))
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
        if not near:  # and what follows from it
            break
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


def moving(trial: Trial) -> list[Comparison]:
    """A backward that moves the parameters passes on what they were, and moves them by the rate
    times their gradients."""
    inputs, rate_ = trial.inputs(), 0.5
    layer = trial.layer(weights(inputs))
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


CHECKS: dict[str, Callable[[Trial], list[Comparison]]] = {
    "forward": _ending("output", "The output."),
    "input_grad": _ending("input_grad", "The gradient with respect to the input."),
    "param_grad": _ending("param_grad", "The gradients with respect to the parameters."),
    "eval_mode": eval_mode,
    "noncontiguous": noncontiguous,
    "sizes": sizes,
    "rank": rank,
    "instances": instances,
    "tied": tied,
    "moving": moving,
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
    "magnitudes": magnitudes,
    "extremes": extremes,
    "ranges": ranges,
    "statistics": statistics,
    "differences": differences,
    "rate": rate,
}

OF_PARAMETERS = ("param_grad", "accumulation")
OF_NUMBERS = ("input_grad", "kink", "nan", "magnitudes", "extremes")
"""The checks of an input of real numbers."""


def applies(case: Any, name: str, dtype: torch.dtype) -> bool:
    """Whether a check says anything of a layer: of its gradients, if it has parameters."""
    module = case.module()
    drops = isinstance(module, nn.Dropout)
    if name == "differences":  # at padding_idx torch's gradient is no derivative
        return dtype == torch.float64 and "padding_idx" not in case.options
    if name == "param_grad" and isinstance(module, normalization.BATCH_NORMS) and dtype in HALF:
        return False  # of so many sums rounding leaves too little for a pass to mean anything
    if name == "ranges":
        return bool(case.entry.ranges)
    if name == "statistics":
        return any(True for _ in module.buffers())
    if case.indexed and name in OF_NUMBERS:
        return False
    if name == "rate":
        return drops
    if name == "nan":
        return not drops  # what it drops is 0, or NaN
    if name == "magnitudes":
        return (
            len(case.shape) == 2
            and not (drops or case.mixes or case.single)
            and not any(True for _ in module.parameters())
        )
    if name == "tied":
        return bool(case.objects) and any(True for _ in module.parameters())
    if name == "moving":
        return bool(case.moves)
    if name == "rank":
        return not (case.mixes or case.single or drops) and len(case.shape) == 2
    if name in OF_PARAMETERS:
        return any(True for _ in module.parameters())
    if name == "samples":
        return not (case.mixes or case.single or drops)
    # One sample at a time: it has no batches, and its bias gradient may well be dy itself.
    return not (case.single and name in ("empty_batch", "batch_of_one", "aliasing", "sizes"))
