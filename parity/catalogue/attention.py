"""The rows of attention and what stands beside it in a transformer; and torch's side of them.

Torch has no class of some of them: a subject names these by the classes here, as
`parity.ScaledDotProductAttention`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from parity.catalogue.entry import Entry, Options, Variants


class ScaledDotProductAttention(nn.Module):
    """`softmax(query key^T / sqrt(D)) value`: torch's function of that name, as sums and products.

    Shapes: query `[B, …, Tq, D]`, key `[B, …, Tk, D]`, value `[B, …, Tk, V]`; mask `[B, Tq, Tk]`,
    true where a place may be seen; output `[B, …, Tq, V]`. Vaswani et al. (2017), eq. 1.

    Args:
        is_causal: whether place i of the query sees places 0 to i of the key alone.
    """

    def __init__(self, is_causal: bool = False) -> None:
        super().__init__()
        self.is_causal = is_causal

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        with sdpa_kernel(SDPBackend.MATH):  # one fused operation has no inner rounding to move
            return functional.scaled_dot_product_attention(
                query, key, value, mask, is_causal=self.is_causal
            )


class MultiheadAttention(nn.MultiheadAttention):
    """torch.nn.MultiheadAttention of x `[B, T, embed_dim]` to itself, or, if it is given, to a
    memory `[B, S, embed_dim]`.

    Args:
        causal: whether place i sees places 0 to i alone.
    """

    def __init__(
        self, embed_dim: int, num_heads: int, bias: bool = True, *, causal: bool = False
    ) -> None:
        super().__init__(embed_dim, num_heads, bias=bias, batch_first=True)
        self.causal = causal

    def forward(  # type: ignore[override]
        self, x: Tensor, memory: Tensor | None = None
    ) -> Tensor:
        seen = x if memory is None else memory
        hidden = None
        if self.causal:
            shape = (x.shape[1], seen.shape[1])
            hidden = torch.ones(shape, dtype=torch.bool, device=x.device).triu(1)
        y: Tensor = functional.multi_head_attention_forward(
            x.transpose(0, 1), seen.transpose(0, 1), seen.transpose(0, 1),
            self.embed_dim, self.num_heads, self.in_proj_weight, self.in_proj_bias,
            None, None, False, 0.0, self.out_proj.weight, self.out_proj.bias,
            training=self.training, attn_mask=hidden,
        )[0]  # fmt: skip
        return y.transpose(0, 1)


class _Gated(nn.Module):
    """A gated feed-forward layer: `down(f(gate(x)) * up(x))`. Shazeer (2020)."""

    def __init__(self, in_features: int, hidden_features: int, bias: bool = False) -> None:
        super().__init__()
        self.gate = nn.Linear(in_features, hidden_features, bias)
        self.up = nn.Linear(in_features, hidden_features, bias)
        self.down = nn.Linear(hidden_features, in_features, bias)


class SwiGLU(_Gated):
    """`down(silu(gate(x)) * up(x))`, of x `[B, …, in_features]`. Shazeer (2020), eq. 6.

    Parameters are gate.weight and up.weight `[hidden_features, in_features]`, and down.weight
    `[in_features, hidden_features]`; each has a bias after it with `bias=True`.
    """

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.down(functional.silu(self.gate(x)) * self.up(x))
        return y


class GeGLU(_Gated):
    """`down(gelu(gate(x)) * up(x))`, of x `[B, …, in_features]`, else as `SwiGLU`. Shazeer (2020),
    eq. 6."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.down(functional.gelu(self.gate(x)) * self.up(x))
        return y


class RoPE(nn.Module):
    """Rotary position embedding of x `[B, …, T, D]`, D even. Su et al. (2021), eq. 34.

    At place t, counted from 0, pair i is turned by the angle `t * base^(-2 i / D)`.

    Args:
        base: of the angles. Default: 10,000.
        interleaved: whether a pair is (2 i, 2 i + 1), as in the paper, and not (i, i + D / 2).
    """

    def __init__(self, base: float = 10000.0, interleaved: bool = False) -> None:
        super().__init__()
        self.base = base
        self.interleaved = interleaved

    def forward(self, x: Tensor) -> Tensor:
        length, half = x.shape[-2], x.shape[-1] // 2
        places = torch.arange(length, dtype=torch.float64, device=x.device)
        powers = torch.arange(half, dtype=torch.float64, device=x.device) / half
        angles = places[:, None] * self.base**-powers
        cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
        if self.interleaved:
            a, b = x[..., 0::2], x[..., 1::2]
        else:
            a, b = x[..., :half], x[..., half:]
        turned = (a * cos - b * sin, a * sin + b * cos)
        return torch.stack(turned, -1).flatten(-2) if self.interleaved else torch.cat(turned, -1)


_ATTENTION: Variants = {
    "": {}, "causal": {"is_causal": True}, "causal_longer": {"is_causal": True}, "long": {},
    "heads": {}, "mask": {},
}  # fmt: skip
_QUERY = {"long": (2, 65, 3), "heads": (3, 2, 5, 4)}
_BESIDE: dict[str, dict[str, tuple[int, ...]]] = {
    "": {"key": (3, 6, 4), "value": (3, 6, 7)},
    "causal": {"key": (3, 5, 4), "value": (3, 5, 7)},
    "causal_longer": {"key": (3, 8, 4), "value": (3, 8, 7)},
    "long": {"key": (2, 66, 3), "value": (2, 66, 4)},
    "heads": {"key": (3, 2, 6, 4), "value": (3, 2, 6, 7)},
    "mask": {"key": (3, 6, 4), "value": (3, 6, 7), "mask": (3, 5, 6)},
}
_EMBEDDED: Options = {"embed_dim": 6, "num_heads": 2}
_OF_HEADS: Variants = {
    "": {}, "heads=3": {"num_heads": 3}, "causal": {"causal": True}, "no_bias": {"bias": False},
    "memory": {}, "causal,memory": {"causal": True},
}  # fmt: skip
_HEADS: Variants = {name: _EMBEDDED | options for name, options in _OF_HEADS.items()}
_WIDTHS: Options = {"in_features": 5, "hidden_features": 6}
_GATED: Variants = {"": _WIDTHS, "bias": _WIDTHS | {"bias": True}}
_WIDE = ("in_features", "hidden_features")
_ROPE: Variants = {
    "": {}, "base=50": {"base": 50.0}, "interleaved": {"interleaved": True}, "heads": {},
    "long": {},
}  # fmt: skip
_TURNED = {"heads": (3, 2, 7, 6), "long": (2, 1030, 4)}

ROWS: tuple[Entry, ...] = (
    Entry(
        ScaledDotProductAttention,
        "layer",
        _ATTENTION,
        {name: _QUERY.get(name, (3, 5, 4)) for name in _ATTENTION},
        beside=_BESIDE,
        optional=("causal_longer", "heads", "mask"),
    ),
    Entry(
        MultiheadAttention,
        "layer",
        _HEADS,
        (3, 5, 6),
        positional=("embed_dim", "num_heads"),
        sequence=True,
        beside={name: {"memory": (3, 7, 6)} for name in ("memory", "causal,memory")},
        blocks={"in_proj": "qkv"},
        optional=("memory", "causal,memory"),
        chained=True,
        stands_for=nn.MultiheadAttention,
    ),
    Entry(SwiGLU, "layer", _GATED, (7, 5), positional=_WIDE, chained=True),
    Entry(GeGLU, "layer", _GATED, (7, 5), positional=_WIDE, chained=True),
    Entry(
        RoPE,
        "layer",
        _ROPE,
        {name: _TURNED.get(name, (3, 7, 6)) for name in _ROPE},
        sequence=True,
        optional=("heads", "long"),
    ),
)
