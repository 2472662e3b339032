"""Rewrites of scratch that are equal in exact arithmetic: what the bounds on error ratios are for.

Those that round otherwise and no worse must stay within them; those that lose digits should not.
`parity.gate.judge.numerics.ROOM` was chosen by them. The gate's exact counts are another matter:
more operations fail, whatever they compute.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.gate.plan import gate
from parity.gate.data import baseline
from parity.gate.data.plan import plan_of
from parity.gate.judge import numerics
from parity.gate.judge.result import NOTE
from parity.gate.measure import jobs
from parity.run.plan import Planned
from scratch import activations, dropout, linear, losses, optim
from tests.faults import Swap, planted, swap

ROOT = Path(__file__).parent.parent

FINITE_ONLY = "infinite_gradient"
"""The check whose inputs are no numbers of exact arithmetic."""


@dataclass(frozen=True)
class Rewrite:
    """A rewrite.

    Args:
        name: what it computes.
        cases: classes and networks that it is judged on.
        plant: as a fault's.
        loses: where it loses digits; nothing, where it does not.
    """

    name: str
    cases: tuple[str, ...]
    plant: Callable[[], Swap]
    loses: str = ""

    def about(self, checks: Iterable[Planned]) -> list[Planned]:
        """Those of the checks that it is judged on."""
        return [
            one
            for one in checks
            if str(one.case).split("-")[0] in self.cases and one.name != FINITE_ONLY
        ]

    def exceeds(self, checks: Iterable[Planned], bounds: dict[str, float]) -> str:
        """The first check or trajectory that does not pass with it; or nothing."""
        with planted(self.plant()):
            for one in self.about(checks):
                for row in numerics.suite([one.run()], bounds):
                    if row.verdict != NOTE:
                        return f"{row.name}: {row.says}"
            for name in gate.trajectories:
                if name.split(",")[0] in self.cases:
                    ratio = jobs.perform(gate, ("trajectories", name, None))
                    for row in numerics.trajectories({name: ratio}):
                        return f"{row.name}: {row.says}"
        return ""

    def __str__(self) -> str:
        return f"{self.cases[0]}, {self.name}"


REWRITES: list[Rewrite] = []


def rewrite(
    name: str, *cases: str, loses: str = ""
) -> Callable[[Callable[[], Swap]], Callable[[], Swap]]:
    """Registers the decorated function as a rewrite."""

    def register(plant: Callable[[], Swap]) -> Callable[[], Swap]:
        REWRITES.append(Rewrite(name, cases, plant, loses))
        return plant

    return register


def computed(owner: Any, **rewritten: Callable[..., Tensor]) -> Swap:
    """Methods whose results are computed otherwise, from the same arguments; what they keep and
    refuse stays theirs. A function is called with the module, what it had kept, and the argument.
    """
    attributes = {}
    for name, function in rewritten.items():
        before = getattr(owner, name)

        def method(self: Any, x: Tensor, before: Any = before, function: Any = function) -> Tensor:
            kept = self._kept
            before(self, x)
            result: Tensor = function(self, kept, x)
            return result

        attributes[name] = method
    return swap(owner, **attributes)


def gradients(weight: Callable[[Tensor, Tensor], Tensor], bias: Callable[[Tensor], Tensor]) -> Swap:
    """Linear's, computed otherwise: of x and dy, and of dy."""
    before = linear.Linear.backward_param

    def backward_param(self: linear.Linear, dy: Tensor) -> None:
        x, had = self._kept, [gradient.clone() for _, gradient in self.param()]
        before(self, dy)
        assert x is not None
        for gradient, old, new in zip(
            (gradient for _, gradient in self.param()), had, (weight(x, dy), bias(dy)), strict=False
        ):
            torch.add(old, new, out=gradient)

    return swap(linear.Linear, backward_param=backward_param)


# Linear


@rewrite("a product, and then the bias", "Linear", "Sequential", "model_1", "model_2")
def _() -> Swap:
    def forward(self: Any, kept: Any, x: Tensor) -> Tensor:
        y = x @ self.weight.mT
        return y if self.bias is None else y + self.bias.unsqueeze(-2)

    return computed(linear.Linear, forward=forward)


@rewrite(
    "dx as the sum of two products", "Linear", "Sequential", "model_1", "model_2",
    loses="in bfloat16, to which each product is rounded",
)  # fmt: skip
def _() -> Swap:
    def backward(self: Any, kept: Any, dy: Tensor) -> Tensor:
        half = self.out_features // 2
        return (
            dy[..., :half] @ self.weight[..., :half, :]
            + dy[..., half:] @ self.weight[..., half:, :]
        )

    return computed(linear.Linear, backward=backward)


@rewrite("dweight of transposed factors", "Linear", "Sequential", "model_1", "model_2")
def _() -> Swap:
    return gradients(lambda x, dy: (x.mT @ dy).mT, lambda dy: dy.sum(-2))


@rewrite("dbias summed from the last sample", "Linear", "Sequential", "model_1", "model_2")
def _() -> Swap:
    return gradients(lambda x, dy: dy.mT @ x, lambda dy: dy.flip(-2).sum(-2))


# Activations


@rewrite("alpha times dy, and then e^x", "ELU", "model_a_elu")
def _() -> Swap:
    def backward(self: Any, x: Tensor, dy: Tensor) -> Tensor:
        return torch.where(x > 0, dy, self.alpha * dy * torch.exp(x))

    return swap(activations.ELU, backward=lambda self, dy: backward(self, self._take(dy), dy))


@rewrite(
    "e^x - 1 in two operations",
    "ELU",
    "SELU",
    "model_a_elu",
    "model_2",
    loses="near 0, where e^x is near 1",
)
def _() -> Swap:
    def forward(self: Any, x: Tensor) -> Tensor:
        self._kept = x
        return torch.where(x > 0, x, self.alpha * (torch.exp(x) - 1))

    return swap(activations.ELU, forward=forward)


@rewrite("scale times alpha, multiplied once", "SELU", "model_2")
def _() -> Swap:
    def forward(self: Any, kept: Any, x: Tensor) -> Tensor:
        return torch.where(x > 0, self.scale * x, self.scale * self.alpha * torch.expm1(x))

    def backward(self: Any, x: Tensor, dy: Tensor) -> Tensor:
        return torch.where(x > 0, self.scale * dy, self.scale * self.alpha * dy * torch.exp(x))

    return computed(activations.SELU, forward=forward, backward=backward)


@rewrite("y (1 - y) before dy", "Sigmoid", "model_a_sigmoid")
def _() -> Swap:
    return computed(
        activations.Sigmoid, backward=lambda self, y, dy: dy * (self.slope * (y * (1 - y)))
    )


@rewrite("1 / (1 + e^-x)", "Sigmoid", "model_a_sigmoid")
def _() -> Swap:
    def forward(self: Any, x: Tensor) -> Tensor:
        self._kept = y = 1 / (1 + torch.exp(-self.slope * x))
        return y

    return swap(activations.Sigmoid, forward=forward)


@rewrite("y - y^2", "Sigmoid", "model_a_sigmoid", loses="near y = 1, where both are")
def _() -> Swap:
    return computed(activations.Sigmoid, backward=lambda self, y, dy: self.slope * dy * (y - y * y))


@rewrite("by tanh", "Sigmoid", "model_a_sigmoid", loses="far below 0, where tanh is near -1")
def _() -> Swap:
    def forward(self: Any, x: Tensor) -> Tensor:
        self._kept = y = 0.5 * (1 + torch.tanh(0.5 * self.slope * x))
        return y

    return swap(activations.Sigmoid, forward=forward)


@rewrite("(1 - y) (1 + y)", "Tanh", "model_a_tanh")
def _() -> Swap:
    return computed(activations.Tanh, backward=lambda self, y, dy: dy * ((1 - y) * (1 + y)))


@rewrite("dy - dy y^2", "Tanh", "model_a_tanh")
def _() -> Swap:
    return computed(activations.Tanh, backward=lambda self, y, dy: dy - dy * y * y)


@rewrite("2 sigmoid(2x) - 1", "Tanh", "model_a_tanh", loses="near 0")
def _() -> Swap:
    def forward(self: Any, x: Tensor) -> Tensor:
        self._kept = y = 2 * torch.sigmoid(2 * x) - 1
        return y

    return swap(activations.Tanh, forward=forward)


@rewrite("times the reciprocal of the sum", "Softmax", "model_2")
def _() -> Swap:
    def forward(self: Any, x: Tensor) -> Tensor:
        self._check(x)
        e = torch.exp(activations._shifted(x, self.dim))
        self._kept = y = e * (1 / e.sum(self.dim, keepdim=True))
        return y

    return swap(activations.Softmax, forward=forward)


@rewrite("summed from the last class", "Softmax", "model_2")
def _() -> Swap:
    def backward(self: Any, y: Tensor, dy: Tensor) -> Tensor:
        return y * (dy - (dy * y).flip(self.dim).sum(self.dim, keepdim=True))

    return computed(activations.Softmax, backward=backward)


@rewrite("multiplied out", "Softmax", "model_2", loses="where dy is near its mean")
def _() -> Swap:
    return computed(
        activations.Softmax,
        backward=lambda self, y, dy: y * dy - y * (y * dy).sum(self.dim, keepdim=True),
    )


@rewrite("softmax of y for e^y", "LogSoftmax")
def _() -> Swap:
    def backward(self: Any, y: Tensor, dy: Tensor) -> Tensor:
        return dy - torch.softmax(y, self.dim) * dy.sum(self.dim, keepdim=True)

    return computed(activations.LogSoftmax, backward=backward)


@rewrite("log of softmax", "LogSoftmax", loses="where y is near 0, and softmax near 1")
def _() -> Swap:
    def forward(self: Any, x: Tensor) -> Tensor:
        self._check(x)
        e = torch.exp(activations._shifted(x, self.dim))
        self._kept = y = torch.log(e / e.sum(self.dim, keepdim=True))
        return y

    return swap(activations.LogSoftmax, forward=forward)


@rewrite("x / (1 - p) where it is kept", "Dropout", "model_2")
def _() -> Swap:
    before = dropout.Dropout.forward

    def forward(self: Any, x: Tensor) -> Tensor:
        y = before(self, x)
        if self.mask is None or self.p == 1:
            return y
        return torch.where(self.mask > 0, x / (1 - self.p), torch.zeros_like(x))

    return swap(dropout.Dropout, forward=forward)


# Losses


@rewrite("the reciprocal of the number of entries", "MSELoss", "L1Loss", "BCELoss", "model_2")
def _() -> Swap:
    def backward(self: Any) -> Tensor:
        count = math.prod(self._shape[self._axes[0] :])
        if self.reduction != "mean" or self._kept is None or not count:
            return before(self)
        self.reduction = "sum"
        try:
            return before(self) * (1 / count)
        finally:
            self.reduction = "mean"

    before = losses.Loss.backward
    return swap(losses.Loss, backward=backward)


@rewrite("every entry over their number", "MSELoss", "L1Loss", "BCELoss", "BCEWithLogitsLoss")
def _() -> Swap:
    def forward(self: Any, prediction: Tensor, target: Tensor) -> Tensor:
        if self.reduction != "mean" or not prediction.numel():
            return before(self, prediction, target)
        self.reduction = "none"
        try:
            entries = before(self, prediction, target)
        finally:
            self.reduction = "mean"
        return (entries / math.prod(self._shape[self._axes[0] :])).sum(self._axes)

    before = losses.Loss.forward
    return swap(losses.Loss, forward=forward)


@rewrite("-(t log x + (1 - t) log(1 - x))", "BCELoss", "model_2")
def _() -> Swap:
    def entries(self: Any, x: Tensor, t: Tensor) -> tuple[Tensor, losses.Kept]:
        if self.eps:
            one, zero = torch.log(x + self.eps), torch.log(1 - x + self.eps)
        else:
            one, zero = torch.log(x).clamp(min=-100), torch.log1p(-x).clamp(min=-100)
        return -(t * one + (1 - t) * zero), (x, t)

    return swap(losses.BCELoss, _entries=entries)


@rewrite("log(1 - x) for log1p(-x)", "BCELoss", loses="near x = 0")
def _() -> Swap:
    def entries(self: Any, x: Tensor, t: Tensor) -> tuple[Tensor, losses.Kept]:
        one, zero = torch.log(x + self.eps), torch.log(1 - x + self.eps)
        if not self.eps:
            one, zero = one.clamp(min=-100), zero.clamp(min=-100)
        return -(t * one + (1 - t) * zero), (x, t)

    return swap(losses.BCELoss, _entries=entries)


@rewrite("(1 - t) x + log(1 + e^-x)", "BCEWithLogitsLoss", loses="far below 0, where t is small")
def _() -> Swap:
    def entries(self: Any, x: Tensor, t: Tensor) -> tuple[Tensor, losses.Kept]:
        return (1 - t) * x + (-x).clamp_min(0) + torch.log1p(torch.exp(-x.abs())), (x, t)

    return swap(losses.BCEWithLogitsLoss, _entries=entries)


@rewrite("softmax by its quotient", "CrossEntropyLoss", "model_a_cross_entropy_dropout")
def _() -> Swap:
    before = losses.CrossEntropyLoss._entries

    def entries(self: Any, x: Tensor, t: Tensor) -> tuple[Tensor, losses.Kept]:
        values, _ = before(self, x, t)
        e = torch.exp(x - x.amax(-1, keepdim=True)) if x.numel() else x.clone()
        return values, (e / e.sum(-1, keepdim=True), t)

    def derivative(self: Any, p: Tensor, t: Tensor) -> Tensor:
        if t.is_floating_point():
            return p * t.sum(-1, keepdim=True) - t
        return p - torch.nn.functional.one_hot(t, p.shape[-1]).to(p.dtype)

    return swap(losses.CrossEntropyLoss, _entries=entries, _derivative=derivative)


# Optimizers


@rewrite("every term in an operation of its own", "SGD", "model_1", "model_a_tanh")
def _() -> Swap:
    def update(self: Any, p: Tensor, g: Tensor) -> None:
        g = g + self.weight_decay * p
        if self.momentum:
            first = "momentum_buffer" not in self._state
            b = self._slot("momentum_buffer")
            b.copy_(self.momentum * b + (1 if first else 1 - self.dampening) * g)
            g = g + self.momentum * b if self.nesterov else b
        p.copy_(p - self.lr * g)

    return swap(optim.SGD, _update=update)


def _adam(root: Callable[[Any, Tensor, Tensor], tuple[Tensor, Tensor]]) -> Swap:
    """Adam with products in place of interpolations; `root` gives numerator and denominator."""

    def adapt(self: Any, p: Tensor, g: Tensor) -> None:
        beta1, beta2 = self.betas
        m, v = self._slot("exp_avg"), self._slot("exp_avg_sq")
        m.mul_(beta1).add_(g, alpha=1 - beta1)
        v.mul_(beta2).addcmul_(g, g, value=1 - beta2)
        if self.amsgrad:
            largest = self._slot("max_exp_avg_sq")
            v = torch.maximum(largest, v, out=largest)
        numerator, denominator = root(self, m, v)
        p.sub_(self.lr * numerator / denominator)

    return swap(optim.Adam, _adapt=adapt)


@rewrite("products, and both moments corrected", "Adam", "AdamW", "model_2")
def _() -> Swap:
    def root(self: Any, m: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        beta1, beta2 = self.betas
        corrected = v / (1 - beta2**self._steps)
        return m / (1 - beta1**self._steps), corrected.sqrt() + self.eps

    return _adam(root)


@rewrite("products, and one correction of the rate", "Adam", "AdamW", "model_2")
def _() -> Swap:
    def root(self: Any, m: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        beta1, beta2 = self.betas
        correction = math.sqrt(1 - beta2**self._steps)
        return m * (correction / (1 - beta1**self._steps)), v.sqrt() + self.eps * correction

    return _adam(root)


def recorded() -> dict[str, float]:
    """The bounds of the committed baseline.

    Raises:
        LookupError: it has none for this machine.
    """
    values = baseline.read(baseline.folder_of(plan_of(ROOT))).values
    if values is None:
        raise LookupError("the baseline has no bounds for this machine")
    bounds: dict[str, float] = values["bounds"]
    return bounds
