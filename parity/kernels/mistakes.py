"""What people get wrong in kernels, as the results that they would get at the same inputs.

Most of them are torch's own function at other inputs: what somebody reads who takes a transposed
tensor for a contiguous one; a gradient of ones in place of the one that comes in; one of which the
last rows are zeros, as where the last partial block is left out of a sum.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from parity.catalogue.values import Tensors
from parity.explain.mistakes import Mistake, Mistakes, simple
from parity.judge.truth import Truth
from parity.kernels.cases import Case
from parity.kernels.layouts import laid, plain_strides, read_by
from parity.kernels.reference import coming_of, evaluated
from parity.kernels.spec import Sweep

BLOCKS = tuple(2**k for k in range(1, 11))
"""The sizes of blocks that are tried where the user names none."""

OF_USER = "is that of the mistake"
"""How it is said that a result is what a mistake of the user's makes."""


def known(sweep: Sweep, case: Case, inputs: Tensors, truth: Truth) -> Mistakes:
    """The results of known mistakes at a case, by the name of the result."""
    found: Mistakes = {name: simple(y) for name, y in truth.oracle.items()}
    for name, sentence, results in _wrong(sweep, case, inputs):
        for result, value in results.items():
            right = truth.oracle.get(result)
            if right is not None and value.shape == right.shape and bool(value.isfinite().all()):
                found[result].append(Mistake(name, sentence, value))
    for name, own in of_user(sweep, case, inputs, truth).items():
        found[name] += own
    return found


def of_user(sweep: Sweep, case: Case, inputs: Tensors, truth: Truth) -> Mistakes:
    """The results of the mistakes that the user gives."""
    exact = {n: x.double() if x.is_floating_point() else x for n, x in inputs.items()}
    found: Mistakes = {name: [] for name in truth.oracle}
    for name, mistake in sweep.mistakes.items():
        with contextlib.suppress(RuntimeError, ValueError, IndexError, TypeError):  # not there
            for result, value in evaluated(sweep, case, mistake)(exact).items():
                if result in found:
                    found[result].append(Mistake(name, f"{OF_USER} {name!r}", value))
    return found


def constants(sweep: Sweep, case: Case, inputs: Tensors) -> dict[str, float]:
    """The numbers that a result may be off by as a factor, by what they are."""
    found: dict[str, float] = {}
    for name, size in sweep.sizes_of(case).items():
        found |= {name: float(size), f"the square root of {name}": math.sqrt(size)}
    for name, one in sweep.tensors.items():
        if one.ignore is not None:
            total = inputs[name].numel()
            ignored = int((inputs[name] == one.ignore).sum())
            found[f"the share of entries of {name} that are not ignored"] = (
                (total - ignored) / total if total else 1.0
            )
    for name, value in case.of("option").items():
        if isinstance(value, float):
            found[name] = value
    return {name: value for name, value in found.items() if value not in (0, 1)}


def _wrong(sweep: Sweep, case: Case, inputs: Tensors) -> Iterator[tuple[str, str, Tensors]]:
    """Each mistake: its name, what is to be said of a result that it makes, and its results."""
    whole = evaluated(sweep, case)
    exact = {n: x.double() if x.is_floating_point() else x for n, x in inputs.items()}
    changes = (*_misread(sweep, case, inputs, exact), *_inputs(sweep, case, exact))
    for name, sentence, changed in changes:
        with contextlib.suppress(RuntimeError, ValueError, IndexError):
            yield name, sentence, whole(changed)
    for option, values in sweep.options.items():
        for value in values:
            if value != case["option", option]:
                other = evaluated(sweep, case.at({("option", option): value}))
                text = f"is that of {option}={value!r}, where {case['option', option]!r} is given"
                with contextlib.suppress(RuntimeError, ValueError, IndexError):
                    yield f"{option}={value!r}", text, other(exact)
    with contextlib.suppress(RuntimeError, ValueError, IndexError), _Constant() as mode:
        results = whole(exact)
        if mode.met:
            text = (
                "takes the means and sums over an axis for constants: their derivative is missing"
            )
            yield "statistics as constants", text, results


def _inputs(sweep: Sweep, case: Case, exact: Tensors) -> Iterator[tuple[str, str, Tensors]]:
    """Mistakes that are torch's function at other inputs."""
    for dy in coming_of(sweep, case):
        if dy in exact and exact[dy].numel():
            yield from _of_incoming(sweep, case, exact, dy)
    tensors = [name for name in exact if name not in sweep.incoming]
    for name in tensors:
        if len(tensors) > 1 and exact[name].is_floating_point():
            yield (f"without {name}", f"lacks {name}: it is as if that were 1",
                   {**exact, name: torch.ones_like(exact[name])})  # fmt: skip
            yield (f"{name} as 0", f"leaves out {name}: it is as if that were 0",
                   {**exact, name: torch.zeros_like(exact[name])})  # fmt: skip


def _misread(
    sweep: Sweep, case: Case, inputs: Tensors, exact: Tensors
) -> Iterator[tuple[str, str, Tensors]]:
    """Tensors that are read by other strides than their own: as if they were contiguous, or by
    those of another one of their shape."""
    lying = {name: laid(x, case.get("layout", name)) for name, x in inputs.items()}
    for name, x in lying.items():
        strides = {f"{name} as if contiguous": plain_strides(x.shape)}
        for other, y in lying.items():
            if other != name and y.shape == x.shape:
                strides[f"{name} by the strides of {other}"] = y.stride()
        for text, own in strides.items():
            if (read := read_by(x, own)) is not None:
                changed = {**exact, name: read.to(exact[name].dtype)}
                heeds = f"reads {name} as if it were contiguous: it does not heed its strides"
                yield text, heeds if "as if" in text else f"reads {text}", changed


def _of_incoming(
    sweep: Sweep, case: Case, exact: Tensors, name: str
) -> Iterator[tuple[str, str, Tensors]]:
    """Mistakes in what a backward makes of a gradient that comes in."""
    dy = exact[name]
    text = f"ignores {name}, the gradient that comes in: it is as if that were 1"
    yield f"{name} ignored", text, {**exact, name: torch.ones_like(dy)}
    if dy.numel() > 1:
        yield (f"first entry of {name}", f"takes the first entry of {name} for all of them",
               {**exact, name: dy.flatten()[0].expand(dy.shape)})  # fmt: skip
    if len(sweep.incoming) > 1:
        yield (f"without {name}", f"leaves out {name}, the gradient of one of the outputs",
               {**exact, name: torch.zeros_like(dy)})  # fmt: skip
    for axis, size in enumerate(dy.shape):
        dims = [dim for dim, n in sweep.sizes_of(case).items() if n == size]
        dim = dims[0] if len(dims) == 1 else f"axis {axis} of {name}"
        for text, kept in _kept(size, sweep.blocks.get(dim, ())):
            mask = kept.view(-1, *(1,) * (dy.dim() - axis - 1))
            yield text, f"{text} of {dim}", {**exact, name: dy * mask}
    yield from _of_indices(sweep, exact, name)


def _kept(size: int, blocks: tuple[int, ...]) -> Iterator[tuple[str, Tensor]]:
    """Which places along an axis are counted, by a mistake: as a factor of 1 or 0."""
    places = torch.arange(size)
    if size > 1:
        yield "counts the first place alone", (places < 1).double()
        yield "counts the last place alone", (places == size - 1).double()
    seen: set[int] = set()
    for block in (*blocks, *BLOCKS):
        whole = size - size % block
        if block < size and whole < size and whole not in seen:
            seen.add(whole)
            yield f"leaves out the last {size - whole} of {size} places", (places < whole).double()
    for block in (*blocks, *BLOCKS):
        if block < size and block not in seen:
            seen.add(block)
            yield f"counts the first {block} of {size} places alone", (places < block).double()


def _of_indices(sweep: Sweep, exact: Tensors, name: str) -> Iterator[tuple[str, str, Tensors]]:
    """Mistakes where several indices are the same."""
    dy = exact[name]
    for index, one in sweep.tensors.items():
        places = exact[index]
        if one.kind != "indices" or dy.shape[: places.dim()] != places.shape or not places.numel():
            continue
        for which, text in ((-1, "last"), (0, "first")):
            kept = torch.zeros(places.numel())
            flat = places.flatten()
            for value in flat.unique():
                kept[(flat == value).nonzero().flatten()[which]] = 1
            mask = kept.view(*places.shape, *(1,) * (dy.dim() - places.dim()))
            yield (f"the {text} of equal {index}",
                   f"counts the {text} of equal {index} alone: it does not add them up",
                   {**exact, name: dy * mask})  # fmt: skip


class _Constant(TorchFunctionMode):
    """Takes what is summed up over an axis for a constant, whose derivative is 0."""

    def __init__(self) -> None:
        super().__init__()
        self.met = False

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        options = kwargs or {}
        if function in _COMPOSED:
            with self:
                return _COMPOSED[function](*args, **options)
        found = function(*args, **options)
        name = getattr(function, "__name__", "")
        if name in _REDUCING and isinstance(found, Tensor) and found.dim():
            self.met = True
            return found.detach()
        return found


_REDUCING = ("mean", "var", "std", "sum", "norm", "logsumexp", "amax", "linalg_vector_norm")


def _layer_norm(
    x: Tensor, shape: Any, weight: Tensor | None = None, bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    axes = tuple(range(-len(shape), 0))
    y = (x - x.mean(axes, keepdim=True)) / (x.var(axes, correction=0, keepdim=True) + eps).sqrt()
    return _affine(y, weight, bias)


def _rms_norm(
    x: Tensor, shape: Any, weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    axes = tuple(range(-len(shape), 0))
    own = torch.finfo(x.dtype).eps if eps is None else eps
    return _affine(x * ((x * x).mean(axes, keepdim=True) + own).rsqrt(), weight, None)


def _softmax(x: Tensor, dim: int = -1, **_: Any) -> Tensor:
    raised = (x - x.detach().amax(dim, keepdim=True)).exp()
    return raised / raised.sum(dim, keepdim=True)


def _affine(y: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


_COMPOSED: dict[Any, Callable[..., Any]] = {
    functional.layer_norm: _layer_norm,
    functional.rms_norm: _rms_norm,
    functional.softmax: _softmax,
    torch.softmax: _softmax,
    Tensor.softmax: _softmax,
}
"""What torch computes as one, as the steps that it is made of."""
