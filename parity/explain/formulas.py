"""The formulas that are due, by torch class and by what is wrong: the definitions that torch's
documentation gives, and their derivatives. x goes in, y comes out, dy is the gradient that comes
in, dx the one that is passed on; N counts what a mean divides by."""

from __future__ import annotations

_NORM = "y = (x - mean) / sqrt(var + eps) * weight + bias, var the biased one"
_OF_BATCH = (
    "; in training of each channel over the batch, and kept as running = (1 - momentum) * running "
    "+ momentum * new, of var the unbiased one; in evaluation those that are kept"
)
_NORM_BACK = (
    "dx = (d - mean(d) - xhat * mean(d * xhat)) / sqrt(var + eps), d = dy * weight, "
    "xhat = (x - mean) / sqrt(var + eps)"
)

_IN_TIME = (
    "; from the last place to the first, where dh' is that place's dy and what the next gives"
)
_RNN = "h' = tanh(W_ih x + b_ih + W_hh h + b_hh)"
_RNN_BACK = (
    "da = dh' * (1 - h'^2); dx = da @ W_ih, dh = da @ W_hh, dW_ih = da.T @ x, dW_hh = da.T @ h, "
    "db = sum of da"
)
_GRU = (
    "h' = (1 - z) * n + z * h; r and z = sigmoid of their rows of W_ih x + b_ih + W_hh h + b_hh, "
    "n = tanh(W_in x + b_in + r * (W_hn h + b_hn))"
)
_GRU_BACK = (
    "dn = dh' * (1 - z) * (1 - n^2), dz = dh' * (h - n) * z * (1 - z), "
    "dr = dn * (W_hn h + b_hn) * r * (1 - r); dx = [dr, dz, dn] @ W_ih, "
    "dh = dh' * z + [dr, dz, dn * r] @ W_hh"
)
_LSTM = (
    "c' = f * c + i * g, h' = o * tanh(c'); i, f, o = sigmoid and g = tanh of their rows of "
    "W_ih x + b_ih + W_hh h + b_hh"
)
_LSTM_BACK = (
    "e = dc' + dh' * o * (1 - tanh(c')^2); di = e * g * i * (1 - i), df = e * c * f * (1 - f), "
    "dg = e * i * (1 - g^2), do = dh' * tanh(c') * o * (1 - o); dc = e * f, "
    "dx = [di, df, dg, do] @ W_ih, dh = [di, df, dg, do] @ W_hh"
)
_ATTENTION = "y = P v, P = softmax(q k.T / sqrt(D)) over the keys that may be seen"
_ATTENTION_BACK = (
    "dv = P.T @ dy; dP = dy @ v.T; dS = P * (dP - sum(dP * P over the keys)); "
    "dq = dS @ k / sqrt(D); dk = dS.T @ q / sqrt(D)"
)
_GATED_BACK = (
    "dh = dy @ W_down; dup = dh * f(gate), dgate = dh * up * f'(gate); "
    "dx = dgate @ W_gate + dup @ W_up; dW_gate = dgate.T @ x, dW_up = dup.T @ x, "
    "dW_down = dy.T @ (f(gate) * up)"
)

_FORWARD = {
    "RNNCell": _RNN,
    "GRUCell": _GRU,
    "LSTMCell": _LSTM,
    "RNN": f"{_RNN}, at each place from x there and the h before it",
    "GRU": f"{_GRU}, at each place from x there and the h before it",
    "LSTM": f"{_LSTM}, at each place from x there and the h and c before it",
    "ScaledDotProductAttention": _ATTENTION,
    "MultiheadAttention": f"y = W_o [heads] + b_o; of each head {_ATTENTION}; q, k, v its rows of "
                          "in_proj_weight x + in_proj_bias",
    "SwiGLU": "y = W_down (silu(W_gate x) * (W_up x)), silu(a) = a / (1 + e^-a)",
    "GeGLU": "y = W_down (gelu(W_gate x) * (W_up x)), gelu(a) = a * Phi(a)",
    "RoPE": "a' = a cos(w) - b sin(w), b' = a sin(w) + b cos(w) of each pair (a, b), "
            "w = t * base^(-2 i / D) for pair i at place t, both from 0",
    "Linear": "y = x @ W.T + b",
    "Conv2d": "y[n, o, i, j] = sum of W[o] * x[n] at the window of (i, j), + b[o]; the kernel is "
              "not flipped",
    "Conv1d": "y[n, o, l] = sum of W[o] * x[n] at the window of l, + b[o]; the kernel is not "
              "flipped",
    "ConvTranspose2d": "y[n] = sum over i, j of x[n, c, i, j] * W[c] at the window of (i, j), "
                       "added up where windows overlap, + b",
    "AvgPool2d": "y = the sum of each window / its number of entries; padding counts as 0",
    "AdaptiveAvgPool2d": "y[n, c] = the mean over all pixels of x[n, c], as [B, C, 1, 1]",
    "Upsample": "y[n, c, i, j] = x[n, c, i // scale, j // scale]",
    "MaxPool2d": "y = the largest entry of each window; padding counts as -inf",
    "Flatten": "y = x as [B, all other axes in their order]",
    "BatchNorm1d": _NORM + _OF_BATCH,
    "BatchNorm2d": _NORM + _OF_BATCH,
    "LayerNorm": _NORM + "; mean and var of each sample over the normalized axes",
    "GroupNorm": _NORM + "; mean and var of each sample over each group of channels and all pixels",
    "RMSNorm": "y = x / sqrt(mean(x^2) + eps) * weight, the mean over the normalized axes",
    "Embedding": "y = W[x]",
    "ReLU": "y = max(x, 0)",
    "LeakyReLU": "y = x where x > 0, else negative_slope * x",
    "PReLU": "y = x where x > 0, else weight * x",
    "ELU": "y = x where x > 0, else alpha * (e^x - 1)",
    "SELU": "y = scale * (x where x > 0, else alpha * (e^x - 1)), scale = 1.0507009873554805, "
            "alpha = 1.6732632423543772",
    "Sigmoid": "y = 1 / (1 + e^-x)",
    "Tanh": "y = tanh(x)",
    "SiLU": "y = x * s, s = 1 / (1 + e^-x)",
    "GELU": "y = x * Phi(x), Phi the normal distribution's function",
    "Mish": "y = x * tanh(log(1 + e^x))",
    "Softsign": "y = x / (1 + |x|)",
    "Hardtanh": "y = x, not below min_val and not above max_val",
    "ReLU6": "y = x, not below 0 and not above 6",
    "InstanceNorm2d": _NORM + "; mean and var of each channel of each sample",
    "Softplus": "y = log(1 + e^(beta * x)) / beta",
    "Softmax": "y = e^x / sum(e^x), over the features",
    "LogSoftmax": "y = x - log(sum(e^x)), over the features",
    "Dropout": "in training y = x * mask / (1 - p), each entry of the mask 0 with probability p, "
               "else 1; in evaluation y = x",
    "MSELoss": "loss = sum((prediction - target)^2) / N",
    "L1Loss": "loss = sum(|prediction - target|) / N",
    "BCELoss": "loss = -sum(t * log(p) + (1 - t) * log(1 - p)) / N",
    "BCEWithLogitsLoss": "loss = sum(max(x, 0) - x * t + log(1 + e^-|x|)) / N",
    "CrossEntropyLoss": "loss = -sum(t * (x - log(sum(e^x)))) / N, N the number of samples",
    "CategoricalCrossEntropy": "loss = -sum(t * log(p)) / N, N the number of samples",
    "NLLLoss": "loss = -sum(x at the target's class) / N, N the number of samples",
    "CTCLoss": "loss = -log P, P the sum over all alignments of the product of their steps' "
               "probabilities; mean: of each divided by its target's length",
    "KLDivLoss": "loss = sum(t * (log(t) - x)) / N; with log_target sum(e^t * (t - x)) / N",
}  # fmt: skip

_BACKWARD = {
    "RNNCell": _RNN_BACK,
    "GRUCell": _GRU_BACK,
    "LSTMCell": _LSTM_BACK,
    "RNN": _RNN_BACK + _IN_TIME,
    "GRU": _GRU_BACK + _IN_TIME,
    "LSTM": _LSTM_BACK + _IN_TIME,
    "ScaledDotProductAttention": _ATTENTION_BACK,
    "MultiheadAttention": f"dW_o = dy.T @ [heads]; of each head {_ATTENTION_BACK}; dx = the sum of "
    "what the three give by their rows of in_proj_weight",
    "SwiGLU": f"{_GATED_BACK}; f' = s + a * s * (1 - s), s = 1 / (1 + e^-a)",
    "GeGLU": f"{_GATED_BACK}; f' = Phi(a) + a * phi(a)",
    "RoPE": "da = da' cos(w) + db' sin(w), db = db' cos(w) - da' sin(w)",
    "MaxPool2d": "dx = dy at the first of each window's largest entries, added up over windows",
    "AvgPool2d": "dx = dy / the number of entries at each entry of a window, added up",
    "AdaptiveAvgPool2d": "dx = dy / the number of pixels, at every pixel",
    "Upsample": "dx = the sum of dy over all copies of a pixel",
    "Flatten": "dx = dy in the input's shape",
    "BatchNorm1d": _NORM_BACK,
    "BatchNorm2d": _NORM_BACK,
    "LayerNorm": _NORM_BACK,
    "GroupNorm": _NORM_BACK,
    "RMSNorm": "dx = (d - xhat * mean(d * xhat)) / r, d = dy * weight, r = sqrt(mean(x^2) + eps), "
    "xhat = x / r",
    "ReLU": "dx = dy where x > 0, else 0",
    "LeakyReLU": "dx = dy where x > 0, else negative_slope * dy",
    "ELU": "dx = dy where x > 0, else dy * alpha * e^x",
    "SELU": "dx = dy * scale where x > 0, else dy * scale * alpha * e^x",
    "Sigmoid": "dx = dy * y * (1 - y)",
    "Tanh": "dx = dy * (1 - y^2)",
    "SiLU": "dx = dy * (s + x * s * (1 - s)), s = 1 / (1 + e^-x)",
    "GELU": "dx = dy * (Phi(x) + x * phi(x))",
    "Mish": "dx = dy * (g + x * (1 - g^2) / (1 + e^-x)), g = tanh(log(1 + e^x))",
    "Softsign": "dx = dy / (1 + |x|)^2",
    "Hardtanh": "dx = dy where min_val < x < max_val, else 0",
    "ReLU6": "dx = dy where 0 < x < 6, else 0",
    "InstanceNorm2d": _NORM_BACK,
    "Softplus": "dx = dy / (1 + e^(-beta * x))",
    "Softmax": "dx = y * (dy - sum(dy * y)), the sum over the features",
    "LogSoftmax": "dx = dy - e^y * sum(dy), the sum over the features",
    "Dropout": "dx = dy * mask / (1 - p), with the mask of forward; in evaluation dx = dy",
    "MSELoss": "dprediction = 2 * (prediction - target) / N",
    "L1Loss": "dprediction = sign(prediction - target) / N",
    "BCELoss": "dp = (p - t) / (p * (1 - p)) / N",
    "BCEWithLogitsLoss": "dx = (sigmoid(x) - t) / N",
    "CrossEntropyLoss": "dx = (softmax(x) * sum(t) - t) / N, N the number of samples",
    "CategoricalCrossEntropy": "dp = -t / p / N, N the number of samples",
    "NLLLoss": "dx = -1 / N at the target's class, else 0",
    "CTCLoss": "dx = p - gamma, p the probabilities, gamma[t, k] the share of P of the alignments "
    "that are at label k at step t",
    "KLDivLoss": "dx = -t / N; with log_target -e^t / N",
}

_OF_NORM = {
    "weight.param_grad": "dweight = sum of dy * xhat over all axes but the weight's",
    "bias.param_grad": "dbias = sum of dy over all axes but the bias's",
}
_OF_PARAMETERS = {
    "Linear": {
        "input_grad": "dx = dy @ W",
        "weight.param_grad": "dW = dy.T @ x, summed over the batch",
        "bias.param_grad": "db = sum of dy over the batch",
    },
    "Conv2d": {
        "input_grad": "dx: each window's dy[n, o, i, j] * W[o], added up where windows overlap",
        "weight.param_grad": "dW[o] = sum over n, i, j of dy[n, o, i, j] * x[n] at the window of "
        "(i, j)",
        "bias.param_grad": "db[o] = sum of dy[:, o] over the batch and all pixels",
    },
    "Conv1d": {
        "input_grad": "dx: each window's dy[n, o, l] * W[o], added up where windows overlap",
        "weight.param_grad": "dW[o] = sum over n, l of dy[n, o, l] * x[n] at the window of l",
        "bias.param_grad": "db[o] = sum of dy[:, o] over the batch and all places",
    },
    "ConvTranspose2d": {
        "input_grad": "dx[n, c, i, j] = sum of W[c] * dy[n] at the window of (i, j)",
        "weight.param_grad": "dW[c] = sum over n, i, j of x[n, c, i, j] * dy[n] at the window of "
        "(i, j)",
        "bias.param_grad": "db[o] = sum of dy[:, o] over the batch and all pixels",
    },
    "PReLU": {
        "input_grad": "dx = dy where x > 0, else weight * dy",
        "weight.param_grad": "dweight = sum of x * dy where x <= 0",
    },
    "GroupNorm": _OF_NORM,
    "InstanceNorm2d": _OF_NORM,
    "BatchNorm1d": _OF_NORM,
    "BatchNorm2d": _OF_NORM,
    "LayerNorm": _OF_NORM,
    "RMSNorm": {"weight.param_grad": "dweight = sum of dy * x / r over all axes but the weight's"},
    "Embedding": {"weight.param_grad": "dW[i] = sum of dy wherever x is i; 0 at padding_idx"},
}

_STEP = {
    "SGD": "v = momentum * v + g (v = g at the first step); p = p - lr * v",
    "Adam": "m = beta1 * m + (1 - beta1) * g; v = beta2 * v + (1 - beta2) * g^2; "
            "p = p - lr * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)",
    "AdamW": "p = p * (1 - lr * weight_decay), and then a step of Adam without it",
    "RMSprop": "v = alpha * v + (1 - alpha) * g^2; p = p - lr * g / (sqrt(v) + eps)",
    "clip_grad_norm_": "g = g * min(1, max_norm / (norm + 1e-6)), the norm of all gradients "
                       "together",
    "clip_grad_value_": "g = g, not below -clip_value and not above clip_value",
    "Adagrad": "v = v + g^2; p = p - lr / (1 + (t - 1) * lr_decay) * g / (sqrt(v) + eps)",
}  # fmt: skip


def due(cls: str, result: str) -> str:
    """What a result should be computed by; "" where there is no formula for it."""
    if cls in _OF_PARAMETERS and result in _OF_PARAMETERS[cls]:
        return _OF_PARAMETERS[cls][result]
    if result.startswith("step "):
        return _STEP.get(cls, "")
    if result == "loss" or result.endswith("output"):
        return _FORWARD.get(cls, "")
    return _BACKWARD.get(cls, "") if result.endswith("grad") else ""
