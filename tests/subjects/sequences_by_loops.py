"""Recurrent layers, attention, gated linear units and rotary positions as a careful student writes
them: NumPy, and loops over time, samples and heads.

Options, shapes, parameters' names and their order are torch's, and all else is as in
`layers_by_loops`. Sequences are [batch, time, features].
"""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np

from tests.subjects.layers_by_loops import Array, Layer, Pairs, filled

States = tuple[Array, ...]
Gates = dict[str, Array]


def sigmoid(a: Array) -> Array:
    """`1 / (1 + exp(-a))`, without an overflow on either side."""
    small = np.exp(-np.abs(a))
    return np.where(a < 0, small, 1) / (1 + small)


def standard_normal(a: Array) -> tuple[Array, Array]:
    """Its distribution function at each a, and its density."""
    below = np.vectorize(lambda x: (1 + math.erf(x / math.sqrt(2))) / 2, otypes=[float])
    density = np.vectorize(lambda x: math.exp(-x * x / 2) / math.sqrt(2 * math.pi), otypes=[float])
    return below(a).astype(a.dtype), density(a).astype(a.dtype)


class Named(Layer):
    """A layer whose parameters have names. They are in torch's order; there may be none."""

    def __init__(self) -> None:
        self.values: dict[str, Array] = {}
        self.gradients: dict[str, Array] = {}

    def forward(self, *args: Any, **options: Any) -> Any:
        raise NotImplementedError

    def backward(self, *args: Any, **options: Any) -> Any:
        raise NotImplementedError

    def own(self, name: str, *shape: int) -> None:
        """A new parameter."""
        self.values[name] = filled(shape, 0)
        self.gradients[name] = np.zeros_like(self.values[name])

    def param(self) -> Pairs:
        return [(value, self.gradients[name]) for name, value in self.values.items()]

    def add(self, name: str, gradient: Array) -> None:
        """Adds to the gradient of a parameter."""
        self.gradients[name] += gradient

    def affine(self, weight: str, bias: str, x: Array) -> Array:
        """`x weightᵀ + bias`, of x [..., in]; without the bias where there is none."""
        y = x @ self.values[weight].T
        return y + self.values[bias] if bias in self.values else y

    def affine_backward(self, weight: str, bias: str, x: Array, dy: Array) -> Array:
        """Adds to the gradients of the two, and returns that of x."""
        rows, drows = x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1])
        self.add(weight, self.weight_gradient(weight, rows, drows))
        if bias in self.values:
            self.add(bias, self.bias_gradient(bias, drows))
        return dy @ self.values[weight]

    def weight_gradient(self, weight: str, x: Array, dy: Array) -> Array:
        """Of x [n, in] and dy [n, out]."""
        return dy.T @ x

    def bias_gradient(self, bias: str, dy: Array) -> Array:
        return dy.sum(0)


class Recurrent(Named):
    """What cells and sequences share: the weights, and steps that a subclass fills in.

    A step's `layer` is what the names of its weights end with. What it keeps for the way back has
    at least: its input `x`, the state before it `h`, the state after it `y`, and of each gate the
    sum `pre` and the value `gates`.
    """

    order = ""
    """A letter for each gate, as their rows lie in the weights."""
    by_tanh = ""
    """The gates that are a tanh; the others are a sigmoid."""
    count = 1
    """How many states there are: h, or h and c."""

    def __init__(self, input_size: int, hidden_size: int, layers: list[str], bias: bool) -> None:
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        rows = len(self.order) * hidden_size
        for layer in layers:
            self.own(f"weight_ih{layer}", rows, input_size if layer == layers[0] else hidden_size)
            self.own(f"weight_hh{layer}", rows, hidden_size)
            if bias:
                self.own(f"bias_ih{layer}", rows)
                self.own(f"bias_hh{layer}", rows)

    def step(self, layer: str, x: Array, state: States) -> tuple[States, Any]:
        """The next state, and what the step keeps."""
        raise NotImplementedError

    def back(self, layer: str, kept: Any, dstate: States) -> tuple[Array, States]:
        """The gradients of x and of the state before, from those of the state after."""
        raise NotImplementedError

    def check(self, x: Array, state: States) -> None:
        if x.shape[-1] != self.input_size:
            raise ValueError(f"x has {x.shape[-1]} features; this layer takes {self.input_size}")
        due = (len(x), self.hidden_size)
        if len(state) != self.count or any(one.shape != due for one in state):
            shapes = [one.shape for one in state]
            raise ValueError(f"the state is {shapes}; {self.count} of {due} are due")

    def of_input(self, layer: str, x: Array) -> Array:
        return self.affine(f"weight_ih{layer}", f"bias_ih{layer}", x)

    def of_state(self, layer: str, h: Array) -> Array:
        return self.affine(f"weight_hh{layer}", f"bias_hh{layer}", h)

    def to_input(self, layer: str, kept: Any, d: Array) -> Array:
        return self.affine_backward(f"weight_ih{layer}", f"bias_ih{layer}", kept.x, d)

    def to_state(self, layer: str, kept: Any, d: Array) -> Array:
        return self.affine_backward(f"weight_hh{layer}", f"bias_hh{layer}", kept.h, d)

    def split(self, a: Array) -> Gates:
        """Each gate's columns."""
        return dict(zip(self.order, np.split(a, len(self.order), axis=1), strict=True))

    def joined(self, parts: Gates) -> Array:
        return np.concatenate([parts[gate] for gate in self.order], axis=1)

    def activated(self, gate: str, a: Array) -> Array:
        return np.tanh(a) if gate in self.by_tanh else sigmoid(a)

    def slope(self, gate: str, kept: Any) -> Array:
        """The derivative of a gate, from its value."""
        y = kept.gates[gate]
        return 1 - y * y if gate in self.by_tanh else y * (1 - y)


class RNNStep(Recurrent):
    """`h' = tanh(W_ih x + b_ih + W_hh h + b_hh)`, or relu of the same sum."""

    order = by_tanh = "y"
    nonlinearity = "tanh"

    def choose(self, nonlinearity: str) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"nonlinearity is {nonlinearity!r}; it must be 'tanh' or 'relu'")
        self.nonlinearity = nonlinearity

    def activated(self, gate: str, a: Array) -> Array:
        return np.maximum(a, 0) if self.nonlinearity == "relu" else super().activated(gate, a)

    def slope(self, gate: str, kept: Any) -> Array:
        if self.nonlinearity == "relu":
            return np.where(kept.pre[gate] <= 0, 0, 1).astype(kept.y.dtype)  # of a NaN 1, as torch
        return super().slope(gate, kept)

    def step(self, layer: str, x: Array, state: States) -> tuple[States, Any]:
        (h,) = state
        a = self.of_input(layer, x) + self.of_state(layer, h)
        y = self.activated("y", a)
        return (y,), SimpleNamespace(x=x, h=h, y=y, pre={"y": a}, gates={"y": y})

    def back(self, layer: str, kept: Any, dstate: States) -> tuple[Array, States]:
        (dy,) = dstate
        d = dy * self.slope("y", kept)
        return self.to_input(layer, kept, d), (self.to_state(layer, kept, d),)


class GRUStep(Recurrent):
    """`h' = (1 - z) n + z h`, with `n = tanh(W_in x + b_in + r (W_hn h + b_hn))`; r and z are
    sigmoids of such sums without a factor."""

    order = "rzn"
    by_tanh = "n"

    def step(self, layer: str, x: Array, state: States) -> tuple[States, Any]:
        (h,) = state
        of_x, of_h = self.split(self.of_input(layer, x)), self.split(self.of_state(layer, h))
        pre = {gate: of_x[gate] + of_h[gate] for gate in "rz"}
        r, z = (self.activated(gate, pre[gate]) for gate in "rz")
        pre["n"] = self.candidate(layer, of_x["n"], of_h["n"], r, h)
        n = self.activated("n", pre["n"])
        y = self.mixed(z, n, h)
        gates = {"r": r, "z": z, "n": n}
        return (y,), SimpleNamespace(x=x, h=h, y=y, pre=pre, gates=gates, hn=of_h["n"])

    def candidate(self, layer: str, xn: Array, hn: Array, r: Array, h: Array) -> Array:
        """The sum of n, from the parts of x and of h."""
        return xn + r * hn

    def mixed(self, z: Array, n: Array, h: Array) -> Array:
        return (1 - z) * n + z * h

    def back(self, layer: str, kept: Any, dstate: States) -> tuple[Array, States]:
        (dy,) = dstate
        dz, dn, dh = self.unmixed(kept, dy)
        d = {"z": dz * self.slope("z", kept), "n": dn * self.slope("n", kept)}
        d["r"] = self.to_reset(kept, d["n"]) * self.slope("r", kept)
        dx = self.to_input(layer, kept, self.joined(d))
        recurrent = self.joined({**d, "n": self.to_product(kept, d["n"])})
        return dx, (dh + self.to_state(layer, kept, recurrent),)

    def unmixed(self, kept: Any, dy: Array) -> tuple[Array, Array, Array]:
        """What z, n and h get from the mixture; h by this way alone."""
        z, n = kept.gates["z"], kept.gates["n"]
        return dy * (kept.h - n), dy * (1 - z), dy * z

    def to_reset(self, kept: Any, d: Array) -> Array:
        """What r gets, from the gradient of the sum of n."""
        return d * kept.hn

    def to_product(self, kept: Any, d: Array) -> Array:
        """What `W_hn h + b_hn` gets, from the gradient of the sum of n."""
        return d * kept.gates["r"]


class LSTMStep(Recurrent):
    """`c' = f c + i g` and `h' = o tanh(c')`; g is a tanh, the other gates are sigmoids."""

    order = "ifgo"
    by_tanh = "g"
    count = 2

    def step(self, layer: str, x: Array, state: States) -> tuple[States, Any]:
        h, c = state
        pre = self.split(self.of_input(layer, x) + self.of_state(layer, h))
        gates = {gate: self.activated(gate, pre[gate]) for gate in "ifgo"}
        new = self.moved(gates, c)
        y = self.shown(gates["o"], new, c)
        return (y, new), SimpleNamespace(x=x, h=h, c=c, y=y, new=new, pre=pre, gates=gates)

    def moved(self, gates: Gates, c: Array) -> Array:
        """The next c."""
        return gates["f"] * c + gates["i"] * gates["g"]

    def shown(self, o: Array, new: Array, c: Array) -> Array:
        """The next h, from the next c."""
        return o * np.tanh(new)

    def back(self, layer: str, kept: Any, dstate: States) -> tuple[Array, States]:
        dy, dnew = dstate
        total = self.to_cell(kept, dy, dnew)
        dgates = {**self.to_gates(kept, total), "o": self.to_output_gate(kept, dy)}
        d = self.joined({gate: dgates[gate] * self.slope(gate, kept) for gate in "ifgo"})
        dx, dh = self.to_input(layer, kept, d), self.to_state(layer, kept, d)
        return dx, (dh, self.to_old_cell(kept, total, dnew))

    def to_cell(self, kept: Any, dy: Array, dnew: Array) -> Array:
        """What the next c gets: by the next h, and from outside."""
        return dnew + dy * kept.gates["o"] * self.cell_slope(kept)

    def cell_slope(self, kept: Any) -> Any:
        """The derivative of `tanh(c')`."""
        return 1 - np.tanh(kept.new) ** 2

    def to_output_gate(self, kept: Any, dy: Array) -> Array:
        return dy * np.tanh(kept.new)

    def to_gates(self, kept: Any, total: Array) -> Gates:
        """What i, f and g get from the next c."""
        return {"i": total * kept.gates["g"], "f": total * kept.c, "g": total * kept.gates["i"]}

    def to_old_cell(self, kept: Any, total: Array, dnew: Array) -> Array:
        """What c gets. `dnew` is the part of `total` that comes from outside."""
        return total * kept.gates["f"]


class Cell(Recurrent):
    """One step: of x [batch, input] and of states [batch, hidden]."""

    def forward(self, x: Array, *state: Array) -> Any:
        self.check(x, state)
        new, self.kept = self.step("", x.copy(), tuple(one.copy() for one in state))
        copies = tuple(one.copy() for one in new)
        return copies if self.count > 1 else copies[0]

    def backward(self, *dstate: Array) -> Any:
        dx, before = self.back("", self.kept, dstate)
        return (dx, *before)


class RNNCell(RNNStep, Cell):
    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh"
    ) -> None:
        super().__init__(input_size, hidden_size, [""], bias)
        self.choose(nonlinearity)


class GRUCell(GRUStep, Cell):
    def __init__(self, input_size: int, hidden_size: int, bias: bool = True) -> None:
        super().__init__(input_size, hidden_size, [""], bias)


class LSTMCell(LSTMStep, Cell):
    def __init__(self, input_size: int, hidden_size: int, bias: bool = True) -> None:
        super().__init__(input_size, hidden_size, [""], bias)


class Sequence(Recurrent):
    """A step for each time, in one layer or in several: y [batch, time, hidden] of the last.

    The states before the first step are zeros, or are given: to one layer, as [batch, hidden]."""

    def __init__(self, input_size: int, hidden_size: int, num_layers: int, bias: bool) -> None:
        layers = [f"_l{number}" for number in range(num_layers)]
        super().__init__(input_size, hidden_size, layers, bias)
        self.layers = layers

    def forward(self, x: Array, *state: Array) -> Array:
        if x.ndim != 3 or not x.shape[1]:
            raise ValueError(f"x is {x.shape}; [batch, time, features] are due, and a time")
        if state and len(self.layers) > 1:
            raise ValueError("a state can be given to one layer alone")
        self.given = bool(state)
        start = self.start(x, state)
        self.check(x, start)
        y, self.kept = x.copy(), []
        for layer in self.layers:
            y, kept = self.along(layer, y, start)
            self.kept.append(kept)
        return y

    def start(self, x: Array, state: States) -> States:
        """The states before the first step."""
        if state:
            return tuple(one.copy() for one in state)
        return tuple(np.zeros((len(x), self.hidden_size), x.dtype) for _ in range(self.count))

    def along(self, layer: str, x: Array, state: States) -> tuple[Array, list[Any]]:
        """The output of a layer, and what each of its steps kept."""
        y, kept = np.zeros((*x.shape[:2], self.hidden_size), x.dtype), []
        for t in range(x.shape[1]):
            state, of_step = self.step(layer, x[:, t], state)
            y[:, t] = state[0]
            kept.append(of_step)
        return y, kept

    def backward(self, dy: Array) -> Any:
        for layer, kept in zip(reversed(self.layers), reversed(self.kept), strict=True):
            dy, dstate = self.back_along(layer, kept, dy)
        return (dy, *dstate) if self.given else dy

    def back_along(self, layer: str, kept: list[Any], dy: Array) -> tuple[Array, States]:
        """The gradients of a layer's x and of the states before its first step."""
        dx = np.zeros((*dy.shape[:2], kept[0].x.shape[1]), dy.dtype)
        dstate: States = tuple(np.zeros_like(dy[:, 0]) for _ in range(self.count))
        for t in reversed(range(dy.shape[1])):
            dstate = self.carried(dstate)
            dstate = (dstate[0] + dy[:, t], *dstate[1:])
            dx[:, t], dstate = self.back(layer, kept[t], dstate)
        return dx, dstate

    def carried(self, dstate: States) -> States:
        """What a step gets from the one after it."""
        return dstate


class RNN(RNNStep, Sequence):
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
    ) -> None:
        super().__init__(input_size, hidden_size, num_layers, bias)
        self.choose(nonlinearity)


class GRU(GRUStep, Sequence):
    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True
    ) -> None:
        super().__init__(input_size, hidden_size, num_layers, bias)


class LSTM(LSTMStep, Sequence):
    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True
    ) -> None:
        super().__init__(input_size, hidden_size, num_layers, bias)


class ScaledDotProductAttention(Named):
    """`softmax(q kᵀ / √D) v`, for each sample and head by itself.

    With `is_causal` query i sees the keys 0 to i; a mask, [queries, keys] or [..., queries, keys],
    is true where a query sees a key. A query that sees none gets zeros."""

    def __init__(self, is_causal: bool = False) -> None:
        super().__init__()
        self.is_causal = is_causal

    def forward(  # type: ignore[override]
        self, q: Array, k: Array, v: Array, mask: Array | None = None
    ) -> Array:
        if q.shape[:-2] != k.shape[:-2] or k.shape[:-1] != v.shape[:-1]:
            raise ValueError(f"q, k and v are {q.shape}, {k.shape}, {v.shape}")
        if self.is_causal and mask is not None:
            raise ValueError("is_causal leaves no room for a mask")
        self.q, self.k, self.v = q.copy(), k.copy(), v.copy()
        self.p = np.zeros((*q.shape[:-1], k.shape[-2]), q.dtype)
        self.seen = self.sees(self.p.shape, mask)
        y = np.zeros((*q.shape[:-1], v.shape[-1]), q.dtype)
        for place in np.ndindex(q.shape[:-2]):
            self.p[place] = self.softmax(self.scores(q[place], k[place]), self.seen[place])
            y[place] = self.p[place] @ v[place]
        return y

    def sees(self, shape: tuple[int, ...], mask: Array | None) -> Array:
        """Which keys each query sees, [..., queries, keys]."""
        seen = np.ones(shape, bool)
        if mask is not None:
            seen[...] = mask
        if self.is_causal:
            queries, keys = shape[-2:]
            for i in range(queries):
                seen[..., i, :] = self.before(i, queries, keys)
        return seen

    def before(self, i: int, queries: int, keys: int) -> Array:
        """Which keys query i sees, if causal."""
        return np.arange(keys) <= i

    def scale(self) -> float:
        return 1 / math.sqrt(self.q.shape[-1])

    def scores(self, q: Array, k: Array) -> Array:
        return q @ k.T * self.scale()

    def softmax(self, scores: Array, seen: Array) -> Array:
        """Of each row, over what it sees. It is 0 where there is nothing but -inf, as torch's."""
        p = np.zeros_like(scores)
        for i, row in enumerate(np.where(seen, scores, -math.inf)):
            top = row.max()
            if top != -math.inf:
                e = np.exp(row - top)
                p[i] = e / e.sum()
        return p

    def backward(self, dy: Array) -> tuple[Array, Array, Array]:
        dq, dk, dv = np.zeros_like(self.q), np.zeros_like(self.k), np.zeros_like(self.v)
        for place in np.ndindex(dy.shape[:-2]):
            dp = dy[place] @ self.v[place].T
            d = self.through(self.p[place], dp)
            dq[place] = self.to_query(d, self.q[place], self.k[place])
            dk[place] = self.to_key(d, self.q[place], self.k[place])
            dv[place] = self.to_value(place, dy[place])
        return dq, dk, dv

    def through(self, p: Array, dp: Array) -> Array:
        """The gradient of the scores, from that of the probabilities."""
        d = np.zeros_like(p)
        for i in range(len(p)):
            d[i] = p[i] * (dp[i] - (p[i] * dp[i]).sum())
        return d

    def to_query(self, d: Array, q: Array, k: Array) -> Array:
        return d @ k * self.scale()

    def to_key(self, d: Array, q: Array, k: Array) -> Array:
        return d.T @ q * self.scale()

    def to_value(self, place: tuple[int, ...], dy: Array) -> Array:
        return self.p[place].T @ dy


class MultiheadAttention(Named):
    """Attention of x to itself, or to a memory; each head has a block of the features.

    `in_proj_weight` has the rows for the queries, then for the keys, then for the values."""

    attention = ScaledDotProductAttention

    def __init__(
        self, embed_dim: int, num_heads: int, bias: bool = True, causal: bool = False
    ) -> None:
        super().__init__()
        if embed_dim % num_heads:
            raise ValueError(f"{num_heads} heads do not divide {embed_dim} features")
        self.embed_dim, self.num_heads = embed_dim, num_heads
        self.own("in_proj_weight", 3 * embed_dim, embed_dim)
        if bias:
            self.own("in_proj_bias", 3 * embed_dim)
        self.own("out_proj.weight", embed_dim, embed_dim)
        if bias:
            self.own("out_proj.bias", embed_dim)
        self.attend = self.attention(causal)

    def forward(self, x: Array, memory: Array | None = None) -> Array:
        for one in (x, x if memory is None else memory):
            if one.ndim != 3 or one.shape[2] != self.embed_dim:
                raise ValueError(f"{one.shape} is not [batch, time, {self.embed_dim}]")
        self.to_itself = memory is None
        self.x = x.copy()
        self.memory = self.x if memory is None else memory.copy()
        q, k, v = (self.projected(n, one) for n, one in enumerate(self.sources()))
        self.heads = self.joined(self.attend.forward(self.split(q), self.split(k), self.split(v)))
        return self.affine("out_proj.weight", "out_proj.bias", self.heads)

    def sources(self) -> tuple[Array, Array, Array]:
        """What queries, keys and values are made of."""
        return self.x, self.memory, self.memory

    def rows(self, n: int) -> slice:
        """Where in_proj has the queries (n = 0), the keys (1) and the values (2)."""
        return slice(n * self.embed_dim, (n + 1) * self.embed_dim)

    def projected(self, n: int, x: Array) -> Array:
        y = x @ self.values["in_proj_weight"][self.rows(n)].T
        return y + self.in_bias(n) if "in_proj_bias" in self.values else y

    def in_bias(self, n: int) -> Array:
        return self.values["in_proj_bias"][self.rows(n)]

    def columns(self, head: int) -> slice:
        width = self.embed_dim // self.num_heads
        return slice(head * width, (head + 1) * width)

    def split(self, x: Array) -> Array:
        """[batch, time, features] as [batch, heads, time, features of a head]."""
        return np.stack([x[:, :, self.columns(head)] for head in range(self.num_heads)], axis=1)

    def joined(self, heads: Array) -> Array:
        """The opposite of `split`."""
        B, _, T, _ = heads.shape
        x = np.zeros((B, T, self.embed_dim), heads.dtype)
        for head in range(self.num_heads):
            x[:, :, self.columns(head)] = heads[:, head]
        return x

    def backward(self, dy: Array) -> Any:
        dheads = self.affine_backward("out_proj.weight", "out_proj.bias", self.heads, dy)
        d = [self.joined(one) for one in self.attend.backward(self.split(dheads))]
        self.add_projection(d)
        of_query, of_key, of_value = (
            one @ self.values["in_proj_weight"][self.rows(n)] for n, one in enumerate(d)
        )
        if self.to_itself:
            return self.to_x(of_query, of_key, of_value)
        return of_query, self.to_memory(of_key, of_value)

    def add_projection(self, d: list[Array]) -> None:
        """Adds to the gradients of in_proj, from those of queries, keys and values."""
        weight = np.zeros_like(self.values["in_proj_weight"])
        bias = np.zeros(len(weight), weight.dtype)
        for n, x in enumerate(self.sources()):
            for sample in range(len(x)):
                weight[self.rows(n)] += d[n][sample].T @ x[sample]
                bias[self.rows(n)] += d[n][sample].sum(0)
        self.add("in_proj_weight", weight)
        if "in_proj_bias" in self.values:
            self.add("in_proj_bias", bias)

    def to_x(self, of_query: Array, of_key: Array, of_value: Array) -> Array:
        """The gradient of x, if it is its own memory."""
        return of_query + of_key + of_value

    def to_memory(self, of_key: Array, of_value: Array) -> Array:
        return of_key + of_value


class GatedLinear(Named):
    """`down(act(gate(x)) * up(x))`, of x [..., in]; gate, up and down are affine."""

    def __init__(self, in_features: int, hidden_features: int, bias: bool = False) -> None:
        super().__init__()
        shapes = {
            "gate": (hidden_features, in_features),
            "up": (hidden_features, in_features),
            "down": (in_features, hidden_features),
        }
        for name, shape in shapes.items():
            self.own(f"{name}.weight", *shape)
            if bias:
                self.own(f"{name}.bias", shape[0])

    def act(self, a: Array) -> Array:
        raise NotImplementedError

    def slope(self, a: Array) -> Array:
        """The derivative of `act`."""
        raise NotImplementedError

    def through(self, name: str, x: Array) -> Array:
        return self.affine(f"{name}.weight", f"{name}.bias", x)

    def back_through(self, name: str, x: Array, dy: Array) -> Array:
        return self.affine_backward(f"{name}.weight", f"{name}.bias", x, dy)

    def forward(self, x: Array) -> Array:
        self.x = x.copy()
        self.gate, self.up = self.through("gate", self.x), self.through("up", self.x)
        self.hidden = self.product(self.gate, self.up)
        return self.through("down", self.hidden)

    def product(self, gate: Array, up: Array) -> Array:
        return self.act(gate) * up

    def backward(self, dy: Array) -> Array:
        d = self.back_through("down", self.hidden, dy)
        by_gate = self.back_through("gate", self.x, self.to_gate(d))
        by_up = self.back_through("up", self.x, self.to_up(d))
        return self.to_x(by_gate, by_up)

    def to_gate(self, d: Array) -> Array:
        return d * self.up * self.slope(self.gate)

    def to_up(self, d: Array) -> Array:
        return d * self.act(self.gate)

    def to_x(self, by_gate: Array, by_up: Array) -> Array:
        return by_gate + by_up


class SwiGLU(GatedLinear):
    """By SiLU, `a sigmoid(a)`."""

    def act(self, a: Array) -> Array:
        return a * sigmoid(a)

    def slope(self, a: Array) -> Array:
        s = sigmoid(a)
        return s + a * s * (1 - s)


class GeGLU(GatedLinear):
    """By GELU, `a Φ(a)`, exactly."""

    def act(self, a: Array) -> Array:
        below, _ = standard_normal(a)
        return a * below

    def slope(self, a: Array) -> Array:
        below, density = standard_normal(a)
        return below + a * density


class RoPE(Layer):
    """Turns pairs of x [..., T, D]: pair i at position t by `t base^(-2 i / D)`.

    A pair is of features i and i + D / 2; `interleaved`, of features 2 i and 2 i + 1."""

    def __init__(self, base: float = 10000.0, interleaved: bool = False) -> None:
        self.base, self.interleaved = base, interleaved

    def pair(self, i: int, D: int) -> tuple[int, int]:
        """The two features of pair i."""
        return (2 * i, 2 * i + 1) if self.interleaved else (i, i + D // 2)

    def angle(self, t: int, i: int, D: int) -> float:
        return t * self.base ** (-2 * i / D)

    def turned(self, x: Array, direction: int) -> Array:
        """x turned forward (1) or back (-1)."""
        (T, D), y = x.shape[-2:], x.copy()
        for t in range(T):
            for i in range(D // 2):
                (a, b), angle = self.pair(i, D), direction * self.angle(t, i, D)
                first, second = x[..., t, a], x[..., t, b]
                y[..., t, a], y[..., t, b] = self.turned_pair(first, second, angle)
        return y

    def turned_pair(self, first: Array, second: Array, angle: float) -> tuple[Any, Any]:
        cos, sin = math.cos(angle), math.sin(angle)
        return first * cos - second * sin, first * sin + second * cos

    def forward(self, x: Array) -> Array:
        if x.ndim < 2 or x.shape[-1] % 2:
            raise ValueError(f"x is {x.shape}; [..., T, D] with an even D is due")
        return self.turned(x, 1)

    def backward(self, dy: Array) -> Array:
        return self.turned(dy, -1)
