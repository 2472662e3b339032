"""The fused engine's Triton kernel: a program for each run, many epochs in a launch.

Every formula is that of the eager class of the same name. A program goes through its steps by
itself, and what it needs of one step for another (parameters, state, the outputs that backward
needs) stays in the caches of its processor. Tensors are `[R, parameters]` with each Linear's
weight transposed to `[in, out]` and its bias as one more row, as `layout.Layout` packs them.

A tile is `[ROWS, columns]`, both powers of two of at least 16, which products of matrices need.
What stands beyond the batch or a layer's width is kept out where it would count: the weights, and
all that backward loads, are 0 there, and d loss / d prediction is 0 there.

With `TRITON_INTERPRET=1` in the environment Triton executes it on the CPU: the tests do so.
"""

from __future__ import annotations

import triton
import triton.language as tl

# The numbers of layout.py.
LINEAR: tl.constexpr = tl.constexpr(0)
RELU: tl.constexpr = tl.constexpr(1)
LEAKY_RELU: tl.constexpr = tl.constexpr(2)
ELU: tl.constexpr = tl.constexpr(3)
SIGMOID: tl.constexpr = tl.constexpr(4)
TANH: tl.constexpr = tl.constexpr(5)
SOFTMAX: tl.constexpr = tl.constexpr(6)
LOG_SOFTMAX: tl.constexpr = tl.constexpr(7)
DROPOUT: tl.constexpr = tl.constexpr(8)

MSE: tl.constexpr = tl.constexpr(0)
L1: tl.constexpr = tl.constexpr(1)
BCE: tl.constexpr = tl.constexpr(2)
BCE_LOGITS: tl.constexpr = tl.constexpr(3)
CROSS_ENTROPY: tl.constexpr = tl.constexpr(4)
CROSS_ENTROPY_INDEX: tl.constexpr = tl.constexpr(5)

SGD: tl.constexpr = tl.constexpr(0)
ADAMW: tl.constexpr = tl.constexpr(2)

# A layer in the kernel is a tuple of what is known when that is compiled; see cuda.py. It is kept
# in a constexpr, as its `value`: of tuples themselves each Triton from 3.3 to 3.7 refuses some use.
KIND: tl.constexpr = tl.constexpr(0)
IN: tl.constexpr = tl.constexpr(1)
OUT: tl.constexpr = tl.constexpr(2)
IN_TILE: tl.constexpr = tl.constexpr(3)
OUT_TILE: tl.constexpr = tl.constexpr(4)
BIAS: tl.constexpr = tl.constexpr(5)
OVER_BATCH: tl.constexpr = tl.constexpr(6)
STREAM: tl.constexpr = tl.constexpr(7)
OFFSET: tl.constexpr = tl.constexpr(8)

ORDINARY: tl.constexpr = tl.constexpr(0)
TRACED_DY: tl.constexpr = tl.constexpr(1)
TRACED_LOSS: tl.constexpr = tl.constexpr(2)

# What is known when it is called comes as float64 in memory: arguments are rounded to float32.
# First alpha and scale of each layer, then, from its end:
LR: tl.constexpr = tl.constexpr(-8)
MOMENTUM: tl.constexpr = tl.constexpr(-7)
DECAY: tl.constexpr = tl.constexpr(-6)
SHRINK: tl.constexpr = tl.constexpr(-5)
ONE: tl.constexpr = tl.constexpr(-4)
TWO: tl.constexpr = tl.constexpr(-3)
ADAM_EPS: tl.constexpr = tl.constexpr(-2)
BCE_EPS: tl.constexpr = tl.constexpr(-1)


#: Before Triton 3.5 `tl.dot` takes float32 at most.
DOT_OF_DOUBLES: tl.constexpr = tl.constexpr(
    tuple(map(int, triton.__version__.split(".")[:2])) >= (3, 5)
)


# ---- functions of one tile ----


@triton.jit
def expm1(x):
    """e^x - 1 for x <= 0: with x = n * ln 2 + r and |r| <= ln 2 / 2, e^r - 1 by its series."""
    single: tl.constexpr = x.dtype == tl.float32
    x = tl.where(x < (-20 if single else -40), -20.0 if single else -40.0, x)
    n = (x * 1.4426950408889634 - 0.5).to(tl.int32)
    whole = n.to(x.dtype)
    if single:
        r = x - whole * 0.693359375 - whole * -2.12194440e-4
        power = ((n + 127) << 23).to(tl.float32, bitcast=True)
    else:
        r = x - whole * 0.693145751953125 - whole * 1.42860682030941723212e-6
        power = ((n.to(tl.int64) + 1023) << 52).to(tl.float64, bitcast=True)
    terms: tl.constexpr = 7 if single else 13
    series = r * (1.0 / terms) + 1
    for i in tl.static_range(terms - 1, 1, -1):
        series = series * r * (1.0 / i) + 1
    return power * (series * r) + (power - 1)


@triton.jit
def product(a, b):
    """a @ b; where `tl.dot` takes no float64, a sum of the columns of a times the rows of b."""
    double: tl.constexpr = a.dtype == tl.float64
    if double and not DOT_OF_DOUBLES:
        inner = tl.arange(0, a.shape[1])
        c = tl.zeros([a.shape[0], b.shape[1]], tl.float64)
        for i in range(a.shape[1]):
            column = tl.sum(tl.where(inner[None, :] == i, a, 0.0), 1, keep_dims=True)
            row = tl.sum(tl.where(inner[:, None] == i, b, 0.0), 0, keep_dims=True)
            c += column * row
    else:
        c = tl.dot(a, b, input_precision="ieee", out_dtype=a.dtype)
    return c


@triton.jit
def sigmoid(x):
    return 1 / (1 + tl.exp(-x))


@triton.jit
def tanh(x):
    e = expm1(tl.where(x > 0, -2 * x, 2 * x))
    y = -e / (2 + e)
    return tl.where(x < 0, -y, y)


@triton.jit
def drawn(LAYER: tl.constexpr, below, keep, row, column, seed, epoch, step):
    """A Dropout's mask: entry e = row * width + column has word e % 4 of counter e // 4."""
    e = row * LAYER.value[OUT] + column
    same = e * 0
    a, b, c, d = tl.philox(seed, e // 4, same + step, same + epoch, same + LAYER.value[STREAM])
    word = tl.where(e % 4 < 2, tl.where(e % 4 == 0, a, b), tl.where(e % 4 == 2, c, d))
    return tl.where(word.to(tl.int64) < below, 1 / keep, 0 * keep)


@triton.jit
def kept(plane, row, column, rows, width):
    """What forward left in memory, `[rows, width]`, as a tile; 0 beyond it."""
    return tl.load(plane + row * width + column, (row < rows) & (column < width), 0)


# ---- layers and losses ----


@triton.jit
def forward(LAYER: tl.constexpr, x, p, numbers, row, rows, seed, epoch, step):
    """A layer's y, from its x."""
    kind: tl.constexpr = LAYER.value[KIND]
    alpha, scale = tl.load(numbers), tl.load(numbers + 1).to(x.dtype)
    column = tl.arange(0, LAYER.value[OUT_TILE])[None, :]
    if kind == LINEAR:
        depth = tl.arange(0, LAYER.value[IN_TILE])[:, None]
        weight = kept(p + LAYER.value[OFFSET], depth, column, LAYER.value[IN], LAYER.value[OUT])
        y = product(x, weight)
        if LAYER.value[BIAS]:
            bias = p + LAYER.value[OFFSET] + LAYER.value[IN] * LAYER.value[OUT]
            y += kept(bias, 0, column, 1, LAYER.value[OUT])
    elif kind == RELU:
        y = tl.where(x <= 0, 0.0, x)
    elif kind == LEAKY_RELU:
        y = tl.where(x > 0, x, alpha.to(x.dtype) * x)
    elif kind == ELU:
        y = scale * tl.where(x > 0, x, alpha.to(x.dtype) * expm1(tl.where(x > 0, 0.0, x)))
    elif kind == SIGMOID:
        y = sigmoid(scale * x)
    elif kind == TANH:
        y = tanh(x)
    elif kind == DROPOUT:
        y = x * drawn(LAYER, alpha.to(tl.int64), scale, row, column, seed, epoch, step)
    else:
        axis: tl.constexpr = 0 if LAYER.value[OVER_BATCH] else 1
        within = row < rows if LAYER.value[OVER_BATCH] else column < LAYER.value[OUT]
        x = tl.where(within, x, float("-inf"))
        x -= tl.max(x, axis, keep_dims=True)
        e = tl.exp(x)
        total = tl.sum(e, axis, keep_dims=True)
        y = tl.where(within, e / total if kind == SOFTMAX else x - tl.log(total), 0.0)
    return y


@triton.jit
def gradients(LAYER: tl.constexpr, x, dy, g, begin, rows):
    """Those of a Linear's parameters; of the first tile of a batch, or added to those before."""
    g += LAYER.value[OFFSET]
    depth = tl.arange(0, LAYER.value[IN_TILE])[:, None]
    column = tl.arange(0, LAYER.value[OUT_TILE])[None, :]
    row = begin + tl.arange(0, dy.shape[0])[None, :]
    later = 0 * column + begin > 0  # a tile: Triton 3.3 interprets no `&` with a bool, and no `~`
    within = (row < rows) & (depth < LAYER.value[IN])
    transposed = tl.load(x + row * LAYER.value[IN] + depth, within, 0)
    dw = product(transposed, dy)
    within = (depth < LAYER.value[IN]) & (column < LAYER.value[OUT])
    to = g + depth * LAYER.value[OUT] + column
    tl.store(to, dw + tl.load(to, within & later, 0), within)
    if LAYER.value[BIAS]:
        db = tl.sum(dy, 0, keep_dims=True)
        to = g + LAYER.value[IN] * LAYER.value[OUT] + column
        within = column < LAYER.value[OUT]
        tl.store(to, db + tl.load(to, within & later, 0), within)


@triton.jit
def backward(LAYER: tl.constexpr, x, y, dy, p, numbers, row, rows, seed, epoch, step):
    """d loss / d x, from d loss / d y; x and y are in memory."""
    kind: tl.constexpr = LAYER.value[KIND]
    alpha, scale = tl.load(numbers), tl.load(numbers + 1).to(dy.dtype)
    column = tl.arange(0, LAYER.value[OUT_TILE])[None, :]
    if kind == LINEAR:
        depth = tl.arange(0, LAYER.value[IN_TILE])[None, :]
        out = tl.arange(0, LAYER.value[OUT_TILE])[:, None]
        transposed = p + LAYER.value[OFFSET] + depth * LAYER.value[OUT] + out  # [out, in]
        weight = tl.load(transposed, (depth < LAYER.value[IN]) & (out < LAYER.value[OUT]), 0)
        dx = product(dy, weight)
    elif kind == RELU:
        dx = tl.where(kept(y, row, column, rows, LAYER.value[OUT]) == 0, 0.0, dy)
    elif kind == LEAKY_RELU:
        positive = kept(x, row, column, rows, LAYER.value[OUT]) > 0
        dx = tl.where(positive, dy, alpha.to(dy.dtype) * dy)
    elif kind == ELU:
        x = kept(x, row, column, rows, LAYER.value[OUT])
        slope = alpha.to(dy.dtype) * tl.exp(tl.where(x > 0, 0.0, x))
        dx = scale * tl.where(x > 0, dy, slope * dy)
    elif kind == SIGMOID:
        y = kept(y, row, column, rows, LAYER.value[OUT])
        dx = scale * dy * y * (1 - y)
    elif kind == TANH:
        y = kept(y, row, column, rows, LAYER.value[OUT])
        dx = dy * (1 - y * y)
    elif kind == DROPOUT:
        dx = dy * drawn(LAYER, alpha.to(tl.int64), scale, row, column, seed, epoch, step)
    else:
        axis: tl.constexpr = 0 if LAYER.value[OVER_BATCH] else 1
        y = kept(y, row, column, rows, LAYER.value[OUT])
        if kind == SOFTMAX:
            dx = y * (dy - tl.sum(dy * y, axis, keep_dims=True))
        else:
            within = (row < rows) & (column < LAYER.value[OUT])
            share = tl.where(within, tl.exp(y), 0.0)
            dx = dy - share * tl.sum(dy, axis, keep_dims=True)
    return dx


@triton.jit
def loss(
    CRITERION: tl.constexpr,
    MEAN: tl.constexpr,
    OUTPUTS: tl.constexpr,
    x,
    t,
    eps,
    sample,
    row,
    rows,
    refused,
):
    """d loss / d prediction x, 0 beyond the batch; notes what BCE refuses."""
    column = tl.arange(0, x.shape[1])[None, :]
    within = (row < rows) & (column < OUTPUTS)
    classes: tl.constexpr = CRITERION >= CROSS_ENTROPY
    if CRITERION == CROSS_ENTROPY_INDEX:
        t = (tl.load(t + sample, row < rows, 0) == column).to(x.dtype)
    else:
        t = tl.load(t + sample * OUTPUTS + column, within, 0)
    if CRITERION == MSE:
        dx = (x - t) + (x - t)
    elif CRITERION == L1:
        dx = tl.where(x > t, 1.0, tl.where(x < t, -1.0, x - t))
    elif CRITERION == BCE:
        odd = within & ((x < 0) | (x > 1) | (x != x))
        if (tl.sum(odd.to(tl.int32)) > 0) & (tl.load(refused) == 0):
            nan = tl.sum((within & (x != x)).to(tl.int32)) > 0
            low = tl.min(tl.where(within, x, float("inf")))
            high = tl.max(tl.where(within, x, float("-inf")))
            tl.store(refused, 1)
            tl.store(refused + 1, tl.where(nan, float("nan"), low))
            tl.store(refused + 2, tl.where(nan, float("nan"), high))
        x = tl.where(within, x, 0.5)
        spread = x * (1 - x)
        spread = tl.where(spread < 9.999999960041972e-13, 9.999999960041972e-13, spread)
        dx = tl.where(eps > 0, (1 - t) / (1 - x + eps) - t / (x + eps), (x - t) / spread)
    elif CRITERION == BCE_LOGITS:
        dx = sigmoid(x) - t
    else:
        x = tl.where(column < OUTPUTS, x, float("-inf"))
        e = tl.exp(x - tl.max(x, 1, keep_dims=True))
        dx = e / tl.sum(e, 1, keep_dims=True) * tl.sum(t, 1, keep_dims=True) - t
    if MEAN:
        dx = dx / (rows * (1 if classes else OUTPUTS)).to(dx.dtype)
    return tl.where(within, dx, 0.0)


# ---- the update ----


@triton.jit
def update(
    RULE: tl.constexpr, MOMENTA: tl.constexpr, NESTEROV: tl.constexpr, AMSGRAD: tl.constexpr,
    SIGN: tl.constexpr, SIZE: tl.constexpr, TILE: tl.constexpr,
    p, g, first, second, largest, numbers, rate,
):  # fmt: skip
    """Moves p by g, as the class of optim.py does; `rate` is of the step, see cuda.py."""
    dtype: tl.constexpr = p.dtype.element_ty
    decay, eps = tl.load(numbers + DECAY).to(dtype), tl.load(numbers + ADAM_EPS).to(dtype)
    a, b = tl.load(rate).to(dtype), tl.load(rate + 1).to(dtype)
    for start in range(0, SIZE, TILE):
        i = start + tl.arange(0, TILE)
        value = tl.load(p + i, i < SIZE, 0)
        d = SIGN * tl.load(g + i, i < SIZE, 0)
        if RULE == SGD:
            d += decay * value
            if MOMENTA:
                momentum = tl.load(numbers + MOMENTUM).to(dtype)
                kept = momentum * tl.load(first + i, i < SIZE, 0) + a * d
                tl.store(first + i, kept, i < SIZE)
                d = d + momentum * kept if NESTEROV else kept
            value -= tl.load(numbers + LR).to(dtype) * d
        else:
            value *= tl.load(numbers + SHRINK).to(dtype)
            d += decay * value
            mean, square = tl.load(first + i, i < SIZE, 0), tl.load(second + i, i < SIZE, 0)
            mean += tl.load(numbers + ONE).to(dtype) * (d - mean)
            square += tl.load(numbers + TWO).to(dtype) * (d * d - square)
            tl.store(first + i, mean, i < SIZE)
            tl.store(second + i, square, i < SIZE)
            if AMSGRAD:
                most = tl.load(largest + i, i < SIZE, 0)
                square = tl.where(most < square, square, most)
                tl.store(largest + i, square, i < SIZE)
            value -= a * mean / (tl.sqrt(square) * b + eps)
        tl.store(p + i, value, i < SIZE)


# ---- a run's training ----


@triton.jit(do_not_specialize=["x_stride", "t_stride", "samples", "batch", "epoch", "epochs"])
def train(
    x, t, p, g, first, second, largest, ys, dys, seeds, orders, refused, numbers, rates,
    x_stride, t_stride, samples, batch, epoch, epochs,
    NET: tl.constexpr, CRITERION: tl.constexpr, MEAN: tl.constexpr, RULE: tl.constexpr,
    MOMENTA: tl.constexpr, NESTEROV: tl.constexpr, AMSGRAD: tl.constexpr, SIGN: tl.constexpr,
    SIZE: tl.constexpr, WIDEST: tl.constexpr, ROWS: tl.constexpr, TILE: tl.constexpr,
    MODE: tl.constexpr,
):  # fmt: skip
    """Trains a run in some epochs, from `epoch`; in a traced mode does one pass, and no update."""
    count: tl.constexpr = len(NET.value)
    run = tl.program_id(0).to(tl.int64)
    x += run * x_stride
    t += run * t_stride
    p += run * SIZE
    g += run * SIZE
    first += run * SIZE
    second += run * SIZE
    largest += run * SIZE
    plane = tl.cast(batch, tl.int64) * WIDEST
    ys += run * (count + 1) * plane
    orders += run * epochs * samples
    refused += run * 3
    end = numbers + 2 * count + 8
    seed = tl.load(seeds + run)
    eps = tl.load(end + BCE_EPS).to(p.dtype.element_ty)
    for past in range(epochs):
        for start in range(0, samples, batch):
            step = start // batch
            rows = tl.minimum(batch, samples - start)
            for begin in range(0, rows, ROWS):
                row = begin + tl.arange(0, ROWS)[:, None]
                sample = tl.load(orders + past * samples + start + row, row < rows, 0).to(tl.int64)
                column = tl.arange(0, NET.value[0][IN_TILE])[None, :]
                within = (row < rows) & (column < NET.value[0][IN])
                h = tl.load(x + sample * NET.value[0][IN] + column, within, 0)
                tl.store(ys + row * NET.value[0][IN] + column, h, within)
                for i in tl.static_range(count):
                    h = forward(
                        tl.constexpr(NET.value[i]), h, p, numbers + 2 * i,
                        row, rows, seed, epoch + past, step,
                    )  # fmt: skip
                    column = tl.arange(0, NET.value[i][OUT_TILE])[None, :]
                    within = (row < rows) & (column < NET.value[i][OUT])
                    tl.store(ys + (i + 1) * plane + row * NET.value[i][OUT] + column, h, within)
                tl.debug_barrier()  # what a thread has stored, others load
                if MODE == TRACED_DY:
                    column = tl.arange(0, NET.value[count - 1][OUT_TILE])[None, :]
                    dh = kept(dys + count * plane, row, column, rows, NET.value[count - 1][OUT])
                else:
                    dh = loss(
                        CRITERION, MEAN, NET.value[count - 1][OUT],
                        h, t, eps, sample, row, rows, refused,
                    )  # fmt: skip
                for i in tl.static_range(count - 1, -1, -1):
                    if MODE > 0:
                        column = tl.arange(0, NET.value[i][OUT_TILE])[None, :]
                        within = (row < rows) & (column < NET.value[i][OUT])
                        to = dys + (i + 1) * plane + row * NET.value[i][OUT] + column
                        tl.store(to, dh, within)
                    if tl.constexpr(NET.value[i][KIND]) == LINEAR:
                        gradients(tl.constexpr(NET.value[i]), ys + i * plane, dh, g, begin, rows)
                    if i > 0 or MODE > 0:
                        dh = backward(
                            tl.constexpr(NET.value[i]), ys + i * plane, ys + (i + 1) * plane,
                            dh, p, numbers + 2 * i, row, rows, seed, epoch + past, step,
                        )  # fmt: skip
                if MODE > 0:
                    column = tl.arange(0, NET.value[0][IN_TILE])[None, :]
                    within = (row < rows) & (column < NET.value[0][IN])
                    tl.store(dys + row * NET.value[0][IN] + column, dh, within)
                tl.debug_barrier()
            if MODE == ORDINARY:
                update(
                    RULE, MOMENTA, NESTEROV, AMSGRAD, SIGN, SIZE, TILE,
                    p, g, first, second, largest, end, rates,
                )  # fmt: skip
                rates += 2
                tl.debug_barrier()
