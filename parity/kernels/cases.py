"""The cases of a sweep: what each is tried at, and how many of them it takes.

A case chooses a value on every axis: a size for each dimension, a dtype, a layout in memory for
each tensor, values, which gradients are asked for. All of them together are a product that nobody
can run. So the cases cover all pairs: any two values of two axes come together in at least one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Axis = tuple[str, str]
"""Its kind, "size", "option", "dtype", "layout", "values", "gradients", "repeated", "memory",
"rank", "tied" or "mode", and of which dimension, option or tensor it is."""

SHORT = {"float32": "f32", "float64": "f64", "bfloat16": "bf16", "float16": "f16", "tf32": "tf32"}


@dataclass(frozen=True)
class Axes:
    """The axes of a sweep, each with its values: the first is the plainest.

    Args:
        covered: those of which all pairs of values are tried.
        beside: those that are tried each by itself, everything else being plain.
    """

    covered: dict[Axis, tuple[Any, ...]]
    beside: dict[Axis, tuple[Any, ...]]

    def plain(self) -> Case:
        """The case in which nothing is out of the ordinary."""
        values = {**self.covered, **self.beside}
        return Case(tuple((axis, found[0]) for axis, found in values.items()))

    def count(self) -> int:
        """How many cases there are of all values of all axes."""
        total = 1
        for values in self.covered.values():
            total *= len(values)
        return total + sum(len(values) - 1 for values in self.beside.values())

    def cases(self, *, full: bool = False) -> Iterator[Case]:
        """The cases: sizes and options, by pairs, in every dtype; then pairs of all choices; then
        what is tried by itself. `full`: every choice, and not only every pair."""
        plain = self.plain()
        shapes = {a: some for a, some in self.covered.items() if a[0] in ("size", "option")}
        for row in pairwise(shapes):
            for dtype in self.covered["dtype", ""]:
                yield plain.at({**dict(zip(shapes, row, strict=True)), ("dtype", ""): dtype})
        rows = itertools.product(*self.covered.values()) if full else pairwise(self.covered)
        for row in rows:
            yield plain.at(dict(zip(self.covered, row, strict=True)))
        for axis, values in self.beside.items():
            for value in values[1:]:
                yield plain.at({axis: value})


@dataclass(frozen=True)
class Case:
    """A choice on every axis. `str` of it is the end of its id, such as
    `M=1027,N=33-bf16-dy:transposed`."""

    choices: tuple[tuple[Axis, Any], ...]

    def __getitem__(self, axis: Axis) -> Any:
        return dict(self.choices)[axis]

    def get(self, kind: str, name: str = "", default: Any = "") -> Any:
        return dict(self.choices).get((kind, name), default)

    def of(self, kind: str) -> dict[str, Any]:
        """The choices of one kind, by what they are of."""
        return {axis[1]: value for axis, value in self.choices if axis[0] == kind}

    def at(self, changes: dict[Axis, Any]) -> Case:
        """The same case, but for these."""
        return Case(tuple((axis, changes.get(axis, value)) for axis, value in self.choices))

    def apart_from(self, other: Case) -> list[Axis]:
        """The axes on which two cases differ."""
        theirs = dict(other.choices)
        return [axis for axis, value in self.choices if theirs[axis] != value]

    @property
    def sizes(self) -> dict[str, int]:
        return self.of("size")

    @property
    def dtype(self) -> str:
        return str(self["dtype", ""])

    def __str__(self) -> str:
        sizes = ",".join(f"{name}={n}" for name, n in self.sizes.items())
        options = ",".join(f"{name}={value}" for name, value in self.of("option").items())
        said = [sizes, options, SHORT.get(self.dtype, self.dtype)]
        said += [f"{name}:{how}" for name, how in self.of("layout").items() if how]
        said += [str(v) for k in ("values", "gradients", "repeated", "memory", "tied", "mode")
                 for v in self.of(k).values() if v not in ("", "normal", "all")]  # fmt: skip
        said += [f"rank:{rank}" for rank in self.of("rank").values() if rank]
        return "-".join(one for one in said if one)


def pairwise(axes: Mapping[Axis, Sequence[Any]]) -> Iterator[tuple[Any, ...]]:
    """Rows of values, one of each axis, in which any two values of two axes come together.

    Each row begins with a pair that is still missing, and takes on every other axis the value that
    brings most missing pairs (Cohen et al. 1997, 'The AETG system').
    """
    names = list(axes)
    missing: set[tuple[int, int, int, int]] = {
        (i, a, j, b)
        for i, j in itertools.combinations(range(len(names)), 2)
        for a in range(len(axes[names[i]]))
        for b in range(len(axes[names[j]]))
    }
    if len(names) == 1:
        yield from ((value,) for value in axes[names[0]])
        return
    first = (0,) * len(names)  # the plain one
    yield tuple(values[0] for values in axes.values())
    missing -= _pairs(first)
    while missing:
        i, a, j, b = min(missing)
        row: dict[int, int] = {i: a, j: b}
        for place in range(len(names)):
            if place not in row:
                row[place] = max(
                    range(len(axes[names[place]])),
                    key=lambda value: _brought(row, place, value, missing),
                )
        found = tuple(row[place] for place in range(len(names)))
        missing -= _pairs(found)
        yield tuple(axes[name][value] for name, value in zip(names, found, strict=True))


def _pairs(row: tuple[int, ...]) -> set[tuple[int, int, int, int]]:
    return {(i, row[i], j, row[j]) for i, j in itertools.combinations(range(len(row)), 2)}


def _brought(
    row: dict[int, int], place: int, value: int, missing: set[tuple[int, int, int, int]]
) -> int:
    """How many missing pairs a value brings to the row so far."""
    return sum(
        ((i, a, place, value) if i < place else (place, value, i, a)) in missing
        for i, a in row.items()
    )
