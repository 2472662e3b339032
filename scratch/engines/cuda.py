"""The fused engine on CUDA: what the Triton kernel is given."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from scratch import optim
from scratch.engines import kernel
from scratch.engines.job import Unsupported
from scratch.engines.layout import RULES, Layer, Layout, Refused, Training
from scratch.philox import order

#: The longest batch in one tile; a longer one is done in several, but for a softmax over it.
LONGEST = 32
#: Steps of a run in one launch, some tenths of a second: then Ctrl-C is heard.
PORTION = 30_000
#: Entries of the orders of the epochs in one launch, 4 bytes each.
ORDERS = 1 << 26


def lanes(dtype: torch.dtype) -> int:
    """The numbers to a multiple of which rows are padded in memory."""
    return 1


def train(training: Training, layout: Layout, first: int, last: int) -> None:
    """Trains the buffers in epochs `first` to `last`, in launches between which Ctrl-C is heard.

    Raises:
        Refused: BCELoss would, of a prediction.
    """
    runs, batches = layout.runs or 1, -(-training.samples // training.batch)
    together = max(1, min(PORTION // batches, ORDERS // (runs * training.samples)))
    for begin in range(first, last + 1, together):
        epochs = torch.arange(begin, min(begin + together, last + 1), device=layout.device)
        orders = order(training.seeds.unsqueeze(-1), epochs, training.samples)  # [R, epochs, N]
        done = training.steps + (begin - training.base) * batches
        rates = _rates(training, done, len(epochs) * batches).to(layout.device)
        _launch(training, layout, begin, orders, rates, kernel.ORDINARY)


def trace(training: Training, layout: Layout, dy: Tensor | None) -> tuple[Tensor, Tensor]:
    """One pass, back from `dy`, or from the loss: the batch and y of each layer, and d loss / d
    each of them; `[layers + 1, rows * widest]`.

    Raises:
        Refused: BCELoss would, of the prediction.
    """
    dys = training.x.new_zeros(len(layout.layers) + 1, training.samples * layout.widest)
    if dy is not None:
        dys[-1, : dy.numel()] = dy.reshape(-1)
    orders = torch.arange(training.samples, device=layout.device)[None, None]
    mode = kernel.TRACED_LOSS if dy is None else kernel.TRACED_DY
    ys = _launch(training, layout, 1, orders, dys.new_zeros(1, 2).double(), mode, dys)
    return ys[0], dys


def _launch(
    training: Training, layout: Layout, epoch: int, orders: Tensor, rates: Tensor,
    mode: tl.constexpr, dys: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Does the epochs of the orders, from `epoch`; returns the outputs in the last step."""
    runs, p = layout.runs or 1, training.buffers["p"]
    ys = p.new_empty(runs, len(layout.layers) + 1, training.batch * layout.widest)
    refused = p.new_zeros(runs, 3)
    adamw = training.rule == RULES[optim.AdamW]
    numbers = [number for layer in layout.layers for number in (layer.alpha, layer.scale)]
    numbers += [
        training.lr, training.momentum, 0.0 if adamw else training.weight_decay,
        1 - training.lr * training.weight_decay if adamw else 1.0,
        1 - training.beta1, 1 - training.beta2, training.adam_eps, training.eps,
    ]  # fmt: skip
    wide = _tile(layout.widest)
    try:
        with torch.cuda.device_of(p):
            kernel.train[(runs,)](
                training.x, p if training.t is None else training.t, p, training.buffers["g"],
                *(training.buffers.get(name, p) for name in ("first", "second", "largest")),
                ys, p if dys is None else dys, training.seeds, orders.to(torch.int32), refused,
                torch.tensor(numbers, dtype=torch.float64, device=layout.device), rates,
                training.x_stride, training.t_stride, training.samples, max(training.batch, 1),
                epoch, orders.shape[1],
                NET=tl.constexpr(tuple(map(_tuple, layout.layers))), CRITERION=training.criterion,
                MEAN=bool(training.mean), RULE=training.rule, MOMENTA=training.momentum != 0,
                NESTEROV=bool(training.nesterov), AMSGRAD=bool(training.amsgrad),
                SIGN=-1.0 if training.maximize else 1.0, SIZE=layout.size, WIDEST=layout.widest,
                ROWS=min(_tile(training.batch), LONGEST),
                TILE=min(triton.next_power_of_2(max(layout.size, 16)), 2048), MODE=mode.value,
                num_warps=4 if wide <= 64 else 16, num_stages=1,  # no load before its store
                enable_fp_fusion=True,
            )  # fmt: skip
    except triton.runtime.errors.OutOfResources as error:
        raise Unsupported(f"engine 'fused' does not fit on this device: {error}") from error
    for state, low, high in refused.tolist():
        if state:
            raise Refused(low, high)
    return ys


def _tuple(layer: Layer) -> tuple[int, ...]:
    """A layer as the kernel has it."""
    return (
        layer.kind, layer.inputs, layer.outputs, _tile(layer.inputs), _tile(layer.outputs),
        int(layer.bias), int(layer.over_batch), layer.stream, layer.offset,
    )  # fmt: skip


def _tile(length: int) -> int:
    return max(16, triton.next_power_of_2(length))


def _rates(training: Training, done: int, steps: int) -> Tensor:
    """Two numbers of each step, `[steps, 2]`: of SGD what a gradient's share in the momentum is;
    of Adam the rate and what the root is multiplied by, in which its bias corrections are."""
    t = torch.arange(done + 1, done + steps + 1, dtype=torch.float64)
    if training.rule == RULES[optim.SGD]:
        fresh = torch.full_like(t, 1 - training.dampening)
        if not training.started and done == training.steps:
            fresh[0] = 1
        return torch.stack([fresh, t], -1)
    corrections = 1 - training.beta1**t, torch.sqrt(1 - training.beta2**t)
    return torch.stack([training.lr / corrections[0], 1 / corrections[1]], -1)
