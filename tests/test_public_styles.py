"""Convolution, pooling, norms and sequences in the styles of courses, books and frameworks of one
file: the skeleton has all of them, what is right passes, and what is wrong has its own name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

import parity
from parity import cli
from tests.subjects import layers_by_loops

COLUMNS = '''
import numpy as np


def windows(x, kernel, stride, pad):
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    view = np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), axis=(2, 3))
    return view[:, :, ::stride, ::stride]


def spread(parts, shape, stride, pad):
    """What `windows` has taken, added up where it came from; parts are [N, C, h, w, k, k]."""
    n, c, height, width = shape
    dx = np.zeros((n, c, height + 2 * pad, width + 2 * pad), parts.dtype)
    h, w, k = parts.shape[2], parts.shape[3], parts.shape[4]
    for i in range(k):
        for j in range(k):
            dx[:, :, i : i + stride * h : stride, j : j + stride * w : stride] += parts[..., i, j]
    return dx[:, :, pad : pad + height, pad : pad + width]
'''

BOOK = (
    COLUMNS
    + """
class Affine:
    def __init__(self, W, b):
        self.W, self.b = W, b
        self.dW = None
        self.db = None

    def forward(self, x):
        self.x = x
        return x @ self.W + self.b

    def backward(self, dout):
        self.dW, self.db = self.x.T @ dout, dout.sum(0)
        return dout @ self.W.T


class Convolution:
    def __init__(self, W, b, stride=1, pad=0):
        self.W, self.b, self.stride, self.pad = W, b, stride, pad
        self.dW = None
        self.db = None

    def forward(self, x):
        out_c, in_c, height, width = self.W.shape
        self.shape = x.shape
        self.cols = windows(x, height, self.stride, self.pad)
        return np.einsum("nchwij,ocij->nohw", self.cols, self.W) + self.b[:, None, None]

    def backward(self, dout):
        self.dW = np.einsum("nchwij,nohw->ocij", self.cols, dout)
        self.db = dout.sum((0, 2, 3))
        parts = np.einsum("nohw,ocij->nchwij", dout, self.W)
        return spread(parts, self.shape, self.stride, self.pad)


class Pooling:
    def __init__(self, pool_h, pool_w, stride=1):
        self.kernel, self.stride = pool_h, stride

    def forward(self, x):
        self.shape = x.shape
        cols = windows(x, self.kernel, self.stride, 0)
        self.cols = cols.reshape(*cols.shape[:4], -1)
        self.best = self.cols.argmax(-1)
        return self.cols.max(-1)

    def backward(self, dout):
        parts = np.zeros(self.cols.shape)
        np.put_along_axis(parts, self.best[..., None], dout[..., None], -1)
        parts = parts.reshape(*parts.shape[:4], self.kernel, self.kernel)
        return spread(parts, self.shape, self.stride, 0)


class Dropout:
    def __init__(self, dropout_ratio=0.5):
        self.ratio = dropout_ratio

    def forward(self, x, train_flg=True):
        self.mask = np.ones_like(x)
        if train_flg:
            self.mask = (np.random.rand(*x.shape) > self.ratio) / max(1 - self.ratio, 1e-300)
        return x * self.mask

    def backward(self, dout):
        return dout * self.mask


class Embedding:
    def __init__(self, W):
        self.params = [W]
        self.grads = [np.zeros_like(W)]

    def forward(self, idx):
        self.idx = idx
        return self.params[0][idx]

    def backward(self, dout):
        self.grads[0][...] = 0
        np.add.at(self.grads[0], self.idx, dout)


class TimeRNN:
    def __init__(self, Wx, Wh, b):
        self.params = [Wx, Wh, b]
        self.grads = [np.zeros_like(one) for one in self.params]

    def forward(self, xs):
        wx, wh, b = self.params
        n, t, _ = xs.shape
        self.xs, self.hs = xs, np.zeros((n, t + 1, len(wh)))
        for k in range(t):
            self.hs[:, k] = np.tanh(xs[:, k] @ wx + self.hs[:, k - 1] @ wh + b)
        return self.hs[:, :t].copy()

    def backward(self, dhs):
        wx, wh, b = self.params
        dxs, dh = np.zeros_like(self.xs), 0
        for one in self.grads:
            one[...] = 0
        for k in reversed(range(dhs.shape[1])):
            da = (dhs[:, k] + dh) * (1 - self.hs[:, k] ** 2)
            dxs[:, k], dh = da @ wx.T, da @ wh.T
            self.grads[0] += self.xs[:, k].T @ da
            self.grads[1] += self.hs[:, k - 1].T @ da
            self.grads[2] += da.sum(0)
        return dxs


def cross_entropy_error(y, t):
    return -np.sum(np.log(y[np.arange(len(t)), t])) / len(t)


class SoftmaxWithLoss:
    def forward(self, x, t):
        e = np.exp(x - x.max(1, keepdims=True))
        self.y, self.t = e / e.sum(1, keepdims=True), t
        return cross_entropy_error(self.y, t)

    def backward(self, dout=1):
        dx = self.y.copy()
        dx[np.arange(len(dx)), self.t] -= 1
        return dx / len(dx)
"""
)

COURSE = (
    COLUMNS
    + """
def affine_forward(x, w, b):
    return x @ w + b, (x.copy(), w)


def affine_backward(dout, cache):
    x, w = cache
    return dout @ w.T, x.T @ dout, dout.sum(0)


def softmax_loss(x, y):
    e = np.exp(x - x.max(1, keepdims=True))
    p = e / e.sum(1, keepdims=True)
    loss = (np.log(e.sum(1)) - (x - x.max(1, keepdims=True))[np.arange(len(y)), y]).mean()
    p[np.arange(len(y)), y] -= 1
    return loss, p / len(y)


def batchnorm_forward(x, gamma, beta, bn_param):
    eps, momentum = bn_param.get("eps", 1e-5), bn_param.get("momentum", 0.9)
    running_mean = bn_param.get("running_mean", np.zeros(x.shape[1]))
    running_var = bn_param.get("running_var", np.ones(x.shape[1]))
    mean, var = running_mean, running_var
    if bn_param["mode"] == "train":
        mean, var = x.mean(0), x.var(0)
        bn_param["running_mean"] = momentum * running_mean + (1 - momentum) * mean
        bn_param["running_var"] = momentum * running_var + (1 - momentum) * var
    xhat = (x - mean) / np.sqrt(var + eps)
    return gamma * xhat + beta, (xhat, np.sqrt(var + eps), gamma, bn_param["mode"])


def batchnorm_backward(dout, cache):
    xhat, std, gamma, mode = cache
    d = dout * gamma
    if mode == "train":
        d = d - d.mean(0) - xhat * (d * xhat).mean(0)
    return d / std, (dout * xhat).sum(0), dout.sum(0)


def dropout_forward(x, dropout_param):
    p = dropout_param["p"]
    mask = np.ones_like(x)
    if dropout_param["mode"] == "train":
        mask = (np.random.rand(*x.shape) < p) / max(p, 1e-300)
    return x * mask, mask


def dropout_backward(dout, cache):
    return dout * cache


def conv_forward_naive(x, w, b, conv_param):
    cols = windows(x, w.shape[2], conv_param["stride"], conv_param["pad"])
    y = np.einsum("nchwij,ocij->nohw", cols, w) + b[:, None, None]
    return y, (x.shape, cols, w, conv_param)


def conv_backward_naive(dout, cache):
    shape, cols, w, conv_param = cache
    parts = np.einsum("nohw,ocij->nchwij", dout, w)
    dx = spread(parts, shape, conv_param["stride"], conv_param["pad"])
    return dx, np.einsum("nchwij,nohw->ocij", cols, dout), dout.sum((0, 2, 3))


def spatial_batchnorm_forward(x, gamma, beta, bn_param):
    n, c, h, w = x.shape
    y, cache = batchnorm_forward(x.transpose(0, 2, 3, 1).reshape(-1, c), gamma, beta, bn_param)
    return y.reshape(n, h, w, c).transpose(0, 3, 1, 2), cache


def spatial_batchnorm_backward(dout, cache):
    n, c, h, w = dout.shape
    dx, dgamma, dbeta = batchnorm_backward(dout.transpose(0, 2, 3, 1).reshape(-1, c), cache)
    return dx.reshape(n, h, w, c).transpose(0, 3, 1, 2), dgamma, dbeta
"""
)

LAST = """
import numpy as np


def conv_forward(A_prev, W, b, hparameters):
    (f, f, n_C_prev, n_C) = W.shape
    stride, pad = hparameters["stride"], hparameters["pad"]
    padded = np.pad(A_prev, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    m, h, w, _ = padded.shape
    Z = np.zeros((m, (h - f) // stride + 1, (w - f) // stride + 1, n_C))
    for i in range(Z.shape[1]):
        for j in range(Z.shape[2]):
            part = padded[:, i * stride : i * stride + f, j * stride : j * stride + f]
            for c in range(n_C):
                Z[:, i, j, c] = (part * W[..., c]).sum((1, 2, 3)) + float(b[0, 0, 0, c])
    return Z, (A_prev.shape, padded, W, hparameters)


def conv_backward(dZ, cache):
    shape, padded, W, hparameters = cache
    stride, pad, f = hparameters["stride"], hparameters["pad"], W.shape[0]
    dA, dW = np.zeros(padded.shape), np.zeros(W.shape)
    for i in range(dZ.shape[1]):
        for j in range(dZ.shape[2]):
            rows, columns = slice(i * stride, i * stride + f), slice(j * stride, j * stride + f)
            for c in range(dZ.shape[3]):
                d = dZ[:, i, j, c][:, None, None, None]
                dA[:, rows, columns] += d * W[..., c]
                dW[..., c] += (d * padded[:, rows, columns]).sum(0)
    h, w = shape[1:3]
    return dA[:, pad : pad + h, pad : pad + w], dW, dZ.sum((0, 1, 2)).reshape(1, 1, 1, -1)
"""

ONE_IMAGE = """
import numpy as np


class Conv:
    def __init__(self, in_channels, out_channels):
        self.filters = np.zeros((out_channels, 3, 3, in_channels))
        self.d_filters = np.zeros(self.filters.shape)

    def forward(self, input):
        self.last_input = input
        h, w, _ = input.shape
        output = np.zeros((h - 2, w - 2, len(self.filters)))
        for i in range(h - 2):
            for j in range(w - 2):
                output[i, j] = (input[i : i + 3, j : j + 3] * self.filters).sum((1, 2, 3))
        return output

    def backprop(self, d_out, learn_rate):
        self.d_filters, d_input = np.zeros(self.filters.shape), np.zeros(self.last_input.shape)
        for i in range(d_out.shape[0]):
            for j in range(d_out.shape[1]):
                for f in range(len(self.filters)):
                    self.d_filters[f] += d_out[i, j, f] * self.last_input[i : i + 3, j : j + 3]
                    d_input[i : i + 3, j : j + 3] += d_out[i, j, f] * self.filters[f]
        self.filters -= learn_rate * self.d_filters
        return d_input


class ReLU:
    def forward(self, input):
        self.last_input = input
        return np.maximum(0, input)

    def backprop(self, d_out):
        return d_out * (self.last_input > 0)
"""


@pytest.mark.parametrize(
    ("text", "settings", "classes"),
    [
        (BOOK, ['weight="in_out"', 'biases="one"'],
         "Linear Conv2d MaxPool2d Dropout Embedding RNN CrossEntropyLoss network"),
        (COURSE, ['running_variance="biased"', 'weight="in_out"'],
         "Linear CrossEntropyLoss BatchNorm1d BatchNorm2d Dropout Conv2d network"),
        (LAST, ['kernel="hwio"', 'channels="last"'], "Conv2d"),
        (ONE_IMAGE, ['"bias": False', '"kernel_size": 3', 'kernel="ohwi"', 'channels="last"',
                     'batch="vector"'], "Conv2d ReLU"),
    ],
    ids=["a book's", "a course's functions", "channels last", "one image at a time"],
)  # fmt: skip
def test_a_right_one_passes_as_its_skeleton_is_written(
    text: str, settings: list[str], classes: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (tmp_path / "framework.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["new", "framework.py"]) == cli.PASSED
    written = Path("parity_adapter.py").read_text()
    assert "does not run yet" not in capsys.readouterr().out, written
    for setting in settings:
        assert setting in written.replace("'", '"'), written
    report = parity.check("parity_adapter.py", quick=True)
    assert report.passed, [str(one) for one in report.findings]
    assert {one.cls for one in report.outcomes} == set(classes.split())


DRAWN = np.random.default_rng(0)


class Words:
    """Its mode is a word, and so is an argument of its kind."""

    def __init__(self, p: float) -> None:
        self.p, self.mode = p, "train"

    def forward(self, x: Any) -> Any:
        self.mask = np.ones_like(x)
        if self.mode == "train":
            self.mask = (DRAWN.random(x.shape) >= self.p) / max(1 - self.p, 1e-300)
        elif self.mode != "evaluation":
            raise ValueError(self.mode)
        return x * self.mask

    def backward(self, dy: Any) -> Any:
        return dy * self.mask


class Told(Words):
    def forward(self, x: Any, *, is_training: bool) -> Any:  # type: ignore[override]
        self.mode = "train" if is_training else "evaluation"
        return super().forward(x)


class Forgets(Told):
    """Takes no notice of what it is told."""

    def forward(self, x: Any, *, is_training: bool) -> Any:  # type: ignore[override]
        return super().forward(x, is_training=True)


def test_a_mode_may_be_a_word_or_an_argument_and_is_no_excuse() -> None:
    for right in (Words, Told):
        only = parity.Subject({nn.Dropout: right}, array="numpy", dtypes=("float64",))
        report = parity.check(only, quick=True)
        assert report.passed, report.findings
    wrong = parity.Subject({nn.Dropout: Forgets}, array="numpy", dtypes=("float64",))
    assert {one.check for one in parity.check(wrong, quick=True).outcomes if one.failures} >= {
        "eval_mode"
    }


class InDicts:
    """Gradients in a dict that a backward fills first, parameters in another order."""

    def __init__(self, n_in: int, n_out: int) -> None:
        self.params = {"b": np.zeros(n_out), "W": np.zeros((n_in, n_out))}
        self.grads: dict[str, Any] = {}

    def forward(self, x: Any) -> Any:
        self.x = x
        return x @ self.params["W"] + self.params["b"]

    def backward(self, dy: Any) -> Any:
        self.grads["W"], self.grads["b"] = self.x.T @ dy, dy.sum(0)
        return dy @ self.params["W"].T


class Returns(InDicts):
    """A backward that returns the gradients beside the input's."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__(n_in, n_out)
        self.params = [np.zeros((n_in, n_out)), np.zeros(n_out)]  # type: ignore[assignment]
        del self.grads

    def forward(self, x: Any) -> Any:
        self.x = x
        return x @ self.params[0] + self.params[1]  # type: ignore[index]

    def backward(self, dy: Any) -> Any:
        return dy @ self.params[0].T, [self.x.T @ dy, dy.sum(0)]  # type: ignore[index]


class ReturnsHalf(Returns):
    def backward(self, dy: Any) -> Any:
        dx, (dw, db) = super().backward(dy)
        return dx, [dw / 2, db]


class Holds:
    """A convolution that another class does."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        self.inner = layers_by_loops.Conv2d(in_channels, out_channels, kernel_size)

    def forward(self, x: Any) -> Any:
        return self.inner.forward(x)

    def backward(self, dy: Any) -> Any:
        for _, gradient in self.inner.param():
            gradient[...] = 0
        return self.inner.backward(dy)


IN_OUT: dict[str, Any] = {
    "array": "numpy", "weight": "in_out", "gradients": "overwritten", "dtypes": ("float64",)
}  # fmt: skip


def test_parameters_and_gradients_are_found_where_they_are_kept() -> None:
    for layers in ({nn.Linear: InDicts}, {nn.Linear: Returns}, {nn.Conv2d: Holds}):
        report = parity.check(parity.Subject(layers, **IN_OUT), quick=True)
        assert report.passed, report.findings
    (found,) = parity.check(
        parity.Subject({nn.Linear: ReturnsHalf}, **IN_OUT), only="Linear-float64-param_grad"
    ).findings
    assert "weight gradient is 0.5 times what it should be" in str(found)


class TwoArguments:
    def __init__(self, in_channels: int, out_channels: int) -> None:
        raise AssertionError("it cannot be called with three")


def test_a_class_that_takes_other_arguments_than_torchs_is_no_fault() -> None:
    with pytest.raises(parity.AdapterError, match="SETUP") as told:
        parity.check(parity.Subject({nn.Conv2d: TwoArguments}))
    assert "takes (in_channels, out_channels), and not (in_channels, out_channels, kernel_size" in (
        str(told.value)
    )


class StrideOne(layers_by_loops.MaxPool2d):
    """A pool whose own stride is 1."""

    def __init__(self, kernel_size: int, stride: int = 1) -> None:
        super().__init__(kernel_size, stride)


def test_a_pool_is_told_its_stride() -> None:
    only = parity.Subject({nn.MaxPool2d: StrideOne}, array="numpy", dtypes=("float64",))
    report = parity.check(only, quick=True)
    assert report.passed, report.findings


class InPlace:
    """Writes into the gradient that comes in."""

    def forward(self, x: Any) -> Any:
        self.mask = x <= 0
        return x.clamp(min=0)

    def backward(self, dy: Any) -> Any:
        dy[self.mask] = 0
        return dy


def test_who_writes_into_the_incoming_gradient_is_the_backward() -> None:
    (found,) = parity.check(parity.Subject({nn.ReLU: InPlace}), only="*float64-no_mut*").findings
    assert "writes into the incoming gradient" in str(found)
    assert found.where.startswith("InPlace.backward")


class FromZero(layers_by_loops.BatchNorm1d):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.running_var[...] = 0


def test_a_variance_that_begins_at_zero_is_a_convention() -> None:
    only = parity.Subject({nn.BatchNorm1d: FromZero}, array="numpy", dtypes=("float64",))
    (found,) = parity.check(only, only="BatchNorm1d-float64-statistics").findings
    assert "begins with a variance of 0" in str(found)
    assert found.severity == "convention"


class OneAtZero:
    def forward(self, x: Any) -> Any:
        self.x = x
        return x.clamp(min=0)

    def backward(self, dy: Any) -> Any:
        return dy * (self.x >= 0)


def test_a_derivative_at_zero_is_no_fault_of_a_network() -> None:
    import scratch

    layers = {nn.Linear: scratch.Linear, nn.Dropout: scratch.Dropout, nn.ReLU: OneAtZero,
              nn.MSELoss: scratch.MSELoss}  # fmt: skip
    report = parity.check(parity.Subject(layers), only="network*layer_by_layer")
    assert report.passed, report.findings
    assert len(report.outcomes) == 2


class Single:
    """float32 inside."""

    def __init__(self, n_in: int, n_out: int) -> None:
        self.w, self.b = np.zeros((n_out, n_in)), np.zeros(n_out)
        self.dw, self.db = np.zeros((n_out, n_in)), np.zeros(n_out)

    def forward(self, x: Any) -> Any:
        self.x = x
        return (x @ self.w.T + self.b).astype(np.float32)

    def backward(self, dy: Any) -> Any:
        self.dw, self.db = dy.T @ self.x, dy.sum(0)
        return dy @ self.w


def test_less_digits_than_the_adapter_says_are_a_setting() -> None:
    own: dict[str, Any] = {"array": "numpy", "gradients": "overwritten"}
    with pytest.raises(parity.AdapterError, match=r'in float32: dtypes=\("float32",\)'):
        parity.check(parity.Subject({nn.Linear: Single}, dtypes=("float64",), **own))
    report = parity.check(
        parity.Subject({nn.Linear: Single}, dtypes=("float32",), **own), quick=True
    )
    assert report.passed, report.findings
