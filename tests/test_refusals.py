"""What a layer refuses by an exception that it means is listed, and no fault; and a kernel that is
kept as a matrix is written and read as one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from torch import nn

import parity
from parity.catalogue.case import without_remainder
from parity.judge.comparison import EDGE
from parity.judge.outcome import PASSED
from parity.show.text import text
from tests.test_causes import told

ARRAYS: dict[str, Any] = {
    "array": "numpy", "dtypes": ("float64",), "gradients": "overwritten",
    "parameters": lambda layer: [(layer.W, layer.dW), (layer.b, layer.db)]
    if hasattr(layer, "W") else [],
}  # fmt: skip


class Pool:
    """By reshape, as it is done where windows do not overlap."""

    def __init__(self, kernel_size: int, stride: int | None = None) -> None:
        self.size = kernel_size
        self.stride = stride or kernel_size

    def forward(self, x: Any) -> Any:
        batch, channels, height, width = x.shape
        assert self.size == self.stride, "windows may not overlap"
        rows, columns = height / self.size, width / self.size
        assert (rows, columns) == (int(rows), int(columns)), "the size does not fit"
        size = self.size
        self.shape = x.shape
        self.windows = x.reshape(batch, channels, int(rows), size, int(columns), size)
        self.y = self.windows.max(5).max(3)
        return self.y

    def backward(self, dy: Any) -> Any:
        first = self.windows == self.y[:, :, :, None, :, None]
        return (first * dy[:, :, :, None, :, None]).reshape(self.shape)


class Unasked(Pool):
    """Asks nothing: numpy's own reshape refuses."""

    def forward(self, x: Any) -> Any:
        batch, channels, height, width = x.shape
        size = self.size
        self.shape = x.shape
        self.windows = x.reshape(batch, channels, height // size, size, width // size, size)
        self.y = self.windows.max(5).max(3)
        return self.y


class Doubled(Pool):
    def backward(self, dy: Any) -> Any:
        return 2 * super().backward(dy)


class Convolution:
    """Its kernel is a matrix of a row for each output."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
    ) -> None:
        self.size, self.stride, self.pad = kernel_size, stride, padding
        self.W = self.kept(np.ones((out_channels, in_channels * kernel_size**2)))
        self.b = np.zeros(out_channels)
        self.dW: Any = None
        self.db: Any = None

    def kept(self, matrix: Any) -> Any:
        return matrix

    def forward(self, x: Any) -> Any:
        size, stride, pad = self.size, self.stride, self.pad
        if any((n + 2 * pad - size) % stride for n in x.shape[2:]):
            raise ValueError("the stride does not fit")
        x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
        view = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(2, 3))
        self.shape, view = x.shape, view[:, :, ::stride, ::stride]
        self.columns = view.transpose(0, 2, 3, 1, 4, 5).reshape(
            *view.shape[::2][:1], *view.shape[2:4], -1
        )
        return (self.columns @ self.kept(self.W).T + self.b).transpose(0, 3, 1, 2)

    def backward(self, dy: Any) -> Any:
        size, stride, pad = self.size, self.stride, self.pad
        dy = dy.transpose(0, 2, 3, 1)
        self.dW = self.kept(np.einsum("nhwo,nhwk->ok", dy, self.columns))
        self.db = dy.sum((0, 1, 2))
        parts = (dy @ self.kept(self.W)).reshape(*dy.shape[:3], self.shape[1], size, size)
        dx = np.zeros(self.shape)
        for i in range(dy.shape[1]):
            for j in range(dy.shape[2]):
                top, left = i * stride, j * stride
                dx[:, :, top : top + size, left : left + size] += parts[:, i, j]
        return dx[:, :, pad : self.shape[2] - pad, pad : self.shape[3] - pad]


class InColumns(Convolution):
    """A column for each output."""

    def kept(self, matrix: Any) -> Any:
        return matrix.T


class Padded(Convolution):
    """Its dx is that of another place."""

    def backward(self, dy: Any) -> Any:
        return np.roll(super().backward(dy), 1, -1)


def checked(layers: dict[Any, Any], **settings: Any) -> parity.Report:
    return parity.check(parity.Subject(name="refuses", layers=layers, **ARRAYS | settings))


def test_a_pool_that_fits_alone_is_checked_where_it_fits() -> None:
    report = checked({nn.MaxPool2d: Pool})
    assert {severity for severity, _ in told(report)} == {EDGE}  # of ties
    sizes = [one for one in report.outcomes if one.case == "MaxPool2d"]
    assert len(sizes) >= 15
    assert {one.check for one in sizes if one.verdict != PASSED} <= {"extremes"}
    shown = text(report)
    assert "sizes of which a stride leaves a remainder: raises AssertionError: the size" in shown
    assert "it refuses overlap: raises AssertionError: windows may not overlap" in shown


def test_what_numpy_refuses_of_sizes_is_no_fault_either() -> None:
    report = checked({nn.MaxPool2d: Unasked})
    assert {one.case for one in report.outcomes if one.verdict == PASSED} == {"MaxPool2d"}
    (wrong,) = [sentence for severity, sentence in told(report) if severity == "wrong"]
    assert wrong.startswith("MaxPool2d: raises ValueError: cannot reshape array")
    assert "stride leaves a remainder: raises ValueError: cannot reshape array" in text(report)


def test_what_is_wrong_of_a_pool_that_fits_alone_is_named() -> None:
    (finding,) = [one for one in told(checked({nn.MaxPool2d: Doubled})) if one[0] == "wrong"]
    assert finding[1].startswith("MaxPool2d input gradient is 2 times what it should be")


@pytest.mark.parametrize(("cls", "settings"), [(Convolution, {}), (InColumns, {"kernel": "ihwo"})])
def test_a_kernel_may_be_a_matrix(cls: type, settings: dict[str, Any]) -> None:
    report = checked({nn.Conv2d: cls}, **settings)
    assert report.passed
    assert not report.findings
    assert {"Conv2d", "Conv2d-stride=2", "Conv2d-kernel=1"} <= {one.case for one in report.outcomes}
    assert "Conv2d with dilation=2" in text(report)
    assert "sizes of which a stride leaves a remainder: raises ValueError: the stride" in text(
        report
    )


def test_how_a_matrix_lies_is_asked_for() -> None:
    with pytest.raises(parity.AdapterError, match=r"has weights \[27, 4\]: kernel='ihwo'"):
        checked({nn.Conv2d: InColumns})


def test_a_wrong_gradient_of_a_kernel_in_a_matrix_is_found() -> None:
    (finding,) = told(checked({nn.Conv2d: Padded}))
    assert finding[0] == "wrong"
    assert finding[1].startswith("Conv2d input gradient is wrong in")


class Linear:
    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        self.W = np.ones((out_features, in_features))
        self.b = np.zeros(out_features) if bias else None
        self.dW: Any = None
        self.db: Any = None

    def forward(self, x: Any) -> Any:
        self.x = x
        return x @ self.W.T + (0 if self.b is None else self.b)

    def backward(self, dy: Any) -> Any:
        self.dW, self.db = dy.T @ self.x, None if self.b is None else dy.sum(0)
        return dy @ self.W


class Strict(Linear):
    """Refuses an option."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        if not bias:
            raise NotImplementedError("there is always a bias")
        super().__init__(in_features, out_features)


class Late(Linear):
    """Goes forward, and refuses to go back."""

    def backward(self, dy: Any) -> Any:
        if self.b is None:
            raise NotImplementedError("there is always a bias")
        return super().backward(dy)


class Unwritten(Linear):
    def forward(self, x: Any) -> Any:
        raise NotImplementedError


def test_an_option_that_is_refused_is_listed() -> None:
    report = checked({nn.Linear: Strict})
    assert report.passed
    assert not report.findings
    assert "it refuses no_bias: raises NotImplementedError: there is always a bias" in text(report)


@pytest.mark.parametrize("cls", [Late, Unwritten])
def test_what_is_not_written_is_a_fault(cls: type) -> None:
    report = checked({nn.Linear: cls})
    assert not report.passed
    assert any("NotImplementedError" in sentence for _, sentence in told(report))


@pytest.mark.parametrize(("options", "fits"), [
    ({"kernel_size": 2}, (5, 3, 8, 6)),
    ({"kernel_size": 3, "stride": 1}, (5, 3, 7, 6)),
    ({"kernel_size": (3, 2), "stride": (2, 1)}, (5, 3, 7, 6)),
    ({"out_channels": 4, "kernel_size": 3}, (5, 3, 7, 6)),
    ({"out_channels": 4, "kernel_size": 2, "stride": 3, "padding": 2}, (5, 3, 7, 10)),
    ({"kernel_size": 2, "stride": 2, "dilation": 2}, (5, 3, 7, 9)),
])  # fmt: skip
def test_sizes_that_fit(options: dict[str, Any], fits: tuple[int, ...]) -> None:
    assert without_remainder((5, 3, 7, 6), options) == fits
