"""The reports' formulas as they are printed, where they are not torch's, or no derivative at all.

They are kept out of `scratch`, which is right. Each can take the place of the right one in a
`Protocol`, and `diagnosis` is what the harness says of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

import parity
import scratch
from scratch.activations import SELU_ALPHA, SELU_SCALE


class DropoutPassing(scratch.Dropout):
    """Report A's: the forward drops and scales, the backward returns what it is given."""

    def backward(self, dy: Tensor) -> Tensor:
        """`dx = dy`."""
        self._take(dy)
        return dy


class DropoutUnscaled(scratch.Dropout):
    """Report B's: a mask of zeros and ones, in the forward and in the backward."""

    def _draw(self, x: Tensor) -> Tensor:
        return super()._draw(x).gt(0).to(x.dtype)


class ReLUOneAtZero(scratch.Module):
    """Report B's: where x is 0 the derivative is 1."""

    def forward(self, x: Tensor) -> Tensor:
        self._kept = x
        return x.clamp_min(0)

    def backward(self, dy: Tensor) -> Tensor:
        """`dx = dy where x >= 0, else 0`."""
        return dy.masked_fill(self._take(dy) < 0, 0)


class SELUPrinted(scratch.Module):
    """Report B's: the scale stands on the positive side alone, and both constants are 1."""

    def __init__(self, alpha: float = 1.0, scale: float = 1.0) -> None:
        super().__init__()
        self.alpha, self.scale = alpha, scale

    def forward(self, x: Tensor) -> Tensor:
        self._kept = x
        return torch.where(x >= 0, self.scale * x, self.alpha * (torch.exp(x) - 1))

    def backward(self, dy: Tensor) -> Tensor:
        """`dx = scale * dy where x >= 0, else alpha * e^x * dy`."""
        x = self._take(dy)
        return dy * torch.where(x >= 0, torch.full_like(x, self.scale), self.alpha * torch.exp(x))


class TanhOfExponentials(scratch.Module):
    """Report B's: quotients of exponentials, which overflow."""

    def forward(self, x: Tensor) -> Tensor:
        self._kept = x
        up, down = torch.exp(x), torch.exp(-x)
        return (up - down) / (up + down)

    def backward(self, dy: Tensor) -> Tensor:
        """`dx = dy * 4 / (e^x + e^-x)^2`."""
        x = self._take(dy)
        return dy * 4 / (torch.exp(x) + torch.exp(-x)).square()


class SoftmaxDiagonal(scratch.Module):
    """Report B's: of the derivative the diagonal alone, and without its factor e^x."""

    def forward(self, x: Tensor) -> Tensor:
        self._kept = x
        e = torch.exp(x)
        return e / e.sum(-1, keepdim=True)

    def backward(self, dy: Tensor) -> Tensor:
        """`dx_i = dy_i * (S - e^(x_i)) / S^2`, S the sum of all e^(x_j)."""
        e = torch.exp(self._take(dy))
        total = e.sum(-1, keepdim=True)
        return dy * (total - e) / total.square()


class Unasking(scratch.BCELoss):
    """BCELoss that takes what is no probability: a run may diverge, and the others go on."""

    def check_range(self, low: float, high: float) -> None:
        pass


class AdamLagging(scratch.Adam):
    """Report B's, if its t counts from 0: step t + 1 is corrected by the powers of t.

    The first would be divided by 0, and is corrected by those of 1.
    """

    def _adapt(self, p: Tensor, g: Tensor) -> None:
        steps = self._steps
        self._steps = max(steps - 1, 1)
        super()._adapt(p, g)
        self._steps = steps


class SigmoidOfAnotherSlope(scratch.Module):
    """Of no report: what report A's Sigmoid is if its derivative forgot one of its slopes."""

    slope = 3.0

    def forward(self, x: Tensor) -> Tensor:
        self._kept = x
        return torch.sigmoid(self.slope * x)

    def backward(self, dy: Tensor) -> Tensor:
        """`dx = dy * 3 * e^-x / (1 + e^(-3x))^2`."""
        x = self._take(dy)
        return dy * self.slope * torch.exp(-x) * torch.sigmoid(self.slope * x).square()


class _SigmoidOfTorch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(SigmoidOfAnotherSlope.slope * x)


@dataclass(frozen=True)
class Variant:
    """A formula as printed.

    Args:
        title: what it is.
        source: report and equation.
        printed, right: the two formulas.
        kind: "layer", "loss" or "optimizer"; `replaces`: the part of a protocol it stands for.
        build: makes it.
        torch: whose place it takes before the harness.
        printed_so: whether it stands there so; else it is a reading, or a conjecture of ours.
    """

    title: str
    source: str
    printed: str
    right: str
    kind: str
    replaces: str
    build: Callable[..., Any]
    torch: Any
    printed_so: bool = True


#: By the name that protocols use.
VARIANTS: dict[str, Variant] = {
    "dropout passing": Variant(
        "Dropout, backward is the identity", "A, IV", "dx = dy", "dx = dy · mask / (1 - p)",
        "layer", "dropout", DropoutPassing, nn.Dropout,
    ),
    "dropout unscaled": Variant(
        "Dropout without scaling", "B, IV", "y = x · mask", "y = x · mask / (1 - p)",
        "layer", "dropout", DropoutUnscaled, nn.Dropout,
    ),
    "relu at 0": Variant(
        "ReLU, derivative 1 at 0", "B, (7)", "dx = dy where x ≥ 0", "dx = dy where x > 0",
        "layer", "relu", ReLUOneAtZero, nn.ReLU,
    ),
    "selu of 1, 1": Variant(
        "SELU with α = λ = 1", "B, (18), (19)", "y = x, or e^x - 1 where x < 0",
        "y = 1.0507 x, or 1.0507 · 1.6733 (e^x - 1) where x < 0",
        "layer", "selu", SELUPrinted, nn.SELU,
    ),
    "selu without λ": Variant(
        "SELU, no λ on the negative side", "B, (18), (19)", "y = α (e^x - 1) where x < 0",
        "y = λ α (e^x - 1) where x < 0",
        "layer", "selu", partial(SELUPrinted, SELU_ALPHA, SELU_SCALE), nn.SELU,
    ),
    "tanh of exponentials": Variant(
        "Tanh as a quotient of exponentials", "B, (8), (9)", "y = (e^x - e^-x) / (e^x + e^-x)",
        "the same, but 1 or -1 where e^x overflows",
        "layer", "tanh", TanhOfExponentials, nn.Tanh,
    ),
    "softmax diagonal": Variant(
        "Softmax, diagonal of its derivative", "B, (21)", "dx_i = dy_i (S - e^x_i) / S²",
        "dx_i = y_i (dy_i - Σ_j dy_j y_j)",
        "layer", "softmax", SoftmaxDiagonal, nn.Softmax,
    ),
    "mse summed": Variant(
        "MSE, a sum that is called a mean", "B, (10), (11)", "L = Σ (y - t)²",
        "L = mean of (y - t)²",
        "loss", "mse", lambda reduction="sum": scratch.MSELoss("sum"), nn.MSELoss,
    ),
    "bce with eps": Variant(
        "Cross-entropy, ε = 0.01 in its logarithms", "B, (12) to (14)",
        "-t_1 log(y_1 + ε) - t_2 log(y_2 + ε)", "-t_1 log y_1 - t_2 log y_2",
        "loss", "bce", partial(Unasking, 1e-2), nn.BCELoss,
    ),
    "adam lagging": Variant(
        "Adam, bias correction one step behind", "B, (24), (25), if t counts from 0",
        "m_(t+1) / (1 - β^t)", "m_t / (1 - β^t)",
        "optimizer", "adam", AdamLagging, torch.optim.Adam, printed_so=False,
    ),
    "sigmoid of another slope": Variant(
        "Sigmoid(3), a slope forgotten in its derivative", "none: a conjecture on A, Table I",
        "3 e^-x / (1 + e^-3x)²", "3 e^-3x / (1 + e^-3x)²",
        "layer", "sigmoid", SigmoidOfAnotherSlope,
        parity.Entry(_SigmoidOfTorch, "layer", name="Sigmoid of slope 3"), printed_so=False,
    ),
}  # fmt: skip


def diagnosis(name: str) -> list[str]:
    """What the harness says of a variant: its faults, the first the one that is most its own."""
    variant = VARIANTS[name]
    targets = ("index", "one_hot", "distribution")
    parts = {nn.Linear: scratch.Linear} if variant.kind == "optimizer" else {}
    subject = parity.Subject(parts | {variant.torch: variant.build}, name=name, targets=targets)
    report = parity.check(subject, quick=True)
    if report.errors:
        raise RuntimeError(report.errors[0].why)
    return [one.sentence for one in report.findings]
