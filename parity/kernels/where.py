"""Where a function is wrong: which choices of a failing case it takes to fail, and at which sizes.

A failing case has a dozen choices, of which one or two matter. Each choice in turn is put back to
the plain one; what still fails without it does not need it (Zeller and Hildebrandt 2002, delta
debugging). Of a size that matters, others are tried, until a rule is left that says which of them
fail: no power of two, 1,024 or more, other than M.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from parity.kernels.cases import Axis, Case
from parity.kernels.spec import Sweep

Fails = Callable[[Case], bool | None]
"""Whether a case fails; None where nothing was checked."""

Sizes = Mapping[str, int]

PROBES = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 48, 63, 64, 65, 96, 100, 127, 128,
          129, 255, 256, 257, 511, 512, 513, 1000, 1023, 1024, 1025, 2047, 2048, 2049)  # fmt: skip
"""The sizes that are tried, as far as they are not much larger than the one that failed."""

LARGEST = 1 << 17
"""How many entries the sizes that are tried may come to, or as many as those that failed."""


@dataclass(frozen=True)
class Rule:
    """Which sizes of a dimension fail.

    Args:
        text: in words, such as `N is no power of two`.
        holds: whether it says so of sizes, by dimension.
        slight: whether it says no more than that there have to be several.
        other: the dimension that it is held against, if it is.
        vague: whether it is none, but a list, or does not fit all that was tried.
    """

    text: str
    holds: Callable[[Sizes], bool]
    slight: bool = False
    other: str = ""
    vague: bool = False


@dataclass(frozen=True)
class Where:
    """What a failure takes.

    Args:
        case: a failing case, as plain as can be.
        needed: the axes on which it is not plain, and has to be; without sizes.
        rules: of the dimensions that matter, which sizes fail.
    """

    case: Case
    needed: tuple[Axis, ...] = ()
    rules: tuple[Rule, ...] = ()

    def covers(self, case: Case) -> bool:
        """Whether a case has what it takes: of layouts, ranks and second backwards any, and memory
        that nobody has written to may hold anything."""
        same = all(
            case[axis] == self.case[axis]
            or axis[0] == "memory"
            or (axis[0] in ("layout", "rank", "repeated") and case[axis])
            for axis in self.needed
        )
        return same and all(rule.holds(case.sizes) for rule in self.rules if not rule.slight)

    def said(self, cases: Sequence[Case], *, slight: bool) -> str:
        """In words, to follow 'where'; empty if it fails everywhere.

        Args:
            cases: all that fail so: of several layouts none is named.
            slight: also that there have to be several of something.
        """
        slight = slight and not any(kind == "layout" for kind, _ in self.needed)
        said = [rule.text for rule in self.rules if slight or not rule.slight]
        for axis in self.needed:
            several = {case[axis] for case in cases if case[axis]} - {self.case[axis]}
            plain = axis[0] == "layout" and several
            said.append(f"{axis[1]} is not contiguous" if plain else _words(axis, self.case[axis]))
        return " and ".join(one for one in said if one)


def shared(plain: Case, failed: Sequence[Case], passed: Sequence[Case]) -> Where:
    """What cases that failed have in common that is out of the ordinary: where no other can be
    tried, since it would hang or end the process."""
    case = failed[0]
    common = [
        axis
        for axis, value in case.choices
        if value != plain[axis]
        and all(one[axis] == value for one in failed)
        and any(one[axis] != value for one in passed)
    ]
    rules = [_exactly(name, case[kind, name]) for kind, name in common if kind == "size"]
    return Where(case, tuple(axis for axis in common if axis[0] != "size"), tuple(rules))


def narrowed(
    sweep: Sweep, case: Case, fails: Fails, kept: Sequence[Axis] = (), *, exact: bool = False
) -> Where:
    """What the failure of a case takes.

    Args:
        fails: whether a case fails in the same way.
        kept: axes that are known to matter.
        exact: leaves out rules that do not fit all sizes: digits are lost here and there.
    """
    plain = sweep.axes.plain()
    for axis in reversed(case.apart_from(plain)):
        if axis not in kept and fails(nearer := case.at({axis: plain[axis]})):
            case = nearer
    needed = [axis for axis in case.apart_from(plain) if axis[0] != "size"]
    rules: list[Rule] = []
    if case.get("rank", default=0) == 0 and case.get("mode") != "empty":
        for dim in sweep.sizes:
            known = any(f"not {dim}" in rule.text for rule in rules)  # of the two of them
            if (
                not known
                and (rule := _rule(sweep, case, dim, fails))
                and not (exact and rule.vague)
            ):
                rules.append(rule)
    return Where(case, tuple(needed), tuple(rules))


def _exactly(dim: str, size: int) -> Rule:
    return Rule(f"{dim} is {size:,}", lambda sizes: sizes[dim] == size)


def _rule(sweep: Sweep, case: Case, dim: str, fails: Fails) -> Rule | None:
    """Which sizes of a dimension fail, all else being as in the case; None if all do."""
    own = case.sizes[dim]
    most = max(LARGEST, _entries(sweep, case))
    sizes = {*sweep.sizes[dim], *(n for n in PROBES if n <= 2 * max(own, *sweep.sizes[dim]))}
    tried = {own: True}
    for size in sorted(sizes - {own}):
        other = case.at({("size", dim): size})
        if _entries(sweep, other) <= most and (failed := fails(other)) is not None:
            tried[size] = failed
    if all(tried.values()):
        return None
    return _fitting(
        dim,
        tried,
        case.sizes,
        lambda n: bool(fails(case.at({("size", dim): n}))),
        lambda both: bool(fails(case.at({("size", d): n for d, n in both.items()}))),
    )


def _entries(sweep: Sweep, case: Case) -> int:
    """How many entries the tensors of a case have."""
    return sum(math.prod(sweep.shape_of(name, case)) for name in sweep.tensors)


def _fitting(
    dim: str,
    tried: dict[int, bool],
    sizes: dict[str, int],
    fails: Callable[[int], bool],
    fails_at: Callable[[dict[str, int]], bool],
) -> Rule:
    """The simplest rule that all that was tried fits; else one that most of it does, for what goes
    wrong by little does not show at every size."""

    def fit(rule: Rule) -> float:
        """The share of the sizes that it says fail which do; 0 if others do."""
        said = [n for n in tried if rule.holds({**sizes, dim: n})]
        failed = [n for n in tried if tried[n]]
        apart = len(said) < len(tried)
        return len(failed) / len(said) if apart and set(failed) <= set(said) else 0.0

    wrong = sorted(size for size, failed in tried.items() if failed)

    def holds_beside(rule: Rule) -> bool:
        """Whether what is said of two sizes is so where the other is another one."""
        if not rule.other:
            return True
        both = {dim: wrong[-1], rule.other: wrong[-1]}
        return rule.holds({**sizes, **both}) == fails_at(both)

    rules = list(_rules(dim, sizes))
    for one in rules:
        if fit(one) == 1 and holds_beside(one):
            return one
    right = sorted(size for size, failed in tried.items() if not failed)
    if max(right) < min(wrong):
        least = _bisected(max(right), min(wrong), fails)
        text = f"{dim} is {least:,} or more"
        return Rule(text, lambda one: one[dim] >= least, slight=least <= 3)
    if max(wrong) < min(right):
        first = _bisected(max(wrong), min(right), lambda n: not fails(n))
        text = f"{dim} is {first - 1:,} or less" if first > 2 else f"{dim} is 1"
        return Rule(text, lambda one: one[dim] < first)
    best = max((one for one in rules if not one.other), key=fit)
    if fit(best) >= MOSTLY:
        return replace(best, vague=True)
    shown = ", ".join(f"{n:,}" for n in wrong[:4]) + (", …" if len(wrong) > 4 else "")
    return Rule(f"{dim} is {shown}", lambda one: tried.get(one[dim], True), vague=True)


MOSTLY = 0.7
"""What share of the sizes that a rule says fail has to."""


def _bisected(below: int, above: int, holds: Callable[[int], bool]) -> int:
    """The least size for which it holds, between one for which it does not and one for which it
    does."""
    while above - below > 1:
        middle = (below + above) // 2
        below, above = (below, middle) if holds(middle) else (middle, above)
    return above


def _rules(dim: str, sizes: Sizes) -> Iterator[Rule]:
    """Rules that people's mistakes have, the simplest first."""

    def rule(text: str, holds: Callable[[int], bool]) -> Rule:
        return Rule(f"{dim} is {text}", lambda one: holds(one[dim]))

    def beside(text: str, other: str, holds: Callable[[int, int], bool]) -> Rule:
        return Rule(
            f"{dim} is {text} {other}", lambda one: holds(one[dim], one[other]), other=other
        )

    yield rule("no power of two", lambda n: n & (n - 1) != 0)
    yield rule("odd", lambda n: n % 2 == 1)
    blocks = (4, 8, 16, 32, 64, 128, 256, 512, 1024)
    for block in blocks:
        yield rule(f"no multiple of {block}", partial(_remains, block))
    for other in sizes:
        if other != dim:
            yield beside("not", other, operator.ne)
            yield beside("more than", other, operator.gt)
            yield beside("less than", other, operator.lt)
    for block in blocks:
        yield rule(f"above {block} and no multiple of it", partial(_remains_above, block))


def _remains(block: int, size: int) -> bool:
    return size % block != 0


def _remains_above(block: int, size: int) -> bool:
    return size > block and size % block != 0


_LAYOUT = {
    "strided": "has gaps between its entries in memory",
    "transposed": "is transposed in memory",
    "sliced": "is a slice of a larger tensor",
    "offset": "does not begin at an aligned address",
    "expanded": "is expanded, with a stride of 0",
    "channels_last": "has its channels last in memory",
}
_VALUES = {
    "shifted": "the inputs are around 3",
    "small": "the inputs are of size 1e-3",
    "large": "the inputs are large",
    "ties": "several inputs are the same",
    "zeros": "some inputs are exactly 0",
}
_MODE = {
    "empty": "the batch is empty",
    "no_grad": "torch.no_grad() is on",
    "inference": "torch.inference_mode() is on",
    "autocast": "torch.autocast is on",
    "compiled": "torch.compile has compiled it",
    "double": "a second derivative is asked for",
    "released": "",
    "stream": "it runs on a stream of its own",
    "infinite": "an input is infinite or NaN",
    "nan": "an input is infinite or NaN",
}


def _words(axis: Axis, value: object) -> str:
    """A choice in words."""
    kind, name = axis
    match kind:
        case "layout":
            return f"{name} {_LAYOUT[str(value)]}"
        case "values":
            return _VALUES[str(value)]
        case "mode":
            return _MODE[str(value)]
        case "dtype":
            return f"the dtype is {value}"
        case "option":
            return f"{name}={value!r}"
        case "rank":
            return f"x has {value} dimensions" if name else f"the input has {value} dimensions"
        case "tied":
            return f"{' and '.join(str(value).split('='))} are one tensor"
        case "memory":
            return ""
        case "repeated":
            return "backward is called a second time"
    text = str(value)
    return f"{text.removesuffix(' alone')} alone has a gradient"
