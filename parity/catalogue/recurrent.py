"""The rows of recurrent layers: cells, and layers over a sequence; and torch's side of them.

Torch's own take their states by layer, `[layers, B, hidden]`, and return them beside the output.
Here a state is `[B, hidden]`, an input like x, and what is returned is what a layer learns by: of
a cell the next states, of a layer over a sequence the output at each place.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from parity.catalogue.entry import Entry, Options, Variants


def _with_one_bias(module: nn.Module) -> None:
    """Leaves out the biases of h: they are 0, and no parameters."""
    for name in [name for name, _ in module.named_parameters() if name.startswith("bias_hh")]:
        value = getattr(module, name)
        delattr(module, name)
        module.register_buffer(name, torch.zeros_like(value), persistent=False)


def _batched(x: Tensor) -> bool:
    """Whether `torch.vmap` evaluates at many inputs at once: such a tensor has no memory."""
    try:
        x.data_ptr()
    except RuntimeError:
        return True
    return False


def _cell(
    mode: str, x: Tensor, state: tuple[Tensor, ...], weights: list[Tensor]
) -> tuple[Tensor, ...]:
    """The next state by torch's cell; written out under `torch.vmap`, which has no rule for one
    of them and is slow with the others."""
    if mode == "LSTM":
        if not _batched(x):
            return torch.lstm_cell(x, state, *weights)
        i, f, g, o = _sums(x, state[0], weights).chunk(4, -1)
        c = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c
    (h,) = state
    if not _batched(x):
        cells = {"GRU": torch.gru_cell, "RNN_TANH": torch.rnn_tanh_cell}
        return (cells.get(mode, torch.rnn_relu_cell)(x, h, *weights),)
    if mode == "GRU":
        r, z, n = functional.linear(x, weights[0], *weights[2:3]).chunk(3, -1)
        of_h = functional.linear(h, weights[1], *weights[3:]).chunk(3, -1)
        r, z = (r + of_h[0]).sigmoid(), (z + of_h[1]).sigmoid()
        n = (n + r * of_h[2]).tanh()
        return (n + z * (h - n),)
    sums = _sums(x, h, weights)
    return (sums.tanh() if mode == "RNN_TANH" else sums.relu(),)


def _sums(x: Tensor, h: Tensor, weights: list[Tensor]) -> Tensor:
    of_x = functional.linear(x, weights[0], *weights[2:3])
    return of_x + functional.linear(h, weights[1], *weights[3:])


def _of_cell(cell: nn.RNNCellBase) -> list[Tensor]:
    """The parameters of a cell, in torch's order."""
    biases = [cell.bias_ih, cell.bias_hh] if cell.bias else []
    return [cell.weight_ih, cell.weight_hh, *biases]


class RNNCell(nn.RNNCell):
    """torch.nn.RNNCell, of x `[B, input_size]` and h `[B, hidden_size]`."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        *,
        one_bias: bool = False,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, nonlinearity)
        if one_bias:
            _with_one_bias(self)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:  # type: ignore[override]
        return _cell(f"RNN_{self.nonlinearity.upper()}", x, (h,), _of_cell(self))[0]


class GRUCell(nn.GRUCell):
    """torch.nn.GRUCell, of x `[B, input_size]` and h `[B, hidden_size]`."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, *, one_bias: bool = False
    ) -> None:
        super().__init__(input_size, hidden_size, bias)
        if one_bias:
            _with_one_bias(self)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:  # type: ignore[override]
        return _cell("GRU", x, (h,), _of_cell(self))[0]


class LSTMCell(nn.LSTMCell):
    """torch.nn.LSTMCell, of x `[B, input_size]`, h and c `[B, hidden_size]`, to the next h and
    c."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, *, one_bias: bool = False
    ) -> None:
        super().__init__(input_size, hidden_size, bias)
        if one_bias:
            _with_one_bias(self)

    def forward(  # type: ignore[override]
        self, x: Tensor, h: Tensor, c: Tensor
    ) -> tuple[Tensor, ...]:
        return _cell("LSTM", x, (h, c), _of_cell(self))


class _Sequence(nn.RNNBase):
    """A layer over sequences `[B, T, input_size]`, to the last layer's h at each place: torch's
    cell at one place after the other.

    A layer of torch's own is one operation, whose inner rounding cannot be moved, and of LSTM's in
    float32 it ended the process now and then (oneDNN's, torch 2.13).

    Args:
        last: whether the output is that of the last place alone, `[B, hidden_size]`.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        *,
        last: bool = False,
        one_bias: bool = False,
    ) -> None:
        super().__init__(type(self).__name__, input_size, hidden_size, num_layers, bias)
        self.last = last
        if one_bias:
            _with_one_bias(self)

    def forward(self, x: Tensor, *given: Tensor) -> Tensor:
        kinds = ("weight_ih", "weight_hh", *(("bias_ih", "bias_hh") if self.bias else ()))
        for layer in range(self.num_layers):
            weights = [getattr(self, f"{kind}_l{layer}") for kind in kinds]
            zeros = x.new_zeros(len(x), self.hidden_size)
            state, outputs = given or (zeros,) * (1 + (self.mode == "LSTM")), []
            for place in range(x.shape[1]):
                state = _cell(self.mode, x[:, place], state, weights)
                outputs.append(state[0])
            x = torch.stack(outputs, 1)
        return x[:, -1] if self.last else x


class RNN(_Sequence):
    """torch.nn.RNN of sequences `[B, T, input_size]`, and h `[B, hidden_size]`, if given."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        *,
        last: bool = False,
        one_bias: bool = False,
    ) -> None:
        mode = f"RNN_{nonlinearity.upper()}"
        nn.RNNBase.__init__(self, mode, input_size, hidden_size, num_layers, bias)
        self.last = last
        if one_bias:
            _with_one_bias(self)


class GRU(_Sequence):
    """torch.nn.GRU of sequences `[B, T, input_size]`, and h `[B, hidden_size]`, if given."""


class LSTM(_Sequence):
    """torch.nn.LSTM of sequences `[B, T, input_size]`, and h and c `[B, hidden_size]`, if given."""


_SIZES: Options = {"input_size": 5, "hidden_size": 4}
_PLAIN: Variants = {"": {}, "no_bias": {"bias": False}, "one_unit": {"hidden_size": 1}}
_RELU: Variants = {"relu": {"nonlinearity": "relu"}}
_SEQUENCE: Variants = {
    "": {}, "state": {}, "one_step": {}, "long": {}, "layers=2": {"num_layers": 2},
    "no_bias": {"bias": False},
}  # fmt: skip
_LENGTHS = {"one_step": (3, 1, 5), "long": (2, 33, 5)}
"""The shapes of the input, where they are not `(3, 7, 5)`."""
_POSITIONAL = ("input_size", "hidden_size")
_ORDERS = {"RNNCell": "", "RNN": "", "GRUCell": "rzn", "GRU": "rzn", "LSTMCell": "ifgo",
           "LSTM": "ifgo"}  # fmt: skip


def _blocks(cls: type) -> Mapping[str, str]:
    order = _ORDERS[cls.__name__]
    return {"weight": order, "bias": order} if order else {}


def _of_cells(cls: type, stands_for: type, states: str, variants: Variants = _PLAIN) -> Entry:
    named = {name: _SIZES | options for name, options in variants.items()}
    return Entry(
        cls,
        "layer",
        named,
        (7, 5),
        positional=_POSITIONAL,
        beside={n: dict.fromkeys(states, (7, o["hidden_size"])) for n, o in named.items()},
        results=tuple(states[1:]),
        blocks=_blocks(cls),
        chained=True,
        stands_for=stands_for,
    )


def _of_sequences(cls: type, stands_for: type, states: str, more: Variants | None = None) -> Entry:
    named = {name: _SIZES | options for name, options in (_SEQUENCE | (more or {})).items()}
    return Entry(
        cls,
        "layer",
        named,
        {name: _LENGTHS.get(name, (3, 7, 5)) for name in named},
        positional=_POSITIONAL,
        sequence=True,
        beside={"state": dict.fromkeys(states, (3, 4))},
        blocks=_blocks(cls),
        optional=("state", "layers=2"),
        chained=True,
        stands_for=stands_for,
    )


ROWS: tuple[Entry, ...] = (
    _of_cells(RNNCell, nn.RNNCell, "h", _PLAIN | _RELU),
    _of_cells(GRUCell, nn.GRUCell, "h"),
    _of_cells(LSTMCell, nn.LSTMCell, "hc"),
    _of_sequences(RNN, nn.RNN, "h", _RELU),
    _of_sequences(GRU, nn.GRU, "h"),
    _of_sequences(LSTM, nn.LSTM, "hc"),
)
