"""Attention: each query takes a mean of the values, weighted by how well it fits their keys.

The rotary embedding, RoPE, gives queries and keys their positions.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from scratch.init import Source, draw
from scratch.linear import Linear
from scratch.module import Module, check_sizes, checked_device, describe, summed


class ScaledDotProductAttention(Module):
    """`y = softmax(query @ key.T / sqrt(D)) @ value`: torch's scaled_dot_product_attention.

    Vaswani et al. 2017, eq. (1). Half precision is computed in float32. It has no parameters and
    cannot be stacked.

    Shapes: query `[*, Tq, D]`, key `[*, Tk, D]`, value `[*, Tk, V]`, y `[*, Tq, V]`. The leading
    axes `*` are the same in all three; there is at least one, as in `[B, T, D]` or
    `[B, heads, T, D]`.

    Args:
        is_causal: position i of the query sees the positions 0 to i of the key, also where Tq
            and Tk differ. Default: False.

    Raises:
        ValueError, TypeError: in `forward`, tensors that do not fit each other.
    """

    stackable = False

    def __init__(self, is_causal: bool = False) -> None:
        super().__init__()
        self.is_causal = is_causal

    def __call__(  # type: ignore[override]
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        return self.forward(query, key, value, mask)

    def forward(  # type: ignore[override]
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """`y = weights @ value`, `weights = softmax(scores)`, `scores = query @ key.T / sqrt(D)`.

        Args:
            mask: bool, broadcastable to `[*, Tq, Tk]`, True where a position may be seen. With
                `is_causal`, a position is seen if both allow it; torch takes only one of the two.
                A row that sees nothing is 0, and so are its gradients. torch 2.13 gives 0 too,
                where the softmax's formula gives NaN. Default: every position may be seen.
        """
        self._check(query, key, value, mask)
        wide = summed(query.dtype)
        scores = (query.to(wide) / math.sqrt(query.shape[-1])) @ key.to(wide).mT  # [*, Tq, Tk]
        if self.is_causal:
            row, column = (torch.arange(n, device=scores.device) for n in scores.shape[-2:])
            scores.masked_fill_(column > row.unsqueeze(-1), -math.inf)
        if mask is not None:
            scores.masked_fill_(mask.logical_not(), -math.inf)
        weights = _into_softmax(scores)
        y = (weights @ value.to(wide)).to(query.dtype)
        self._keep(y, query, key, value, weights)
        return y

    def backward(self, dy: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        """`dvalue = weights.T @ dy`, `dquery = ds @ key / sqrt(D)`, `dkey = ds.T @ query / sqrt(D)`

        with the softmax's derivative, `ds_ij = weights_ij * (dw_ij - sum_k dw_ik * weights_ik)`,
        where `dw = dy @ value.T`. It is computed as `t_ij - weights_ij * sum_k t_ik` in the place
        of `t = weights * dw`. This is exactly 0 where a row sees one position alone.

        Returns:
            dquery, dkey and dvalue.
        """
        query, key, value, weights = self._recall(dy)
        query, key, value, wide_dy = (t.to(weights.dtype) for t in (query, key, value, dy))
        ds = (wide_dy @ value.mT).mul_(weights)  # [*, Tq, Tk]
        ds.addcmul_(weights, ds.sum(-1, keepdim=True), value=-1)
        scale = 1 / math.sqrt(query.shape[-1])
        dquery, dkey = (ds @ key).mul_(scale), (ds.mT @ query).mul_(scale)
        dvalue = weights.mT @ wide_dy
        return dquery.to(dy.dtype), dkey.to(dy.dtype), dvalue.to(dy.dtype)

    def _check(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> None:
        self._check_x(query, None, ("*", "B", "Tq", "D"))
        if not query.shape[-1]:
            self._refuse_x(query, "[*, B, Tq, D] with a D of at least 1")
        typed = query.dtype == key.dtype == value.dtype
        if (
            not (typed and query.device == key.device == value.device)
            or key.shape != (*query.shape[:-2], *key.shape[-2:-1], query.shape[-1])
            or value.shape != (*key.shape[:-1], *value.shape[-1:])
        ):
            raise (ValueError if typed else TypeError)(
                f"{self}: forward got query {describe(query)}, key {describe(key)} and value "
                f"{describe(value)}, takes [*, Tq, D], [*, Tk, D] and [*, Tk, V] with the same "
                "leading axes, of one dtype on one device"
            )
        if mask is not None:
            self._check_mask(mask, (*query.shape[:-1], key.shape[-2]), query.device)

    def _check_mask(self, mask: Tensor, shape: tuple[int, ...], device: torch.device) -> None:
        sizes = zip(reversed(mask.shape), reversed(shape), strict=False)
        fits = mask.dim() <= len(shape) and all(own in (1, size) for own, size in sizes)
        if mask.dtype == torch.bool and mask.device == device and fits:
            return
        raise (ValueError if mask.dtype == torch.bool else TypeError)(
            f"{self}: forward got the mask {describe(mask)}, takes bool broadcastable to "
            f"{list(shape)} on {device}, True where a position may be seen"
        )

    def extra_repr(self) -> str:
        return f"is_causal={self.is_causal}"


def _into_softmax(scores: Tensor) -> Tensor:
    """Softmax over the last axis, in place of the scores; a row of nothing but -inf becomes 0.

    The largest score is subtracted first, so that e^x stays finite. A row then sums to at least
    1, unless it is all -inf and sums to 0.
    """
    if not scores.numel():
        return scores
    largest = scores.amax(-1, keepdim=True)
    largest.masked_fill_(largest == -math.inf, 0)  # -inf less -inf would be NaN
    e = scores.sub_(largest).exp_()
    return e.div_(e.sum(-1, keepdim=True).clamp_min_(1))


class MultiheadAttention(Module):
    """Attention in several heads, between projections: torch.nn.MultiheadAttention, batch first.

    `query, key, value = x @ in_proj_weight.T + in_proj_bias`. Each is cut into `num_heads` parts
    along its last axis. `heads` are the attentions of these parts, side by side again, and
    `y = out_proj(heads)`. Vaswani et al. 2017, section 3.2.2. It cannot be stacked.

    Shapes: x and y `[B, T, embed_dim]`, memory `[B, S, embed_dim]`; in_proj_weight
    `[3 * embed_dim, embed_dim]`, rows for the query first, then for the key, then for the value;
    in_proj_bias `[3 * embed_dim]`; out_proj is a `Linear`.

    Args:
        embed_dim: the width of x, a multiple of num_heads.
        num_heads: at least 1.
        bias: whether there are in_proj_bias and out_proj.bias. Default: True.
        causal: position i sees the positions 0 to i only, as in `ScaledDotProductAttention`.
            Default: False.
        rotary: `RoPE` turns the queries and keys of each head before their attention. The
            positions of x and of memory each start at 0. torch's class has no such option.
            Default: False.
        generator: where the initial values are drawn from, as for `Linear`. They are torch's:
            U(-a, a), a = sqrt(6 / (4 * embed_dim)), for in_proj_weight (Glorot and Bengio 2010,
            eq. 16), as `Linear`'s for out_proj.weight, and 0 for the biases.
        device, dtype: of the parameters. Default: torch's defaults.

    Raises:
        ValueError: a size below 1, an embed_dim that num_heads does not divide, an absent device;
            with `rotary`, a head of odd width.
    """

    stackable = False
    in_proj_weight: Tensor
    din_proj_weight: Tensor
    in_proj_bias: Tensor | None
    din_proj_bias: Tensor

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        bias: bool = True,
        causal: bool = False,
        rotary: bool = False,
        *,
        generator: Source = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_sizes("MultiheadAttention", embed_dim=embed_dim, num_heads=num_heads)
        if embed_dim % num_heads:
            raise ValueError(
                "MultiheadAttention takes an embed_dim that num_heads divides, not an embed_dim of "
                f"{embed_dim} for {num_heads} heads"
            )
        self.embed_dim, self.num_heads, self.causal = embed_dim, num_heads, causal
        self.head_dim = embed_dim // num_heads
        if rotary and self.head_dim % 2:
            raise ValueError(
                "MultiheadAttention with rotary=True takes heads of an even width, not "
                f"{self.head_dim}: an embed_dim of {embed_dim} for {num_heads} heads"
            )
        device = None if device is None else checked_device(device)
        self.attention = ScaledDotProductAttention(causal)
        self.rope_query = RoPE() if rotary else None
        self.rope_key = RoPE() if rotary else None  # which keeps a forward of its own
        self.out_proj = Linear(
            embed_dim, embed_dim, bias, generator=generator, device=device, dtype=dtype
        )  # drawn first, as in torch
        weight = torch.empty(3 * embed_dim, embed_dim, device=device, dtype=dtype)
        draw(weight, "uniform", (embed_dim, 3 * embed_dim), generator).mul_(math.sqrt(1.5))
        self.register("in_proj_weight", weight)
        self.in_proj_bias = None
        if self.out_proj.bias is not None:
            self.out_proj.bias.zero_()
            self.register("in_proj_bias", torch.zeros(3 * embed_dim, device=device, dtype=dtype))

    def __call__(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        return self.forward(x, memory)

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        """`y = out_proj(heads)`: x `[B, T, embed_dim]` to y `[B, T, embed_dim]`.

        Args:
            memory: what key and value are projected from, `[B, S, embed_dim]`. Default: x, which
                makes it self-attention.
        """
        width = self.embed_dim
        self._check_x(x, self.in_proj_weight, ("B", "T", width))
        if memory is None:
            query, key, value = self._project(x, slice(0, 3 * width))
        else:
            self._check_x(memory, self.in_proj_weight, (len(x), "S of memory", width))
            (query,) = self._project(x, slice(0, width))
            key, value = self._project(memory, slice(width, 3 * width))
        if self.rope_query is not None and self.rope_key is not None:
            query, key = self.rope_query.forward(query), self.rope_key.forward(key)
        heads = self.attention.forward(query, key, value)  # [B, heads, T, head_dim]
        y = self.out_proj.forward(heads.transpose(1, 2).reshape(-1, width)).view(x.shape)
        self._keep(y, x, memory)
        return y

    def backward(  # type: ignore[override]
        self, dy: Tensor
    ) -> Tensor | tuple[Tensor, Tensor]:
        """The chain rule: `out_proj`, the heads' attention, then the projections.

        With `rotary`, the gradients of queries and keys turn back before the projections. dq is the
        gradient of query, key and value, side by side. `din_proj_weight += dq.T @ x`,
        `din_proj_bias += sum of dq over batch and positions`, and `dx = dq @ in_proj_weight`.
        If there is memory, x has the first `embed_dim` rows of in_proj_weight, for the query,
        and memory has the others, for key and value.

        Returns:
            dx, or `(dx, dmemory)` if `forward` was given memory.
        """
        x, memory = self._recall(dy)
        width = self.embed_dim
        dheads = self.out_proj.backward(dy.reshape(-1, width))
        dheads = dheads.view(*x.shape[:2], self.num_heads, self.head_dim)
        dquery, dkey, dvalue = self.attention.backward(dheads.transpose(1, 2))
        if self.rope_query is not None and self.rope_key is not None:
            dquery, dkey = self.rope_query.backward(dquery), self.rope_key.backward(dkey)
        if memory is None:
            return self._project_back(x, slice(0, 3 * width), dquery, dkey, dvalue)
        return (
            self._project_back(x, slice(0, width), dquery),
            self._project_back(memory, slice(width, 3 * width), dkey, dvalue),
        )

    def _project(self, x: Tensor, rows: slice) -> tuple[Tensor, ...]:
        """x by some rows of in_proj_weight; each part is `[B, heads, T, head_dim]`."""
        flat, weight = x.reshape(-1, self.embed_dim), self.in_proj_weight[rows].mT
        if self.in_proj_bias is None:
            y = torch.mm(flat, weight)
        else:
            y = torch.addmm(self.in_proj_bias[rows], flat, weight)
        parts = weight.shape[1] // self.embed_dim
        y = y.view(*x.shape[:2], parts, self.num_heads, self.head_dim)
        return y.permute(2, 0, 3, 1, 4).unbind(0)

    def _project_back(self, x: Tensor, rows: slice, *dparts: Tensor) -> Tensor:
        """dx, after the gradients of in_proj_weight's and in_proj_bias's rows."""
        dq = torch.stack(dparts).permute(1, 3, 0, 2, 4)  # [B, T, parts, heads, head_dim]
        dq = dq.reshape(x.shape[0] * x.shape[1], len(dparts) * self.embed_dim)
        self.din_proj_weight[rows].addmm_(dq.mT, x.reshape(-1, self.embed_dim))
        if self.in_proj_bias is not None:
            self.din_proj_bias[rows].add_(dq.sum(0))
        return torch.mm(dq, self.in_proj_weight[rows]).view(x.shape)

    def extra_repr(self) -> str:
        bias = "" if self.in_proj_bias is not None else ", bias=False"
        causal = ", causal=True" if self.causal else ""
        rotary = ", rotary=True" if self.rope_query is not None else ""
        return f"{self.embed_dim}, {self.num_heads}{bias}{causal}{rotary}"


class RoPE(Module):
    """Rotary position embedding: each pair of features turns by an angle that grows with position.

    Pair i of position t, `(first, second)`, becomes `(first * cos - second * sin, first * sin +
    second * cos)` of the angle `t * base^(-2i / D)`. Su et al. 2021, eq. (15) and (34). Torch has
    no such class. It has no parameters and cannot be stacked.

    Angles are computed in float64; their cos and sin are rounded to x's dtype.

    Shapes: x and y `[*, T, D]` with an even D and at least one axis before T, positions 0 to
    T - 1 along T. Queries and keys in heads, `[B, heads, T, D]`, are turned before attention.

    Args:
        base: above 0. Default: 10000, the paper's.
        interleaved: whether pair i is `(x_2i, x_2i+1)`, as in the paper. Default: False, pair i is
            `(x_i, x_i+D/2)`, as in GPT-NeoX and Hugging Face's LLaMA.

    Raises:
        ValueError: a base that is not finite and above 0; in `forward`, an odd D.
    """

    stackable = False

    def __init__(self, base: float = 10000.0, interleaved: bool = False) -> None:
        super().__init__()
        if not 0 < base < math.inf:
            raise ValueError(f"RoPE takes a finite base above 0, not {base!r}")
        self.base, self.interleaved = base, interleaved

    def forward(self, x: Tensor) -> Tensor:
        """Turns each pair by its angle: x `[*, T, D]` to y `[*, T, D]`."""
        self._check_x(x, None, ("*", "B", "T", "D"))
        length, width = x.shape[-2:]
        if width % 2 or not width:
            self._refuse_x(x, "[*, B, T, D] with an even D of at least 2")
        even = torch.arange(0, width, 2, dtype=torch.float64, device=x.device)  # 2i
        places = torch.arange(length, dtype=torch.float64, device=x.device).unsqueeze(-1)
        angles = places * self.base ** (even / -width)  # [T, D / 2]
        cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
        y = self._turned(x, cos, sin)
        self._keep(y, cos, sin)
        return y

    def backward(self, dy: Tensor) -> Tensor:
        """Turns each pair of dy by minus its angle.

        `dx = (dfirst * cos + dsecond * sin, dsecond * cos - dfirst * sin)`.
        """
        cos, sin = self._recall(dy)
        return self._turned(dy, cos, -sin)

    def _turned(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        half = x.shape[-1] // 2
        shape, axis = ((half, 2), -1) if self.interleaved else ((2, half), -2)
        first, second = x.unflatten(-1, shape).unbind(axis)  # [*, T, D / 2]
        turned = (first * cos - second * sin, first * sin + second * cos)
        return torch.stack(turned, axis).flatten(-2)

    def extra_repr(self) -> str:
        return f"base={self.base}, interleaved={self.interleaved}"
