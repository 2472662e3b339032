"""What torch says at a case of a sweep, and how far the best implementation may be off."""

from __future__ import annotations

import warnings
from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from parity.catalogue.values import Tensors
from parity.judge.evaluate import Function, Over, alone
from parity.judge.truth import DRAWS, HALF, Evaluate, Truth, truth
from parity.kernels.cases import Case
from parity.kernels.spec import DTYPES, PROMISES, Sweep, as_list

FORWARD_ONLY = ("no_grad", "inference")
"""The modes in which there is no backward."""

LARGE, FEW = 1 << 16, 4
"""From so many entries on, the floor is taken from so few draws: there are enough of them."""

MOST_FLOORS = 8.0
"""How many floors torch's own error excuses: where it is larger, it excuses nobody."""

COARSE = {"tf32": 2.0**-10, "autocast": 2.0**-7}
"""How far apart numbers are where some operations round to fewer digits than their tensors have."""


def wanted_of(sweep: Sweep, case: Case, tensors: Tensors) -> list[str]:
    """The tensors whose gradients a case asks for; of two that are one tensor, the first."""
    parameters = [name for name in tensors if name not in sweep.tensors and name[:2] != "dy"]
    found = [*sweep.wanted, *parameters]
    if case.get("mode") in FORWARD_ONLY:
        return []
    one = str(case.get("gradients", default="all")).removesuffix(" alone")
    if one in found:
        return [one]
    second = case.get("tied").partition("=")[2]
    return [name for name in found if name != second]


def coming_of(sweep: Sweep, case: Case) -> list[str]:
    """The outputs, by the names of their gradients, that a case sends gradients into."""
    one = str(case.get("gradients", default="all")).removesuffix(" alone")
    return [one] if one in sweep.incoming else list(sweep.incoming)


def evaluated(sweep: Sweep, case: Case, function: Function | None = None) -> Evaluate:
    """Torch's function at a case as `truth` evaluates it, or another of the same arguments.

    Inputs: the tensors by name, and the gradients that come in, `dy`. Results: `output`, and
    `x_grad` of the tensor x; with mode "double" `x_double_grad`, the gradient of the sum of all
    gradients times fixed numbers.
    """
    whole = sweep.function_of(case, function)
    coming = coming_of(sweep, case)
    times = 2.0 if case.get("repeated") == "accumulated" else 1.0
    first, _, second = case.get("tied").partition("=")

    def evaluate(inputs: Tensors, over: Over = alone) -> Tensors:
        tensors = {name: x for name, x in inputs.items() if name not in sweep.incoming}
        wanted = wanted_of(sweep, case, tensors)
        leaves = {n: x.detach().requires_grad_() if n in wanted else x for n, x in tensors.items()}
        if second:
            leaves[second] = leaves[first]
        exact = any(x.dtype == torch.float64 for x in inputs.values())
        try:
            with sdpa_kernel(SDPBackend.MATH) if exact else nullcontext():
                ys = as_list(over(whole)(*leaves.values()), sweep.name)
        except Exception as error:
            if over is alone:
                raise
            raise RuntimeError(str(error)) from error  # one that vmap does not take
        results = {n: y.detach() for n, y in zip(sweep.outputs, ys, strict=True)}
        into = [y for dy, y in zip(sweep.incoming, ys, strict=True) if dy in coming]
        into = [y for y in into if y.requires_grad]
        asked = [leaves[name] for name in wanted]
        if not asked or not into:
            return results
        dys = [inputs[dy] for dy, y in zip(sweep.incoming, ys, strict=True) if dy in coming
               and y.requires_grad]  # fmt: skip
        double = case.get("mode") == "double"
        found = torch.autograd.grad(into, asked, dys, allow_unused=True, create_graph=double)
        for name, gradient in zip(wanted, found, strict=True):
            if gradient is not None:
                results[f"{name}_grad"] = times * gradient.detach()
        return results | (_of_second_order(found, wanted, leaves) if double else {})

    return evaluate


def _of_second_order(
    gradients: tuple[Tensor | None, ...], wanted: list[str], leaves: Tensors
) -> Tensors:
    """The gradients of the gradients, each weighted with fixed numbers."""
    total = [g * fixed(g) for g in gradients if g is not None and g.requires_grad]
    if not total:
        return {}
    asked = [leaves[name] for name in wanted]
    found = torch.autograd.grad([one.sum() for one in total], asked, allow_unused=True)
    pairs = zip(wanted, found, strict=True)
    return {f"{name}_double_grad": g.detach() for name, g in pairs if g is not None}


def fixed(x: Tensor) -> Tensor:
    """Numbers from 0.5 to 1.5, the same for every tensor of a shape."""
    count = max(x.shape.numel(), 1)
    return (torch.linspace(0.5, 1.5, count, dtype=torch.float64).view(x.shape)).to(x)


def truth_of(sweep: Sweep, case: Case, inputs: Tensors, times: int = 1) -> Truth:
    """The truth at a case; torch's own error counts up to `MOST_FLOORS`, and not beyond.

    Args:
        times: how many times as many draws the floor is taken from.

    Raises:
        Refused: torch takes no such inputs.
        ValueError: the reference gives two results at the same inputs.
    """
    evaluate = evaluated(sweep, case)
    largest = max((x.numel() for x in inputs.values()), default=0)
    draws = times * (DRAWS if largest < LARGE else FEW)
    evaluate = evaluate if _vmaps(evaluate, inputs) else _alone(evaluate)
    coarse = COARSE.get(case.dtype) or COARSE.get(case.get("mode"))
    dtype = DTYPES[case.dtype]
    if dtype in HALF and sweep.half == PROMISES[1]:
        found = _rounded_once(evaluate, inputs, dtype, draws, sweep.seed)
    else:
        found = truth(evaluate, inputs, draws=draws, seed=sweep.seed, coarse=coarse, any_order=True)
    error = {n: torch.minimum(e, MOST_FLOORS * found.floor[n]) for n, e in found.error.items()}
    return replace(found, error=error)


def _vmaps(evaluate: Evaluate, inputs: Tensors) -> bool:
    """Whether several evaluations at once are what each is alone: vmap does not know, for example,
    of an embedding's `padding_idx`."""
    exact = {n: x.double() if x.is_floating_point() else x for n, x in inputs.items()}
    twice = {name: x.expand(2, *x.shape) for name, x in exact.items()}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of an operation that vmap takes one by one
            several, one = evaluate(twice, over=torch.vmap), evaluate(exact)
    except (RuntimeError, ValueError, IndexError):
        return False
    return all(
        torch.allclose(several[name][1], y, 1e-9, 1e-9, equal_nan=True) for name, y in one.items()
    )


def _alone(evaluate: Evaluate) -> Evaluate:
    """The same, and it does not say that it takes several at once."""
    return lambda inputs: evaluate(inputs)


def _rounded_once(
    evaluate: Evaluate, inputs: Tensors, dtype: torch.dtype, draws: int, seed: int
) -> Truth:
    """The truth for a subject that computes in float32, and rounds what comes out once."""
    single = {n: x.float() if x.is_floating_point() else x for n, x in inputs.items()}
    found = truth(evaluate, single, draws=draws, seed=seed, any_order=True)
    eps, tiny = (
        torch.finfo(dtype).eps,
        torch.finfo(dtype).tiny,
    )  # below it they are tiny * eps apart
    floor = {
        n: found.floor[n] + eps * (y.abs().nan_to_num(0, 0, 0) + tiny)
        for n, y in found.oracle.items()
    }
    reference = {name: y.to(dtype) for name, y in found.reference.items()}
    error = {
        n: (reference[n].double() - y).abs().nan_to_num(0, 0, 0) for n, y in found.oracle.items()
    }
    return Truth(reference, found.oracle, floor, error)
