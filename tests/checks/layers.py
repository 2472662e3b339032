"""Checks of layers: forward, backward, gradients, modes, strides, batches, stacked runs."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import parity
import scratch
from parity import Comparison, Tensors
from reference import layers as reference_layers
from scratch import runs
from tests.checks.setting import Setting, equal, fact, random, strided, untouched

RUNS = 3


def build(setting: Setting) -> scratch.Module:
    """The scratch layer of a setting, with weights that depend on its seed alone."""
    torch.manual_seed(setting.seed)
    layer: scratch.Module = setting.case.scratch()
    return layer.to(setting.device, setting.dtype)


def mirror(setting: Setting, layer: scratch.Module) -> nn.Module:
    """The torch layer, with the dropout masks that the scratch layer last drew."""
    module: nn.Module = setting.case.reference()
    module.train(layer.training)
    share_masks(layer, module)
    return module.to(setting.device)


def share_masks(layer: scratch.Module, module: nn.Module, run: int | None = None) -> None:
    """Hands the places that scratch's Dropout layers dropped to torch's; the scale is torch's."""
    ours = [one for one in layer.modules() if isinstance(one, scratch.Dropout)]
    theirs = [one for one in module.modules() if isinstance(one, reference_layers.Dropout)]
    for dropout, twin in zip(ours, theirs, strict=True):
        mask = dropout.mask if dropout.mask is None or run is None else dropout.mask[run]
        if mask is not None:
            twin.mask = (mask != 0).double() / max(1 - twin.p, 1e-300)


def inputs_of(setting: Setting, layer: scratch.Module, batch: int | None = None) -> Tensors:
    """Random x and dy, and the layer's parameters."""
    generator = setting.generator()
    rows, features = setting.case.pair.shape
    rows = rows if batch is None else batch
    x = random(setting, rows, features, generator=generator)
    torch.manual_seed(setting.seed)
    probe = copy.deepcopy(layer)  # the layer itself must meet its first batch in the check
    outputs = probe(torch.ones(1, features, dtype=x.dtype, device=x.device)).shape[-1]
    return {
        "x": x,
        "dy": random(setting, rows, outputs, generator=generator),
        **layer.state_dict(),
    }


def passed_through(layer: scratch.Module, inputs: Tensors, seed: int = 0) -> Tensors:
    """One forward and backward of a scratch layer, by the names of `parity.layer`."""
    layer.zero_grad()
    torch.manual_seed(seed)
    results = {"output": layer(inputs["x"]), "input_grad": layer.backward(inputs["dy"])}
    return results | gradients(layer)


def gradients(layer: scratch.Module) -> Tensors:
    return {f"{k}.param_grad": g.clone() for k, (_, g) in layer.named_param().items()}


def compare(
    setting: Setting, layer: scratch.Module, inputs: Tensors, results: Tensors
) -> list[Comparison]:
    """Results of a scratch layer against its torch mirror at the same inputs."""
    evaluate = parity.layer(mirror(setting, layer))
    return parity.compare(results, parity.truth(evaluate, inputs))


def one_pass(
    setting: Setting,
    change: Callable[[Tensors], Tensors] = lambda inputs: inputs,
    *,
    batch: int | None = None,
    training: bool = True,
) -> list[Comparison]:
    """Builds both sides, passes the same inputs through them, and compares all results."""
    layer = build(setting)
    layer.train(training)
    inputs = change(inputs_of(setting, layer, batch))
    results = passed_through(layer, inputs, setting.seed)
    return compare(setting, layer, inputs, results)


def _named(ending: str) -> Callable[[Setting], list[Comparison]]:
    def check(setting: Setting) -> list[Comparison]:
        return [c for c in one_pass(setting) if c.name.endswith(ending)]

    return check


def eval_mode(setting: Setting) -> list[Comparison]:
    """In evaluation mode, as torch's in evaluation mode; and `train` leads back."""
    layer = build(setting).eval()
    modes = fact("eval reaches all", not any(m.training for m in layer.modules()), "it does not")
    layer.train()
    back = fact("train reaches all", all(m.training for m in layer.modules()), "it does not")
    return [modes, back, *one_pass(setting, training=False)]


def noncontiguous(setting: Setting) -> list[Comparison]:
    """x and dy with strides of their own."""

    def change(inputs: Tensors) -> Tensors:
        return inputs | {"x": strided(inputs["x"]), "dy": strided(inputs["dy"])}

    return one_pass(setting, change)


def batch_of_one(setting: Setting) -> list[Comparison]:
    return one_pass(setting, batch=1)


def empty_batch(setting: Setting) -> list[Comparison]:
    """No samples: empty results of the right shape, and no gradient."""
    return one_pass(setting, batch=0)


def accumulation(setting: Setting) -> list[Comparison]:
    """Gradients of two backwards add up, as autograd's do; `zero_grad` starts again."""
    layer = build(setting)
    first = inputs_of(setting, layer)
    second = first | {"x": first["x"].flip(0), "dy": first["dy"] * 2}
    evaluate = parity.layer(mirror(setting, layer))

    def twice(inputs: Tensors) -> Tensors:
        one = evaluate(inputs)
        two = evaluate(inputs | {"x": inputs["x"].flip(0), "dy": inputs["dy"] * 2})
        return {name: one[name] + two[name] for name in one if name.endswith("param_grad")}

    passed_through(layer, first)
    layer(second["x"])
    layer.backward(second["dy"])
    verdicts = parity.compare(gradients(layer), parity.truth(twice, first))
    layer.zero_grad()
    return verdicts + [
        fact(f"{name} after zero_grad", not bool(gradient.any()), "is not zero")
        for name, gradient in gradients(layer).items()
    ]


def params_alone(setting: Setting) -> list[Comparison]:
    """`backward_param` leaves the gradients that `backward` leaves."""
    layer = build(setting)
    inputs = inputs_of(setting, layer)
    whole = {k: v for k, v in passed_through(layer, inputs).items() if k.endswith("param_grad")}
    layer.zero_grad()
    torch.manual_seed(0)
    layer(inputs["x"])
    layer.backward_param(inputs["dy"])
    alone = gradients(layer)
    return [equal(f"{name} by backward_param", alone[name], whole[name]) for name in whole]


def no_mutation(setting: Setting) -> list[Comparison]:
    """Neither x, nor dy, nor a parameter is modified; the output is not changed by backward."""
    layer = build(setting)
    inputs = inputs_of(setting, layer)
    before = {name: tensor.clone() for name, tensor in inputs.items()}
    torch.manual_seed(setting.seed)
    y = layer(inputs["x"])
    y_before = y.clone()
    layer.backward(inputs["dy"])
    after = inputs | layer.state_dict()
    return [*untouched(before, after), equal("output after backward", y, y_before)]


def repeated(setting: Setting) -> list[Comparison]:
    """A second, different batch leaves nothing of itself: the first gives the same again."""
    layer = build(setting)
    inputs = inputs_of(setting, layer)
    first = passed_through(layer, inputs, setting.seed)
    passed_through(layer, {"x": -inputs["x"], "dy": inputs["dy"] + 1}, setting.seed)
    again = passed_through(layer, inputs, setting.seed)
    return [equal(f"{name} again", again[name], first[name]) for name in first]


def kink(setting: Setting) -> list[Comparison]:
    """At 0, and beside it, values and gradients are torch's."""

    def change(inputs: Tensors) -> Tensors:
        x = inputs["x"].clone()
        tiny = torch.finfo(x.dtype).tiny
        x.view(-1)[: 4 * (x.numel() // 4)] = torch.tensor(
            [0.0, -0.0, tiny, -tiny], dtype=x.dtype, device=x.device
        ).repeat(x.numel() // 4)
        return inputs | {"x": x}

    return one_pass(setting, change)


def extremes(setting: Setting) -> list[Comparison]:
    """Inputs up to 1e4 in size: finite where torch is."""

    def change(inputs: Tensors) -> Tensors:
        x = inputs["x"].clone()
        values = torch.tensor([1e4, -1e4, 100.0, -100.0, 0.5], dtype=x.dtype, device=x.device)
        for row in range(len(x)):
            x[row] = values.roll(row)
        return inputs | {"x": x}

    return one_pass(setting, change)


def infinite_gradient(setting: Setting) -> list[Comparison]:
    """An infinity in dy goes where torch lets it go."""

    def change(inputs: Tensors) -> Tensors:
        dy = inputs["dy"].clone()
        dy[0, 0] = math.inf
        return inputs | {"dy": dy}

    return one_pass(setting, change)


def stacked(setting: Setting) -> list[Comparison]:
    """Run i of a stacked layer is what torch makes of model i alone; `unstack` gives it back."""
    singles = _singles(setting)
    layer = runs.stack(singles)
    each = [inputs_of(_run(setting, i), single) for i, single in enumerate(singles)]
    inputs = {name: torch.stack([one[name] for one in each]) for name in ("x", "dy")}
    results = passed_through(layer, inputs, setting.seed)
    verdicts = []
    for run, single in enumerate(singles):
        module = setting.case.reference().to(setting.device)
        share_masks(layer, module, run)
        truth = parity.truth(parity.layer(module), each[run])
        got = {name: tensor[run] for name, tensor in results.items()}
        verdicts += [_of_run(c, run) for c in parity.compare(got, truth)]
        again = runs.unstack(layer)[run].state_dict()
        verdicts += [equal(f"{k} unstacked", again[k], v) for k, v in single.state_dict().items()]
    return verdicts


def runs_apart(setting: Setting) -> list[Comparison]:
    """Touching run 1, in parameters and inputs, leaves the other runs the same to the bit."""
    layer = runs.stack(_singles(setting))
    first = inputs_of(setting, build(setting))
    inputs = {k: torch.stack([first[k]] * RUNS) for k in ("x", "dy")}
    before = passed_through(layer, inputs, setting.seed)
    touched = {name: tensor.clone() for name, tensor in inputs.items()}
    for tensor in (*touched.values(), *(parameter for parameter, _ in layer.param())):
        tensor[1] += 1
    after = passed_through(layer, touched, setting.seed)
    return [
        equal(f"{name} of run {run}", after[name][run], before[name][run])
        for name in before
        for run in range(RUNS)
        if run != 1
    ]


def differences(setting: Setting) -> list[Comparison]:
    """Every gradient is the derivative of the layer's own forward, by finite differences."""
    layer = build(setting).to(dtype=torch.float64)
    inputs = inputs_of(Setting(setting.case, torch.float64, setting.device, setting.seed), layer)
    results = passed_through(layer, inputs, setting.seed)

    def value(x: Tensor) -> Tensor:
        torch.manual_seed(setting.seed)
        return (layer(x) * inputs["dy"]).sum()

    verdicts = [
        parity.compare_with_differences("input_grad", value, inputs["x"], results["input_grad"])
    ]
    for name, (parameter, _) in layer.named_param().items():

        def value_at(p: Tensor, parameter: Tensor = parameter) -> Tensor:
            parameter.copy_(p)
            return value(inputs["x"])

        gradient = results[f"{name}.param_grad"]
        start = parameter.clone()
        verdicts.append(
            parity.compare_with_differences(f"{name}.param_grad", value_at, start, gradient)
        )
        parameter.copy_(start)
    return verdicts


def rate(setting: Setting) -> list[Comparison]:
    """Dropout's mask is 0 or 1 / (1 - p) to the last bit, 0 at the rate p, each entry by itself.

    Counts are held to five standard deviations of the binomial distribution: of the zeros, and
    of those that follow a zero, along either axis.
    """
    layer = build(setting)
    p, size = layer.p, 1000  # type: ignore[attr-defined]
    torch.manual_seed(setting.seed)
    ones = torch.ones(size, size, dtype=setting.dtype, device=setting.device)
    mask = layer(ones)
    keep = torch.tensor(1, dtype=setting.dtype) / torch.tensor(1 - p, dtype=setting.dtype)
    exact = bool(((mask == 0) | (mask == keep.to(mask.device))).all())
    zero = mask == 0
    pairs = [zero[1:] & zero[:-1], zero[:, 1:] & zero[:, :-1]]
    shares = {"zeros": (zero, p), "pairs down": (pairs[0], p * p), "across": (pairs[1], p * p)}
    verdicts = [fact("mask", exact, "is neither 0 nor 1 / (1 - p)")]
    for name, (hits, share) in shares.items():
        count, trials = int(hits.sum()), hits.numel()
        # Neighbouring pairs overlap, which at most triples the variance of their count.
        overlap = 1 if name == "zeros" else 3
        spread = math.sqrt(overlap * trials * share * (1 - share))
        near = abs(count - trials * share) <= 5 * spread
        verdicts.append(fact(name, near, f"are {count} of {trials}, not near {share:g}"))
    return verdicts


def state_dicts(setting: Setting) -> list[Comparison]:
    """Weights go to torch and back through `state_dict`, and compute the same there."""
    layer = build(setting)
    module = mirror(setting, layer).to(setting.dtype)
    module.load_state_dict(layer.state_dict())
    other: scratch.Module = setting.case.scratch().to(setting.device, setting.dtype)
    other.load_state_dict(module.state_dict())
    ours, theirs = layer.state_dict(), other.state_dict()
    return [
        fact("keys", list(ours) == list(module.state_dict()), "differ from torch's"),
        *(equal(f"{name} there and back", theirs[name], ours[name]) for name in ours),
    ]


def _singles(setting: Setting) -> list[scratch.Module]:
    return [build(_run(setting, run)) for run in range(RUNS)]


def _run(setting: Setting, run: int) -> Setting:
    return Setting(setting.case, setting.dtype, setting.device, setting.seed + run)


def _of_run(comparison: Comparison, run: int) -> Comparison:
    return Comparison(**(vars(comparison) | {"name": f"{comparison.name} of run {run}"}))


CHECKS: dict[str, Callable[[Setting], Any]] = {
    "forward": _named("output"),
    "input_grad": _named("input_grad"),
    "param_grad": _named("param_grad"),
    "eval_mode": eval_mode,
    "noncontiguous": noncontiguous,
    "batch_of_one": batch_of_one,
    "empty_batch": empty_batch,
    "accumulation": accumulation,
    "params_alone": params_alone,
    "no_mutation": no_mutation,
    "repeated": repeated,
    "kink": kink,
    "extremes": extremes,
    "infinite_gradient": infinite_gradient,
    "stacked": stacked,
    "runs_apart": runs_apart,
    "differences": differences,
    "state_dicts": state_dicts,
    "rate": rate,
}
