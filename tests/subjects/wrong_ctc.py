"""What people get wrong in the CTCLoss of `ctc_by_loops`: each mistake by itself, in a table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.subjects.ctc_by_loops import ByLogProbabilities, CTCLoss, OfLogits
from tests.subjects.layers_by_loops import Array

WRONG: dict[str, tuple[type[CTCLoss], str]] = {}
"""By its name a class, and what is to be said of it."""


def wrong(says: str) -> Callable[[type[CTCLoss]], type[CTCLoss]]:
    def register(cls: type[CTCLoss]) -> type[CTCLoss]:
        WRONG[cls.__name__] = cls, says
        return cls

    return register


@wrong("lets alignments skip the blank between two labels that are the same")
class SkipsBetweenTheSame(CTCLoss):
    def before(self, states: list[int], s: int) -> list[int]:
        skips = s > 1 and states[s] != self.blank
        return [s] + [s - 1] * (s > 0) + [s - 2] * skips


@wrong("has no way from a label to the next one without a blank between")
class NeverSkips(CTCLoss):
    def before(self, states: list[int], s: int) -> list[int]:
        return [s] + [s - 1] * (s > 0)


@wrong("ends in the last label alone: the last two alpha are not added")
class EndsInALabel(CTCLoss):
    def ends(self, states: list[int]) -> list[int]:
        return [len(states) - 2]


@wrong("ends in the last blank alone: the last two alpha are not added")
class EndsInABlank(ByLogProbabilities):
    def ends(self, states: list[int]) -> list[int]:
        return [len(states) - 1]


@wrong("starts in the first blank alone, and not in the first label")
class StartsInABlank(CTCLoss):
    def starts(self, states: list[int]) -> list[int]:
        return [0]


@wrong("is that of the best alignment, not of the sum of all")
class Best(CTCLoss):
    def join(self, ways: list[float]) -> float:
        return max(ways)


@wrong("ignores input_lengths: it goes on to the last step")
class IgnoresInputLengths(CTCLoss):
    def forward(self, x: Array, t: Array, input_lengths: Array, target_lengths: Array) -> Any:
        return super().forward(x, t, np.full_like(input_lengths, len(x)), target_lengths)


@wrong("takes what is behind a target's end for labels")
class IgnoresTargetLengths(CTCLoss):
    def one(self, x: Array, labels: Array) -> tuple[float, Array]:
        most = 3 if len(x) < 20 else 21
        padded = np.concatenate([labels, np.full(most - len(labels), self.blank, labels.dtype)])
        return super().one(x, padded)


@wrong("takes blank to be 0, not 4")
class BlankFirst(CTCLoss):
    def states(self, labels: Array) -> list[int]:
        self.blank = 0
        return super().states(labels)


@wrong("is not divided by the lengths of the targets before it is averaged")
class PlainMean(CTCLoss):
    def weights_of(self, losses: Array) -> Array:
        return np.ones(len(losses)) / (len(losses) if self.reduction == "mean" else 1)


@wrong("is divided by the lengths of the predictions, not by those of the targets")
class ByPredictions(CTCLoss):
    def forward(self, x: Array, t: Array, input_lengths: Array, target_lengths: Array) -> Any:
        self.steps = input_lengths
        return super().forward(x, t, input_lengths, target_lengths)

    def weights_of(self, losses: Array) -> Array:
        return 1 / self.steps / len(losses) if self.reduction == "mean" else np.ones(len(losses))


@wrong("is not divided by the lengths of the targets before it is averaged")
class LengthsForgottenBackward(CTCLoss):
    def backward(self, dy: Any = 1.0) -> Array:
        if self.reduction == "mean":
            self.weights = np.full(len(self.weights), 1 / len(self.weights))
        return super().backward(dy)


@wrong("it ignores zero_infinity")
class LeavesInfinities(CTCLoss):
    def __init__(
        self, blank: int = 0, reduction: str = "mean", zero_infinity: bool = False
    ) -> None:
        super().__init__(blank, reduction)


@wrong("is that of a label's last place alone, where it stands at several")
class LastPlace(CTCLoss):
    def shares(self, states: list[int], gamma: Array, classes: int) -> Array:
        found = np.zeros((len(gamma), classes))
        for s, label in enumerate(states):
            found[:, label] = gamma[:, s]
        return found


@wrong("is that of a label's last place alone, where it stands at several")
class LastPlaceByLogs(ByLogProbabilities):
    shares = LastPlace.shares


@wrong("is 0 for the blank: it has the labels alone")
class WithoutBlank(ByLogProbabilities):
    def shares(self, states: list[int], gamma: Array, classes: int) -> Array:
        found = super().shares(states, gamma, classes)
        found[:, self.blank] = 0
        return found


@wrong("is the derivative by the probabilities, not by their logarithms")
class ByProbabilities(CTCLoss):
    def gradient(self, x: Array, states: list[int], gamma: Array) -> Array:
        return -self.shares(states, gamma, x.shape[1]) / np.exp(x)


@wrong("where forward takes a softmax of its own: p - gamma")
class SoftmaxForgottenBackward(OfLogits):
    gradient = ByLogProbabilities.gradient


@wrong("lacks the target: it is the probabilities alone")
class WithoutTarget(CTCLoss):
    def gradient(self, x: Array, states: list[int], gamma: Array) -> Array:
        return np.exp(x)


@wrong("has the wrong sign")
class Ascends(CTCLoss):
    def gradient(self, x: Array, states: list[int], gamma: Array) -> Array:
        return -super().gradient(x, states, gamma)


@wrong("counts each step's own probability twice, once in alpha and once in beta")
class EmittedTwice(ByLogProbabilities):
    def gradient(self, x: Array, states: list[int], gamma: Array) -> Array:
        return super().gradient(x, states, gamma * np.exp(x[:, states]))


@wrong("goes on behind the end of a sequence")
class GoesOn(CTCLoss):
    def forward(self, x: Array, t: Array, input_lengths: Array, target_lengths: Array) -> Any:
        value = super().forward(x, t, input_lengths, target_lengths)
        for n, steps in enumerate(input_lengths):
            self.dx[int(steps) :, n] = np.exp(self.x[int(steps) :, n])
        return value
