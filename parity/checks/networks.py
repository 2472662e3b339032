"""Checks of whole models: layer by layer, each judged by what itself was given; and in training.

Where a layer is wrong, all that follows it is wrong too, and is not to blame. So each layer is
judged on its own input and its own incoming gradient, as recorded; a result that is wrong from
the start and right from its own input has inherited its error.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from parity.catalogue.case import Case, made
from parity.catalogue.entry import Entry
from parity.catalogue.table import by_name
from parity.catalogue.values import Tensors, weights_of
from parity.checks.passes import untouched
from parity.checks.trial import Trial, fact, in_double, judge_layer, judge_loss, masks_of
from parity.explain.diagnosis import certified, judge
from parity.explain.mistakes import Masks, Mistake, Mistakes, simple
from parity.judge import evaluate
from parity.judge.comparison import Comparison, compare
from parity.judge.evaluate import Over, alone, dropping
from parity.judge.truth import truth
from parity.play.arrays import same_bits
from parity.play.broken import Unoffered

BATCH, STEPS = 10, 100

LOOKED = {*range(1, 11), *range(20, STEPS + 1, 10)}
"""The steps of a training after which parameters are compared; the others, if one is wrong."""


def points(trial: Trial, count: int) -> tuple[Tensor, Tensor]:
    """Points in the unit square, and whether each lies in a disk of half its area, as the
    network's loss takes it; or images, and whether each is bright in the middle."""
    generator, shape = trial.generator(), trial.case.shape[1:]
    if len(shape) == 1:
        x = torch.rand(count, *shape, generator=generator, dtype=torch.float64)
        inside = ((x - 0.5).square().sum(-1) < 1 / (2 * torch.pi)).long()
    else:
        x = torch.randn(count, *shape, generator=generator, dtype=torch.float64)
        inside = (x[..., 2:-2, 2:-2].flatten(1).mean(-1) > 0).long()
    match trial.case.entry.target:
        case "index":
            t = inside
        case "label":
            t = inside.to(trial.dtype).unsqueeze(-1)
        case _:
            t = nn.functional.one_hot(inside, 2).to(trial.dtype)
    return x.to(trial.dtype), t


def loss_of(trial: Trial) -> Case:
    """The case of the network's loss: the torch side, reduced as the subject's."""
    name, options = trial.case.network.loss
    for case in trial.session.description.cases:
        if case.kind == "loss" and (case.entry.name, case.options) == (name, options):
            return case
    entry = by_name(name)
    variant = next(variant for variant, own in entry.variants.items() if own == options)
    return Case(entry, variant, trial.case.reduction)


def prepared(trial: Trial) -> tuple[Any, nn.Sequential, Tensors]:
    """The subject's model and torch's, and their weights."""
    twin = trial.case.network.make()
    weights = weights_of(twin, trial.generator(), trial.dtype)
    model = trial.build()
    model.set_parameters(weights)
    return model, twin, weights


def layer_by_layer(trial: Trial) -> list[Comparison]:
    """Every layer of one pass by what it was given itself; how they are joined; and the whole."""
    model, twin, weights = prepared(trial)
    x, t = points(trial, 1 if trial.case.single else BATCH)
    model.seed(trial.seed)
    got = model.trace(x, t)
    heard = _heard(model, twin, got)
    verdicts = untouched(model, "the network")
    if heard:
        verdicts += _joints(twin, x, got)
        for place in range(len(twin)):
            verdicts += _local(twin, place, weights, got)
    criterion = loss_of(trial)
    given = {"prediction": got["output"], "target": t}
    results = {name: got[name] for name in ("loss", "prediction_grad")}
    judged = judge_loss(criterion, given, results)
    loss = criterion.entry.name
    verdicts += [replace(v, name=f"{loss}: {v.name}, of its prediction") for v in judged]
    wrong = [v for v in verdicts if not v.passed]
    whole = _whole(trial, twin, criterion, {"x": x, "target": t, **weights}, got)
    places = model.shared()
    if places and not all(v.passed for v in whole):
        verdicts.append(_one_instance(twin, places))
        wrong.append(verdicts[-1])
    if wrong:
        verdicts = _cancelling(wrong, whole) + verdicts  # first: it is what matters
        whole = [v if v.passed else replace(v, inherited=True) for v in whole]
    return verdicts + whole


def _heard(model: Any, twin: nn.Sequential, got: Tensors) -> bool:
    """Whether the model's layers told of their calls.

    Raises:
        Unoffered: they did not, and one is a Dropout, of which nobody knows then what it dropped.
    """
    heard = any(name[0].isdigit() and name.endswith((".input", ".dy")) for name in got)
    drops = any(isinstance(layer, nn.Dropout) for layer in twin)
    if drops and not heard and not model.shared():
        raise Unoffered("what its Dropout drops is not heard: it is called by names of its own")
    return heard


def _one_instance(twin: nn.Sequential, places: list[int]) -> Comparison:
    """That one instance stands at several places, where that makes the whole wrong."""
    kind = type(twin[places[0]]).__name__
    named = " and ".join(map(str, places))
    text = (
        f"layers {named} are one instance of {kind}: its backward for the first has what its "
        "forward kept of the last"
    )
    return fact("layers", False, "are one instance", text)


def _cancelling(wrong: list[Comparison], whole: list[Comparison]) -> list[Comparison]:
    """Says so if errors of two parts come out as right gradients of the whole."""
    gradients = [v for v in whole if v.name.endswith("param_grad")]
    said = [re.sub(r"layer \d+ \((\w+)\)", r"\1", v.diagnosis) for v in wrong if v.diagnosis]
    told = list(dict.fromkeys(said))
    if len(told) < 2 or not gradients or not all(v.passed for v in gradients):
        return []
    text = "errors cancel: " + "; and ".join(told) + ". The network's own gradients are right"
    return [fact("parts", False, "are wrong, and the whole is right", text)]


def eval_mode(trial: Trial) -> list[Comparison]:
    """In evaluation mode: the whole network's output, which no Dropout touches."""
    model, twin, weights = prepared(trial)
    x, _ = points(trial, 1 if trial.case.single else BATCH)
    model.train(False)
    twin.eval()
    right = truth(_forward(twin), {"x": x, **weights})
    got = {"output": model.forward(x)}
    known = {"output": simple(right.oracle["output"])}
    return [
        *judge(got, right, known, label="in evaluation mode the network's"),
        *untouched(model, "the network"),
    ]


def _forward(twin: nn.Sequential) -> Callable[[Tensors], Tensors]:
    def evaluate(inputs: Tensors, over: Over = alone) -> Tensors:
        parameters = {name: inputs[name] for name, _ in twin.named_parameters()}
        forward = over(partial(functional_call, twin))
        return {"output": forward(parameters, (inputs["x"],)).detach()}

    return evaluate


def _whole(
    trial: Trial, twin: nn.Sequential, criterion: Case, inputs: Tensors, got: Tensors
) -> list[Comparison]:
    """What the model returns and leaves in its gradients, against torch's from the start."""
    with dropping(twin, _masks(twin, got)):
        evaluated = evaluate.network(twin, criterion.reference())
        right = truth(evaluated, inputs, pure=trial.case.pure)
    last = f"{len(twin) - 1}.output"
    results = dict(got) | {last: got["output"]}
    if "input_grad" in got:
        results["0.input_grad"] = got["input_grad"]
    names = [name for name in right.oracle if name in results or name.endswith("param_grad")]
    right = right.only(names)
    results = {name: results[name] for name in names if name in results}
    known = {name: simple(value) for name, value in right.oracle.items()}
    constants = {"the batch size": float(len(inputs["x"]))}
    averages = criterion.how.endswith("mean")
    return judge(results, right, known, constants, "the network's", averages=averages)


def _masks(twin: nn.Sequential, got: Tensors) -> Masks:
    """What each Dropout kept; all of it if nothing was heard of that layer."""
    masks: Masks = []
    for place, layer in enumerate(twin):
        own = {
            name: got[f"{place}.{name}"]
            for name in ("output", "input_grad")
            if f"{place}.{name}" in got
        }
        if isinstance(layer, nn.Dropout):
            heard = f"{place}.input" in got
            masks += masks_of(layer, got[f"{place}.input"], own) if heard else [None]
    return masks


def _local(twin: nn.Sequential, place: int, weights: Tensors, got: Tensors) -> list[Comparison]:
    """One layer's results at its own input and incoming gradient."""
    layer = twin[place]
    label = f"layer {place} ({type(layer).__name__})"
    if f"{place}.input" not in got:
        return [fact(label, False, "is left out of forward", f"{label} is skipped in forward")]
    if f"{place}.dy" not in got:
        return [fact(label, False, "is left out of backward", f"{label} is skipped in backward")]
    own = {
        name.removeprefix(f"{place}."): value
        for name, value in weights.items()
        if name.startswith(f"{place}.")
    }
    inputs = {"x": got[f"{place}.input"], "dy": got[f"{place}.dy"], **own}
    names = ["output", "input_grad", *(f"{name}.param_grad" for name in own)]
    results = {name: got[f"{place}.{name}"] for name in names if f"{place}.{name}" in got}
    if isinstance(layer, KINKED) and inputs["dy"].shape == inputs["x"].shape:
        # The derivative at exactly 0, which a Dropout before it gives, is a check of its own.
        at_zero = inputs["x"] == 0
        inputs["dy"] = inputs["dy"].masked_fill(at_zero, 0)
        if (dx := results.get("input_grad")) is not None and dx.shape == at_zero.shape:
            results["input_grad"] = dx.masked_fill(at_zero, 0)
    more = _sharing(twin, place, got, inputs)
    verdicts = judge_layer(case_of(layer), inputs, results, label=label, more=more)
    return [replace(v, name=f"{label}: {v.name}, of its input") for v in verdicts]


KINKED = (nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SELU, nn.ReLU6)
"""Activations that have at 0 one derivative from the left and another from the right."""


def _sharing(twin: nn.Sequential, place: int, got: Tensors, inputs: Tensors) -> Mistakes:
    """What backward would give with what another layer of the same kind had kept."""
    layer = twin[place]
    found: Mistakes = {"input_grad": []}
    for other, twin_layer in enumerate(twin):
        x = got.get(f"{other}.input")
        same = type(twin_layer) is type(layer) and other != place
        if not same or x is None or isinstance(layer, nn.Dropout):
            continue
        name = f"{other} ({type(layer).__name__})"
        text = f"is taken at what layer {name} was given: the two share what forward keeps"
        if isinstance(layer, nn.Linear):
            wrong = inputs["dy"].double().mT @ x.double()  # of another shape, maybe
            found.setdefault("weight.param_grad", []).append(Mistake("shared", text, wrong))
        elif x.shape == inputs["x"].shape:
            wrong = evaluate.layer(layer)(in_double(inputs | {"x": x}))["input_grad"]
            found["input_grad"].append(Mistake("shared", text, wrong))
    return found


def _joints(twin: nn.Sequential, x: Tensor, got: Tensors) -> list[Comparison]:
    """Whether each layer is given what the one before it returned, and backwards."""
    ways: list[tuple[str, str, Iterable[int], Tensor, Tensor | None]] = [
        ("input", "output", range(len(twin)), x, got["output"]),
        ("dy", "input_grad", reversed(range(len(twin))), got["prediction_grad"], None),
    ]
    verdicts = []
    for given, returned, places, start, end in ways:
        last, source = start, "the start"
        for place in places:
            name = f"{place}.{given}"
            if name not in got:
                continue
            same = same_bits(got[name], last)
            text = f"is not what {source} returned"
            verdicts.append(fact(name, same, text, f"layer {place} is given something else than "
                                                   f"{source} returned"))  # fmt: skip
            last = got.get(f"{place}.{returned}", last)
            source = f"layer {place}"
        if end is not None:
            verdicts.append(fact("output", same_bits(end, last), f"is not what {source} returned"))
    return verdicts


def case_of(layer: nn.Module) -> Case:
    """A torch layer as a case: its class, at the options that it has."""
    if isinstance(layer, nn.Linear):
        options: dict[str, Any] = {
            "in_features": layer.in_features,
            "out_features": layer.out_features,
            "bias": layer.bias is not None,
        }
        positional: tuple[str, ...] = ("in_features", "out_features")
    else:
        names = inspect.signature(type(layer)).parameters
        options = {k: getattr(layer, k) for k in names if hasattr(layer, k)}
        if "bias" in options:  # there it is the parameter, or None
            options["bias"] = options["bias"] is not None
        positional = ()
    return Case(Entry(type(layer), "layer", {"": options}, positional=positional), "")


def training(trial: Trial) -> list[Comparison]:
    """A hundred steps: parameters after each, on the same batches, with the same dropout masks.

    Each side goes on from its own weights, so errors add up; the floor is taken from trainings
    whose data and initial weights were moved, and so adds up as they do.
    """
    return in_training(trial, 1 if trial.case.single else BATCH)


def in_training(trial: Trial, size: int) -> list[Comparison]:
    """`training`, in batches of `size`."""
    model, twin, weights = prepared(trial)
    x, t = points(trial, size * STEPS)
    moved = trial.case.network.optimizer
    assert moved is not None
    name, options = moved
    model.attach(name, options)
    model.seed(trial.seed)
    inputs, results = dict(weights), Tensors()
    masks: list[Masks] = []
    for step, (x_step, t_step) in enumerate(zip(x.split(size), t.split(size), strict=True), 1):
        inputs |= {f"x {step}": x_step, f"t {step}": t_step}
        got = model.train_step(x_step, t_step)
        if step == 1:
            _heard(model, twin, got)
        results |= {f"step {step}: {k}": got[k] for k in weights}
        masks.append(_masks(twin, got))
    cases = trial.session.description.cases
    entry = next((case.entry for case in cases if case.entry.name == name), None) or by_name(name)
    right = truth(
        evaluate.training(
            twin,
            loss_of(trial).reference(),
            lambda parameters: made(entry, parameters, **options),
            masks,
        ),
        inputs,
        pure=trial.case.pure and Case(entry).pure,
    )
    looked = [name for name in results if int(name.split()[1].rstrip(":")) in LOOKED]
    verdicts = compare({name: results[name] for name in looked}, right.only(looked))
    if not all(verdict.passed for verdict in verdicts):  # at which step does it begin?
        verdicts = compare(results, right)
    final = {v.name for v in verdicts if v.name.startswith(f"step {STEPS}:")}
    start = {name: weights[name.split(": ")[1]].double() for name in final}
    still = [
        name for name in weights if torch.equal(results[f"step {STEPS}: {name}"], weights[name])
    ]
    return _frozen(still, len(weights)) + [
        certified(v, right, [Mistake("frozen", "", start[v.name])]) if v.name in final else v
        for v in verdicts
    ]


def _frozen(still: list[str], of: int) -> list[Comparison]:
    """That some parameters have not moved, as one fact."""
    if not still:
        return []
    which = "every parameter" if len(still) == of else " and ".join(still)
    text = f"{STEPS} steps leave {which} at the start: frozen"
    if len(still) == of:
        text += "; the optimizer may hold arrays in whose place backward makes new ones"
    return [fact(f"{which} moves", False, "is where it was at the start", text)]


CHECKS: dict[str, Callable[[Trial], list[Comparison]]] = {
    "layer_by_layer": layer_by_layer,
    "eval_mode": eval_mode,
    "training": training,
}


@functools.lru_cache(maxsize=256)
def _drops(case: Any) -> bool:
    return any(isinstance(layer, nn.Dropout) for layer in case.entry.make())


def applies(case: Any, name: str, dtype: torch.dtype) -> bool:
    """Training needs an optimizer, and evaluation something that is not always the same."""
    if name == "eval_mode":
        return _drops(case)
    return name != "training" or case.entry.optimizer is not None
