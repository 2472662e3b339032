"""Recurrent layers: a step makes the next state from x and the state, and is repeated over time.

Each kind of step is written once, from its pre-activations `ax = weight_ih @ x + bias_ih` and
`ah = weight_hh @ h + bias_hh`. A cell makes one step. A layer makes one for each entry of a
sequence, and its backward goes back through all of them: backpropagation through time, Werbos 1990.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, TypeAlias

import torch
from torch import Tensor

from scratch.init import Source, draw
from scratch.module import Module, check_sizes, checked_device, constant, describe

State: TypeAlias = tuple[Tensor, ...]  # h, or h and c
Derivatives: TypeAlias = tuple[Tensor, Tensor, State]  # dax, dah and dstate


def _one_minus(y: Tensor) -> Tensor:
    return constant(1, y.dtype) - y


def _dtanh(dy: Tensor, y: Tensor) -> Tensor:
    """The derivative of `y = tanh(a)`: `da = dy * (1 - y^2)`."""
    return dy * _one_minus(y * y)


def _dsigmoid(dy: Tensor, y: Tensor) -> Tensor:
    """The derivative of `y = sigmoid(a)`: `da = dy * y * (1 - y)`."""
    return dy * y * _one_minus(y)


class _Step:
    """One step, from the pre-activations, and its derivative. Every tensor is `[B, *]`."""

    gates: ClassVar[int] = 1  # pre-activations for each entry of h
    states: ClassVar[int] = 1  # 2 if there is a c beside h
    joint: ClassVar[bool] = True  # only ax + ah counts, so that dah is dax

    def forward(self, ax: Tensor, ah: Tensor, state: State) -> tuple[State, State]:
        """Writes the gates into ax; returns the next state, and what else backward needs."""
        raise NotImplementedError

    def backward(self, dstate: State, weight_hh: Tensor, kept: State) -> Derivatives:
        """Takes d loss / d next state; kept are h, the gates and what else forward returned."""
        raise NotImplementedError


class _RNNStep(_Step):
    """`h' = tanh(ax + ah)` or `max(ax + ah, 0)`; the gate is h'. See `RNNCell`."""

    def __init__(self, layer: str, nonlinearity: str) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(
                f"{layer} takes 'tanh' or 'relu' as nonlinearity, not {nonlinearity!r}"
            )
        self.relu = nonlinearity == "relu"

    def forward(self, ax: Tensor, ah: Tensor, state: State) -> tuple[State, State]:
        ax.add_(ah)
        return (ax.clamp_min_(0) if self.relu else ax.tanh_(),), ()

    def backward(self, dstate: State, weight_hh: Tensor, kept: State) -> Derivatives:
        (dh,), (_, after) = dstate, kept
        da = dh.masked_fill(after.logical_not(), 0) if self.relu else _dtanh(dh, after)
        return da, da, (da @ weight_hh,)


class _GRUStep(_Step):
    """`h' = (1 - z) * n + z * h`; the gates are r, z, n. See `GRUCell`."""

    gates, joint = 3, False

    def forward(self, ax: Tensor, ah: Tensor, state: State) -> tuple[State, State]:
        (h,) = state
        both = 2 * h.shape[-1]  # the columns of r and z
        ax[:, :both].add_(ah[:, :both]).sigmoid_()
        r, z, n = ax.chunk(3, -1)
        ah_n = ah[:, both:]
        ax[:, both:].addcmul_(r, ah_n).tanh_()
        return (_one_minus(z) * n + z * h,), (ah_n,)

    def backward(self, dstate: State, weight_hh: Tensor, kept: State) -> Derivatives:
        (dh,), (h, gates, ah_n) = dstate, kept
        r, z, n = gates.chunk(3, -1)
        da_n = _dtanh(dh * _one_minus(z), n)
        da_z = _dsigmoid(dh * (h - n), z)
        da_r = _dsigmoid(da_n * ah_n, r)
        dah = torch.cat([da_r, da_z, da_n * r], -1)
        return torch.cat([da_r, da_z, da_n], -1), dah, (torch.addmm(dh * z, dah, weight_hh),)


class _LSTMStep(_Step):
    """`c' = f * c + i * g`, `h' = o * tanh(c')`; the gates are i, f, g, o. See `LSTMCell`."""

    gates, states = 4, 2

    def forward(self, ax: Tensor, ah: Tensor, state: State) -> tuple[State, State]:
        _, c = state
        size = c.shape[-1]
        ax.add_(ah)
        ax[:, : 2 * size].sigmoid_()
        ax[:, 2 * size : 3 * size].tanh_()
        ax[:, 3 * size :].sigmoid_()
        i, f, g, o = ax.chunk(4, -1)
        after = torch.addcmul(f * c, i, g)
        tanh_c = after.tanh()
        return (o * tanh_c, after), (c, tanh_c)

    def backward(self, dstate: State, weight_hh: Tensor, kept: State) -> Derivatives:
        (dh, dc), (_, gates, c, tanh_c) = dstate, kept
        i, f, g, o = gates.chunk(4, -1)
        dc = dc + _dtanh(dh * o, tanh_c)  # the loss depends on c' directly, and through h'
        da_i, da_f = _dsigmoid(dc * g, i), _dsigmoid(dc * c, f)
        da_g, da_o = _dtanh(dc * i, g), _dsigmoid(dh * tanh_c, o)
        da = torch.cat([da_i, da_f, da_g, da_o], -1)
        return da, da, (da @ weight_hh, dc * f)


class _Recurrent(Module):
    """What cells and layers share: sizes, parameters, their products and gradients, checks.

    A subclass sets `_step`, and `_suffixes` if it has layers, before this constructor runs.
    """

    stackable = False
    nonlinearity = "tanh"
    num_layers = 1
    _step: _Step
    _suffixes: Sequence[str] = ("",)  # of the parameters' names, one for each layer

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        generator: Source = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_sizes(type(self).__name__, input_size=input_size, hidden_size=hidden_size)
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        device = None if device is None else checked_device(device)
        rows, fans = self._step.gates * hidden_size, (hidden_size, hidden_size)
        for layer, suffix in enumerate(self._suffixes):
            shapes: list[tuple[str, tuple[int, ...]]] = [
                ("weight_ih", (rows, hidden_size if layer else input_size)),
                ("weight_hh", (rows, hidden_size)),
            ]
            if bias:
                shapes += [("bias_ih", (rows,)), ("bias_hh", (rows,))]
            for name, shape in shapes:
                values = torch.empty(shape, device=device, dtype=dtype)
                self.register(name + suffix, draw(values, "uniform", fans, generator))

    def __call__(self, x: Tensor, *state: Tensor | None, **named: Tensor | None) -> Any:
        return self.forward(x, *state, **named)

    def _state(self, name: str, given: Any, x: Tensor, *shape: int) -> Tensor:
        """h or c as it was given, once it is clear that it fits x; zeros by default."""
        if given is None:
            return x.new_zeros(shape)
        typed = isinstance(given, Tensor) and given.dtype == x.dtype
        if typed and given.shape == shape and given.device == x.device:
            return given
        got = describe(given) if isinstance(given, Tensor) else f"a {type(given).__name__}"
        kind, due = ValueError if typed else TypeError, describe(x.new_empty(()).expand(shape))
        raise kind(f"{self}: forward got {got} as {name}, takes {due}")

    def _affine(self, which: str, x: Tensor) -> Tensor:
        """`x @ weight.T + bias`, by the weight and bias `which`: "ih", "hh_l0", …."""
        weight = getattr(self, f"weight_{which}").mT
        return torch.addmm(getattr(self, f"bias_{which}"), x, weight) if self.bias else x @ weight

    def _learn(self, which: str, da: Tensor, x: Tensor) -> None:
        """`dweight += da.T @ x` and `dbias += sum of da`: the derivative of `_affine`."""
        getattr(self, f"dweight_{which}").addmm_(da.mT, x)
        if self.bias:
            getattr(self, f"dbias_{which}").add_(da.sum(0))

    def extra_repr(self) -> str:
        parts = [f"{self.input_size}, {self.hidden_size}"]
        parts += [f"num_layers={self.num_layers}"] * (self.num_layers != 1)
        parts += ["bias=False"] * (not self.bias)
        return ", ".join(
            parts + [f"nonlinearity={self.nonlinearity}"] * (self.nonlinearity != "tanh")
        )


class _Cell(_Recurrent):
    """One step."""

    weight_ih: Tensor
    weight_hh: Tensor

    def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        """Returns h'. h: default zeros."""
        return self._forward(x, h)[0]

    def _forward(self, x: Tensor, *given: Tensor | None) -> State:
        """The next state; keeps what `_backward` needs."""
        self._check_x(x, self.weight_ih, ("B", self.input_size))
        named = zip("hc", given, strict=False)
        state = tuple(self._state(name, s, x, len(x), self.hidden_size) for name, s in named)
        gates = self._affine("ih", x)
        after, saved = self._step.forward(gates, self._affine("hh", state[0]), state)
        self._keep(after[0], x, (state[0], gates, *saved))
        return after

    def _backward(self, *dstate: Tensor) -> Any:
        """`(dx, dh)` or `(dx, dh, dc)`; accumulates the gradients."""
        whole = self._kept
        for given in dstate:
            self._kept = whole  # each is checked, and a wrong one uses nothing up
            self._take(given)
        (x, kept), self._saved = self._saved, ()
        dax, dah, before = self._step.backward(dstate, self.weight_hh, kept)
        self._learn("ih", dax, x)
        self._learn("hh", dah, kept[0])
        return dax @ self.weight_ih, *before


class RNNCell(_Cell):
    """One step of a simple recurrence: torch.nn.RNNCell; Elman 1990.

    `h' = tanh(weight_ih @ x + bias_ih + weight_hh @ h + bias_hh)`, or max(…, 0) for "relu".

    Shapes: x `[B, input_size]`, h and h' `[B, hidden_size]`; weight_ih
    `[hidden_size, input_size]`, weight_hh `[hidden_size, hidden_size]`, bias_ih and bias_hh
    `[hidden_size]`. It cannot be stacked.

    Args:
        input_size, hidden_size: widths, at least 1.
        bias: whether there are bias_ih and bias_hh. Default: True.
        nonlinearity: "tanh" (default) or "relu".
        generator: where the initial values are drawn from, as for `Linear`. They are torch's:
            U(-a, a), a = 1 / sqrt(hidden_size).
        device, dtype: of the parameters. Default: torch's defaults.

    Raises:
        ValueError: a size below 1, another nonlinearity, an absent device.
        ValueError, TypeError: in `forward`, an x or h of another shape, dtype or device.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        *,
        generator: Source = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.nonlinearity = nonlinearity
        self._step = _RNNStep(type(self).__name__, nonlinearity)
        super().__init__(
            input_size, hidden_size, bias, generator=generator, device=device, dtype=dtype
        )

    def backward(self, dy: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Takes `dy` = d loss / d h', returns `(dx, dh)`.

        With `da = dy * (1 - h'^2)`, or for "relu" `da = dy where h' > 0, else 0`:
        `dx = da @ weight_ih`, `dh = da @ weight_hh`; `dweight_ih += da.T @ x`,
        `dweight_hh += da.T @ h`, and both `dbias += sum of da` over the batch.
        """
        return self._backward(dy)


class GRUCell(_Cell):
    """One step of a gated recurrent unit: torch.nn.GRUCell; Cho et al. 2014.

    `r = sigmoid(ax_r + ah_r)`, `z = sigmoid(ax_z + ah_z)`, `n = tanh(ax_n + r * ah_n)` and
    `h' = (1 - z) * n + z * h`, with `ax = weight_ih @ x + bias_ih`, `ah = weight_hh @ h + bias_hh`.
    Each stacks the parts of r, z and n. As in torch, r multiplies the product with h; in the
    paper's eq. (8) it multiplies h itself.

    Shapes: as for `RNNCell`, with `3 * hidden_size` rows in weights and biases. Arguments, initial
    values and errors: as for `RNNCell`, without a nonlinearity.
    """

    _step = _GRUStep()

    def backward(self, dy: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Takes `dy` = d loss / d h', returns `(dx, dh)`.

        `da_n = dy * (1 - z) * (1 - n^2)`, `da_z = dy * (h - n) * z * (1 - z)`,
        `da_r = da_n * ah_n * r * (1 - r)`; `dax = [da_r, da_z, da_n]`,
        `dah = [da_r, da_z, da_n * r]`; `dx = dax @ weight_ih`, `dh = dah @ weight_hh + dy * z`;
        `dweight_ih += dax.T @ x`, `dweight_hh += dah.T @ h`, `dbias_ih += sum of dax`,
        `dbias_hh += sum of dah` over the batch.
        """
        return self._backward(dy)


class LSTMCell(_Cell):
    """One step of a long short-term memory: torch.nn.LSTMCell.

    `c' = f * c + i * g` and `h' = o * tanh(c')`, with `i, f, o = sigmoid(a_i, a_f, a_o)`,
    `g = tanh(a_g)` and `a = weight_ih @ x + bias_ih + weight_hh @ h + bias_hh`, which stacks
    a_i, a_f, a_g, a_o. Hochreiter and Schmidhuber 1997; the forget gate f is Gers et al. 2000.

    Shapes: as for `RNNCell`, with `4 * hidden_size` rows in weights and biases; c and c' are
    shaped like h. Arguments, initial values and errors: as for `RNNCell`, without a nonlinearity.
    """

    _step = _LSTMStep()

    def forward(  # type: ignore[override]
        self, x: Tensor, h: Tensor | None = None, c: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Returns `(h', c')`. h, c: default zeros."""
        h, c = self._forward(x, h, c)
        return h, c

    def backward(  # type: ignore[override]
        self, dh: Tensor, dc: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Takes d loss / d h' and d loss / d c' (default: zeros), returns `(dx, dh, dc)`.

        With `dc' = dc + dh * o * (1 - tanh(c')^2)`: `da_i = dc' * g * i * (1 - i)`,
        `da_f = dc' * c * f * (1 - f)`, `da_g = dc' * i * (1 - g^2)`,
        `da_o = dh * tanh(c') * o * (1 - o)`, and `da = [da_i, da_f, da_g, da_o]`;
        `dx = da @ weight_ih`, `dh = da @ weight_hh`, `dc = dc' * f`; `dweight_ih += da.T @ x`,
        `dweight_hh += da.T @ h`, and both `dbias += sum of da` over the batch.
        """
        return self._backward(dh, torch.zeros_like(dh) if dc is None else dc)


class _Layers(_Recurrent):
    """Steps over a sequence, in layers, each of which is fed with the h of the one below it.

    Inside, time is the first axis, so that what belongs to a step lies together.
    """

    weight_ih_l0: Tensor

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        *,
        generator: Source = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        check_sizes(type(self).__name__, num_layers=num_layers)
        self.num_layers = num_layers
        self._suffixes = [f"_l{layer}" for layer in range(num_layers)]
        super().__init__(
            input_size, hidden_size, bias, generator=generator, device=device, dtype=dtype
        )

    def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        """Returns y, the last layer's h at each step. h: default zeros."""
        return self._forward(x, h)

    def _forward(self, x: Tensor, *given: Tensor | None) -> Tensor:
        """y; keeps what `_backward` needs."""
        self._check_x(x, self.weight_ih_l0, ("B", "T", self.input_size))
        if x.shape[1] == 0:
            self._refuse_x(x, "a sequence of at least one step")
        axes = () if self.num_layers == 1 else (self.num_layers,)
        shape, named = (len(x), *axes, self.hidden_size), zip("hc", given, strict=False)
        states = [self._state(name, s, x, *shape) for name, s in named]
        inside, layers = x.transpose(0, 1).contiguous(), []  # [T, B, *]
        for layer in range(self.num_layers):
            first = tuple(s[:, layer] if axes else s for s in states)
            after, kept = self._over_time(layer, inside, first)
            layers.append((inside, kept))
            inside = after
        y = inside.transpose(0, 1).contiguous()
        self._keep(y, layers, any(s is not None for s in given))
        return y

    def _over_time(self, layer: int, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One layer's h after each step, and what backward needs of each; all `[T, B, *]`."""
        gates = self._affine(f"ih_l{layer}", x.flatten(0, 1)).unflatten(0, x.shape[:2])
        hs, saved = [state[0]], []
        for t in range(len(x)):
            ah = self._affine(f"hh_l{layer}", state[0])
            state, saved_t = self._step.forward(gates[t], ah, state)
            hs.append(state[0])
            saved.append(saved_t)
        h = torch.stack(hs)  # [T + 1, B, hidden_size]
        return h[1:], (h[:-1], gates, *map(torch.stack, zip(*saved, strict=True)))

    def _backward(self, dy: Tensor) -> Any:
        """dx, or a tuple of it and d loss / d state if forward was given one."""
        dax, dstate, given = self._learned(dy)
        dx = (dax @ self.weight_ih_l0).transpose(0, 1).contiguous()
        return (dx, *dstate) if given else dx

    def backward_param(self, dy: Tensor) -> None:
        """`backward` without its last product, `dx = dax @ weight_ih_l0`."""
        self._learned(dy)

    def _learned(self, dy: Tensor) -> tuple[Tensor, State, bool]:
        """Accumulates the gradients; returns the first layer's dax `[T, B, *]` and dstate."""
        layers, given = self._recall(dy)
        dinside, dfirst = dy.transpose(0, 1), []  # [T, B, hidden_size]
        for layer in reversed(range(self.num_layers)):
            x, kept = layers[layer]
            dax, dah, dstate = self._back_in_time(layer, dinside, kept)
            self._learn(f"ih_l{layer}", dax.flatten(0, 1), x.flatten(0, 1))
            self._learn(f"hh_l{layer}", dah.flatten(0, 1), kept[0].flatten(0, 1))
            dfirst.append(dstate)
            if layer:
                dinside = dax @ getattr(self, f"weight_ih_l{layer}")
        if self.num_layers > 1:
            dstate = tuple(torch.stack(d[::-1], 1) for d in zip(*dfirst, strict=True))
        return dax, dstate, given

    def _back_in_time(self, layer: int, dy: Tensor, kept: State) -> Derivatives:
        """One layer's dax and dah, `[T, B, *]`, and d loss / d the state before its first step."""
        weight_hh = getattr(self, f"weight_hh_l{layer}")
        dstate: State = (dy.new_zeros(dy.shape[1:]),) * self._step.states
        dax, dah = [], []
        for t in reversed(range(len(dy))):
            dstate = (dy[t] + dstate[0], *dstate[1:])  # the loss depends on h by y and by h'
            kept_t = tuple(k[t] for k in kept)
            dax_t, dah_t, dstate = self._step.backward(dstate, weight_hh, kept_t)
            dax.append(dax_t)
            dah.append(dah_t)
        whole = torch.stack(dax[::-1])
        return whole, whole if self._step.joint else torch.stack(dah[::-1]), dstate


class RNN(_Layers):
    """A simple recurrence over sequences: torch.nn.RNN with batch_first; Elman 1990.

    `h_t = tanh(weight_ih @ x_t + bias_ih + weight_hh @ h_(t-1) + bias_hh)`, as `RNNCell`, for each
    step t = 1 … T. y is the last layer's h_t. The x_t of a layer is the h_t of the one below it.

    Shapes: x `[B, T, input_size]`, y `[B, T, hidden_size]`; h, which is h_0, `[B, hidden_size]`, or
    `[B, num_layers, hidden_size]` if there is more than one layer. Parameters as `RNNCell`'s, with
    `_l0`, `_l1`, … after their names; from `weight_ih_l1` on, weight_ih is
    `[hidden_size, hidden_size]`. It cannot be stacked.

    Memory: between forward and backward, x, h and the gates of every step and layer are kept.

    Args:
        num_layers: at least 1. Default: 1.
        input_size, hidden_size, nonlinearity, bias, generator, device, dtype: as for `RNNCell`.

    Raises:
        ValueError, TypeError: as `RNNCell`; in `forward`, a sequence of no steps.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        *,
        generator: Source = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.nonlinearity = nonlinearity
        self._step = _RNNStep(type(self).__name__, nonlinearity)
        super().__init__(
            input_size, hidden_size, num_layers, bias,
            generator=generator, device=device, dtype=dtype,
        )  # fmt: skip

    def backward(self, dy: Tensor) -> Tensor | tuple[Tensor, Tensor]:  # type: ignore[override]
        """Returns `dx`, or `(dx, dh)` if `forward` was given h. Werbos 1990.

        From t = T to 1, and from the last layer to the first, `dh_t = dy_t + dh` of step t + 1;
        da_t and the dh of step t follow from it as in `RNNCell.backward`. dy_t is `dx_t` of the
        layer above. Gradients of parameters are sums over the steps.
        """
        return self._backward(dy)


class GRU(_Layers):
    """A gated recurrent unit over sequences: torch.nn.GRU with batch_first; Cho et al. 2014.

    Each step is a `GRUCell`'s. Shapes, arguments and errors: as for `RNN`, without a nonlinearity,
    and with `3 * hidden_size` rows in weights and biases.
    """

    _step = _GRUStep()

    def backward(self, dy: Tensor) -> Tensor | tuple[Tensor, Tensor]:  # type: ignore[override]
        """Returns `dx`, or `(dx, dh)` if `forward` was given h.

        As `RNN.backward`, with the derivative of `GRUCell.backward` at each step.
        """
        return self._backward(dy)


class LSTM(_Layers):
    """A long short-term memory over sequences: torch.nn.LSTM with batch_first.

    Hochreiter and Schmidhuber 1997. Each step is an `LSTMCell`'s. Shapes, arguments and errors: as
    for `RNN`, without a nonlinearity, and with `4 * hidden_size` rows in weights and biases; c is
    shaped like h.
    """

    _step = _LSTMStep()

    def forward(self, x: Tensor, h: Tensor | None = None, c: Tensor | None = None) -> Tensor:
        """Returns y, the last layer's h at each step. h, c: default zeros, each by itself."""
        return self._forward(x, h, c)

    def backward(  # type: ignore[override]
        self, dy: Tensor
    ) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        """Returns `dx`, or `(dx, dh, dc)` if `forward` was given h or c.

        As `RNN.backward`, with the derivative of `LSTMCell.backward` at each step. dc goes from
        step to step as dh does, and is zero after the last.
        """
        return self._backward(dy)
