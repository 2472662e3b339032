"""Recurrent cells and layers beside torch's: values, gradients, dtypes, edges, errors."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from scratch import recurrent

CELLS = ("RNNCell", "GRUCell", "LSTMCell")
LAYERS = ("RNN", "GRU", "LSTM")

#: The constructor's arguments for each class, and B, T; a cell takes each of the T steps by itself.
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "no bias": {"bias": False},
    "relu": {"nonlinearity": "relu"},
    "two layers": {"num_layers": 2},
    "three layers, no bias": {"num_layers": 3, "bias": False},
    "two layers, relu": {"num_layers": 2, "nonlinearity": "relu"},
}
SIZES = [(3, 4, 3, 5), (1, 1, 1, 1), (4, 2, 1, 6), (2, 5, 4, 1), (3, 4, 0, 2)]  # in, hidden, B, T


def takes(name: str, options: dict[str, Any]) -> bool:
    return ("num_layers" not in options or name in LAYERS) and (
        "nonlinearity" not in options or name.startswith("RNN")
    )


ROWS = [
    pytest.param(name, options, id=f"{name}-{says.replace(' ', '_')}")
    for name in (*CELLS, *LAYERS)
    for says, options in OPTIONS.items()
    if takes(name, options)
]
EACH = pytest.mark.parametrize("name", [*CELLS, *LAYERS])


def both(name: str, options: dict[str, Any], inputs: int = 3, hidden: int = 4) -> tuple[Any, Any]:
    """scratch's and torch's, in float64, with the same parameters."""
    torch.manual_seed(0)
    first = {"batch_first": True} if name in LAYERS else {}
    theirs = getattr(nn, name)(inputs, hidden, **options, **first, dtype=torch.float64)
    ours = getattr(recurrent, name)(inputs, hidden, **options, dtype=torch.float64)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def drawn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def inputs_of(layer: Any, batch: int = 3, steps: int = 5, **options: Any) -> list[Tensor]:
    """x, h, and c if it is an LSTM."""
    cell, layers = type(layer).__name__ in CELLS, getattr(layer, "num_layers", 1)
    between = () if layers == 1 else (layers,)
    shape = (batch, *between, layer.hidden_size)
    states = [drawn(*shape, seed=n, **options) for n in range(1, 3)]
    x = drawn(batch, *(() if cell else (steps,)), layer.input_size, **options)
    return [x, *states[: 2 if "LSTM" in type(layer).__name__ else 1]]


def torchs_pass(theirs: Any, x: Tensor, *states: Tensor) -> dict[str, Tensor]:
    """Forward and backward by autograd; names as in `our_pass`."""
    leaves = [t.clone().requires_grad_() for t in (x, *states)]
    given: Any = list(leaves[1:])
    if type(theirs).__name__ in LAYERS:  # torch's states are [num_layers, B, H]
        given = [s.unsqueeze(0) if s.dim() == 2 else s.transpose(0, 1) for s in given]
        given = [s.contiguous() for s in given]
    given = [tuple(given)] if len(given) == 2 else given
    y = theirs(leaves[0], *given)
    y = y if type(theirs).__name__ in CELLS else y[0]
    outputs = y if isinstance(y, tuple) else (y,)
    due = {f"y{n}": out.detach() for n, out in enumerate(outputs)}
    torch.autograd.backward(outputs, [upstream(out, n) for n, out in enumerate(outputs)])
    due |= {f"d{n}": leaf.grad for n, leaf in enumerate(leaves) if leaf.grad is not None}
    return due | {f"d{name}": p.grad.clone() for name, p in theirs.named_parameters()}


def our_pass(ours: Any, x: Tensor, *states: Tensor) -> dict[str, Tensor]:
    y = ours(x, *states)
    outputs = y if isinstance(y, tuple) else (y,)
    gradients = ours.backward(*(upstream(out, n) for n, out in enumerate(outputs)))
    gradients = gradients if isinstance(gradients, tuple) else (gradients,)
    if not states and type(ours).__name__ in CELLS:
        gradients = gradients[:1]
    got = {f"y{n}": out for n, out in enumerate(outputs)}
    got |= {f"d{n}": gradient for n, gradient in enumerate(gradients)}
    return got | {f"d{name}": d.clone() for name, (_, d) in ours.named_param().items()}


def upstream(y: Tensor, seed: int = 0) -> Tensor:
    return drawn(*y.shape, seed=9 + seed, dtype=y.dtype)


def close(
    got: dict[str, Tensor], due: dict[str, Tensor], rtol: float = 1e-10, atol: float = 1e-12
) -> None:
    assert list(got) == list(due)
    torch.testing.assert_close(got, due, rtol=rtol, atol=atol)  # names the key that differs


@pytest.mark.parametrize("given", [False, True], ids=["zeros", "given"])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize(("name", "options"), ROWS)
def test_two_passes_are_torchs_and_their_gradients_add_up(
    name: str, options: dict[str, Any], sizes: tuple[int, ...], given: bool
) -> None:
    ours, theirs = both(name, options, *sizes[:2])
    for scale in (1, -2):
        tensors = [scale * t for t in inputs_of(ours, *sizes[2:])][: None if given else 1]
        close(our_pass(ours, *tensors), torchs_pass(theirs, *tensors))


def test_lstm_takes_either_state_alone() -> None:
    for name in ("LSTMCell", "LSTM"):
        ours, theirs = both(name, {})
        x, h, c = inputs_of(ours)
        zeros = torch.zeros_like(h)
        for named, states in (({"h": h}, (h, zeros)), ({"c": c}, (zeros, c))):
            y = ours(x, **named)
            due = torchs_pass(theirs, x, *states)
            outputs = y if isinstance(y, tuple) else (y,)
            gradients = ours.backward(*(upstream(out, n) for n, out in enumerate(outputs)))
            got = {f"y{n}": out for n, out in enumerate(outputs)}
            got |= {f"d{n}": gradient for n, gradient in enumerate(gradients)}
            close(got, {key: due[key] for key in got})


def test_lstm_cell_without_dc_has_zeros() -> None:
    ours, _ = both("LSTMCell", {})
    tensors = inputs_of(ours)
    h, _ = ours(*tensors)
    got = ours.backward(upstream(h))
    ours(*tensors)
    for one, two in zip(got, ours.backward(upstream(h), torch.zeros_like(h)), strict=True):
        assert one.equal(two)


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_a_layer_is_its_cell_step_after_step(kind: str) -> None:
    layer, _ = both(kind, {})
    cell, _ = both(f"{kind}Cell", {})
    cell.load_state_dict({k.removesuffix("_l0"): v for k, v in layer.state_dict().items()})
    x, *state = inputs_of(layer)
    due = layer(x, *state)
    for t in range(x.shape[1]):
        after = cell(x[:, t], *state)
        state = list(after) if isinstance(after, tuple) else [after]
        torch.testing.assert_close(state[0], due[:, t], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("name", "options"), ROWS)
def test_initial_values_names_and_repr_are_torchs(name: str, options: dict[str, Any]) -> None:
    torch.manual_seed(3)
    theirs = getattr(nn, name)(3, 4, **options)
    torch.manual_seed(3)
    ours = getattr(recurrent, name)(3, 4, **options)
    state = theirs.state_dict()
    assert list(ours.state_dict()) == list(state)
    assert all(value.equal(state[key]) for key, value in ours.state_dict().items())
    due = repr(theirs)
    if name == "RNN" and "nonlinearity" in options:  # torch leaves it out
        due = f"{due[:-1]}, nonlinearity=relu)"
    assert repr(ours) == due
    assert not ours.stackable


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("name", "options"), ROWS)
def test_other_dtypes_are_float64s_rounded(
    name: str, options: dict[str, Any], dtype: torch.dtype
) -> None:
    ours = both(name, options)[0].to(dtype)
    wide = copy.deepcopy(ours).to(torch.float64)
    tensors = inputs_of(ours, dtype=dtype)
    got = our_pass(ours, *tensors)
    assert {value.dtype for value in got.values()} == {dtype}
    due = our_pass(wide, *(t.double() for t in tensors))
    eps = torch.finfo(dtype).eps
    close({k: v.double() for k, v in got.items()}, due, rtol=16 * eps, atol=16 * eps)


@pytest.mark.parametrize(("name", "options"), ROWS)
def test_inputs_are_untouched_and_how_they_lie_in_memory_changes_nothing(
    name: str, options: dict[str, Any]
) -> None:
    ours, _ = both(name, options)
    tensors = inputs_of(ours)
    before = [t.clone() for t in tensors]
    due = our_pass(ours, *tensors)
    y = ours(*tensors)
    outputs = y if isinstance(y, tuple) else (y,)
    upstreams = [upstream(out, n) for n, out in enumerate(outputs)]
    ours.backward(*upstreams)
    assert all(t.equal(b) for t, b in zip(tensors, before, strict=True))
    assert all(dy.equal(upstream(dy, n)) for n, dy in enumerate(upstreams))
    assert not any(out.data_ptr() == t.data_ptr() for out in outputs for t in tensors)
    ours.zero_grad()
    got = our_pass(ours, *(torch.stack([t, t], -1)[..., 0] for t in tensors))
    close(got, due)


@pytest.mark.parametrize(("name", "options"), ROWS)
def test_backward_param_leaves_the_gradients_of_backward(
    name: str, options: dict[str, Any]
) -> None:
    ours, _ = both(name, options)
    x = inputs_of(ours)[0]
    y = ours(x)
    dy = upstream(y[0] if isinstance(y, tuple) else y)
    ours.backward(dy)
    due = [gradient.clone() for _, gradient in ours.param()]
    ours.zero_grad()
    ours(x)
    ours.backward_param(dy)
    assert all(g.equal(d) for (_, g), d in zip(ours.param(), due, strict=True))


@EACH
def test_two_instances_and_copies_share_nothing(name: str) -> None:
    ours, _ = both(name, {})
    other, _ = both(name, {})
    twin = copy.deepcopy(ours)
    tensors, others = inputs_of(ours), [2 * t for t in inputs_of(ours)]
    due = our_pass(copy.deepcopy(ours), *tensors)
    y = ours(*tensors)
    our_pass(other, *others)  # between its forward and its backward
    our_pass(twin, *others)
    outputs = y if isinstance(y, tuple) else (y,)
    gradients = ours.backward(*(upstream(out, n) for n, out in enumerate(outputs)))
    for n, gradient in enumerate(gradients):
        assert gradient.equal(due[f"d{n}"])
    for key, (_, gradient) in ours.named_param().items():
        assert gradient.equal(due[f"d{key}"])


@EACH
def test_wrong_inputs_are_refused_in_words(name: str) -> None:
    ours, _ = both(name, {})
    x, h, *_ = inputs_of(ours)
    shape = "[B, T, 3]" if name in LAYERS else "[B, 3]"
    for wrong in (x[..., :2], x[0], x[None]):
        with pytest.raises(ValueError, match="forward got float64") as caught:
            ours(wrong)
        assert str(caught.value).startswith(f"{name}(3, 4): forward got")
        assert str(caught.value).endswith(f"takes float64 {shape} on cpu")
    with pytest.raises(TypeError, match=r"forward got float32 \["):
        ours(x.float())
    with pytest.raises(ValueError, match=r"forward got float64 .* on meta, takes .* on cpu"):
        ours(x.to("meta"))
    for wrong in (h[:, :3], h[:2], h[0], h[None]):
        with pytest.raises(ValueError, match=r"as h, takes float64 \[3, 4\] on cpu"):
            ours(x, wrong)
    with pytest.raises(TypeError, match=r"forward got float32 \[3, 4\] on cpu as h, takes float64"):
        ours(x, h.float())
    with pytest.raises(ValueError, match=r"on meta as h, takes .* on cpu"):
        ours(x, h.to("meta"))
    with pytest.raises(TypeError, match="forward got a tuple as h, takes float64"):
        ours(x, (h, h))
    if name.startswith("LSTM"):
        with pytest.raises(ValueError, match=r"\[3, 5\] on cpu as c, takes float64 \[3, 4\]"):
            ours(x, h, drawn(3, 5))
    if name in LAYERS:
        with pytest.raises(ValueError, match=r"\[3, 0, 3\] .* a sequence of at least one step"):
            ours(x[:, :0])
        two = both(name, {"num_layers": 2})[0]
        with pytest.raises(ValueError, match=r"as h, takes float64 \[3, 2, 4\]"):
            two(x, h)


@EACH
def test_backward_is_refused_without_a_forward_or_with_a_wrong_dy(name: str) -> None:
    ours, _ = both(name, {})
    tensors = inputs_of(ours)
    due = our_pass(ours, *tensors)
    ours.zero_grad()
    dy = upstream(due["y0"])
    with pytest.raises(RuntimeError, match="backward without a forward of its own"):
        ours.backward(dy)
    ours(*tensors)
    with pytest.raises(ValueError, match=r"backward got float64 \[.*\] on cpu, takes float64"):
        ours.backward(dy[:2])
    with pytest.raises(TypeError, match="backward got float32"):
        ours.backward(dy.float())
    seconds = [upstream(due["y1"], 1)] if "y1" in due else []
    for dc in seconds:
        with pytest.raises(ValueError, match=r"backward got float64 \[2, 4\] .*takes .*\[3, 4\]"):
            ours.backward(dy, dc[:2])
        with pytest.raises(TypeError, match="backward got float32"):
            ours.backward(dy, dc.float())
    assert not any(gradient.any() for _, gradient in ours.param())
    for n, gradient in enumerate(ours.backward(dy, *seconds)):  # nothing was used up
        assert gradient.equal(due[f"d{n}"])
    with pytest.raises(RuntimeError, match="backward without a forward of its own"):
        ours.backward(dy)


@EACH
def test_wrong_arguments_are_refused_in_words(name: str) -> None:
    make = getattr(recurrent, name)
    for size in (0, -1, 2.0, None):
        with pytest.raises(ValueError, match=f"{name} takes a positive integer as input_size"):
            make(size, 4)
        with pytest.raises(ValueError, match=f"{name} takes a positive integer as hidden_size"):
            make(3, size)
        if name in LAYERS:
            with pytest.raises(ValueError, match=f"{name} takes a positive integer as num_layers"):
                make(3, 4, size)
    with pytest.raises(ValueError, match="device 'nowhere' cannot be used"):
        make(3, 4, device="nowhere")
    if name.startswith("RNN"):
        with pytest.raises(ValueError, match=f"{name} takes 'tanh' or 'relu' as nonlinearity, not"):
            make(3, 4, nonlinearity="sigmoid")
