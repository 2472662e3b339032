"""A published number, the protocols that may have made it, and the verdict.

Every protocol of a cell's grid is tried with a few runs; those that these do not refute, and the
protocol as the report states it, are decided on with many, on other seeds.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from bench.paper import statistics
from bench.paper.protocol import Protocol
from bench.paper.statistics import LEVEL, Simulated, simulated
from bench.paper.training import Task

#: What a report leaves open: setting, level, and the fields of a protocol that it sets. The first
#: level of a setting is taken where the report says nothing.
Open = Mapping[str, Mapping[str, Mapping[str, Any]]]
Found = Callable[[Task], dict[str, Any]]

NARROW = 0.01  # a p from which on what is refused is refused narrowly
FIRST_SEED = 10_000  # of them; those that decide start at 0


@dataclass(frozen=True)
class Scale:
    """How much is computed.

    Args:
        tried, decided: runs of a protocol of a grid, and of one that is decided on.
        pairs: runs by both implementations. printed: runs of formulas as printed.
        every: whether grids are gone through in full, or setting by setting.
    """

    tried: int = 60
    decided: int = 200
    pairs: int = 20
    printed: int = 100
    every: bool = True


QUICK = Scale(tried=8, decided=16, pairs=2, printed=8, every=False)


@dataclass(frozen=True)
class Point:
    """A protocol of a grid, and its level in each setting."""

    levels: tuple[tuple[str, str], ...]
    protocol: Protocol

    def level(self, setting: str) -> str:
        return dict(self.levels)[setting]


@dataclass(frozen=True)
class Cell:
    """A row of a published table.

    Args:
        table, row: where it stands.
        published: errors in percent, "test", "std" and, if it is there, "train".
        rounds: of how many runs.
        stated: the protocol as the report has it.
        open: what it leaves open; `also`: a second grid, of what takes longer.
    """

    table: str
    row: str
    published: Mapping[str, float]
    rounds: int
    stated: Protocol
    open: Open = field(default_factory=dict)
    also: Open = field(default_factory=dict)

    @property
    def settings(self) -> Open:
        """All that is left open, by either grid."""
        names = dict.fromkeys([*self.open, *self.also])
        return {name: {**self.open.get(name, {}), **self.also.get(name, {})} for name in names}

    def points(self, scale: Scale) -> list[Point]:
        """Every protocol that is tried, the one as stated first."""
        settings = self.settings
        defaults = {setting: next(iter(levels)) for setting, levels in settings.items()}
        made: dict[tuple[tuple[str, str], ...], Point] = {}
        for grid in (self.open, self.also) if self.also else (self.open,):
            for chosen in _chosen(grid, scale):
                levels = tuple((defaults | chosen).items())
                fields: dict[str, Any] = {}
                for setting, level in levels:
                    fields |= settings[setting][level]
                made.setdefault(levels, Point(levels, replace(self.stated, **fields)))
        return list(made.values())

    def changed(self, point: Point) -> list[tuple[str, str]]:
        """The settings in which a protocol is not as stated, and their levels."""
        defaults = {setting: next(iter(levels)) for setting, levels in self.settings.items()}
        return [(setting, level) for setting, level in point.levels if level != defaults[setting]]

    def tried(self, scale: Scale) -> dict[Point, Task]:
        """The few runs of each protocol."""
        seeds = tuple(range(FIRST_SEED, FIRST_SEED + scale.tried))
        return {point: Task(point.protocol.training, seeds) for point in self.points(scale)}

    def decisive(self, scale: Scale, found: Found) -> dict[Point, Task]:
        """The many runs of those that are decided on, the stated protocol first.

        If that agrees, only the nearest besides it; if not, all that the few do not refute.
        """
        tried = {point: self.simulated(point, found(t)) for point, t in self.tried(scale).items()}
        stated = next(iter(tried))
        by_many = self.simulated(stated, found(many(self.stated, scale)))
        kept = [stated, min(tried, key=lambda point: tried[point].rank(self.published))]
        if by_many.p(self.published) < LEVEL:
            kept += [
                point
                for point, one in tried.items()
                if not one.refuted(self.published, scale.tried, self.rounds)
            ]
        return {point: many(point.protocol, scale) for point in dict.fromkeys(kept)}

    def simulated(self, point: Point, result: dict[str, Any]) -> Simulated:
        """What so many new runs of a protocol would publish, by the runs of a task."""
        errors = result["errors"][point.protocol.evaluation]
        return simulated(errors["test"], errors["train"], self.rounds)


def many(protocol: Protocol, scale: Scale) -> Task:
    """The runs that decide on a protocol."""
    runs = scale.printed if protocol.published else scale.decided
    return Task(protocol.training, tuple(range(runs)))


def pair(protocol: Protocol, scale: Scale, watch: str = "") -> list[Task]:
    """A protocol's runs by torch, a task each, from the seeds that `many` begins with."""
    return [Task(protocol.training, (seed,), "torch", watch) for seed in range(scale.pairs)]


def _chosen(grid: Open, scale: Scale) -> Iterator[dict[str, str]]:
    """Levels of each setting: all combinations, or one setting after another."""
    defaults = {setting: next(iter(levels)) for setting, levels in grid.items()}
    if scale.every:
        for levels in itertools.product(*grid.values()):
            yield dict(zip(grid, levels, strict=True))
        return
    yield defaults
    for setting, own in grid.items():
        for level in own:
            yield defaults | {setting: level}


@dataclass(frozen=True)
class Needed:
    """A setting without which no protocol agrees.

    Args:
        levels: those that do.
        wrongly: how often it would be found to be needed though it was not there.
        without: the largest p of a protocol without it.
    """

    levels: list[str]
    wrongly: float
    without: float

    def __str__(self) -> str:
        narrowly = f" (narrowly: p = {self.without:.2g} without)" if self.without >= NARROW else ""
        return " or ".join(self.levels) + narrowly


@dataclass(frozen=True)
class Judgement:
    """What came of a cell.

    Args:
        stated: what new runs of the stated protocol would publish, and its p-value.
        nearest: the protocol that agrees and changes the least, or else the one that is nearest
            to what was published; the same of it.
        fits: the protocols that agree, with their p, those that change the least first, of those
            `decided` on.
        needed: settings without whose levels none agrees.
        tried: how many were.
    """

    cell: Cell
    stated: Simulated
    stated_p: float
    nearest: Point
    nearest_simulated: Simulated
    nearest_p: float
    fits: dict[Point, float]
    decided: int
    needed: dict[str, Needed]
    tried: int

    @property
    def verdict(self) -> str:
        """As a sentence."""
        if self.stated_p >= LEVEL:
            return "reproduced"
        if not self.fits:
            return "not reproduced"
        if self.needed:
            with_what = [f"{setting} = {need}" for setting, need in self.needed.items()]
            return f"reproduced only with {'; '.join(with_what)}"
        return f"reproduced only with other choices, such as {self.describe(self.nearest)}"

    def describe(self, point: Point) -> str:
        """Where a protocol differs from the stated one."""
        stated = self.cell.stated
        own = [f"{setting} = {level}" for setting, level in self.cell.changed(point)]
        return "; ".join(own) if own and point.protocol != stated else "as stated"


def judged(cell: Cell, scale: Scale, found: Found) -> Judgement:
    """The verdict on a cell, from the results of its tasks."""
    first = {point: cell.simulated(point, found(t)) for point, t in cell.tried(scale).items()}
    decided = {p: cell.simulated(p, found(t)) for p, t in cell.decisive(scale, found).items()}
    p_values = {point: one.p(cell.published) for point, one in decided.items()}
    by_change = sorted(p_values, key=lambda point: (len(cell.changed(point)), -p_values[point]))
    fits = {point: p_values[point] for point in by_change if p_values[point] >= LEVEL}
    stated = next(iter(decided))
    nearest = min(decided, key=lambda point: decided[point].rank(cell.published))
    if fits:
        nearest = next(iter(fits))
    needed = {}
    for setting in [setting for setting, _ in stated.levels]:
        levels = list(dict.fromkeys(point.level(setting) for point in fits))
        if fits and stated.level(setting) not in levels:
            having = [one for point, one in first.items() if point.level(setting) in levels]
            without = [one for point, one in first.items() if point.level(setting) not in levels]
            wrongly = statistics.wrongly_needed(without, having, list(cell.published))
            best = max(p for point, p in p_values.items() if point.level(setting) not in levels)
            needed[setting] = Needed(levels, wrongly, best)
    return Judgement(
        cell, decided[stated], p_values[stated], nearest, decided[nearest], p_values[nearest],
        fits, len(decided), needed, len(first),
    )  # fmt: skip
