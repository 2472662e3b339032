"""Recurrent layers as courses write them: functions with a cache, gates in another order, one
bias, a matrix for each gate. All right."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.subjects.layers_by_loops import Array, filled


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def rnn_step_forward(x: Array, prev_h: Array, Wx: Array, Wh: Array, b: Array) -> Any:
    next_h = np.tanh(x @ Wx + prev_h @ Wh + b)
    return next_h, (x, prev_h, Wx, Wh, next_h)


def rnn_step_backward(dnext_h: Array, cache: Any) -> Any:
    x, prev_h, Wx, Wh, next_h = cache
    da = dnext_h * (1 - next_h**2)
    return da @ Wx.T, da @ Wh.T, x.T @ da, prev_h.T @ da, da.sum(0)


def rnn_forward(x: Array, h0: Array, Wx: Array, Wh: Array, b: Array) -> Any:
    h, caches, outputs = h0, [], []
    for t in range(x.shape[1]):
        h, cache = rnn_step_forward(x[:, t], h, Wx, Wh, b)
        caches.append(cache)
        outputs.append(h)
    return np.stack(outputs, 1), caches


def rnn_backward(dh: Array, caches: Any) -> Any:
    dprev, dWx, dWh, db = 0.0 * dh[:, 0], 0.0, 0.0, 0.0
    dxs: list[Array] = []
    for t in reversed(range(dh.shape[1])):
        dx, dprev, one, two, three = rnn_step_backward(dh[:, t] + dprev, caches[t])
        dxs.insert(0, dx)
        dWx, dWh, db = dWx + one, dWh + two, db + three
    return np.stack(dxs, 1), dprev, dWx, dWh, db


def lstm_step_forward(
    x: Array, prev_h: Array, prev_c: Array, Wx: Array, Wh: Array, b: Array
) -> Any:
    i, f, o, g = np.split(x @ Wx + prev_h @ Wh + b, 4, axis=1)
    i, f, o, g = sigmoid(i), sigmoid(f), sigmoid(o), np.tanh(g)
    next_c = f * prev_c + i * g
    tanh_c = np.tanh(next_c)
    return o * tanh_c, next_c, (x, prev_h, prev_c, Wx, Wh, i, f, o, g, tanh_c)


def lstm_step_backward(dnext_h: Array, dnext_c: Array, cache: Any) -> Any:
    x, prev_h, prev_c, Wx, Wh, i, f, o, g, tanh_c = cache
    dc = dnext_c + dnext_h * o * (1 - tanh_c**2)
    da = np.hstack([
        dc * g * i * (1 - i), dc * prev_c * f * (1 - f), dnext_h * tanh_c * o * (1 - o),
        dc * i * (1 - g**2),
    ])  # fmt: skip
    return da @ Wx.T, da @ Wh.T, dc * f, x.T @ da, prev_h.T @ da, da.sum(0)


def lstm_forward(x: Array, h0: Array, Wx: Array, Wh: Array, b: Array) -> Any:
    h, c, caches, outputs = h0, np.zeros_like(h0), [], []
    for t in range(x.shape[1]):
        h, c, cache = lstm_step_forward(x[:, t], h, c, Wx, Wh, b)
        caches.append(cache)
        outputs.append(h)
    return np.stack(outputs, 1), caches


def lstm_backward(dh: Array, caches: Any) -> Any:
    dprev, dc, dWx, dWh, db = 0.0 * dh[:, 0], 0.0 * dh[:, 0], 0.0, 0.0, 0.0
    dxs: list[Array] = []
    for t in reversed(range(dh.shape[1])):
        dx, dprev, dc, one, two, three = lstm_step_backward(dh[:, t] + dprev, dc, caches[t])
        dxs.insert(0, dx)
        dWx, dWh, db = dWx + one, dWh + two, db + three
    return np.stack(dxs, 1), dprev, dWx, dWh, db


class GRUCell:
    """A matrix and a bias for each gate, by attributes; gradients are overwritten."""

    NAMES = ("Wrx", "Wzx", "Wnx", "Wrh", "Wzh", "Wnh", "brx", "bzx", "bnx", "brh", "bzh", "bnh")

    def __init__(self, input_size: int, hidden_size: int) -> None:
        for number, name in enumerate(self.NAMES):
            columns = {"x": (input_size,), "h": (hidden_size,)}[name[-1]]
            shape = (hidden_size, *columns) if name.startswith("W") else (hidden_size,)
            setattr(self, name, filled(shape, number))
            setattr(self, f"d{name}", np.zeros_like(getattr(self, name)))

    def __getattr__(self, name: str) -> Any:  # what setattr has made is of any type
        raise AttributeError(name)

    def pairs(self) -> list[tuple[Array, Array]]:
        return [(getattr(self, name), getattr(self, f"d{name}")) for name in self.NAMES]

    def forward(self, x: Array, h: Array) -> Array:
        self.x, self.h = x, h
        self.r = sigmoid(x @ self.Wrx.T + self.brx + h @ self.Wrh.T + self.brh)
        self.z = sigmoid(x @ self.Wzx.T + self.bzx + h @ self.Wzh.T + self.bzh)
        self.inner = h @ self.Wnh.T + self.bnh
        self.n = np.tanh(x @ self.Wnx.T + self.bnx + self.r * self.inner)
        y: Array = (1 - self.z) * self.n + self.z * h
        return y

    def backward(self, dy: Array) -> tuple[Array, Array]:
        dn = dy * (1 - self.z) * (1 - self.n**2)
        dz = dy * (self.h - self.n) * self.z * (1 - self.z)
        dr = dn * self.inner * self.r * (1 - self.r)
        for gate, dx, dh in (("r", dr, dr), ("z", dz, dz), ("n", dn, dn * self.r)):
            setattr(self, f"dW{gate}x", dx.T @ self.x)
            setattr(self, f"dW{gate}h", dh.T @ self.h)
            setattr(self, f"db{gate}x", dx.sum(0))
            setattr(self, f"db{gate}h", dh.sum(0))
        dx = dr @ self.Wrx + dz @ self.Wzx + dn @ self.Wnx
        dh = dr @ self.Wrh + dz @ self.Wzh + (dn * self.r) @ self.Wnh
        return dx, dh + self.kept(dy)

    def kept(self, dy: Array) -> Array:
        """What h has of h' by z h."""
        dh: Array = dy * self.z
        return dh


class LSTM:
    """Time first, states as a pair, which are returned beside the output; one bias."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        self.Wx = filled((input_size, 4 * hidden_size), 0)
        self.Wh = filled((hidden_size, 4 * hidden_size), 1)
        self.b = filled((4 * hidden_size,), 2)
        self.gradients = [np.zeros_like(p) for p in (self.Wx, self.Wh, self.b)]

    def params(self) -> list[tuple[Array, Array]]:
        return list(zip((self.Wx, self.Wh, self.b), self.gradients, strict=True))

    def forward(self, x: Array, state: Any = None) -> Any:
        zeros = np.zeros((x.shape[1], len(self.Wh)), x.dtype)
        h, c = state or (zeros, zeros)
        self.caches, outputs = [], []
        for step in x:
            h, c, cache = lstm_step_forward(step, h, c, self.Wx, self.Wh, self.b)
            self.caches.append(cache)
            outputs.append(h)
        return np.stack(outputs), (h, c)

    def backward(self, dy: Array) -> Any:
        dh, dc = 0.0 * dy[0], 0.0 * dy[0]
        dxs: list[Array] = []
        for step, cache in zip(dy[::-1], self.caches[::-1], strict=True):
            dx, dh, dc, *found = lstm_step_backward(step + dh, dc, cache)
            dxs.insert(0, dx)
            for kept, gradient in zip(self.gradients, found, strict=True):
                kept += gradient
        return np.stack(dxs), (dh, dc)

    def zero_grad(self) -> None:
        for gradient in self.gradients:
            gradient[...] = 0


class StateFirstCell(GRUCell):
    """Its state comes before the input, and so do their gradients."""

    def forward(self, h: Array, x: Array) -> Array:  # type: ignore[override]
        return super().forward(x, h)

    def backward(self, dy: Array) -> tuple[Array, Array]:
        dx, dh = super().backward(dy)
        return dh, dx


class ColumnCell(GRUCell):
    """A sample is a column."""

    def forward(self, x: Array, h: Array) -> Array:
        return super().forward(x.T, h.T).T

    def backward(self, dy: Array) -> tuple[Array, Array]:
        dx, dh = super().backward(dy.T)
        return dx.T, dh.T


class RNN:
    """Of [B, T, features], with one bias."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        shapes = (hidden_size, input_size), (hidden_size, hidden_size), (hidden_size,)
        self.params = [filled(shape, number) for number, shape in enumerate(shapes)]
        self.grads = [np.zeros_like(p) for p in self.params]

    def slope(self, h: Array) -> Array:
        return 1 - h**2

    def forward(self, x: Any, h: Array | None = None) -> Any:
        w, u, b = self.params
        self.x, states = x, [np.zeros((len(x), len(u)), x.dtype) if h is None else h]
        for t in range(x.shape[1]):
            states.append(np.tanh(x[:, t] @ w.T + states[-1] @ u.T + b))
        self.states = states
        return np.stack(states[1:], 1)

    def backward(self, dy: Any) -> Any:
        w, u, _ = self.params
        dx, dh = np.zeros_like(self.x), np.zeros_like(self.states[0])
        for t in reversed(range(dy.shape[1])):
            da = (dy[:, t] + dh) * self.slope(self.states[t + 1])
            for kept, new in zip(
                self.grads, (da.T @ self.x[:, t], da.T @ self.states[t], da.sum(0)), strict=True
            ):
                kept += new
            dx[:, t], dh = da @ w, da @ u
        return dx, dh


class FeaturesFirst(RNN):
    """Of [features, B, T], and of states [features, B]."""

    def forward(self, x: Any, h: Array | None = None) -> Any:
        given = None if h is None else h.T
        return super().forward(x.transpose(1, 2, 0), given).transpose(2, 0, 1)

    def backward(self, dy: Any) -> Any:
        dx, dh = super().backward(dy.transpose(1, 2, 0))
        return dx.transpose(2, 0, 1), dh.T


class Steps(RNN):
    """Of lists: [B, features] for each time."""

    def forward(self, x: Any, h: Array | None = None) -> Any:
        return list(super().forward(np.stack(x, 1), h).swapaxes(0, 1))

    def backward(self, dy: Any) -> Any:
        dx, dh = super().backward(np.stack(dy, 1))
        return list(dx.swapaxes(0, 1)), dh


class Stateful(RNN):
    """It begins where its last call has ended, until it is reset."""

    h: Array | None = None

    def reset_state(self) -> None:
        self.h = None

    def forward(self, x: Any) -> Any:  # type: ignore[override]
        y = super().forward(x, self.h)
        self.h = y[:, -1]
        return y

    def backward(self, dy: Any) -> Any:
        return super().backward(dy)[0]


class StatefulCell(GRUCell):
    """It keeps its state, and takes x alone."""

    state: Any = 0.0

    def forward(self, x: Array) -> Array:  # type: ignore[override]
        h = np.zeros((len(x), len(self.brx)), x.dtype) + self.state
        self.state = super().forward(x, h)
        return self.state


class LastAlone(RNN):
    """It returns the last state."""

    def forward(self, x: Any, h: Array | None = None) -> Any:
        return super().forward(x, h)[:, -1]

    def backward(self, dh: Any) -> Any:
        dy = np.zeros((*self.x.shape[:2], dh.shape[1]), dh.dtype)
        dy[:, -1] = dh
        return super().backward(dy)


def softmax(scores: Array) -> Array:
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    y: Array = weights / weights.sum(-1, keepdims=True)
    return y


class DotProductAttention:
    """A mask is true where a place may be seen."""

    def forward(self, query: Array, key: Array, value: Array, mask: Array | None = None) -> Array:
        scores = query @ key.swapaxes(-1, -2) / query.shape[-1] ** 0.5
        self.p = softmax(scores if mask is None else self.masked(scores, mask))
        self.given = query, key, value
        y: Array = self.p @ value
        return y

    def masked(self, scores: Array, mask: Array) -> Array:
        return np.where(mask, scores, -np.inf)

    def backward(self, dy: Array) -> tuple[Array, ...]:
        query, key, value = self.given
        dp = dy @ value.swapaxes(-1, -2)
        ds = self.p * (dp - (dp * self.p).sum(-1, keepdims=True)) / query.shape[-1] ** 0.5
        return ds @ key, ds.swapaxes(-1, -2) @ query, self.p.swapaxes(-1, -2) @ dy


class HiddenAttention(DotProductAttention):
    """A mask is true where a place is hidden, and it cannot do without one."""

    def forward(self, query: Array, key: Array, value: Array, mask: Array) -> Array:  # type: ignore[override]
        return super().forward(query, key, value, mask)

    def masked(self, scores: Array, mask: Array) -> Array:
        return np.where(~mask, scores, -1e9)


class AddedAttention(DotProductAttention):
    """A mask is added to the scores."""

    def masked(self, scores: Array, mask: Array) -> Array:
        return scores + mask


class SelfAttention:
    """A matrix for each of query, key and value, and several heads, without a bias."""

    def __init__(self, embed_dim: int, num_heads: int, bias: bool = False) -> None:
        if bias:
            raise ValueError("it has no bias")
        self.heads = num_heads
        self.Wq, self.Wk, self.Wv, self.Wo = (
            filled((embed_dim, embed_dim), number) for number in range(4)
        )
        self.gradients = [np.zeros_like(self.Wq) for _ in range(4)]

    def params(self) -> list[tuple[Array, Array]]:
        return list(zip((self.Wq, self.Wk, self.Wv, self.Wo), self.gradients, strict=True))

    def split(self, x: Array) -> Array:
        return x.reshape(*x.shape[:2], self.heads, -1).transpose(0, 2, 1, 3)

    def joined(self, x: Array) -> Array:
        return x.transpose(0, 2, 1, 3).reshape(len(x), x.shape[2], -1)

    def forward(self, x: Array) -> tuple[Array, Array]:
        self.x = x
        self.q, self.k, self.v = (self.split(x @ w) for w in (self.Wq, self.Wk, self.Wv))
        scores = self.q @ self.k.swapaxes(-1, -2) / self.q.shape[-1] ** 0.5
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        self.p = scores / scores.sum(-1, keepdims=True)
        self.attended = self.joined(self.p @ self.v)
        return self.attended @ self.Wo, self.p

    def backward(self, dy: Array) -> Array:
        def flat(x: Array) -> Array:
            return x.reshape(-1, x.shape[-1])

        datt = self.split(dy @ self.Wo.T)
        dv = self.p.swapaxes(-1, -2) @ datt
        dp = datt @ self.v.swapaxes(-1, -2)
        ds = self.p * (dp - (dp * self.p).sum(-1, keepdims=True)) / self.q.shape[-1] ** 0.5
        dq, dk = ds @ self.k, ds.swapaxes(-1, -2) @ self.q
        dq, dk, dv = (self.joined(one) for one in (dq, dk, dv))
        for kept, x, d in zip(
            self.gradients, (self.x,) * 3 + (self.attended,), (dq, dk, dv, dy), strict=True
        ):
            kept += flat(x).T @ flat(d)
        dx: Array = dq @ self.Wq.T + dk @ self.Wk.T + dv @ self.Wv.T
        return dx

    def zero_grad(self) -> None:
        for gradient in self.gradients:
            gradient[...] = 0


class HeadsApart:
    """A matrix [embed_dim, width of a head] for each head, in lists."""

    attention = DotProductAttention

    def __init__(self, embed_dim: int, num_heads: int) -> None:
        shape = embed_dim, embed_dim // num_heads
        self.wq, self.wk, self.wv = (self.of_heads(shape, num_heads, n) for n in range(3))
        self.wo = filled((embed_dim, embed_dim), 3)
        self.dwq, self.dwk, self.dwv = (self.of_heads(shape, num_heads, n) for n in range(3))
        self.dwo = filled((embed_dim, embed_dim), 3)
        self.zero_grad()

    def of_heads(self, shape: tuple[int, ...], heads: int, number: int) -> Any:
        return [filled(shape, number + 10 * head) for head in range(heads)]

    def params(self) -> Any:
        return [(self.wq, self.dwq), (self.wk, self.dwk), (self.wv, self.dwv), (self.wo, self.dwo)]

    def forward(self, x: Array) -> Array:
        self.x, self.heads, outputs = x, [], []
        for q, k, v in zip(self.wq, self.wk, self.wv, strict=True):
            self.heads.append(self.attention())
            outputs.append(self.heads[-1].forward(x @ q, x @ k, x @ v))
        self.attended = np.concatenate(outputs, -1)
        return self.attended @ self.wo

    def backward(self, dy: Array) -> Array:
        self.dwo += np.einsum("bti,bto->io", self.attended, dy)
        parts = np.split(dy @ self.wo.T, len(self.heads), -1)
        dx = np.zeros_like(self.x)
        for number, (head, part) in enumerate(zip(self.heads, parts, strict=True)):
            both = (self.wq, self.dwq), (self.wk, self.dwk), (self.wv, self.dwv)
            for (w, dw), d in zip(both, head.backward(part), strict=True):
                dw[number] += np.einsum("bti,bto->io", self.x, d)
                dx += d @ w[number].T
        return dx

    def zero_grad(self) -> None:
        for gradients in (self.dwq, self.dwk, self.dwv, [self.dwo]):
            for one in gradients:
                one[...] = 0


class HeadsStacked(HeadsApart):
    """In arrays [heads, embed_dim, width of a head]."""

    def of_heads(self, shape: tuple[int, ...], heads: int, number: int) -> Any:
        return np.stack(super().of_heads(shape, heads, number))


class HeadsByAttributes(HeadsApart):
    """Without a list of its parameters."""

    params: Any = None


class HeadByHead(HeadsApart):
    """Its list has query, key and value of the first head, then those of the next."""

    def params(self) -> Any:
        both = (self.wq, self.dwq), (self.wk, self.dwk), (self.wv, self.dwv)
        heads = range(len(self.wq))
        return [(w[h], dw[h]) for h in heads for w, dw in both] + [(self.wo, self.dwo)]
