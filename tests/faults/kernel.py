"""Named faults of the fused engine's Triton kernel, in the form of those in `fused.py`."""

from __future__ import annotations

#: name: (the source, the fault, where it must show)
FAULTS: dict[str, tuple[str, str, str]] = {
    "relu's derivative is 1": (
        "rows, LAYER.value[OUT]) == 0, 0.0, dy)", "rows, LAYER.value[OUT]) == 0, dy, dy)",
        "ReLU-float32-input_grad"),
    "leaky relu forgets its slope": (
        "tl.where(positive, dy, alpha.to(dy.dtype) * dy)", "tl.where(positive, dy, 0.0)",
        "LeakyReLU-slope=0.3-float32-input_grad"),
    "elu's derivative lacks e^x": (
        "tl.exp(tl.where(x > 0, 0.0, x))", "tl.exp(0.0 * x)", "ELU-float32-input_grad"),
    "elu has no alpha": (
        "x, alpha.to(x.dtype) * expm1(", "x, expm1(", "elu"),
    "selu's derivative lacks the scale": (
        "dx = scale * tl.where(x > 0, dy", "dx = tl.where(x > 0, dy", "SELU-float32-input_grad"),
    "the series of e^x is short": (
        "7 if single", "3 if single", "Tanh-float32-forward"),
    "the series of e^x is short in double alone": (
        "else 13", "else 8", "Tanh-float64-forward"),
    "sigmoid's derivative lacks the slope": (
        "scale * dy * y * (1 - y)", "dy * y * (1 - y)", "Sigmoid-slope=3-float32-input_grad"),
    "tanh's derivative lacks the square": (
        "dy * (1 - y * y)", "dy * (1 - y)", "Tanh-float32-input_grad"),
    "softmax's derivative is the diagonal": (
        "y * (dy - tl.sum(dy * y, axis, keep_dims=True))", "y * (dy - dy * y)",
        "Softmax-float32-input_grad"),
    "softmax is not shifted": (
        "x -= tl.max(x, axis, keep_dims=True)", "x -= 0.0", "Softmax-float32-extremes"),
    "softmax counts what is beyond its width": (
        "else column < LAYER.value[OUT]", "else column < 999", "Softmax-float32-forward"),
    "log-softmax's derivative lacks the exponential": (
        "tl.where(within, tl.exp(y), 0.0)", "tl.where(within, y, 0.0)",
        "LogSoftmax-float32-input_grad"),
    "dropout's backward is the identity": (
        "dx = dy * drawn(", "dx = dy + 0.0 * drawn(", "Dropout-p=0.5-float32-input_grad"),
    "dropout is not scaled": (
        "below, 1 / keep, 0 * keep", "below, keep / keep, 0 * keep",
        "Dropout-p=0.5-float32-forward"),
    "two words of a counter are exchanged": (
        "tl.where(e % 4 == 0, a, b)", "tl.where(e % 4 == 0, b, a)", "tanh"),
    "the bias is not added": (
        "            y += kept(", "            y += 0.0 * kept(", "Linear-float32-forward"),
    "the bias has no gradient": (
        "tl.store(to, db +", "tl.store(to, 0.0 * db +", "Linear-float32-param_grad"),
    "the weight is not transposed back": (
        "depth * LAYER.value[OUT] + out  #", "depth + out * LAYER.value[OUT]  #",
        "Linear-float32-input_grad"),
    "products are rounded to 10 bits": (
        "y = product(x, weight)",
        "y = tl.dot(x.to(tl.float16), weight.to(tl.float16)).to(x.dtype)",
        "Linear-float32-forward"),
    "the mean is a sum": ("    if MEAN:", "    if False:", "MSELoss-mean-float32-gradient"),
    "cross-entropy averages over all entries": (
        "(1 if classes else OUTPUTS)", "OUTPUTS", "CrossEntropyLoss-index_mean-float32-gradient"),
    "binary cross-entropy divides by what may be 0": (
        "    spread = tl.where(spread <", "    spread = tl.where(0 * spread >",
        "BCELoss-mean-float32-extremes"),
    "the absolute error's derivative at 0 is 1": (
        "tl.where(x < t, -1.0, x - t)", "tl.where(x < t, -1.0, 1.0)", "L1Loss-mean-float32-kink"),
    "d loss / d prediction is not 0 beyond the batch": (
        "return tl.where(within, dx, 0.0)", "return dx", "bce_logits"),
    "every epoch has the order of the first": (
        "orders + past * samples + start", "orders + start", "tanh"),
    "every step has the mask of the first": (
        "same + step, same + epoch", "same, same + epoch", "tanh"),
    "every epoch has the masks of the first": (
        "same + step, same + epoch", "same + step, same + 1", "tanh"),
    "all Dropouts have one mask": ("same + LAYER.value[STREAM]", "same + 2", "tanh"),
    "all runs have one seed": ("tl.load(seeds + run)", "tl.load(seeds)", "tanh"),
    "the last batch is divided by the size of the others": (
        "dx = dx / (rows *", "dx = dx / ((rows + 1) *", "mse"),
    "gradients are added to those of the step before": (
        "within & later, 0), within)", "within, 0), within)", "mse"),
    "nesterov is left out": ("d + momentum * kept if NESTEROV else", "kept if NESTEROV else",
                             "nesterov"),
    "weight decay is left out": ("d += decay * value\n            if", "d += 0.0\n            if",
                                 "sgd"),
    "maximize is left out": ("d = SIGN * tl.load", "d = tl.load", "sgd_maximize"),
    "the second moment's bias is not corrected": (
        "tl.sqrt(square) * b + eps", "tl.sqrt(square) + eps", "adam"),
    "eps is inside the root": (
        "tl.sqrt(square) * b + eps", "tl.sqrt(square + eps) * b", "adam_eps"),
    "amsgrad keeps the last": (
        "square = tl.where(most < square, square, most)", "square = square + 0.0 * most",
        "amsgrad"),
    "the decoupled decay does not shrink": (
        "value *= tl.load(numbers + SHRINK).to(dtype)", "value *= 1.0", "adamw"),
}  # fmt: skip
