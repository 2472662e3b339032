"""What a function under test is given: each argument by its dimensions and the kind of its values.

`"M N"` stands for normal numbers of shape `[M, N]`, of which a gradient is asked for. A dimension
is a name, whose sizes the sweep says, or a number. A list is an option that is tried with each of
its values; anything else is passed on as it is.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from parity.catalogue.values import normal as normal_numbers
from parity.subject.error import AdapterError

Draw = Callable[[tuple[int, ...], torch.Generator], Tensor]

VALUES = ("normal", "shifted", "small", "large", "ties", "zeros")
"""What numbers may be like: around 0, around 3, of size 1e-3, large, on a grid of halves, and with
rows and single entries that are exactly 0."""

SPECIAL = ("infinite", "nan")
"""Values that training hardly meets, at inputs of their own."""


@dataclass(frozen=True)
class Input:
    """An argument that is a tensor.

    Args:
        dims: its dimensions: names of sizes, or numbers.
        kind: "normal", "probability", "indices", "mask", "drawn" or "given".
        grad: whether its gradient is asked for.
        of: of indices, how many there are: a dimension.
        ignore: of indices, one that stands for 'leave this out', in a third of the places.
        draw: of "drawn", what makes the values.
        tensor: of "given", the values.
    """

    dims: tuple[str, ...]
    kind: str = "normal"
    grad: bool = True
    of: str = ""
    ignore: int | None = None
    draw: Draw | None = None
    tensor: Tensor | None = None

    @property
    def real(self) -> bool:
        """Whether its values are real numbers, which are rounded to the dtype under test."""
        if self.tensor is not None:
            return self.tensor.is_floating_point()
        return self.kind not in ("indices", "mask")

    def shape(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        return tuple(int(one) if one.isdigit() else sizes[one] for one in self.dims)

    def values(
        self,
        shape: tuple[int, ...],
        sizes: Mapping[str, int],
        like: str,
        seed: int,
        large: float = 100.0,
    ) -> Tensor:
        """Random values, in float64 or as integers.

        Args:
            like: one of `VALUES` or `SPECIAL`.
            large: the size of large numbers.
        """
        generator = torch.Generator().manual_seed(seed)
        match self.kind:
            case "given":
                assert self.tensor is not None
                return self.tensor.detach().clone()
            case "indices":
                return self._indices(shape, sizes, like, generator)
            case "mask":
                return _mask(shape, like, generator)
            case "drawn":
                assert self.draw is not None
                return self.draw(shape, generator)
            case "probability":
                return torch.rand(shape, generator=generator, dtype=torch.float64) * 0.98 + 0.01
        return numbers(shape, like, generator, large)

    def _indices(
        self,
        shape: tuple[int, ...],
        sizes: Mapping[str, int],
        like: str,
        generator: torch.Generator,
    ) -> Tensor:
        """Random indices, many of them several times; of "ties" all alike."""
        of = int(self.of) if self.of.isdigit() else sizes[self.of]
        found = torch.randint(of, shape, generator=generator)
        if like == "ties":
            found = torch.full_like(found, of // 2)
        if self.ignore is not None:
            flat = found.view(-1)
            flat[1::3] = self.ignore
        return found


def numbers(shape: tuple[int, ...], like: str, generator: torch.Generator, large: float) -> Tensor:
    """Random real numbers in float64, of one of `VALUES` or `SPECIAL`."""
    x = normal_numbers(*shape, generator=generator, dtype=torch.float64)
    match like:
        case "shifted":
            return x + 3
        case "small":
            return x * 1e-3
        case "large":
            return x * large
        case "ties":
            return (x * 2).round() / 2
        case "zeros":
            return _with_zeros(x)
        case "infinite" | "nan" if x.numel():
            x.view(-1)[x.numel() // 2] = float("inf" if like == "infinite" else "nan")
    return x


def _with_zeros(x: Tensor) -> Tensor:
    """Every fifth entry is 0, and all of the last row but in a single one."""
    flat = x.view(-1)
    flat[::5] = 0
    if x.dim() > 1 and len(x) > 1:
        x[-1] = 0
    return x


def _mask(shape: tuple[int, ...], like: str, generator: torch.Generator) -> Tensor:
    """True where something is seen: in most places, and somewhere in each row; of "zeros" there is
    a row in which nothing is."""
    found = torch.rand(shape, generator=generator) < 0.7
    if found.numel():
        found[..., 0] = True
        if like == "zeros":
            found[..., -1, :] = False
    return found


def normal(dims: str, *, grad: bool = True) -> Input:
    """Normal numbers of shape `dims`, such as `"M N"`. `grad`: whether a gradient is asked for."""
    return Input(tuple(dims.split()), "normal", grad)


def probability(dims: str, *, grad: bool = True) -> Input:
    """Numbers from 0.01 to 0.99."""
    return Input(tuple(dims.split()), "probability", grad)


def indices(dims: str, of: str | int, *, ignore: int | None = None) -> Input:
    """Indices below `of`, a dimension or a number, many of them several times.

    Args:
        ignore: an index that stands for 'leave this out', such as -100 of a cross-entropy; a third
            of the places have it.
    """
    return Input(tuple(dims.split()), "indices", grad=False, of=str(of), ignore=ignore)


def mask(dims: str) -> Input:
    """A mask, True where something is seen; in some cases a whole row of it is False."""
    return Input(tuple(dims.split()), "mask", grad=False)


def drawn(dims: str, draw: Draw, *, grad: bool = True) -> Input:
    """What `draw(shape, generator)` returns: real numbers in float64, or integers."""
    return Input(tuple(dims.split()), "drawn", grad, draw=draw)


def given(tensor: Tensor, *, grad: bool = True) -> Input:
    """A tensor with these very values, in the shape that it has."""
    grad = grad and tensor.is_floating_point()
    return Input(tuple(map(str, tensor.shape)), "given", grad, tensor=tensor.detach())


def inputs_of(
    specs: Mapping[str, Any] | Sequence[Any], reference: Callable[..., Any]
) -> tuple[dict[str, Input], dict[str, list[Any]], dict[str, Any], list[str]]:
    """The tensors among the arguments, the options by the values that are tried, what is passed on
    as it is, and the order of all of them.

    Raises:
        AdapterError: a specification that says nothing, or there is none.
    """
    if not isinstance(specs, Mapping):
        specs = dict(zip(_names(reference, len(specs)), specs, strict=True))
    tensors: dict[str, Input] = {}
    options: dict[str, list[Any]] = {}
    constants: dict[str, Any] = {}
    for name, spec in specs.items():
        match spec:
            case Input():
                tensors[name] = spec
            case Tensor():
                tensors[name] = given(spec)
            case str():
                tensors[name] = normal(spec)
            case list():
                if not spec or not all(isinstance(value, Hashable) for value in spec):
                    raise AdapterError(
                        f"{name}={spec}: an option takes the values that are tried, such as "
                        "[False, True]"
                    )
                options[name] = spec
            case _:
                constants[name] = spec
    for name, one in tensors.items():
        odd = [dim for dim in one.dims if not (dim.isdigit() or dim.isidentifier())]
        if odd:
            raise AdapterError(
                f"{name}: {' '.join(one.dims)!r} names dimensions, such as 'M N' or '2 N 16'; "
                f"{odd[0]!r} is none"
            )
    if not any(one.real for one in tensors.values()):
        raise AdapterError("there is no input of real numbers: name one, such as x='M N'")
    return tensors, options, constants, list(specs)


def _names(reference: Callable[..., Any], count: int) -> list[str]:
    """The names of a function's first arguments; where it does not say them, x0, x1, …"""
    try:
        found = list(inspect.signature(reference).parameters)[:count]
    except (TypeError, ValueError):
        found = []
    return found if len(found) == count else [f"x{place}" for place in range(count)]
