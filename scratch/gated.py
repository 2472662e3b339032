"""Gated feed-forward networks: one projection decides how much of another passes."""

from __future__ import annotations

import torch
from torch import Tensor

from scratch.activations import GELU, SiLU
from scratch.init import Source
from scratch.linear import Linear
from scratch.module import Module, check_sizes, checked_device


class _Gated(Module):
    """What SwiGLU and GeGLU share: all but the activation."""

    stackable = False
    _activation: type[Module]

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        bias: bool = False,
        *,
        generator: Source = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        check_sizes(name, in_features=in_features, hidden_features=hidden_features)
        self.in_features, self.hidden_features = in_features, hidden_features
        device = None if device is None else checked_device(device)

        def linear(fan_in: int, fan_out: int) -> Linear:
            return Linear(fan_in, fan_out, bias, generator=generator, device=device, dtype=dtype)

        self.gate = linear(in_features, hidden_features)
        self.up = linear(in_features, hidden_features)
        self.down = linear(hidden_features, in_features)
        self.activation = self._activation()

    def forward(self, x: Tensor) -> Tensor:
        """`y = down(act(gate(x)) * up(x))`: x `[B, *, in_features]` to y of its shape."""
        self._check_x(x, self.gate.weight, ("*", "B", self.in_features))
        rows = x.reshape(-1, self.in_features)
        passed = self.activation.forward(self.gate.forward(rows))  # [rows, hidden]
        up = self.up.forward(rows)
        y = self.down.forward(passed * up).view(x.shape)
        self._keep(y, passed, up)
        return y

    def backward(self, dy: Tensor) -> Tensor:
        """`dx = dg @ gate.weight + du @ up.weight`, `dg = act'(gate(x)) * up(x) * dp`,
        `du = act(gate(x)) * dp`, `dp = dy @ down.weight`.

        Also `gate.dweight += dg.T @ x`, `up.dweight += du.T @ x` and
        `down.dweight += dy.T @ (act(gate(x)) * up(x))`; each bias gets the sum over its rows.
        """
        dgate, dup = self._backward_gate(dy)
        dx = self.gate.backward(dgate)
        return dx.add_(self.up.backward(dup)).view(dy.shape)

    def backward_param(self, dy: Tensor) -> None:
        dgate, dup = self._backward_gate(dy)
        self.gate.backward_param(dgate)
        self.up.backward_param(dup)

    def _backward_gate(self, dy: Tensor) -> tuple[Tensor, Tensor]:
        """The gradients of gate(x) and up(x), after those of down."""
        passed, up = self._recall(dy)
        dproduct = self.down.backward(dy.reshape(-1, self.in_features))
        return self.activation.backward(dproduct * up), dproduct.mul_(passed)

    def extra_repr(self) -> str:
        bias = "" if self.down.bias is None else ", bias=True"
        return f"{self.in_features}, {self.hidden_features}{bias}"


class SwiGLU(_Gated):
    """`y = down(SiLU(gate(x)) * up(x))`, three `Linear`. Torch has no such class.

    Shazeer 2020, eq. (6), where gate, up and down are W, V and W2. It cannot be stacked.

    Shapes: x and y `[B, *, in_features]`; gate.weight and up.weight
    `[hidden_features, in_features]`, down.weight `[in_features, hidden_features]`; gate.bias and
    up.bias `[hidden_features]`, down.bias `[in_features]`.

    Args:
        in_features, hidden_features: widths, at least 1.
        bias: whether the three have a bias. Default: False, as in the paper.
        generator: where the initial values are drawn from; they are those of `Linear`, gate
            first, then up, then down. Default: torch's global generator.
        device, dtype: of the parameters. Default: torch's defaults.

    Raises:
        ValueError: a width below 1, an absent device.
    """

    _activation = SiLU


class GeGLU(_Gated):
    """`y = down(GELU(gate(x)) * up(x))`, with the exact GELU. Torch has no such class.

    Shazeer 2020, eq. (6). Shapes, arguments and errors are those of `SwiGLU`.
    """

    _activation = GELU
