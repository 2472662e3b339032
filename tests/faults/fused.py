"""Named faults of the fused engine: what is wrong in a copy of its source, and what shows it.

Each is a piece of the source and what stands in its place; a check of `tests.fused.SUBJECT`, by
its id, or a training of `tests.fused.TRAININGS`, by its name, must fail on it.
"""

from __future__ import annotations

#: name: (the source, the fault, where it must show)
FAULTS: dict[str, tuple[str, str, str]] = {
    "relu's derivative is 1": (
        "return y == 0 ? V{} : dy;", "return dy;", "ReLU-float32-input_grad"),
    "relu's derivative at 0 is 1": (
        "return y == 0 ? V{} : dy;", "return y >= 0 && dy != 0 ? dy : V{};", "ReLU-float32-kink"),
    "leaky relu forgets its slope": (
        "x > 0 ? dy : alpha * dy", "x > 0 ? dy : V{}", "LeakyReLU-slope=0.3-float32-input_grad"),
    "elu's derivative lacks e^x": (
        "alpha * exp<T>(x) * dy", "alpha * dy", "ELU-float32-input_grad"),
    "selu's derivative lacks the scale": (
        "scale * (x > 0 ? dy :", "(x > 0 ? dy :", "SELU-float32-input_grad"),
    "the series of e^x is two terms short": (
        "TERMS = 7,", "TERMS = 5,", "Sigmoid-float32-forward"),
    "the series of e^x is short in double alone": (
        "TERMS = 13,", "TERMS = 8,", "Sigmoid-float64-forward"),
    "sigmoid's derivative lacks the slope": (
        "scale * dy * y * (1 - y)", "dy * y * (1 - y)", "Sigmoid-slope=3-float32-input_grad"),
    "tanh's derivative lacks the square": (
        "dy * (1 - y * y)", "dy * (1 - y)", "Tanh-float32-input_grad"),
    "softmax's derivative is the diagonal": (
        "y[k] * (dy[k] - sum)", "y[k] * (dy[k] - dy[k] * y[k])", "Softmax-float32-input_grad"),
    "softmax is not shifted": (
        "y[at + i * by] = x[at + i * by] - most;", "y[at + i * by] = x[at + i * by];",
        "Softmax-float32-extremes"),
    "dropout's backward is the identity": (
        "return dy * mask;", "return dy;", "Dropout-p=0.5-float32-input_grad"),
    "dropout is not scaled": (
        "all<T>(T(1) / T(layer.scale))", "all<T>(T(1))", "Dropout-p=0.5-float32-forward"),
    "the bias is not added": (
        "const T* bias = layer.bias ?", "const T* bias = false ?", "Linear-float32-forward"),
    "the bias has no gradient": (
        "if (layer.bias) sum_of_rows", "if (false) sum_of_rows", "Linear-float32-param_grad"),
    "the gradient of the weight lacks the last sample": (
        "1, in, out, out, rows}", "1, in, out, out, rows - 1}", "Linear-float32-param_grad"),
    "squares are not transposed whole": (
        "(I & H ? lanes<T> + I : I + H)", "(I & H ? lanes<T> + I : I)",
        "Linear-float32-input_grad"),
    "the mean is a sum": (
        "if (job.mean) divisor =", "if (false) divisor =", "MSELoss-mean-float32-gradient"),
    "cross-entropy averages over all entries": (
        "(classes ? 1 : columns)", "columns", "CrossEntropyLoss-index_mean-float32-gradient"),
    "binary cross-entropy divides by what may be 0": (
        "(spread < least ? least : spread)", "spread", "BCELoss-mean-float32-extremes"),
    "the absolute error's derivative at 0 is 1": (
        "x[i] < t[i] ? -1 : x[i] - t[i]", "x[i] < t[i] ? -1 : 1", "L1Loss-mean-float32-kink"),
    "every epoch has the order of the first": (
        "shuffle.epoch(seed, epoch)", "shuffle.epoch(seed, 1)", "tanh"),
    "every step has the mask of the first": (
        "philox(seed, step, epoch,", "philox(seed, 0, epoch,", "tanh"),
    "all Dropouts have one mask": (
        "philox(seed, step, epoch, layer.stream,", "philox(seed, step, epoch, 2,", "tanh"),
    "all runs have one seed": ("seed = job.seeds[run]", "seed = job.seeds[0]", "tanh"),
    "the order leaves out a digit": (
        "shift < 32; shift += 8", "shift < 24; shift += 8", "tanh"),
    "the last batch is left out": (
        "number < batches; number++", "number < batches - 1; number++", "tanh"),
    "the last batch is divided by the size of the others": (
        "divisor = T(int64_t(rows)", "divisor = T(int64_t(job.batch)", "mse"),
    "momentum starts dampened": ("T(1 - job.dampening) : 1;", "T(1 - job.dampening)"
                                 " : T(1 - job.dampening);", "momentum"),
    "nesterov is left out": ("job.nesterov ? d + momentum * first[i] : first[i]", "first[i]",
                             "nesterov"),
    "weight decay is left out": ("T d = decay != 0 ?", "T d = false ?", "sgd"),
    "maximize is left out": ("T sign = job.maximize ? -1 : 1, decay = T(job.weight_decay), lr",
                             "T sign = 1, decay = T(job.weight_decay), lr", "sgd_maximize"),
    "the second moment's bias is not corrected": (
        "1 / std::sqrt(1 - std::pow(job.beta2, double(t)))", "1", "adam"),
    "the bias correction counts from 0": (
        "1 - std::pow(job.beta1, double(t))", "1 - std::pow(job.beta1, double(t + 1))", "adam"),
    "eps is inside the root": (
        "std::sqrt(square) * correction + eps", "std::sqrt(square + eps) * correction", "adam_eps"),
    "amsgrad keeps the last": (
        "largest[i] < square ? square : largest[i]", "square", "amsgrad"),
    "the decoupled decay is coupled": (
        "T(job.rule == ADAMW ? 0 : job.weight_decay)", "T(job.weight_decay)", "adamw"),
}  # fmt: skip
