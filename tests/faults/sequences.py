"""Faults of recurrent layers, attention, gated layers and rotary embeddings."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import scratch
from scratch import attention
from scratch.recurrent import _dtanh, _GRUStep, _LSTMStep
from tests.faults import Planting, fault, swap


@fault(
    "h is ignored",
    "layer.forward",
    "RNNCell",
    subtle="where h is 0",
)
def _() -> Planting:
    right = scratch.RNNCell.forward
    return swap(scratch.RNNCell, forward=lambda self, x, h=None: right(self, x))


@fault(
    "weight_hh learns from the state after the step",
    "layer.param_grad",
    "RNNCell",
    "is by the state after the step, not by the one before it",
)
def _() -> Planting:
    right = scratch.RNNCell._backward

    def _backward(self: Any, *dstate: Tensor) -> Any:
        x, (_, after) = self._saved
        self._saved = x, (after, after)
        return right(self, *dstate)

    return swap(scratch.RNNCell, _backward=_backward)


@fault(
    "the bias gradients are means over the batch",
    "layer.param_grad",
    "RNNCell",
    "the batch size",
    subtle="for a batch of one",
)
def _() -> Planting:
    right = scratch.RNNCell._learn

    def _learn(self: Any, which: str, da: Tensor, x: Tensor) -> None:
        right(self, which, da, x)
        if self.bias:
            getattr(self, f"dbias_{which}").add_(da.mean(0) - da.sum(0))

    return swap(scratch.RNNCell, _learn=_learn)


@fault(
    "the reset gate is before the product",
    "layer.forward",
    "GRUCell",
    "has the reset gate before the product",
    subtle="where the reset gate is open",
)
def _() -> Planting:
    right = scratch.GRUCell._forward

    def _forward(self: Any, x: Tensor, *given: Tensor | None) -> Any:
        right(self, x, *given)
        _, (h, gates, _) = self._saved
        r, z, _ = gates.chunk(3, -1)
        a_n = self._affine("ih", x) + self._affine("hh", r * h)
        n = a_n.chunk(3, -1)[2].tanh()
        return ((1 - z) * n + z * h,)

    return swap(scratch.GRUCell, _forward=_forward)


@fault(
    "the reset gate learns from h, not from its product",
    "layer.param_grad",
    "GRUCell",
    "has h, not W_hn h + b_hn, in the gradient of the reset gate",
)
def _() -> Planting:
    class Step(_GRUStep):
        def backward(self, dstate: Any, weight_hh: Tensor, kept: Any) -> Any:
            h, gates, _ = kept
            return super().backward(dstate, weight_hh, (h, gates, h))

    return swap(scratch.GRUCell, _step=Step())


@fault(
    "the reset gate is left out on the way back from n to h",
    "layer.param_grad",
    "GRUCell",
    subtle="where the reset gate is open",
)
def _() -> Planting:
    class Step(_GRUStep):
        def backward(self, dstate: Any, weight_hh: Tensor, kept: Any) -> Any:
            dax, _, _ = super().backward(dstate, weight_hh, kept)
            z = kept[1].chunk(3, -1)[1]
            return dax, dax, (torch.addmm(dstate[0] * z, dax, weight_hh),)

    return swap(scratch.GRUCell, _step=Step())


@fault(
    "x is read as if it had no gaps",
    "layer.noncontiguous",
    "GRUCell",
    subtle="where x lies row by row",
)
def _() -> Planting:
    right = scratch.GRUCell._forward

    def _forward(self: Any, x: Tensor, *given: Tensor | None) -> Any:
        return right(self, x.as_strided(x.shape, (x.shape[1], 1)), *given)

    return swap(scratch.GRUCell, _forward=_forward)


@fault(
    "the gradient of c from outside is dropped",
    "layer.input_grad",
    "LSTMCell",
    "lacks the gradient of c' that comes from outside",
    subtle="where the incoming gradient of c is 0",
)
def _() -> Planting:
    right = scratch.LSTMCell.backward
    return swap(scratch.LSTMCell, backward=lambda self, dh, dc=None: right(self, dh))


@fault(
    "tanh' of c' is left out",
    "layer.input_grad",
    "LSTMCell",
    "leaves tanh' of c' out",
    subtle="where c' is 0",
)
def _() -> Planting:
    class Step(_LSTMStep):
        def backward(self, dstate: Any, weight_hh: Tensor, kept: Any) -> Any:
            (dh, dc), (_, gates, _, tanh_c) = dstate, kept
            through = dh * gates.chunk(4, -1)[3]
            more = through - _dtanh(through, tanh_c)
            return super().backward((dh, dc + more), weight_hh, kept)

    return swap(scratch.LSTMCell, _step=Step())


@fault(
    "the gates are in the order i, f, o, g",  # of an adapter the set-up stage says so
    "layer.forward",
    "LSTMCell",
)
def _() -> Planting:
    class Step(_LSTMStep):
        def forward(self, ax: Tensor, ah: Tensor, state: Any) -> Any:
            i, f, o, g = (ax + ah).chunk(4, -1)
            ax.copy_(torch.cat([i, f, g, o], -1))
            return super().forward(ax, torch.zeros_like(ah), state)

    return swap(scratch.LSTMCell, _step=Step())


@fault(
    "c' is written over c",
    "layer.no_mutation",
    "LSTMCell",
    "LSTMCell writes into c",
)
def _() -> Planting:
    class Step(_LSTMStep):
        def forward(self, ax: Tensor, ah: Tensor, state: Any) -> Any:
            h, c = state
            (h, after), kept = super().forward(ax, ah, (h, c.clone()))
            return (h, c.copy_(after)), kept

    return swap(scratch.LSTMCell, _step=Step())


@fault(
    "the loop ends after 32 steps",
    "layer.forward",
    "RNN-long",
    "is wrong in 8 of 264 entries, and zero there",
    subtle="up to 32 steps",
)
def _() -> Planting:
    right = scratch.RNN._forward

    def _forward(self: Any, x: Tensor, *given: Tensor | None) -> Tensor:
        y = right(self, x, *given)
        y[:, 32:] = 0
        return y

    return swap(scratch.RNN, _forward=_forward)


@fault(
    "the gradients are those of the first step",
    "layer.param_grad",
    "RNN-no_bias",
    "is that of the first step alone",
    subtle="for one step",
)
def _() -> Planting:
    back, learn = scratch.RNN._back_in_time, scratch.RNN._learn

    def _back_in_time(self: Any, layer: int, dy: Tensor, kept: Any) -> Any:
        self._rows = dy.shape[1]
        return back(self, layer, dy, kept)

    def _learn(self: Any, which: str, da: Tensor, x: Tensor) -> None:
        learn(self, which, da[: self._rows], x[: self._rows])

    return swap(scratch.RNN, _back_in_time=_back_in_time, _learn=_learn)


@fault(
    "a batch starts from the last one's state",
    "layer.repeated",
    "RNN-no_bias",
    subtle="for the first batch",
)
def _() -> Planting:
    right = scratch.RNN._over_time

    def _over_time(self: Any, layer: int, x: Tensor, state: Any) -> Any:
        last = vars(self).setdefault("_last", {})
        shape = layer, *state[0].shape
        found = right(self, layer, x, (last.get(shape, state[0]),))
        last[shape] = found[0][-1].clone()
        return found

    return swap(scratch.RNN, _over_time=_over_time)


@fault(
    "the second layer starts from the first one's last state",
    "layer.forward",
    "RNN-layers=2",
    "starts the second layer from the first one's last state",
    subtle="for one layer",
)
def _() -> Planting:
    right = scratch.RNN._over_time

    def _over_time(self: Any, layer: int, x: Tensor, state: Any) -> Any:
        return right(self, layer, x, (x[-1],) if layer else state)

    return swap(scratch.RNN, _over_time=_over_time)


@fault(
    "h is ignored",
    "layer.forward",
    "GRU-state",
    "ignores the state that is given",
    subtle="where h is 0",
)
def _() -> Planting:
    def _state(self: Any, name: str, given: Any, x: Tensor, *shape: int) -> Tensor:
        return x.new_zeros(shape)

    return swap(scratch.GRU, _state=_state)


@fault(
    "the way back ends every 16 steps",
    "layer.input_grad",
    "GRU-long",
    subtle="up to 16 steps",
)
def _() -> Planting:
    right = scratch.GRU._back_in_time

    def _back_in_time(self: Any, layer: int, dy: Tensor, kept: Any) -> Any:
        parts = [
            right(self, layer, dy[t : t + 16], tuple(k[t : t + 16] for k in kept))
            for t in range(0, len(dy), 16)
        ]
        dax, dah, dstates = zip(*parts, strict=True)
        return torch.cat(dax), torch.cat(dah), dstates[0]

    return swap(scratch.GRU, _back_in_time=_back_in_time)


@fault(
    "a batch of one loses its axis",
    "layer.batch_of_one",
    "GRU-no_bias",
    "has the right number of entries, in another shape",
    subtle="for more than one sample",
)
def _() -> Planting:
    right = scratch.GRU.forward
    return swap(scratch.GRU, forward=lambda self, x, h=None: right(self, x, h).squeeze(0))


@fault(
    "the gradient of c does not go from step to step",
    "layer.input_grad",
    "LSTM-state",
    "lacks the gradient of c from one step to the one before",
    subtle="for one step",
)
def _() -> Planting:
    right = scratch.LSTM._back_in_time

    def _back_in_time(self: Any, layer: int, dy: Tensor, kept: Any) -> Any:
        found: list[Any] = []
        dstate: tuple[Tensor, ...] = (torch.zeros_like(dy[0]),)
        for t in reversed(range(len(dy))):
            of_t = tuple(k[t : t + 1] for k in kept)
            *da, dstate = right(self, layer, dy[t : t + 1] + dstate[0], of_t)
            found.append(da)
        dax, dah = (torch.cat(parts) for parts in zip(*found[::-1], strict=True))
        return dax, dah, dstate

    return swap(scratch.LSTM, _back_in_time=_back_in_time)


@fault(
    "what forward keeps belongs to the class",
    "layer.instances",
    "LSTM-no_bias",
    "share what forward keeps",
    subtle="while one is alive",
)
def _() -> Planting:
    right, kept = scratch.LSTM._keep, list[Any]()

    def _keep(self: Any, y: Tensor, *saved: Any) -> None:
        right(self, y)
        kept[:] = saved

    def _recall(self: Any, dy: Tensor) -> Any:
        self._take(dy)
        return kept

    return swap(scratch.LSTM, _keep=_keep, _recall=_recall)


@fault(
    "the first state is memory as it is",
    "layer.uninitialised",
    "LSTM-no_bias",
    subtle="where memory is zero at first",
)
def _() -> Planting:
    right = scratch.LSTM._state

    def _state(self: Any, name: str, given: Any, x: Tensor, *shape: int) -> Tensor:
        return (
            torch.empty(shape, dtype=x.dtype)
            if given is None
            else right(self, name, given, x, *shape)
        )

    return swap(scratch.LSTM, _state=_state)


@fault(
    "the last step's dy alone counts",
    "layer.input_grad",
    "LSTM-no_bias",
    "is by the last step's output gradient alone",
    subtle="where the loss is of the last step, or there is one",
)
def _() -> Planting:
    right = scratch.LSTM._learned

    def _learned(self: Any, dy: Tensor) -> Any:
        last = torch.zeros_like(dy)
        last[:, -1] = dy[:, -1]
        return right(self, last)

    return swap(scratch.LSTM, _learned=_learned)


@fault(
    "the scale is left out of dkey",
    "layer.input_grad",
    "ScaledDotProductAttention",
    subtle="where D is 1",
)
def _() -> Planting:
    right = scratch.ScaledDotProductAttention.backward

    def backward(self: Any, dy: Tensor) -> Any:
        width = self._saved[0].shape[-1]
        dquery, dkey, dvalue = right(self, dy)
        return dquery, dkey * math.sqrt(width), dvalue

    return swap(scratch.ScaledDotProductAttention, backward=backward)


@fault(
    "the softmax is not shifted",
    "layer.extremes",
    "ScaledDotProductAttention",
    "is NaN or infinite at inputs as large as 1e4",
    subtle="for scores below 88",
)
def _() -> Planting:
    def softmax(scores: Tensor) -> Tensor:
        e = scores.exp()
        return e / e.sum(-1, keepdim=True).clamp_min(torch.finfo(e.dtype).tiny)

    return swap(attention, _into_softmax=softmax)


def _seeing(last: Callable[[int, int], int]) -> Planting:
    """An attention whose query 0 sees the keys 0 to `last(Tq, Tk)`, the next one more, …."""
    right = scratch.ScaledDotProductAttention.forward

    def forward(self: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any = None) -> Tensor:
        causal, self.is_causal = self.is_causal, False
        if causal:
            count = query.shape[-2], key.shape[-2]
            mask = torch.ones(count, dtype=torch.bool).tril(last(*count))
        y = right(self, query, key, value, mask)
        self.is_causal = causal
        return y

    return swap(scratch.ScaledDotProductAttention, forward=forward)


@fault(
    "a query sees the key after its own",
    "layer.forward",
    "ScaledDotProductAttention-causal",
    "lets a query see one key more than it may",
    subtle="at the last place",
)
def _() -> Planting:
    return _seeing(lambda queries, keys: 1)


@fault(
    "the last query sees all keys",
    "layer.forward",
    "ScaledDotProductAttention-causal",
    "has the causal mask aligned at the lower right",
    subtle="where Tq = Tk",
)
def _() -> Planting:
    return _seeing(lambda queries, keys: keys - queries)


@fault(
    "the way back ignores is_causal",
    "layer.input_grad",
    "ScaledDotProductAttention-causal",
    subtle="where every key may be seen",
)
def _() -> Planting:
    right = scratch.ScaledDotProductAttention.backward

    def backward(self: Any, dy: Tensor) -> Any:
        query, key, value, _ = self._saved
        if self.is_causal:
            scores = query @ key.mT / math.sqrt(query.shape[-1])
            self._saved = query, key, value, scores.softmax(-1)
        return right(self, dy)

    return swap(scratch.ScaledDotProductAttention, backward=backward)


@fault(
    "the keys after the first 64 are left out",
    "layer.forward",
    "ScaledDotProductAttention-long",
    subtle="up to 64 keys",
)
def _() -> Planting:
    right = scratch.ScaledDotProductAttention.forward

    def forward(self: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any = None) -> Tensor:
        return right(self, query, key[..., :64, :], value[..., :64, :], mask)

    return swap(scratch.ScaledDotProductAttention, forward=forward)


@fault(
    "NaN becomes 0, as if its row saw nothing",
    "layer.nan",
    "ScaledDotProductAttention",
    "makes 0 of a NaN",
    subtle="for numbers",
)
def _() -> Planting:
    right = scratch.ScaledDotProductAttention.forward
    return swap(
        scratch.ScaledDotProductAttention,
        forward=lambda self, *given: right(self, *given).nan_to_num(),
    )


@fault(
    "the heads are made by a reshape alone",
    "layer.forward",
    "MultiheadAttention",
    "has the heads made by a reshape, without swapping the axes",
    subtle="for one head",
)
def _() -> Planting:
    right = scratch.MultiheadAttention._project

    def _project(self: Any, x: Tensor, rows: slice) -> Any:
        return [one.transpose(1, 2).reshape(one.shape) for one in right(self, x, rows)]

    return swap(scratch.MultiheadAttention, _project=_project)


@fault(
    "the memory learns as keys alone",
    "layer.input_grad",
    "MultiheadAttention-memory",
    "has the part of the keys alone",
    subtle="without a memory",
)
def _() -> Planting:
    right = scratch.MultiheadAttention._project_back

    def _project_back(self: Any, x: Tensor, rows: slice, *dparts: Tensor) -> Tensor:
        dx = right(self, x, rows, *dparts)
        if len(dparts) != 2:
            return dx
        dkey = dparts[0].transpose(1, 2).reshape(x.shape)
        return dkey @ self.in_proj_weight.chunk(3)[1]

    return swap(scratch.MultiheadAttention, _project_back=_project_back)


@fault(
    "in_proj_weight's gradient is overwritten",
    "layer.accumulation",
    "MultiheadAttention",
    "is that of the last backward alone",
    subtle="for one backward",
)
def _() -> Planting:
    right = scratch.MultiheadAttention._project_back

    def _project_back(self: Any, x: Tensor, rows: slice, *dparts: Tensor) -> Tensor:
        self.din_proj_weight[rows] = 0
        return right(self, x, rows, *dparts)

    return swap(scratch.MultiheadAttention, _project_back=_project_back)


@fault(
    "out_proj.weight learns from x",
    "layer.param_grad",
    "MultiheadAttention",
    "is by x, not by the heads that went in",
)
def _() -> Planting:
    right = scratch.MultiheadAttention.backward

    def backward(self: Any, dy: Tensor) -> Any:
        self.out_proj._kept = self._saved[0].reshape(-1, self.embed_dim)
        return right(self, dy)

    return swap(scratch.MultiheadAttention, backward=backward)


@fault(
    "the activation is left out of up's gradient",
    "layer.param_grad",
    "SwiGLU",
)
def _() -> Planting:
    return _keeping(scratch.SwiGLU, lambda passed, up: torch.ones_like(passed))


@fault(
    "the activation that is kept is multiplied by up in place",
    "layer.input_grad",
    "SwiGLU",
    subtle="where up(x) is 1",
)
def _() -> Planting:
    return _keeping(scratch.SwiGLU, lambda passed, up: passed * up)


def _keeping(layer: Any, activation: Callable[[Tensor, Tensor], Tensor]) -> Planting:
    """A gated layer that keeps something else for the activation of its gate."""
    right = layer.forward

    def forward(self: Any, x: Tensor) -> Tensor:
        y: Tensor = right(self, x)
        passed, up = self._saved
        self._saved = activation(passed, up), up
        return y

    return swap(layer, forward=forward)


@fault(
    "rows beyond the last whole block of 1024 are left out of backward",
    "layer.sizes",
    "SwiGLU",
    "is wrong in the last row alone, and zero there",
    subtle="up to 1024 rows",
)
def _() -> Planting:
    right = scratch.SwiGLU.backward

    def backward(self: Any, dy: Tensor) -> Tensor:
        dx = right(self, dy)
        if len(dx) > 1024:
            dx[len(dx) // 1024 * 1024 :] = 0
        return dx

    return swap(scratch.SwiGLU, backward=backward)


@fault(
    "GELU is by its tanh approximation",
    "layer.forward",
    "GeGLU",
    "has GELU by its tanh approximation",
    subtle="to three digits",
)
def _() -> Planting:
    return swap(scratch.GeGLU, _activation=staticmethod(lambda: scratch.GELU("tanh")))


@fault(
    "down learns from the activation alone",
    "layer.param_grad",
    "GeGLU",
    "lacks up in what went into down",
    subtle="where up(x) is 1",
)
def _() -> Planting:
    right = scratch.GeGLU.backward

    def backward(self: Any, dy: Tensor) -> Tensor:
        self.down._kept = self._saved[0]
        return right(self, dy)

    return swap(scratch.GeGLU, backward=backward)


@fault(
    "dy's rows are taken in another order than x's",
    "layer.rank",
    "GeGLU",
    "is wrong on inputs of three dimensions",
    subtle="for two dimensions",
)
def _() -> Planting:
    right = scratch.GeGLU.backward

    def backward(self: Any, dy: Tensor) -> Tensor:
        return right(self, dy if dy.dim() == 2 else dy.transpose(0, 1).reshape(dy.shape))

    return swap(scratch.GeGLU, backward=backward)


@fault(
    "dy is turned forward",
    "layer.input_grad",
    "RoPE",
    subtle="at place 0",
)
def _() -> Planting:
    def backward(self: Any, dy: Tensor) -> Tensor:
        cos, sin = self._recall(dy)
        turned: Tensor = self._turned(dy, cos, sin)
        return turned

    return swap(scratch.RoPE, backward=backward)


@fault(
    "angles are kept for all bases",
    "layer.forward",
    "RoPE",
    subtle="for the first base",
)
def _() -> Planting:
    right, angles = scratch.RoPE.forward, dict[Any, Any]()

    def forward(self: Any, x: Tensor) -> Tensor:
        y = right(self, x)
        cos, sin = angles.setdefault((x.shape[-2:], x.dtype), self._saved)
        self._keep(y, cos, sin)
        turned: Tensor = self._turned(x, cos, sin)
        return turned

    return swap(scratch.RoPE, forward=forward)


@fault(
    "cosines and sines are made in float32",
    "layer.forward",
    "RoPE",
    "is right to 7 digits alone",
    dtype="float64",
    subtle="in float32",
)
def _() -> Planting:
    right = scratch.RoPE._turned
    return swap(
        scratch.RoPE,
        _turned=lambda self, x, *both: right(self, x, *(one.float().to(x.dtype) for one in both)),
    )


@fault(
    "x is turned in place",
    "layer.no_mutation",
    "RoPE",
    "RoPE writes into its input",
)
def _() -> Planting:
    right = scratch.RoPE.forward
    return swap(scratch.RoPE, forward=lambda self, x: x.copy_(right(self, x)))


@fault(
    "backward changes the sign of the sines that it keeps",
    "layer.second_backward",
    "RoPE",
    subtle="in the first backward",
)
def _() -> Planting:
    def backward(self: Any, dy: Tensor) -> Tensor:
        cos, sin = self._saved
        turned: Tensor = self._turned(dy, cos, sin.neg_())
        return turned

    return swap(scratch.RoPE, backward=backward)


@fault(
    "its table has the first sequence's length, and its last row serves all that are longer",
    "layer.repeated",
    "RoPE",
    subtle="for sequences no longer than the first",
)
def _() -> Planting:
    right = scratch.RoPE._turned

    def turned(self: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        length = vars(self).setdefault("_length", len(cos))
        rows = torch.arange(len(cos)).clamp(max=length - 1)
        return right(self, x, cos[rows], sin[rows])

    return swap(scratch.RoPE, _turned=turned)
