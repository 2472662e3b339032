"""What torch.nn lacks of scratch's layers, written with torch.nn and autograd."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from parity import RoPE


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


class RotaryAttention(nn.Module):
    """torch.nn.MultiheadAttention, batch first, of x `[B, T, embed_dim]` to itself or to a memory
    `[B, S, embed_dim]`, with queries and keys turned by RoPE in each head.

    Its parameters have torch.nn.MultiheadAttention's names and shapes, and its initial values.
    """

    def __init__(
        self, embed_dim: int, num_heads: int, bias: bool = True, causal: bool = False
    ) -> None:
        super().__init__()
        of = nn.MultiheadAttention(embed_dim, num_heads, bias=bias, batch_first=True)
        self.num_heads, self.causal = num_heads, causal
        self.in_proj_weight, self.in_proj_bias = of.in_proj_weight, of.in_proj_bias
        self.out_proj = of.out_proj
        self.rope = RoPE()

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        weight, bias, width = self.in_proj_weight, self.in_proj_bias, x.shape[-1]
        if memory is None:
            parts = functional.linear(x, weight, bias).chunk(3, -1)
        else:
            of_x, of_memory = (None, None) if bias is None else bias.split((width, 2 * width))
            query = functional.linear(x, weight[:width], of_x)
            parts = query, *functional.linear(memory, weight[width:], of_memory).chunk(2, -1)
        query, key, value = (
            part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for part in parts
        )  # [B, heads, T, head_dim]
        heads = functional.scaled_dot_product_attention(
            self.rope(query), self.rope(key), value, is_causal=self.causal
        )
        y: Tensor = self.out_proj(heads.transpose(1, 2).flatten(-2))
        return y


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
