"""The axes that bugs live on: for each, faults that show along it, and what sees them.

`python -m tests.axes [--seeds N]` prints a table: how many faults are planted, how many the checks
beside the axes see, how many all of them, and how many false alarms the checks of the axis raise on
scratch, at so many seeds: of more than ten, each check at ten of them, others at other seeds.

Some faults are planted in scratch (`tests/faults/`); what scratch does not offer, such as weights
of classes or parameters that are objects, is in small frameworks here: right ones, and what is
wrong with them.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from tabulate import tabulate
from torch import Tensor, nn
from tqdm import tqdm

import parity
from bench.own import SUBJECT
from parity.checks.kinds import AXES
from parity.judge.outcome import FAILED
from parity.run.plan import Planned, planned
from tests.faults import Fault, all_faults

#: Each axis: the checks along it.
CHECKS: dict[str, tuple[str, ...]] = {
    "sizes": ("layer.sizes", "loss.sizes", "optimizer.sizes"),
    "rank": ("layer.rank",),
    "magnitudes": ("layer.magnitudes", "loss.magnitudes", "optimizer.magnitudes"),
    "special values": ("layer.nan", "loss.nan", "optimizer.nan"),
    "options": ("loss.value", "loss.gradient"),
    "what follows a loss": ("loss.upstream",),
    "strides": ("layer.noncontiguous", "loss.noncontiguous"),
    "an optimizer's purity": ("optimizer.no_mutation",),
    "an optimizer's life": ("optimizer.rate", "optimizer.resume", "optimizer.gradient_none"),
    "long runs": ("optimizer.long_run",),
    "several of a class": ("layer.instances", "layer.tied"),
    "a step inside backward": ("layer.moving",),
    "float16": ("loss.half",),
    "gradients of parity's own": ("optimizer.twenty_steps",),
    "uninitialised": ("layer.uninitialised",),
    "mutation": ("layer.no_mutation", "loss.no_mutation"),
}

EACH = 10
"""At how many seeds a check is run, if there are more."""

LATER = {*AXES, "nan", *(name for own in SUBJECT.checks.values() for name in own)}
"""The checks that were made for the axes, and those that scratch brings for itself: what they alone
see, the others do not."""


class Linear:
    """Its parameters are objects, and may be another layer's."""

    class Parameter:
        def __init__(self, data: Tensor) -> None:
            self.data = data
            self.grad: Tensor | None = None

    def __init__(self, width: int, out: int) -> None:
        self.weight = self.Parameter(torch.ones(out, width))
        self.bias = self.Parameter(torch.ones(out))

    def add(self, parameter: Parameter, gradient: Tensor) -> None:
        parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient

    def forward(self, x: Tensor) -> Tensor:
        self.x = x
        return x @ self.weight.data.T + self.bias.data

    def backward(self, dy: Tensor) -> Tensor:
        self.add(self.weight, dy.T @ self.x)
        self.add(self.bias, dy.sum(0))
        return dy @ self.weight.data

    def parameters(self) -> list[Parameter]:
        return [self.weight, self.bias]

    def zero_grad(self) -> None:
        self.weight.grad = self.bias.grad = None


class LastAlone(Linear):
    def add(self, parameter: Linear.Parameter, gradient: Tensor) -> None:
        parameter.grad = gradient


class SGD:
    """Over parameters that are objects; one without a gradient stays where it is."""

    def __init__(self, parameters: Any, lr: float, weight_decay: float = 0.0) -> None:
        self.parameters, self.lr, self.weight_decay = parameters, lr, weight_decay

    def missing(self, p: Any) -> Tensor | None:
        return None

    def step(self) -> None:
        for p in self.parameters:
            gradient = self.missing(p) if p.grad is None else p.grad
            if gradient is not None:
                p.data -= self.lr * (gradient + self.weight_decay * p.data)


class DecaysAlways(SGD):
    def missing(self, p: Any) -> Tensor:
        return torch.zeros_like(p.data)


class DriftsAlways(SGD):
    def missing(self, p: Any) -> Tensor:
        return torch.full_like(p.data, 1e-3)


class CrossEntropy:
    """From logits and indices, with all of torch's options."""

    def __init__(
        self,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        label_smoothing: float = 0.0,
    ) -> None:
        self.weight, self.ignored, self.smoothing = weight, ignore_index, label_smoothing

    def kept(self, target: Tensor) -> Tensor:
        return (target != self.ignored).to(self.log_p)

    def total(self, weights: Tensor) -> Tensor:
        return weights.sum()

    def spread(self, hot: Tensor) -> Tensor:
        return hot * (1 - self.smoothing) + self.smoothing / hot.shape[1]

    def forward(self, x: Tensor, target: Tensor) -> Tensor:
        self.log_p = x - x.logsumexp(1, keepdim=True)
        hot = nn.functional.one_hot(target.clamp(min=0), x.shape[1]).to(x)
        kept = self.kept(target)
        own = x.new_ones(x.shape[1]) if self.weight is None else self.weight
        self.q = self.spread(hot) * own * kept[:, None]
        self.n = self.total(kept * own[target.clamp(min=0)])
        return -(self.q * self.log_p).sum() / self.n

    def backward(self) -> Tensor:
        return (self.log_p.exp() * self.q.sum(1, keepdim=True) - self.q) / self.n


class CountsAll(CrossEntropy):
    def total(self, weights: Tensor) -> Tensor:
        return torch.tensor(len(weights)).to(weights)


class KeepsIgnored(CrossEntropy):
    def kept(self, target: Tensor) -> Tensor:
        return torch.ones(len(target)).to(self.log_p)


class SmoothsTwice(CrossEntropy):
    def spread(self, hot: Tensor) -> Tensor:
        return super().spread(super().spread(hot))


class SpreadsOverTheOthers(CrossEntropy):
    def spread(self, hot: Tensor) -> Tensor:
        return hot * (1 - self.smoothing) + (1 - hot) * self.smoothing / (hot.shape[1] - 1)


class Moving:
    """Its backward moves its parameters."""

    def __init__(self, width: int, out: int) -> None:
        self.w, self.b = torch.ones(out, width), torch.ones(out)
        self.dw, self.db = torch.zeros(out, width), torch.zeros(out)

    def forward(self, x: Tensor) -> Tensor:
        self.x = x
        return x @ self.w.T + self.b

    def learn(self, dy: Tensor, rate: float) -> Tensor:
        dx = dy @ self.w
        self.move(dy, rate)
        return dx

    def move(self, dy: Tensor, rate: float) -> None:
        self.dw, self.db = dy.T @ self.x, dy.sum(0)
        self.w -= rate * self.dw
        self.b -= rate * self.db

    def param(self) -> list[tuple[Tensor, Tensor]]:
        return [(self.w, self.dw), (self.b, self.db)]


class MovedAlready(Moving):
    def learn(self, dy: Tensor, rate: float) -> Tensor:
        self.move(dy, rate)
        return dy @ self.w


class LeavesTheBias(Moving):
    def move(self, dy: Tensor, rate: float) -> None:
        super().move(dy, rate)
        self.b += rate * self.db


class MovingSlope:
    """A PReLU whose backward moves its slope."""

    def __init__(self) -> None:
        self.a, self.da = torch.full((1,), 0.25), torch.zeros(1)

    def forward(self, x: Tensor) -> Tensor:
        self.x = x
        return torch.where(x > 0, x, self.a * x)

    def learn(self, dy: Tensor, rate: float) -> Tensor:
        dx = torch.where(self.x > 0, dy, self.a * dy)
        self.move(dy, rate)
        return dx

    def move(self, dy: Tensor, rate: float) -> None:
        self.da = (dy * self.x.clamp(max=0)).sum().reshape(1)
        self.a -= rate * self.da

    def param(self) -> list[tuple[Tensor, Tensor]]:
        return [(self.a, self.da)]


class SlopeMovedAlready(MovingSlope):
    def learn(self, dy: Tensor, rate: float) -> Tensor:
        self.move(dy, rate)
        return torch.where(self.x > 0, dy, self.a * dy)


class MovesByTheMean(Moving):
    def move(self, dy: Tensor, rate: float) -> None:
        super().move(dy, rate)
        self.b += rate * self.db - rate * self.db / len(dy)


class L1:
    """In half precision, summed in single."""

    def forward(self, x: Tensor, target: Tensor) -> Tensor:
        self.d = x - target
        return self.mean(self.d.abs())

    def mean(self, entries: Tensor) -> Tensor:
        return entries.float().mean().to(entries)

    def backward(self) -> Tensor:
        return self.d.sign() / self.d.numel()


class Overflowing(L1):
    def mean(self, entries: Tensor) -> Tensor:
        return entries.sum() / entries.numel()


def _objects(layer: Any = Linear, optimizer: Any = SGD) -> parity.Subject:
    parts: dict[Any, Any] = {nn.Linear: layer, torch.optim.SGD: optimizer}
    return parity.Subject(parts, parameters="objects")


def _cross_entropy(loss: Any) -> parity.Subject:
    return parity.Subject({nn.CrossEntropyLoss: loss})


def _moving(layer: Any, of: Any = nn.Linear) -> parity.Subject:
    return parity.Subject(
        {of: layer},
        gradients="overwritten",
        step_in_backward=lambda layer, dy, rate: layer.learn(dy, rate),
    )


def _half(loss: Any) -> parity.Subject:
    return parity.Subject({nn.L1Loss: loss}, dtypes=("float16",))


@dataclass(frozen=True)
class Small:
    """A fault of a small framework, which is right without it.

    Args:
        axis, name: what it is.
        check: the one along the axis; `right` and `wrong`: the frameworks.
    """

    axis: str
    name: str
    check: str
    right: Callable[[], parity.Subject]
    wrong: Callable[[], parity.Subject]

    def __str__(self) -> str:
        return f"{self.axis}-{self.name}".replace(" ", "_")


def _small(
    axis: str, check: str, make: Callable[[Any], parity.Subject], right: Any, **wrongs: Any
) -> list[Small]:
    return [
        Small(axis, name.replace("_", " "), check, functools.partial(make, right),
              functools.partial(make, wrong))
        for name, wrong in wrongs.items()
    ]  # fmt: skip


SMALL: list[Small] = [
    *_small("options", "value", _cross_entropy, CrossEntropy, ignored_ones_count=CountsAll,
            ignored_ones_are_kept=KeepsIgnored, smooths_twice=SmoothsTwice,
            spreads_over_the_other_classes=SpreadsOverTheOthers),
    *_small("several of a class", "tied", _objects, Linear, gradient_of_the_last_alone=LastAlone),
    *_small("an optimizer's life", "gradient_none", functools.partial(_objects, Linear), SGD,
            decays_without_a_gradient=DecaysAlways, drifts_without_a_gradient=DriftsAlways),
    *_small("a step inside backward", "moving", _moving, Moving, has_moved_already=MovedAlready,
            moves_by_the_mean=MovesByTheMean, leaves_the_bias=LeavesTheBias),
    *_small("a step inside backward", "moving", functools.partial(_moving, of=nn.PReLU),
            MovingSlope, has_moved_the_slope=SlopeMovedAlready),
    *_small("float16", "half", _half, L1, sum_overflows=Overflowing),
]  # fmt: skip


def checks(subject: parity.Subject, name: str = "*", **options: Any) -> list[Planned]:
    """The checks of a subject of that name."""
    found = planned(parity.Local(subject), **options)
    return [one for one in found if name in ("*", one.name)]


def seen(planted: list[Planned], *, before: bool) -> bool:
    """Whether one of these checks fails; `before`: of those that were not made for the axes."""
    return any(one.run().verdict == FAILED for one in planted if not (before and one.name in LATER))


def table(seeds: int) -> str:
    """A row for each axis."""
    session = parity.Local(SUBJECT)
    rows = []
    for axis, names in tqdm(CHECKS.items(), leave=False):
        faults: list[Fault | Small] = [one for one in all_faults() if one.check in names]
        faults += [one for one in SMALL if one.axis == axis]
        before = now = 0
        for one in faults:
            if isinstance(one, Small):
                before += seen(checks(one.wrong()), before=True)
                now += seen(checks(one.wrong(), one.check), before=False)
                continue
            with one.planted():
                every = planned(session, only=f"{one.cases}*")
                before += seen(every, before=True)
                now += seen(one.checks(session), before=False)
        alarms = total = 0
        turns = max(1, seeds // EACH)
        for seed in tqdm(range(seeds), desc=axis, leave=False):
            along = [check for check in planned(session, seed=seed)
                     if f"{check.case.kind}.{check.name}" in names]  # fmt: skip
            for check in along[seed % turns :: turns]:
                total += 1
                alarms += check.run().verdict == FAILED
        rows.append([axis, len(faults), before, now, alarms, total])
    heads = ["axis", "faults", "seen by the other checks", "seen", "false alarms", "of checks"]
    return tabulate(rows, heads)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="for false alarms (default: 3)")
    print(table(parser.parse_args().seeds))
