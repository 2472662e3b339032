"""A sweep: a function of torch's that others should equal, and all that they are tried at."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn

from parity.catalogue.values import Tensors, weights_of
from parity.judge import evaluate
from parity.judge.truth import HALF
from parity.kernels.cases import Axes, Axis, Case
from parity.kernels.inputs import SPECIAL, VALUES, Input, inputs_of
from parity.kernels.layouts import expanded, layouts_of
from parity.subject.error import AdapterError

Function = Callable[..., Any]

DTYPES = {
    "float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16,
    "float16": torch.float16, "tf32": torch.float32,
}  # fmt: skip
"""In "tf32" the tensors are float32, and products may be of TensorFloat-32: on a GPU alone."""

PRIMES, SIZES = (7, 5, 11, 3), (1, 63, 65)
"""Of a dimension that none are said for: an odd prime, each another one, so that no two are alike;
1, and one less and one more than a power of two; and one more than each block that there is."""

PROMISES = ("every_operation", "float32_inside")

LEADING = {1: (), 2: (12,), 3: (3, 4), 4: (2, 3, 2)}
"""The axes before the last, by rank, of the same twelve rows."""

LARGE = {False: 100.0, True: 10.0}
"""The size of large numbers, and in half precision: at numbers of size 100 the scores of attention
are hundreds apart there, so that it is rounding that decides which is the largest."""

LARGEST = 1 << 24
"""How many entries a tensor of a sweep may have."""


@dataclass(frozen=True, eq=False)  # one sweep is like no other: what is known of it is kept by it
class Sweep:
    """What a function is tried at, and what it should equal.

    Args:
        name: of what is under test.
        reference: torch's function of the same arguments, differentiable; or a module; or a
            function of sizes that makes one.
        tensors, options, constants, order: its arguments, as `inputs_of` has them.
        sizes: of each dimension, those that are tried.
        dtypes: those of `DTYPES` that are tried, the plainest first.
        mistakes: what one may get wrong, by name: functions like the reference. Each must be seen.
        half: what a subject promises in half precision: that it rounds like torch, at
            "every_operation", or, by "float32_inside", once at the end.
        deterministic: whether it promises the same bits each time.
        compiles: whether it says that torch.compile takes it whole.
        double: whether it says that its gradients have gradients.
        writes: the inputs that it may write into.
        blocks: by dimension, the sizes of a kernel's blocks.
        numbers: those of `VALUES` that are tried, the plainest first.
        device, seed: where, and of all that is random.
        modules: whether reference and subject are modules.
    """

    name: str
    reference: Any
    tensors: dict[str, Input]
    options: dict[str, list[Any]]
    constants: dict[str, Any]
    order: list[str]
    sizes: dict[str, tuple[int, ...]]
    dtypes: tuple[str, ...] = ("float32", "bfloat16")
    mistakes: dict[str, Function] = field(default_factory=dict)
    half: str = PROMISES[0]
    deterministic: bool = False
    compiles: bool = False
    double: bool = False
    writes: tuple[str, ...] = ()
    blocks: dict[str, tuple[int, ...]] = field(default_factory=dict)
    numbers: tuple[str, ...] = VALUES
    device: str = "cpu"
    seed: int = 0
    modules: bool = False

    # What the arguments are.

    @property
    def wanted(self) -> list[str]:
        """The tensors of which gradients are asked for."""
        return [name for name, one in self.tensors.items() if one.grad and one.real]

    @cached_property
    def outputs(self) -> list[str]:
        """The names of its outputs: `output`, or of several `output0`, `output1`, …"""
        count = len(self.shapes_of_outputs(self.plain))
        return ["output"] if count == 1 else [f"output{n}" for n in range(count)]

    @property
    def incoming(self) -> list[str]:
        """The names of the gradients that come in: `dy`, or of several `dy0`, `dy1`, …"""
        return [name.replace("output", "dy") for name in self.outputs]

    @cached_property
    def plain(self) -> Case:
        """The case in which nothing is out of the ordinary."""
        choices: dict[Axis, Any] = {("size", name): plainest(n) for name, n in self.sizes.items()}
        choices |= {("option", name): values[0] for name, values in self.options.items()}
        return Case((*choices.items(), (("dtype", ""), self.dtypes[0])))

    @cached_property
    def axes(self) -> Axes:
        """All that the cases choose from."""
        covered: dict[Axis, tuple[Any, ...]] = {}
        for name, sizes in self.sizes.items():
            first = plainest(sizes)
            covered["size", name] = (first, *(n for n in sizes if n != first))
        for name, values in self.options.items():
            covered["option", name] = tuple(values)
        covered["dtype", ""] = self.dtypes
        for name, one in self.tensors.items():
            covered["layout", name] = ("", *self._layouts(name, len(one.dims)))
        ranks = map(len, self.shapes_of_outputs(self.plain))
        for name, rank in zip(self.incoming, ranks, strict=True):
            covered["layout", name] = ("", *self._layouts(name, rank))
        if any(one.kind != "given" for one in self.tensors.values()):
            covered["values", ""] = self.numbers
        again = ("twice", "accumulated") if not self.writes else ()
        covered["repeated", ""] = ("", *again)  # what is written into is not there a second time
        covered["memory", ""] = ("", "poisoned")
        beside: dict[Axis, tuple[Any, ...]] = {
            ("gradients", ""): ("all", *self._alone()),
            ("rank", ""): (0, *self._ranks()),
            ("tied", ""): ("", *self._ties()),
            ("mode", ""): ("", *self._modes()),
        }
        return Axes(covered, beside)

    def _layouts(self, name: str, rank: int) -> list[str]:
        """The layouts of a tensor; what is expanded cannot be written into."""
        return [how for how in layouts_of(rank) if how != "expanded" or name not in self.writes]

    def _alone(self) -> list[str]:
        """The tensors and outputs that may have a gradient alone."""
        found = [f"{name} alone" for name in self.wanted if len(self.wanted) > 1]
        return found + [f"{name} alone" for name in self.incoming if len(self.incoming) > 1]

    def _modes(self) -> list[str]:
        made = any(one.kind not in ("given", "drawn") for one in self.tensors.values())
        found = ["empty"] if self._leading() else []
        found += [*SPECIAL] if made else []
        found += ["no_grad", "inference", "autocast", "released"]
        found += ["compiled"] * self.compiles + ["double"] * self.double
        return found + ["stream"] * self.device.startswith("cuda")

    def _ties(self) -> list[str]:
        """Pairs of tensors that may be one."""
        ones = [
            (name, one)
            for name, one in self.tensors.items()
            if one.kind == "normal" and name not in self.writes
        ]
        return [
            f"{name}={other}"
            for place, (name, one) in enumerate(ones)
            for other, another in ones[place + 1 :]
            if one.dims == another.dims and one.grad == another.grad
        ][:1]

    def _leading(self) -> str:
        """The first dimension of the first tensor, if it is one that has a name."""
        first = next((one.dims[0] for one in self.tensors.values() if one.dims), "")
        return first if first in self.sizes else ""

    def _ranks(self) -> list[int]:
        """The other ranks that torch's function takes, and gives the same numbers of."""
        lead = self._rows()
        own = len(lead) + 1
        if not lead or (self.modules and own not in LEADING):
            return []
        others = {dim for one in self.tensors.values() for dim in one.dims[len(lead) :]}
        begin = [one.dims[: len(lead)] == lead for one in self.tensors.values()]
        mixed = any(
            not begins and set(one.dims) & set(lead)
            for begins, one in zip(begin, self.tensors.values(), strict=True)
        )
        if set(lead) & others or mixed or own not in LEADING:
            return []
        due = self._at_rank(own)
        return [rank for rank in (2, 3, 4) if rank != own and _same(due, self._at_rank(rank))]

    def _rows(self) -> tuple[str, ...]:
        """The dimensions of the first tensor before its last."""
        first = next((one.dims for one in self.tensors.values() if len(one.dims) > 1), ())
        return first[:-1]

    def _at_rank(self, rank: int) -> list[Tensor] | None:
        case = self.plain.at({})
        case = Case((*case.choices, (("rank", ""), rank)))
        try:
            with torch.no_grad():
                return [y.flatten() for y in self.called(case, self.drawn(case))]
        except (RuntimeError, ValueError, IndexError, TypeError):
            return None

    # What a case is made of.

    def sizes_of(self, case: Case) -> dict[str, int]:
        """Its sizes; in an empty batch the first is 0."""
        sizes = case.sizes
        if case.get("mode") == "empty":
            sizes[self._leading()] = 0
        return sizes

    def shape_of(self, name: str, case: Case) -> tuple[int, ...]:
        """The shape of a tensor: of another rank where the case says so."""
        one, lead = self.tensors[name], self._rows()
        shape = one.shape(self.sizes_of(case))
        rank = case.get("rank", default=0)
        if not rank or not lead or one.dims[: len(lead)] != lead:
            return shape
        return (*LEADING[rank], *shape[len(lead) :])

    def drawn(self, case: Case) -> Tensors:
        """The tensors of a case in its dtype, on the CPU, as they are before any layout; and the
        parameters of a module by their names."""
        found: Tensors = {}
        sizes, dtype = self.sizes_of(case), DTYPES[case.dtype]
        mode, rows = case.get("mode"), self._leading()
        for place, (name, one) in enumerate(self.tensors.items()):
            of_data = not rows or rows in one.dims
            like = case.get("values", default="normal") if of_data else "normal"
            like = mode if mode in SPECIAL and place == 0 else like
            shape = self.shape_of(name, case)
            if math.prod(shape) > LARGEST:
                raise AdapterError(f"{name} of shape {list(shape)} has more than {LARGEST} entries")
            x = one.values(shape, sizes, like, self.seed + place, LARGE[dtype in HALF])
            if tuple(x.shape) != shape:
                raise Unsuited(f"{name} is drawn with the shape {list(x.shape)}, where "
                                   f"{list(shape)} is due")  # fmt: skip
            x = expanded(x) if case.get("layout", name) == "expanded" else x
            found[name] = x.to(dtype) if x.is_floating_point() else x
        if self.modules:
            generator = torch.Generator().manual_seed(self.seed)
            found |= weights_of(self.module(case), generator, dtype)
        if tied := case.get("tied"):
            first, _, second = tied.partition("=")
            found[second] = found[first]
        return found

    def gradients_of(self, case: Case) -> Tensors:
        """The gradients that come in, random, in the dtypes and shapes of the outputs."""
        generator = torch.Generator().manual_seed(self.seed + 1_000)
        found = {}
        for name, shape in zip(self.incoming, self.shapes_of_outputs(case), strict=True):
            dy = torch.randn(shape, generator=generator, dtype=torch.float64)
            dy = dy.to(DTYPES[case.dtype])
            found[name] = expanded(dy) if case.get("layout", name) == "expanded" else dy
        return found

    def shapes_of_outputs(self, case: Case) -> list[tuple[int, ...]]:
        """The shapes of what the reference returns.

        Raises:
            AdapterError: it falls over its inputs, or returns no tensors.
        """
        exact = {n: x.double() if x.is_floating_point() else x for n, x in self.drawn(case).items()}
        try:
            with torch.no_grad():
                return [tuple(y.shape) for y in self.called(case, exact)]
        except (AdapterError, MemoryError):
            raise
        except Exception as error:
            raise Unsuited(
                f"the reference of {self.name} does not take its inputs: {type(error).__name__}: "
                f"{error}".splitlines()[0]
            ) from error

    def called(self, case: Case, tensors: Tensors) -> list[Tensor]:
        """What the reference returns at these tensors."""
        return as_list(self.function_of(case)(*tensors.values()), self.name)

    def function_of(self, case: Case, function: Any = None) -> Function:
        """The reference, or another function of the same arguments, as one of the tensors alone, in
        the order of `drawn`."""
        function = self.reference if function is None else function
        names = list(self.tensors)
        options = {**case.of("option"), **self.constants}
        if self.modules:
            module = made(function, case.sizes) if not isinstance(function, nn.Module) else function
            return partial(_of_module, module, self.order, names, options)
        return partial(_of_function, function, self.order, names, options)

    def module(self, case: Case) -> nn.Module:
        """Torch's module at the sizes of a case."""
        found = made(self.reference, case.sizes)
        return found.double()


class Unsuited(AdapterError):
    """Torch's function does not take what it is given."""


def sweep_of(
    reference: Any,
    inputs: Mapping[str, Any] | Sequence[Any],
    *,
    sizes: Mapping[str, int | Sequence[int]] | None = None,
    blocks: Mapping[str, int | Sequence[int]] | int | Sequence[int] = (),
    dtypes: str | Sequence[str] = ("float32", "bfloat16"),
    numbers: str | Sequence[str] = VALUES,
    name: str = "",
    **settings: Any,
) -> Sweep:
    """A sweep as a user says it.

    Raises:
        AdapterError: something of it makes no sense; the message says what would.
    """
    dtypes = _some_of(DTYPES, "dtypes", dtypes)
    numbers = _some_of(VALUES, "numbers", numbers)
    half = settings.get("half", PROMISES[0])
    if half not in PROMISES:
        raise AdapterError(f"half={half!r}: takes {' or '.join(map(repr, PROMISES))}")
    for one, mistake in (settings.get("mistakes") or {}).items():
        if not callable(mistake):
            raise AdapterError(
                f"mistakes: {one!r} is a function like the reference, not {mistake!r}"
            )
    if not callable(reference):
        raise AdapterError(f"the reference is a function or a module of torch's, not {reference!r}")
    tensors, options, constants, order = inputs_of(inputs, reference)
    dims = dict.fromkeys(
        dim for one in tensors.values() for dim in (*one.dims, one.of) if dim and not dim.isdigit()
    )
    said = _sizes(sizes or {}, dims)
    by_dim = _blocks(blocks, dims)
    found = {
        dim: said.get(dim)
        or (PRIMES[n % len(PRIMES)], *SIZES, *(block + 1 for block in by_dim.get(dim, ())))
        for n, dim in enumerate(dims)
    }
    found = {dim: tuple(dict.fromkeys(some)) for dim, some in found.items()}
    return Sweep(
        name or getattr(reference, "__name__", type(reference).__name__), reference, tensors,
        options, constants, order, found, dtypes, blocks=by_dim, numbers=numbers, **settings,
    )  # fmt: skip


def _some_of(known: Iterable[str], setting: str, said: str | Sequence[Any]) -> tuple[str, ...]:
    """One or several of what is known, as names; of a dtype its name is taken."""
    found = (said,) if isinstance(said, str) else tuple(said)
    names = tuple(str(one).removeprefix("torch.") for one in found)
    odd = [one for one in names if one not in known]
    if odd or not names:
        raise AdapterError(f"{setting}={odd or names}: takes {', '.join(known)}")
    return names


def _sizes(sizes: Mapping[str, Any], dims: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    found = {}
    for name, some in sizes.items():
        if name not in dims:
            known = ", ".join(dims) or "none"
            raise AdapterError(f"sizes: no input has a dimension {name!r}; there are {known}")
        some = (some,) if isinstance(some, int) else tuple(some)
        if not some or not all(type(n) is int and n > 0 for n in some):
            raise AdapterError(f"sizes: {name} takes whole numbers above 0, not {list(some)}")
        found[name] = some
    return found


def _blocks(blocks: Any, dims: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    if not isinstance(blocks, Mapping):
        blocks = dict.fromkeys(dims, blocks)
    found = {}
    for name, some in blocks.items():
        some = (some,) if isinstance(some, int) else tuple(some)
        if name not in dims or not all(type(n) is int and n > 0 for n in some):
            raise AdapterError(f"blocks: {name}={list(some)} are no sizes of a dimension "
                               f"({', '.join(dims)})")  # fmt: skip
        found[name] = some
    return found


def plainest(sizes: Sequence[int]) -> int:
    """The size at which least is out of the ordinary: the smallest from 3 on, else the largest."""
    return min((n for n in sizes if n >= 3), default=max(sizes))


def made(module: Any, sizes: Mapping[str, int]) -> nn.Module:
    """A module, or what a function of sizes makes."""
    if isinstance(module, nn.Module):
        return module
    names = inspect.signature(module).parameters
    found = module(**{name: n for name, n in sizes.items() if name in names})
    if not isinstance(found, nn.Module):
        raise AdapterError(f"{module!r} makes {type(found).__name__}, where a module is due")
    return found


def as_list(found: Any, name: str) -> list[Tensor]:
    """What a function returned, as a list of tensors.

    Raises:
        AdapterError: there is something else among it.
    """
    ys = list(found) if isinstance(found, (tuple, list)) else [found]
    odd = [type(y).__name__ for y in ys if not isinstance(y, Tensor)]
    if odd or not ys:
        raise AdapterError(f"{name} returns {odd[0] if odd else 'nothing'}, where a tensor is due")
    return ys


def _of_function(
    function: Function,
    order: list[str],
    names: list[str],
    options: dict[str, Any],
    *tensors: Tensor,
) -> Any:
    values = {**dict(zip(names, tensors, strict=True)), **options}
    by_name = _by_name(function, order)
    positional = [values[name] for name in order if name not in by_name]
    return function(*positional, **{name: values[name] for name in by_name})


def _by_name(function: Function, order: list[str]) -> list[str]:
    """The arguments that a function takes by name alone."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return []
    only = inspect.Parameter.KEYWORD_ONLY
    return [name for name in order if name in parameters and parameters[name].kind is only]


def _of_module(
    module: nn.Module, order: list[str], names: list[str], options: dict[str, Any], *tensors: Tensor
) -> Any:
    given = dict(zip(names, tensors, strict=False))
    parameters = dict(zip(dict(module.named_parameters()), tensors[len(names) :], strict=True))
    values = [{**given, **options}[name] for name in order]
    return evaluate.called(module, parameters, values[0], *values[1:])


def _same(one: list[Tensor] | None, other: list[Tensor] | None) -> bool:
    if one is None or other is None or len(one) != len(other):
        return False
    pairs = zip(one, other, strict=True)
    return all(a.shape == b.shape and torch.allclose(a, b, 1e-3, 1e-4) for a, b in pairs)
