"""What people get wrong in recurrent layers: gates, states, and the way back through time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from parity.catalogue.values import Tensors
from parity.explain.mistakes import Mistakes
from parity.explain.taps import Slip, Taps, cut, keeping, put, sloped
from parity.judge.comparison import CONVENTION

State = tuple[Tensor, ...]
Step = Callable[[Tensor, State, Tensors, Taps], State]


def of_recurrent(made: Mistakes, module: Any, inputs: Tensors, oracle: Tensors) -> None:
    """Of a cell, or of a layer over a sequence."""
    mode = getattr(module, "mode", type(module).__name__.removesuffix("Cell"))
    if mode == "RNN":
        mode = f"RNN_{module.nonlinearity.upper()}"
    step, slips = _STEPS[mode]
    buffers = {name: value.double() for name, value in module.named_buffers()}
    given = inputs | buffers
    if isinstance(module, nn.RNNBase):
        layers = module.num_layers
        slips = [*slips, *_IN_TIME, *(_OF_LAYERS if layers > 1 else [])]
        if mode == "LSTM":
            slips += _CELLS_IN_TIME
        if any(name.endswith(".x") for name in inputs):
            slips += _OF_STATES[mode == "LSTM"]

        def formula(inputs: Tensors, tap: Taps) -> Tensors:
            y = _over_time(step, inputs, tap, layers, mode == "LSTM")
            return {"output": y[:, -1] if getattr(module, "last", False) else y}

    else:
        slips = [*slips, _OF_GIVEN, *(_OF_TWO if mode == "LSTM" else [])]

        def formula(inputs: Tensors, tap: Taps) -> Tensors:
            states = tuple(inputs[f"{name}.x"] for name in ("h", "c") if f"{name}.x" in inputs)
            h, *c = step(inputs["x"], tap("states", states), inputs, tap)
            h, *c = tap("results", (h, *c), states)
            return {"output": h, **({"c.output": c[0]} if c else {})}

    put(made, formula, slips, given)


def _over_time(step: Step, inputs: Tensors, tap: Taps, layers: int, cells: bool) -> Tensor:
    x = inputs["x"]
    zeros = (x.new_zeros(len(x), inputs["weight_hh_l0"].shape[1]),) * (1 + cells)
    given = tuple(inputs[f"{name}.x"] for name in ("h", "c") if f"{name}.x" in inputs)
    last: State = zeros
    for layer in range(layers):
        weights = {
            name.removesuffix(f"_l{layer}"): value
            for name, value in inputs.items()
            if name.endswith(f"_l{layer}")
        }
        weights = tap("weights", weights, layer, inputs)
        state = tap("start", given or zeros, zeros)
        state = tap("start of layer", state, layer, last)
        outputs, count = [], x.shape[1]
        for place in range(count):
            time = tap("place", place, count)
            before = state
            now = tap("weights in time", weights, place, count)
            state = step(x[:, time], tap("state", state, place), now, tap)
            outputs.append(tap("shown", state, before)[0])
        last = state
        x = torch.stack(outputs, 1)
    return tap("output", x)


def _sums(x: Tensor, h: Tensor, w: Tensors, tap: Taps, step: Step, state: State) -> Any:
    """What x and h bring, each with its bias."""
    of_x = functional.linear(x, w["weight_ih"], w.get("bias_ih"))
    of_h = functional.linear(h, w["weight_hh"], tap("bias_hh", w.get("bias_hh")))
    return of_x, tap("of h", of_h, x, state, w, step)


def _rnn(activation: Callable[[Tensor], Tensor]) -> Step:
    def step(x: Tensor, state: State, w: Tensors, tap: Taps) -> State:
        of_x, of_h = _sums(x, state[0], w, tap, step, state)
        a = of_x + of_h
        return (tap("y", activation(a), a, state[0]),)

    return step


def _gru(x: Tensor, state: State, w: Tensors, tap: Taps) -> State:
    (h,) = state
    sums = _sums(x, h, w, tap, _gru, state)
    (rx, zx, nx), (rh, zh, nh) = (one.chunk(3, -1) for one in sums)
    r = tap("r", (rx + rh).sigmoid(), rx + rh)
    z = tap("z", (zx + zh).sigmoid(), zx + zh)
    inner = tap("r nh", r * nh, r, nh, h, w)
    n = tap("n", (nx + inner).tanh(), nx + inner)
    return (tap("h'", (1 - z) * n + z * h, z, n, h),)


def _lstm(x: Tensor, state: State, w: Tensors, tap: Taps) -> State:
    h, c = state
    of_x, of_h = _sums(x, h, w, tap, _lstm, state)
    i, f, g, o = (of_x + of_h).chunk(4, -1)
    i, f = tap("i", i.sigmoid(), i), tap("f", f.sigmoid(), f)
    g, o = tap("g", g.tanh(), g), tap("o", o.sigmoid(), o)
    i, f = tap("i and f", (i, f))
    kept, new = tap("kept", f * c, f, c, i * g), tap("new", i * g, i, g)
    after = tap("c'", kept + new, kept, new)
    squashed = tap("tanh c'", after.tanh(), after, o, c)
    return tap("h'", o * squashed, o, squashed, after, c), tap("c' shown", after, f, c)


def _after(y: Tensor, x: Tensor, state: State, w: Tensors, step: Step) -> Tensor:
    """What h brings, whose weight has its gradient by the state after the step."""
    after = step(x.detach(), tuple(s.detach() for s in state), _detached(w), Taps())[0].detach()
    return keeping(y, y, functional.linear(after - state[0].detach(), w["weight_hh"]))


def _detached(w: Tensors, *kept: str) -> Tensors:
    return {name: value if name in kept else value.detach() for name, value in w.items()}


def _turned_back(y: Tensor, x: Tensor, state: State, w: Tensors, step: Step) -> Tensor:
    """What h brings, which gets its gradient by the transposed weight."""
    h = state[0]
    right = functional.linear(h.detach(), w["weight_hh"], w.get("bias_hh"))
    return keeping(right, right, functional.linear(h, w["weight_hh"].detach().mT))


def _without_weight(h: Tensor, w: Tensors) -> Tensor:
    """What h brings, which gets the gradient of the sum itself."""
    right = functional.linear(h.detach(), w["weight_hh"], w.get("bias_hh"))
    return keeping(right, right, h)


def _turned(y: Tensor, x: Tensor, state: State, w: Tensors, step: Step) -> Tensor:
    return functional.linear(state[0], w["weight_hh"].mT, w.get("bias_hh"))


def _plain(y: Tensor, a: Tensor, *_: Any) -> Tensor:
    """Without the derivative of the nonlinearity."""
    return sloped(a, y, 1.0)


def _by_sign(y: Tensor, a: Tensor) -> Tensor:
    """The value y, whose gradient passes where it is positive."""
    y = keeping(y, a)
    if y.requires_grad:
        y.register_hook(lambda dy: dy * (dy > 0))
    return y


def _of_argument(y: Tensor, a: Tensor, *_: Any) -> Tensor:
    return sloped(a, y, 1 - a * a)


_SHARED = [
    Slip("leaves bias_hh out", {"bias_hh": lambda b: b if b is None else torch.zeros_like(b)}),
    Slip("is by the state after the step, not by the one before it", {"of h": _after}),
]
_OF_RNN = [
    Slip("has for relu' whether the incoming gradient is positive, not whether y is", {
        "y": lambda y, a, h: _by_sign(y, a),
    }),
    Slip("lacks the derivative of the nonlinearity", {"y": _plain}),
    Slip("has 1 - a^2 of the argument a for tanh', not 1 - y^2", {"y": _of_argument}),
    Slip("has 1 - y for tanh', without the square", {"y": lambda y, a, h: sloped(a, y, 1 - y)}),
    Slip("is a tanh, whatever the nonlinearity is", {"y": lambda y, a, h: a.tanh()}),
    Slip("has weight_hh transposed", {"of h": _turned}),
    Slip("has weight_hh transposed on the way back", {"of h": _turned_back}),
    Slip("lacks weight_hh on the way from a state to the one before", {
        "of h": lambda y, x, state, w, step: _without_weight(state[0], w),
    }),
]  # fmt: skip
_OF_GRU = [
    Slip("has the reset gate before the product, W_hn (r h), where torch has it after",
         {"r nh": lambda y, r, nh, h, w: _n_of(r * h, w)}, CONVENTION),
    Slip("has z and 1 - z swapped: z n + (1 - z) h",
         {"h'": lambda y, z, n, h: z * n + (1 - z) * h}, CONVENTION),
    Slip("has the reset gate before the product, and z and 1 - z swapped",
         {"r nh": lambda y, r, nh, h, w: _n_of(r * h, w),
          "h'": lambda y, z, n, h: z * n + (1 - z) * h}, CONVENTION),
    Slip("has the bias of n outside of the reset gate",
         {"r nh": lambda y, r, nh, h, w: r * _n_of(h, w, False) + _bias_n(w)}),
    Slip("leaves the reset gate out of n", {"r nh": lambda y, r, nh, h, w: nh}),
    Slip("is by a sigmoid for n, not a tanh", {"n": lambda y, a: a.sigmoid()}),
    Slip("lacks -n in the gradient of z", {"h'": lambda y, z, n, h: (1 - z.detach()) * n + z * h}),
    Slip("lacks h in the gradient of z",
         {"h'": lambda y, z, n, h: (1 - z) * n + z.detach() * h}),
    Slip("has the gradient of z with the other sign",
         {"h'": lambda y, z, n, h: keeping(y, z * (n - h).detach(), (1 - z.detach()) * n,
                                           z.detach() * h)}),
    Slip("has z for 1 - z in the gradient of n",
         {"h'": lambda y, z, n, h: keeping(y, z * (h - n).detach(), z.detach() * (n + h))}),
    Slip("lacks what h' has of h by z h", {"h'": lambda y, z, n, h: (1 - z) * n + z * h.detach()}),
    Slip("leaves sigma' out of the reset gate", {"r": _plain}),
    Slip("leaves sigma' out of the update gate", {"z": _plain}),
    Slip("leaves tanh' out of n", {"n": _plain}),
    Slip("has 1 - a^2 of the argument a for tanh' of n, not 1 - n^2", {"n": _of_argument}),
    Slip("has 1 - n for tanh' of n, without the square", {"n": lambda y, a: sloped(a, y, 1 - y)}),
    Slip("lacks the gradient of the reset gate", {"r": cut}),
    Slip("lacks the gradient of the update gate", {"z": cut}),
    Slip("has h, not W_hn h + b_hn, in the gradient of the reset gate",
         {"r nh": lambda y, r, nh, h, w: keeping(y, r * h.detach(), r.detach() * nh)}),
    Slip("lacks the reset gate on the way from n to h",
         {"r nh": lambda y, r, nh, h, w: keeping(
             y, r * nh.detach(), _n_of(h, _detached(w)), r.detach() * _n_of(h.detach(), w))}),
    Slip("lacks the reset gate on the way from n to h and to its weight",
         {"r nh": lambda y, r, nh, h, w: keeping(y, r * nh.detach(), nh)}),
    Slip("lacks the reset gate in the part of n", {"r nh": lambda y, r, nh, h, w: keeping(
        y, r * _n_of(h, w | {"weight_hh": w["weight_hh"].detach()}), _n_of(h.detach(), w, False))}),
    Slip("lacks the reset gate in the part of n, and so has that of the input's",
         {"r nh": lambda y, r, nh, h, w: keeping(
             y, r * nh.detach(), r.detach() * _n_of(h, _detached(w)), _n_of(h.detach(), w))}),
]  # fmt: skip
_OF_LSTM = [
    Slip("has o c' for h', without the tanh", {"h'": lambda y, o, t, after, c: o * after}),
    Slip("has h' of the cell before the step",
         {"h'": lambda y, o, t, after, c: o * c.tanh()}),
    Slip("is by a sigmoid for g, not a tanh", {"g": lambda y, a: a.sigmoid()}),
    Slip("adds 1 to the sum of the forget gate", {"f": lambda y, a: (a + 1).sigmoid()}),
    Slip("has 1 - f for the input gate", {"i and f": lambda gates: (1 - gates[1], gates[1])}),
    Slip("leaves sigma' out of the input gate", {"i": _plain}),
    Slip("leaves sigma' out of the forget gate", {"f": _plain}),
    Slip("leaves sigma' out of the output gate", {"o": _plain}),
    *(Slip(f"lacks the gradient of the {name} gate", {tap: cut})
      for tap, name in (("i", "input"), ("f", "forget"), ("g", "cell"), ("o", "output"))),
    Slip("leaves tanh' out of g", {"g": _plain}),
    Slip("has 1 - a^2 of the argument a for tanh' of g, not 1 - g^2", {"g": _of_argument}),
    Slip("has sigma' for tanh' of g: g (1 - g)", {"g": lambda y, a: sloped(a, y, y * (1 - y))}),
    Slip("has 1 - g for tanh' of g, without the square",
         {"g": lambda y, a: sloped(a, y, 1 - y)}),
    Slip("leaves tanh' of c' out", {"tanh c'": lambda y, a, o, c: sloped(a, y, 1.0)}),
    Slip("has 1 - c'^2 for tanh' of c'", {"tanh c'": lambda y, a, o, c: sloped(a, y, 1 - a * a)}),
    Slip("has tanh' of h', not of tanh(c')",
         {"tanh c'": lambda y, a, o, c: sloped(a, y, 1 - (o * y) ** 2)}),
    Slip("lacks the output gate on the way from h' to c'",
         {"h'": lambda y, o, t, after, c: keeping(y, o * t.detach(), t)}),
    Slip("lacks the gradient of the forget gate on the way to c",
         {"kept": lambda y, f, c, new: f * c.detach()}),
    Slip("lacks the forget gate on the way from c' to c",
         {"kept": lambda y, f, c, new: keeping(y, f * c.detach(), c)}),
    Slip("has c', not c, in the gradient of the forget gate",
         {"kept": lambda y, f, c, new: keeping(y, f * (y + new).detach(), f.detach() * c)}),
    Slip("has i for g and g for i in the gradients of these two",
         {"new": lambda y, i, g: keeping(y, i * i.detach(), g * g.detach())}),
    Slip("has c', not tanh(c'), in the gradient of the output gate",
         {"h'": lambda y, o, t, after, c: keeping(y, o * after.detach(), o.detach() * t)}),
    Slip("lacks what c' gets by h'",
         {"tanh c'": cut}),
]  # fmt: skip
_OF_GIVEN = Slip("ignores the h that is given: it starts from zeros", {
    "states": lambda states: (torch.zeros_like(states[0]), *states[1:]),
})  # fmt: skip
_OF_TWO = [
    Slip("lacks, in the gates, the gradient of c' that comes from outside", {
        "c' shown": lambda after, f, c: keeping(after, f.detach() * c),
    }),
    Slip("lacks the gradient of c' that comes from outside", {
        "results": lambda results, states: (results[0], results[1].detach()),
    }),
    Slip("has tanh(c') for the c that is returned", {
        "results": lambda results, states: (results[0], results[1].tanh()),
    }),
    Slip("is the c before the step", {
        "results": lambda results, states: (results[0], states[1]),
    }),
    Slip("is returned in the other order", {
        "results": lambda results, states: (results[1], results[0]),
    }),
    Slip("takes h for c and c for h", {"states": lambda states: states[::-1]}),
]  # fmt: skip
_IN_TIME = [
    Slip("goes no step back: each step is taken by itself", {
        "state": lambda state, place: tuple(s.detach() for s in state) if place else state,
    }),
    *(Slip(f"has the part of {name} in the first step alone", {
        "state": lambda state, place: tuple(s.detach() for s in state) if place else state,
    }, only=f"{name}.input_grad") for name in "hc"),
    Slip("is by the last step's output gradient alone", {
        "output": lambda y: torch.cat([y[:, :-1].detach(), y[:, -1:]], 1),
    }),
    Slip("is by the first step's output gradient alone", {
        "output": lambda y: torch.cat([y[:, :1], y[:, 1:].detach()], 1),
    }),
    Slip("takes the steps from the last to the first", {
        "place": lambda place, count: count - 1 - place, "output": lambda y: y.flip(1),
    }),
    Slip("has at each step the state before it", {"shown": lambda state, before: before}),
    Slip("is that of the first step alone: each step overwrites it", {
        "weights in time": lambda w, place, count: _detached(w) if place else w,
    }),
    Slip("is that of the last step alone, not summed over time", {
        "weights in time": lambda w, place, count: w if place == count - 1 else _detached(w),
    }),
]  # fmt: skip
_CELLS_IN_TIME = [
    Slip("lacks the gradient of c from one step to the one before", {
        "state": lambda state, place: (state[0], state[1].detach()) if place else state,
    }),
    Slip("lacks the gradient of h from one step to the one before", {
        "state": lambda state, place: (state[0].detach(), state[1]) if place else state,
    }),
    Slip("lacks, in the gates, the gradient of c' that comes from the next step", {
        "c' shown": lambda after, f, c: keeping(after, f.detach() * c),
    }),
    Slip("has c where h is due", {"shown": lambda state, before: state[::-1]}),
]  # fmt: skip
_IGNORED = Slip("ignores the state that is given: it starts from zeros", {
    "start": lambda state, zeros: zeros,
})  # fmt: skip
_OF_STATES = {
    False: [_IGNORED],
    True: [
        _IGNORED,
        Slip("takes h for c and c for h", {"start": lambda state, zeros: state[::-1]}),
        Slip("ignores the c that is given", {"start": lambda state, zeros: (state[0], zeros[0])}),
        Slip("ignores the h that is given", {"start": lambda state, zeros: (zeros[0], state[1])}),
    ],
}
_OF_LAYERS = [
    Slip("starts the second layer from the first one's last state", {
        "start of layer": lambda state, layer, last: last if layer else state,
    }),
    Slip("has the first layer's recurrent parameters in the second", {
        "weights": lambda w, layer, inputs: w | {
            name: inputs[f"{name}_l0"] for name in w if name.endswith("_hh")},
    }),
]  # fmt: skip


def _n_of(h: Tensor, w: Tensors, bias: bool = True) -> Tensor:
    """The part of n that a GRU's W_hn makes of h."""
    size = len(w["weight_hh"]) // 3
    own = w.get("bias_hh")
    of = own[2 * size :] if own is not None and bias else None
    return functional.linear(h, w["weight_hh"][2 * size :], of)


def _bias_n(w: Tensors) -> Any:
    own = w.get("bias_hh")
    return 0.0 if own is None else own[2 * len(own) // 3 :]


_STEPS: dict[str, tuple[Step, list[Slip]]] = {
    "RNN_TANH": (_rnn(torch.tanh), [*_SHARED, *_OF_RNN]),
    "RNN_RELU": (_rnn(torch.relu), [*_SHARED, *_OF_RNN]),
    "GRU": (_gru, [*_SHARED, *_OF_GRU]),
    "LSTM": (_lstm, [*_SHARED, *_OF_LSTM]),
}
