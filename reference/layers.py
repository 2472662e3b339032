"""What the reports parametrise beyond torch.nn, written with torch.nn and autograd."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SELU(nn.Module):
    """torch.nn.SELU; with an alpha or a scale of one's own, `scale * ELU(x)`."""

    def __init__(self, alpha: float | None = None, scale: float | None = None) -> None:
        super().__init__()
        self.elu = nn.SELU() if alpha is None else nn.ELU(alpha)
        self.scale = 1.0 if scale is None else scale

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * self.elu(x)


class Sigmoid(nn.Module):
    """`torch.sigmoid(slope * x)`."""

    def __init__(self, slope: float = 1.0) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.slope * x)


class Residual(nn.Sequential):
    """`x + f(x)`, f being modules in a row."""

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for module in self:
            y = module(y)
        return x + y


class BCELoss(nn.BCELoss):
    """torch.nn.BCELoss; with an eps, report B's eq. (12): eps inside both logarithms."""

    def __init__(self, eps: float = 0.0, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.eps = eps

    def forward(self, x: Tensor, target: Tensor) -> Tensor:
        if not self.eps:
            return super().forward(x, target)
        loss = -target * torch.log(x + self.eps) - (1 - target) * torch.log(1 - x + self.eps)
        if self.reduction == "none":
            return loss
        return loss.mean() if self.reduction == "mean" else loss.sum()
