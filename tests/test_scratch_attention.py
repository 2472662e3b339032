"""Attention, RoPE and gated networks beside torch's: values, gradients, edges, errors."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

import scratch
from scratch import runs
from scratch.attention import MultiheadAttention, RoPE, ScaledDotProductAttention
from scratch.gated import GeGLU, SwiGLU

DTYPES = [torch.float64, torch.float32, torch.bfloat16]


def randn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def gradients(f: Callable[..., Tensor], *inputs: Tensor) -> tuple[Tensor, list[Tensor]]:
    """y, and the gradients of the inputs by autograd."""
    leaves = [x.clone().requires_grad_() for x in inputs]
    y = f(*leaves)
    y.backward(upstream(y))
    return y.detach(), [torch.zeros_like(x) if x.grad is None else x.grad for x in leaves]


def upstream(y: Tensor) -> Tensor:
    return randn(*y.shape, seed=9, dtype=y.dtype)


def same(got: Any, due: Any) -> None:
    """Equality up to a few roundings in float64, and the same dtypes and shapes."""
    assert_close(got, due, rtol=1e-10, atol=1e-12)


def keep(*inputs: Tensor | None) -> Callable[[], None]:
    """Demands, when it is called, that the inputs are what they were."""
    copies = [None if x is None else x.clone() for x in inputs]

    def check() -> None:
        for x, before in zip(inputs, copies, strict=True):
            assert x is None or before is None or x.equal(before)

    return check


def hidden_rows(tq: int, tk: int) -> Tensor:
    mask = randn(tq, tk, seed=3) > 0
    mask[0], mask[1] = True, False
    return mask


#: is_causal, the shapes of query, key and value, and the mask.
ATTENTIONS: list[tuple[str, bool, tuple[int, ...], int, int, Tensor | None]] = [
    ("plain", False, (2, 5, 4), 5, 4, None),
    ("heads", False, (2, 3, 5, 4), 5, 4, None),
    ("three leading axes", False, (2, 1, 3, 5, 4), 6, 3, None),
    ("memory and another width", False, (2, 3, 5, 4), 7, 6, None),
    ("causal", True, (2, 3, 5, 4), 5, 4, None),
    ("causal, few keys", True, (2, 5, 4), 3, 6, None),
    ("causal, many keys", True, (2, 3, 4), 5, 4, None),
    ("mask", False, (2, 3, 5, 4), 7, 4, randn(2, 3, 5, 7) > -0.5),
    ("mask for all", False, (2, 3, 5, 4), 7, 4, randn(5, 7) > -0.5),
    ("mask of keys", False, (2, 3, 5, 4), 7, 4, randn(2, 1, 1, 7) > -0.5),
    ("hidden row", False, (2, 3, 5, 4), 7, 4, hidden_rows(5, 7)),
    ("all hidden", False, (2, 5, 4), 5, 4, torch.tensor(False)),
    ("one position", False, (2, 1, 4), 1, 4, None),
    ("one feature", True, (2, 5, 1), 5, 1, None),
    ("no samples", True, (0, 5, 4), 6, 4, None),
    ("no queries", False, (2, 0, 4), 5, 4, None),
]


@pytest.mark.parametrize(
    ("causal", "shape", "tk", "width", "mask"),
    [row[1:] for row in ATTENTIONS],
    ids=[row[0].replace(" ", "_") for row in ATTENTIONS],
)
def test_scaled_dot_product_attention_is_torchs(
    causal: bool, shape: tuple[int, ...], tk: int, width: int, mask: Tensor | None
) -> None:
    query = randn(*shape)
    key = randn(*shape[:-2], tk, shape[-1], seed=1)
    value = randn(*shape[:-2], tk, width, seed=2)
    full = None if mask is None else mask.expand(*shape[:-1], tk)
    y, due = gradients(
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, full, is_causal=causal),
        query, key, value,
    )  # fmt: skip
    layer, unchanged = ScaledDotProductAttention(causal), keep(query, key, value, mask)
    for _ in range(2):  # one backward leaves nothing behind
        got = layer(query, key, value, mask)
        same(got, y)
        dy = upstream(got)
        untouched = keep(dy, got)
        same(list(layer.backward(dy)), due)
        unchanged()
        untouched()
    assert layer.param() == []


def test_a_row_that_sees_nothing_is_zero_and_moves_nothing() -> None:
    layer, mask = ScaledDotProductAttention(), hidden_rows(5, 7)
    query, key, value = randn(2, 5, 4), randn(2, 7, 4, seed=1), randn(2, 7, 3, seed=2)
    y = layer(query, key, value, mask)
    dquery, dkey, dvalue = layer.backward(upstream(y))
    assert not y[:, 1].any()
    assert not dquery[:, 1].any()
    only = torch.zeros_like(y)
    only[:, 1] = 1
    layer(query, key, value, mask)
    assert not any(gradient.any() for gradient in layer.backward(only))
    assert not layer(query, key[:, :0], value[:, :0]).any()
    assert dkey.isfinite().all()
    assert dvalue.isfinite().all()


def test_causal_and_a_mask_both_hide() -> None:
    query, key, value = randn(2, 5, 4), randn(2, 6, 4, seed=1), randn(2, 6, 3, seed=2)
    mask = randn(2, 5, 6, seed=3) > 0
    both = mask & torch.ones(5, 6, dtype=torch.bool).tril()
    y = ScaledDotProductAttention(True)(query, key, value, mask)
    same(y, ScaledDotProductAttention()(query, key, value, both))


def test_large_scores_stay_finite() -> None:
    query, key, value = randn(2, 5, 4) * 1e4, randn(2, 6, 4, seed=1) * 1e4, randn(2, 6, 3)
    layer = ScaledDotProductAttention()
    y = layer(query, key, value)
    dquery, dkey, dvalue = layer.backward(upstream(y))
    same(y, value.gather(1, (query @ key.mT).argmax(-1, keepdim=True).expand_as(y)))
    assert not dquery.any()  # each row sees one position alone, for certain
    assert not dkey.any()
    same(dvalue.sum(1), upstream(y).sum(1))


@pytest.mark.parametrize("at", range(3))
@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_what_is_not_finite_spreads_as_in_torch(value: float, at: int) -> None:
    inputs = [randn(2, 3, 4, seed=seed).abs() for seed in range(3)]
    inputs[at][0, 1, 2] = value
    with nn.attention.sdpa_kernel(nn.attention.SDPBackend.MATH):
        y, due = gradients(F.scaled_dot_product_attention, *inputs)
    layer = ScaledDotProductAttention()
    assert_close(layer(*inputs), y, equal_nan=True)
    assert_close(list(layer.backward(upstream(y))), due, equal_nan=True)


#: num_heads, bias, causal, [B, T] and S, the memory's length.
HEADS: list[tuple[str, int, bool, bool, tuple[int, int], int | None]] = [
    ("plain", 2, True, False, (3, 5), None),
    ("one head", 1, True, False, (3, 5), None),
    ("a feature a head", 6, True, False, (3, 5), None),
    ("no bias", 2, False, False, (3, 5), None),
    ("causal", 3, True, True, (3, 5), None),
    ("memory", 2, True, False, (3, 5), 4),
    ("memory, no bias", 2, False, False, (3, 5), 7),
    ("memory, causal", 2, True, True, (3, 5), 4),
    ("one position", 2, True, True, (3, 1), None),
    ("one sample", 2, True, False, (1, 5), 1),
]


def torchs(layer: MultiheadAttention, heads: int, bias: bool) -> nn.MultiheadAttention:
    """torch's layer, and ours with its parameters, none of which is 0."""
    torch.manual_seed(0)
    twin = nn.MultiheadAttention(6, heads, bias=bias, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(torch.rand_like(parameter))
    layer.load_state_dict(twin.state_dict())
    return twin


@pytest.mark.parametrize(
    ("heads", "bias", "causal", "shape", "length"),
    [row[1:] for row in HEADS],
    ids=[row[0].replace(" ", "_") for row in HEADS],
)
def test_multihead_attention_is_torchs(
    heads: int, bias: bool, causal: bool, shape: tuple[int, int], length: int | None
) -> None:
    layer = MultiheadAttention(6, heads, bias, causal, dtype=torch.float64)
    twin = torchs(layer, heads, bias)
    assert list(layer.named_param()) == [name for name, _ in twin.named_parameters()]
    size = length or shape[1]
    hidden = torch.ones(shape[1], size, dtype=torch.bool).triu(1) if causal else None

    def attend(x: Tensor, memory: Tensor | None = None) -> Tensor:
        memory = x if memory is None else memory
        return twin(x, memory, memory, need_weights=False, attn_mask=hidden)[0]

    for seed in range(2):  # the parameters' gradients add up
        x = randn(*shape, 6, seed=seed)
        inputs = [x] if length is None else [x, randn(shape[0], length, 6, seed=5)]
        y, due = gradients(attend, *inputs)
        unchanged = keep(*inputs)
        got = layer(*inputs)
        same(got, y)
        dy = upstream(got)
        untouched = keep(dy, got)
        back = layer.backward(dy)
        same([back] if isinstance(back, Tensor) else list(back), due)
        unchanged()
        untouched()
    for name, parameter in twin.named_parameters():
        assert parameter.grad is not None
        same(layer.named_param()[name][1], parameter.grad)


def test_multihead_attention_starts_as_torchs() -> None:
    layer = MultiheadAttention(6, 2, generator=torch.Generator().manual_seed(3))
    torch.manual_seed(3)
    twin = nn.MultiheadAttention(6, 2)
    assert list(layer.state_dict()) == list(twin.state_dict())
    for name, value in twin.state_dict().items():
        assert_close(layer.state_dict()[name], value)
    drawn = MultiheadAttention(6, 2, generator=scratch.Philox(0), dtype=torch.float64)
    bound = (6 / 24) ** 0.5
    assert 0.9 * bound < float(drawn.in_proj_weight.abs().max()) <= bound
    assert not any(gradient.any() for _, gradient in drawn.param())


def gated(layer: SwiGLU | GeGLU) -> Any:
    """The same formula on torch's layers, with the layer's parameters."""

    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            width, hidden = layer.in_features, layer.hidden_features
            options: Any = {"bias": layer.down.bias is not None, "dtype": torch.float64}
            self.gate = nn.Linear(width, hidden, **options)
            self.up = nn.Linear(width, hidden, **options)
            self.down = nn.Linear(hidden, width, **options)

        def forward(self, x: Tensor) -> Tensor:
            act = F.silu if isinstance(layer, SwiGLU) else F.gelu
            return self.down(act(self.gate(x)) * self.up(x))

    twin = Gated()
    twin.load_state_dict(layer.state_dict())
    return twin


@pytest.mark.parametrize("shape", [(5, 4), (2, 3, 4), (2, 1, 3, 4), (0, 3, 4)], ids=str)
@pytest.mark.parametrize("bias", [False, True], ids=["no_bias", "bias"])
@pytest.mark.parametrize("kind", [SwiGLU, GeGLU])
def test_gated_networks_are_their_formula(
    kind: type[SwiGLU] | type[GeGLU], bias: bool, shape: tuple[int, ...]
) -> None:
    layer = kind(4, 7, bias, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    twin, first = gated(layer), copy.deepcopy(layer)
    assert list(layer.named_param()) == [name for name, _ in twin.named_parameters()]
    for seed in range(2):
        x = randn(*shape, seed=seed)
        y, due = gradients(twin, x)
        unchanged = keep(x)
        got = layer(x)
        same(got, y)
        dy = upstream(got)
        untouched = keep(dy, got)
        same([layer.backward(dy)], due)
        first(x)
        first.backward_param(dy)
        unchanged()
        untouched()
    for name, parameter in twin.named_parameters():
        same(layer.named_param()[name][1], parameter.grad)
        same(first.named_param()[name][1], parameter.grad)


def rotated(x: Tensor, base: float, interleaved: bool) -> Tensor:
    """Each pair as a complex number, times e^(i * angle)."""
    half = x.shape[-1] // 2
    pair = (x[..., ::2], x[..., 1::2]) if interleaved else (x[..., :half], x[..., half:])
    angles = torch.tensor(
        [[t * base ** (-2 * i / x.shape[-1]) for i in range(half)] for t in range(x.shape[-2])],
        dtype=torch.float64,
    ).view(x.shape[-2], half)
    turned = torch.complex(*pair) * torch.polar(torch.ones_like(angles), angles)
    if interleaved:
        return torch.view_as_real(turned).flatten(-2)
    return torch.cat([turned.real, turned.imag], -1)


@pytest.mark.parametrize(
    "shape", [(2, 5, 6), (2, 3, 5, 8), (3, 1, 4), (2, 4, 2), (0, 5, 4)], ids=str
)
@pytest.mark.parametrize("interleaved", [False, True], ids=["halves", "interleaved"])
@pytest.mark.parametrize("base", [10000.0, 50.0])
def test_rope_is_its_formula(base: float, interleaved: bool, shape: tuple[int, ...]) -> None:
    layer, x = RoPE(base, interleaved), randn(*shape)
    y, due = gradients(lambda x: rotated(x, base, interleaved), x)
    unchanged = keep(x)
    got = layer(x)
    same(got, y)
    dy = upstream(got)
    untouched = keep(dy, got)
    same([layer.backward(dy)], due)
    unchanged()
    untouched()


@pytest.mark.parametrize("interleaved", [False, True])
def test_ropes_scores_depend_on_the_distance_alone(interleaved: bool) -> None:
    query, key = (
        RoPE(interleaved=interleaved)(randn(1, 8, seed=n).expand(1, 9, 8)) for n in (0, 1)
    )
    scores = (query @ key.mT)[0]
    for distance in range(-4, 5):
        entries = scores.diagonal(distance)
        same(entries, entries[:1].expand_as(entries))


LAYERS: list[tuple[str, Callable[[torch.dtype], Any], list[tuple[int, ...]]]] = [
    ("attention", lambda dtype: ScaledDotProductAttention(True), [(2, 5, 8)] * 3),
    ("heads", lambda dtype: MultiheadAttention(8, 2, dtype=dtype), [(2, 5, 8)]),
    ("memory", lambda dtype: MultiheadAttention(8, 2, dtype=dtype), [(2, 5, 8), (2, 3, 8)]),
    ("SwiGLU", lambda dtype: SwiGLU(8, 6, dtype=dtype), [(2, 5, 8)]),
    ("GeGLU", lambda dtype: GeGLU(8, 6, True, dtype=dtype), [(2, 5, 8)]),
    ("RoPE", lambda dtype: RoPE(), [(2, 5, 8)]),
]
each_layer = pytest.mark.parametrize(
    ("make", "shapes"), [row[1:] for row in LAYERS], ids=[row[0] for row in LAYERS]
)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@each_layer
def test_other_dtypes_are_float64_rounded(make: Any, shapes: Any, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    layer = make(dtype)
    exact = make(torch.float64)
    exact.load_state_dict(layer.state_dict())
    inputs = [randn(*shape, seed=seed, dtype=dtype) for seed, shape in enumerate(shapes)]
    results = []
    for model in (layer, exact.to(torch.float64)):
        y = model(*(inputs if model is layer else [x.double() for x in inputs]))
        back = model.backward(randn(*y.shape, seed=9, dtype=dtype).to(y.dtype))
        results.append([y, *((back,) if isinstance(back, Tensor) else back)])
        results[-1] += [gradient for _, gradient in model.param()]
    for got, due in zip(*results, strict=True):
        assert got.dtype == dtype
        largest = max(1.0, float(due.abs().max()))
        bound = 16 * torch.finfo(dtype).eps * largest
        assert_close(got.double(), due, rtol=0, atol=bound)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_attention_is_computed_in_float32(dtype: torch.dtype) -> None:
    half, full = ScaledDotProductAttention(), ScaledDotProductAttention()
    inputs = [randn(2, 5, 8, seed=seed, dtype=dtype) for seed in range(3)]
    y = half(*inputs)
    assert y.equal(full(*(x.float() for x in inputs)).to(dtype))
    due = full.backward(upstream(y).float())
    for got, exact in zip(half.backward(upstream(y)), due, strict=True):
        assert got.equal(exact.to(dtype))


@each_layer
def test_empty_inputs_pass(make: Any, shapes: Any) -> None:
    for b, t in ((0, 5), (2, 1), (0, 1)):
        layer = make(torch.float64)
        inputs = [randn(b, t, shape[2], seed=1) for shape in shapes]
        y = layer(*inputs)
        back = layer.backward(upstream(y))
        back = (back,) if isinstance(back, Tensor) else back
        assert [dx.shape for dx in back] == [x.shape for x in inputs]


@each_layer
def test_backward_needs_a_forward_and_takes_what_is_like_the_output(make: Any, shapes: Any) -> None:
    layer = make(torch.float64)
    inputs = [randn(*shape) for shape in shapes]
    name = type(layer).__name__
    with pytest.raises(RuntimeError, match=rf"{name}\(.*backward without a forward of its own"):
        layer.backward(inputs[0])
    y = layer(*inputs)
    with pytest.raises(ValueError, match=rf"{name}\(.*backward got float64 \[2, 4, 8\]"):
        layer.backward(y[:, 1:])
    with pytest.raises(TypeError, match="backward got float32"):
        layer.backward(y.float())
    layer.backward(y)
    with pytest.raises(RuntimeError, match="uses it up"):
        layer.backward(y)
    layer(*inputs)
    with pytest.raises(RuntimeError, match="without a forward"):
        copy.deepcopy(layer).backward(y)


@each_layer
def test_they_cannot_be_stacked(make: Any, shapes: Any) -> None:
    layer = make(torch.float64)
    assert not layer.stackable
    with pytest.raises(ValueError, match=type(layer).__name__):
        runs.stack([scratch.Sequential(layer)])


X, HIDDEN = torch.ones(2, 5, 4), torch.zeros(5, 5, dtype=torch.bool)
REFUSED: list[tuple[str, type[Exception], str, Callable[[], Any]]] = [
    ("query rank", ValueError,
     r"ScaledDotProductAttention\(is_causal=False\): forward got float32 \[5, 4\].*\*, B, Tq, D\]",
     lambda: ScaledDotProductAttention()(X[0], X, X)),
    ("query dtype", TypeError, "int64.*takes floating-point",
     lambda: ScaledDotProductAttention()(X.long(), X, X)),
    ("query width", ValueError, "a D of at least 1",
     lambda: ScaledDotProductAttention()(X[..., :0], X[..., :0], X)),
    ("key width", ValueError, r"key float32 \[2, 5, 3\] .*takes \[\*, Tq, D\], \[\*, Tk, D\]",
     lambda: ScaledDotProductAttention()(X, X[..., :3], X)),
    ("key batch", ValueError, r"key float32 \[1, 5, 4\] .*same leading axes",
     lambda: ScaledDotProductAttention()(X, X[:1], X[:1])),
    ("key rank", ValueError, r"key float32 \[4\]",
     lambda: ScaledDotProductAttention()(X, X[0, 0], X)),
    ("value length", ValueError, r"value float32 \[2, 4, 4\]",
     lambda: ScaledDotProductAttention()(X, X, X[:, 1:])),
    ("value rank", ValueError, r"value float32 \[\]",
     lambda: ScaledDotProductAttention()(X, X, X[0, 0, 0])),
    ("value dtype", TypeError, "value float64",
     lambda: ScaledDotProductAttention()(X, X, X.double())),
    ("key device", ValueError, "key float32 .* on meta",
     lambda: ScaledDotProductAttention()(X, X.to("meta"), X)),
    ("mask dtype", TypeError, r"got the mask float32 \[5, 5\].*takes bool .*\[2, 5, 5\] on cpu",
     lambda: ScaledDotProductAttention()(X, X, X, torch.ones(5, 5))),
    ("mask shape", ValueError, r"got the mask bool \[5, 4\]",
     lambda: ScaledDotProductAttention()(X, X, X, torch.ones(5, 4, dtype=torch.bool))),
    ("mask rank", ValueError, r"got the mask bool \[1, 2, 5, 5\]",
     lambda: ScaledDotProductAttention()(X, X, X, torch.ones(1, 2, 5, 5, dtype=torch.bool))),
    ("mask device", ValueError, "got the mask bool .* on meta",
     lambda: ScaledDotProductAttention()(X, X, X, HIDDEN.to("meta"))),
    ("heads rank", ValueError, r"MultiheadAttention\(4, 2\).*\[5, 4\].*float32 \[B, T, 4\] on cpu",
     lambda: MultiheadAttention(4, 2)(X[0])),
    ("heads width", ValueError, r"MultiheadAttention\(6, 2, bias=False, causal=True\).*\[B, T, 6\]",
     lambda: MultiheadAttention(6, 2, False, True)(X)),
    ("heads dtype", TypeError, "float64.*takes float32",
     lambda: MultiheadAttention(4, 2)(X.double())),
    ("heads device", ValueError, "on meta, takes .* on cpu",
     lambda: MultiheadAttention(4, 2)(X.to("meta"))),
    ("memory batch", ValueError, r"got float32 \[1, 5, 4\].*\[2, S of memory, 4\]",
     lambda: MultiheadAttention(4, 2)(X, X[:1])),
    ("memory dtype", TypeError, "float64.*S of memory",
     lambda: MultiheadAttention(4, 2)(X, X.double())),
    ("heads", ValueError, "num_heads divides, not an embed_dim of 4 for 3 heads",
     lambda: MultiheadAttention(4, 3)),
    ("no heads", ValueError, "positive integer as num_heads, not 0",
     lambda: MultiheadAttention(4, 0)),
    ("heads of nothing", ValueError, "MultiheadAttention .*positive integer as embed_dim, not 0",
     lambda: MultiheadAttention(0, 1)),
    ("absent device", ValueError, "cannot be used",
     lambda: MultiheadAttention(4, 2, device="nowhere")),
    ("gated rank", ValueError, r"SwiGLU\(4, 3\): forward got float32 \[4\].*\[\*, B, 4\] on cpu",
     lambda: SwiGLU(4, 3)(X[0, 0])),
    ("gated width", ValueError, r"GeGLU\(5, 3, bias=True\).*\[2, 5, 4\].*\[\*, B, 5\]",
     lambda: GeGLU(5, 3, True)(X)),
    ("gated dtype", TypeError, "float64.*takes float32", lambda: SwiGLU(4, 3)(X.double())),
    ("gated of nothing", ValueError, "GeGLU .*positive integer as hidden_features, not 0",
     lambda: GeGLU(4, 0)),
    ("gated by nothing", ValueError, "SwiGLU .*positive integer as in_features, not 1.5",
     lambda: SwiGLU(1.5, 3)),  # type: ignore[arg-type]
    ("rope rank", ValueError, r"RoPE\(base=10000.0, interleaved=False\).*\[5, 4\].*\[\*, B, T, D\]",
     lambda: RoPE()(X[0])),
    ("rope width", ValueError, r"\[2, 5, 3\].*an even D of at least 2",
     lambda: RoPE()(X[..., :3])),
    ("rope of nothing", ValueError, "an even D of at least 2", lambda: RoPE()(X[..., :0])),
    ("rope dtype", TypeError, "int64.*takes floating-point", lambda: RoPE()(X.long())),
    ("rope base", ValueError, "a finite base above 0, not 0", lambda: RoPE(0)),
    ("rope nan", ValueError, "a finite base above 0, not nan", lambda: RoPE(float("nan"))),
]  # fmt: skip


@pytest.mark.parametrize(
    ("error", "words", "action"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_what_does_not_fit_is_one_clear_error(
    error: type[Exception], words: str, action: Callable[[], Any]
) -> None:
    with pytest.raises(error, match=words) as caught:
        action()
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)


def test_they_train_in_a_network_as_torchs() -> None:
    """Self-attention beside a residual, as a Sequential of scratch trains it."""
    heads = MultiheadAttention(6, 2, dtype=torch.float64)
    feed = SwiGLU(6, 9, dtype=torch.float64)
    twin, network = torchs(heads, 2, True), gated(feed)
    x, target = randn(4, 5, 6), randn(4, 30, seed=1)
    model = scratch.Sequential(scratch.Residual(heads), feed, scratch.Flatten())
    ours = scratch.SGD(model.param(), 1e-3)
    theirs = torch.optim.SGD([*twin.parameters(), *network.parameters()], 1e-3)
    start = heads.state_dict()
    for _ in range(3):
        scratch.train.step(model, scratch.MSELoss(), ours, x, target)
        theirs.zero_grad()
        y = network(x + twin(x, x, x, need_weights=False)[0]).flatten(1)
        F.mse_loss(y, target).backward()
        theirs.step()
    same(heads.state_dict(), dict(twin.state_dict()))
    same(feed.state_dict(), dict(network.state_dict()))
    assert not heads.in_proj_weight.equal(start["in_proj_weight"])
