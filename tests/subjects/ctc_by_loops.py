"""CTCLoss as a careful student writes it: NumPy and loops over sequences, steps and states.

A prediction is [T, N, C], of log-probabilities, a target [N, S], as torch has them. Forward keeps
alpha and beta in logarithms. The gradient is p - gamma, as torch's; other ways to say it are below.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.subjects.layers_by_loops import Array


def log_sum(values: list[float]) -> float:
    """log of the sum of e^v; of nothing, -inf."""
    most = np.max(values)  # NaN, if one is
    if most == -np.inf:
        return -np.inf
    return float(most + np.log(sum(np.exp(v - most) for v in values)))


class CTCLoss:
    def __init__(
        self, blank: int = 0, reduction: str = "mean", zero_infinity: bool = False
    ) -> None:
        self.blank, self.reduction, self.zero_infinity = blank, reduction, zero_infinity

    def forward(self, x: Array, t: Array, input_lengths: Array, target_lengths: Array) -> Any:
        self.x, self.lengths = x.astype(np.float64), target_lengths
        self.dx = np.zeros_like(self.x)
        losses = np.zeros(x.shape[1])
        for n in range(x.shape[1]):
            steps, labels = int(input_lengths[n]), t[n, : int(target_lengths[n])]
            losses[n], dx = self.one(self.x[:steps, n], labels)
            if losses[n] == np.inf and self.zero_infinity:
                losses[n] = 0
                dx = np.zeros_like(dx)
            self.dx[:steps, n] = dx
        self.weights = self.weights_of(losses)
        self.dtype = x.dtype
        if self.reduction == "none":
            return losses.astype(x.dtype)
        finite = np.where(self.weights > 0, losses, 0)
        return (finite * self.weights).sum().astype(x.dtype)

    def backward(self, dy: Any = 1.0) -> Array:
        dy = np.asarray(dy).reshape(-1, 1)
        return (self.dx * self.weights[:, None] * dy).astype(self.dtype)

    def weights_of(self, losses: Array) -> Array:
        """What each sequence's loss counts."""
        if self.reduction == "mean":
            return 1 / np.maximum(self.lengths, 1) / len(losses)
        return np.ones(len(losses))

    def states(self, labels: Array) -> list[int]:
        states = [self.blank]
        for label in labels:
            states += [int(label), self.blank]
        return states

    def before(self, states: list[int], s: int) -> list[int]:
        """The states from which state s is reached."""
        found = [s] + [s - 1] * (s > 0)
        if s > 1 and states[s] not in (self.blank, states[s - 2]):
            found.append(s - 2)
        return found

    def starts(self, states: list[int]) -> list[int]:
        return list(range(min(2, len(states))))

    def ends(self, states: list[int]) -> list[int]:
        return list(range(max(0, len(states) - 2), len(states)))

    def one(self, x: Array, labels: Array) -> tuple[float, Array]:
        """-log P of one sequence, [T, C], and its gradient."""
        states, steps = self.states(labels), len(x)
        alpha = np.full((steps, len(states)), -np.inf)
        beta = alpha.copy()
        for s in self.starts(states):
            alpha[0, s] = x[0, states[s]]
        for step in range(1, steps):
            for s in range(len(states)):
                ways = [alpha[step - 1, k] for k in self.before(states, s)]
                alpha[step, s] = self.join(ways) + x[step, states[s]]
        for s in self.ends(states):
            beta[-1, s] = 0.0
        for step in range(steps - 2, -1, -1):
            for s in range(len(states)):
                after = [k for k in range(s, len(states)) if s in self.before(states, k)]
                beta[step, s] = self.join(
                    [beta[step + 1, k] + x[step + 1, states[k]] for k in after]
                )
        log_p = self.join([alpha[-1, s] for s in self.ends(states)])
        if log_p == -np.inf:
            return np.inf, np.full_like(x, np.nan)
        return -log_p, self.gradient(x, states, np.exp(alpha + beta - log_p))

    def join(self, ways: list[float]) -> float:
        return log_sum(ways)

    def shares(self, states: list[int], gamma: Array, classes: int) -> Array:
        """The share of each class at each step: of all the places at which it stands."""
        found = np.zeros((len(gamma), classes))
        for s, label in enumerate(states):
            found[:, label] += gamma[:, s]
        return found

    def gradient(self, x: Array, states: list[int], gamma: Array) -> Array:
        return np.exp(x) - self.shares(states, gamma, x.shape[1])


class ByLogProbabilities(CTCLoss):
    """The derivative by log-probabilities as any numbers."""

    def gradient(self, x: Array, states: list[int], gamma: Array) -> Array:
        return -self.shares(states, gamma, x.shape[1])


class OfLogits(CTCLoss):
    """It takes logits: forward has the log_softmax in it."""

    def one(self, x: Array, labels: Array) -> tuple[float, Array]:
        most = x.max(1, keepdims=True)
        logs = x - most - np.log(np.exp(x - most).sum(1, keepdims=True))
        return super().one(logs, labels)


class BatchMean(CTCLoss):
    """The mean over the batch, of losses that are not divided by their targets' lengths."""

    def __init__(self, blank: int = 0) -> None:
        super().__init__(blank)

    def weights_of(self, losses: Array) -> Array:
        return np.ones(len(losses)) / len(losses)


class WithoutLengths(CTCLoss):
    """Sequences are all as long as there is room."""

    def forward(self, x: Array, t: Array) -> Any:  # type: ignore[override]
        steps, count = x.shape[:2]
        return super().forward(x, t, np.full(count, steps), np.full(count, t.shape[1]))


class OneSequence:
    """One sequence at a time, a prediction [T, C] and labels [S], and no reduction."""

    def __init__(self, blank: int = 0) -> None:
        self.criterion = ByLogProbabilities(blank, "sum")

    def forward(self, log_probs: Array, labels: Array) -> Any:
        lengths = np.array([len(log_probs)]), np.array([len(labels)])
        return self.criterion.forward(log_probs[:, None], labels[None], *lengths)

    def backward(self) -> Array:
        return self.criterion.backward()[:, 0]


def ctc_loss(log_probs: Array, labels: Array, blank: int = 0) -> tuple[Any, Array]:
    """The same as a function."""
    criterion = OneSequence(blank)
    return criterion.forward(log_probs, labels), criterion.backward()
