"""Normalisation: to mean 0 and variance 1 over a batch or over features, or to a mean square of 1.

The variance is the mean of squared deviations from a mean that is computed first: as the
difference of two means, mean(x^2) - mean(x)^2, it loses its digits where the mean is large.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from scratch.module import Module, check_sizes, checked_device, summed


def _wide(x: Tensor) -> Tensor:
    """Half precision as float32, which torch too has statistics in; else x itself."""
    return x.to(summed(x.dtype))


def _affine(xhat: Tensor, weight: Tensor | None, bias: Tensor | None, like: Tensor) -> Tensor:
    """`weight * xhat + bias`, where there are any, typed like x."""
    if weight is None:
        return xhat.to(like.dtype)
    y = xhat * weight if bias is None else torch.addcmul(bias, xhat, weight)
    return y.to(like.dtype)


class _BatchNorm(Module):
    """What BatchNorm1d and BatchNorm2d share: all but the shapes that they take."""

    stackable = False
    _axes: tuple[tuple[str, ...], ...]  # those after [B, C], in each shape that is taken
    weight: Tensor | None
    dweight: Tensor
    bias: Tensor | None
    dbias: Tensor
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_sizes(type(self).__name__, num_features=num_features)
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        device = None if device is None else checked_device(device)
        zeros = torch.zeros(num_features, device=device, dtype=dtype)
        self.weight = self.bias = self.running_mean = self.running_var = None
        if affine:
            self.register("weight", torch.ones_like(zeros))
            self.register("bias", zeros.clone())
        if track_running_stats:
            self.register_buffer("running_mean", zeros.clone())
            self.register_buffer("running_var", torch.ones_like(zeros))
            count = torch.zeros((), dtype=torch.int64, device=device)
            self.register_buffer("num_batches_tracked", count)

    def forward(self, x: Tensor) -> Tensor:
        """`y = weight * xhat + bias`, `xhat = (x - mean) / sqrt(variance + eps)`."""
        like = self.running_mean if self.weight is None else self.weight
        shapes: list[tuple[int | str, ...]] = [("B", self.num_features, *a) for a in self._axes]
        self._check_x(x, like, *shapes)
        axes, shape = (0, *range(2, x.dim())), (self.num_features, *(1,) * (x.dim() - 2))
        wide, by_batch = _wide(x), self.training or self.running_mean is None
        if by_batch:
            count = len(x) * math.prod(x.shape[2:])  # values for each channel
            if count == 1:
                self._refuse_x(x, "more than one value for each channel in training")
            mean = wide.mean(axes)
            xhat = wide - mean.view(shape)
            variance = xhat.square().mean(axes)
            if self.training and self.running_mean is not None:
                self._track(mean, variance, count)
        else:
            assert self.running_mean is not None
            assert self.running_var is not None
            xhat, variance = wide - self.running_mean.view(shape), _wide(self.running_var)
        scale = variance.add(self.eps).rsqrt_().view(shape)
        xhat = xhat.mul_(scale)
        weight, bias = (None if p is None else p.view(shape) for p in (self.weight, self.bias))
        y = _affine(xhat, weight, bias, x)
        self._keep(y, xhat, scale, by_batch)
        return y

    def backward(self, dy: Tensor) -> Tensor:
        """`dx = weight / s * (dy - mean(dy) - xhat * mean(dy * xhat))`, s = sqrt(variance + eps).

        Means are over the batch and the places of a channel. Also `dweight += sum of dy * xhat`
        and `dbias += sum of dy`. In evaluation mean and variance are constants:
        `dx = weight / s * dy`. Ioffe and Szegedy 2015, section 3.
        """
        xhat, scale, by_batch = self._recall(dy)
        axes, shape = (0, *range(2, dy.dim())), scale.shape
        wide, factor = _wide(dy), scale
        if self.weight is not None:
            factor = scale * self.weight.view(shape)
        if by_batch or self.weight is not None:
            total, product = wide.sum(axes), (wide * xhat).sum(axes)  # [C]
        if self.weight is not None:
            self.dweight.add_(product)
            self.dbias.add_(total)
        if not by_batch:
            return (wide * factor).to(dy.dtype)
        count = dy.numel() // self.num_features
        dx = wide - (total / count).view(shape)
        return dx.addcmul_(xhat, (product / count).view(shape), value=-1).mul_(factor).to(dy.dtype)

    def _track(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Moves the running statistics towards a batch's; the variance is the unbiased one."""
        assert self.running_mean is not None
        assert self.running_var is not None
        self.num_batches_tracked.add_(1)
        if count == 0:
            return
        momentum = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        variance = variance * (count / (count - 1))
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
        self.running_var.lerp_(variance.to(self.running_var.dtype), momentum)

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.affine}, track_running_stats={self.track_running_stats}"
        )


class BatchNorm1d(_BatchNorm):
    """Each channel at mean 0 and variance 1 over the batch, then scaled: torch.nn.BatchNorm1d.

    `y = weight * (x - mean) / sqrt(variance + eps) + bias`. Ioffe and Szegedy 2015, algorithm 1.

    Shapes: x and y `[B, C]` or `[B, C, L]`; weight, bias, running_mean, running_var `[C]`,
    num_batches_tracked int64 `[]`. It cannot be stacked.

    In training, mean and (biased) variance are the batch's, and the running ones move towards
    its mean and unbiased variance: `running += momentum * (batch's - running)`. In evaluation
    the running ones are used.

    Args:
        num_features: channels, at least 1.
        eps: added to the variance. Default: 1e-5.
        momentum: of the running statistics; None for the average over all batches. Default: 0.1.
        affine: whether there are weight, at first 1, and bias, at first 0. Default: True.
        track_running_stats: whether there are running statistics; without them, the batch's are
            used in evaluation too. Default: True.
        device, dtype: of parameters and running statistics. Default: torch's defaults.

    Raises:
        ValueError: no channels, an absent device; in `forward`, by the statistics of a batch that
            has one value for each channel.
    """

    _axes = ((), ("L",))


class BatchNorm2d(_BatchNorm):
    """Each channel of images at mean 0 and variance 1 over the batch: torch.nn.BatchNorm2d.

    Shapes: x and y `[B, C, H, W]`. All else is as for `BatchNorm1d`.
    """

    _axes = (("H", "W"),)


class _OverFeatures(Module):
    """What LayerNorm and RMSNorm share: the last axes, as one row of features."""

    stackable = False
    eps: float | None
    weight: Tensor | None
    dweight: Tensor
    bias: Tensor | None
    dbias: Tensor

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        affine: bool,
        bias: bool,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        super().__init__()
        shape = (normalized_shape,) if isinstance(normalized_shape, int) else normalized_shape
        self.normalized_shape = tuple(shape)
        for size in self.normalized_shape or (0,):
            check_sizes(type(self).__name__, normalized_shape=size)
        self.elementwise_affine = affine
        device = None if device is None else checked_device(device)
        self.weight = self.bias = None
        if affine:
            self.register("weight", torch.ones(shape, device=device, dtype=dtype))
        if affine and bias:
            self.register("bias", torch.zeros(shape, device=device, dtype=dtype))

    def _rows(self, x: Tensor) -> Tensor:
        """x as `[rows, features]`, a row for what is normalised together."""
        self._check_x(x, self.weight, ("*", *self.normalized_shape))
        return _wide(x).reshape(-1, math.prod(self.normalized_shape))

    def _scaled(self, xhat: Tensor, scale: Tensor, x: Tensor) -> Tensor:
        """y, shaped like x; keeps what backward needs."""
        weight, bias = (None if p is None else p.view(-1) for p in (self.weight, self.bias))
        y = _affine(xhat, weight, bias, x).view(x.shape)
        self._keep(y, xhat, scale)
        return y

    def _learned(self, dy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Accumulates the gradients; returns `dxhat = weight * dy`, xhat and the scale, as rows."""
        xhat, scale = self._recall(dy)
        dxhat = _wide(dy).reshape(xhat.shape)
        if self.bias is not None:
            self.dbias.view(-1).add_(dxhat.sum(0))
        if self.weight is not None:
            self.dweight.view(-1).add_((dxhat * xhat).sum(0))
            dxhat = dxhat * self.weight.view(-1)
        return dxhat, xhat, scale

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
        )


class LayerNorm(_OverFeatures):
    """Each sample at mean 0 and variance 1 over its last axes, then scaled: torch.nn.LayerNorm.

    `y = weight * (x - mean) / sqrt(variance + eps) + bias`. Ba et al. 2016, eq. (3), (4).

    Shapes: x and y `[*, *normalized_shape]`; weight and bias `normalized_shape`. It cannot be
    stacked.

    Args:
        normalized_shape: sizes of the last axes, or of the last one.
        eps: added to the (biased) variance. Default: 1e-5.
        elementwise_affine: whether there is a weight, at first 1. Default: True.
        bias: whether there is a bias beside the weight, at first 0. Default: True.
        device, dtype: of the parameters. Default: torch's defaults.

    Raises:
        ValueError: no axes, a size below 1, an absent device.
    """

    eps: float

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(normalized_shape, elementwise_affine, bias, device, dtype)
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """`y = weight * xhat + bias`, `xhat = (x - mean) / sqrt(variance + eps)`."""
        rows = self._rows(x)
        xhat = rows - rows.mean(-1, keepdim=True)
        scale = xhat.square().mean(-1, keepdim=True).add_(self.eps).rsqrt_()
        return self._scaled(xhat.mul_(scale), scale, x)

    def backward(self, dy: Tensor) -> Tensor:
        """`dx = (dxhat - mean(dxhat) - xhat * mean(dxhat * xhat)) / s`, `dxhat = weight * dy`.

        Means are over a sample's last axes, and s = sqrt(variance + eps). Also
        `dweight += sum of dy * xhat` and `dbias += sum of dy` over the samples.
        Ba et al. 2016; the derivation is that of Ioffe and Szegedy 2015, section 3.
        """
        dxhat, xhat, scale = self._learned(dy)
        product = (dxhat * xhat).mean(-1, keepdim=True)
        dx = dxhat - dxhat.mean(-1, keepdim=True)
        return dx.addcmul_(xhat, product, value=-1).mul_(scale).view(dy.shape).to(dy.dtype)


class RMSNorm(_OverFeatures):
    """Each sample at a mean square of 1 over its last axes, then scaled: torch.nn.RMSNorm.

    `y = weight * x / sqrt(mean(x^2) + eps)`. Zhang and Sennrich 2019, eq. (4).

    Shapes: x and y `[*, *normalized_shape]`; weight `normalized_shape`. It cannot be stacked.

    Args:
        normalized_shape: sizes of the last axes, or of the last one.
        eps: added to the mean square. Default: None, the smallest step from 1 in x's dtype,
            torch.finfo(dtype).eps.
        elementwise_affine: whether there is a weight, at first 1. Default: True.
        device, dtype: of the weight. Default: torch's defaults.

    Raises:
        ValueError: no axes, a size below 1, an absent device.
    """

    eps: float | None

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(normalized_shape, elementwise_affine, False, device, dtype)
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """`y = weight * xhat`, `xhat = x / sqrt(mean(x^2) + eps)`."""
        rows = self._rows(x)
        eps = torch.finfo(x.dtype).eps if self.eps is None else self.eps
        scale = rows.square().mean(-1, keepdim=True).add_(eps).rsqrt_()
        return self._scaled(rows * scale, scale, x)

    def backward(self, dy: Tensor) -> Tensor:
        """`dx = (dxhat - xhat * mean(dxhat * xhat)) / s`, with `dxhat = weight * dy`.

        The mean is over a sample's last axes, and s = sqrt(mean(x^2) + eps). Also
        `dweight += sum of dy * xhat` over the samples. Zhang and Sennrich 2019, section 4.
        """
        dxhat, xhat, scale = self._learned(dy)
        product = (dxhat * xhat).mean(-1, keepdim=True)
        dx = dxhat.addcmul(xhat, product, value=-1)
        return dx.mul_(scale).view(dy.shape).to(dy.dtype)


class GroupNorm(Module):
    """Each sample's channels in groups at mean 0 and variance 1, then scaled: torch.nn.GroupNorm.

    `y = weight * (x - mean) / sqrt(variance + eps) + bias`, mean and (biased) variance over a
    sample's group of channels and all of their places; weight and bias by channel. Wu and He 2018,
    eq. (7). One group is LayerNorm over all but the batch, a group for each channel InstanceNorm.

    Shapes: x and y `[B, num_channels, *]`; weight and bias `[num_channels]`. It cannot be stacked.

    Args:
        num_groups: at least 1.
        num_channels: a multiple of it.
        eps: added to the variance. Default: 1e-5.
        affine: whether there are weight, at first 1, and bias, at first 0. Default: True.
        device, dtype: of the parameters. Default: torch's defaults.

    Raises:
        ValueError: a size below 1, channels that the groups do not divide, an absent device; in
            `forward`, one sample whose groups have one value.
    """

    stackable = False
    weight: Tensor | None
    dweight: Tensor
    bias: Tensor | None
    dbias: Tensor

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_sizes("GroupNorm", num_groups=num_groups, num_channels=num_channels)
        if num_channels % num_groups:
            raise ValueError(
                f"GroupNorm takes channels that its groups divide, not {num_channels} channels in "
                f"{num_groups} groups"
            )
        self.num_groups, self.num_channels, self.eps = num_groups, num_channels, eps
        self.affine = affine
        device = None if device is None else checked_device(device)
        self.weight = self.bias = None
        if affine:
            self.register("weight", torch.ones(num_channels, device=device, dtype=dtype))
            self.register("bias", torch.zeros(num_channels, device=device, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        """`y = weight * xhat + bias`, `xhat = (x - mean) / sqrt(variance + eps)`."""
        if x.dim() < 2:
            self._refuse_x(x, f"[B, {self.num_channels}, *]")
        self._check_x(x, self.weight, ("B", self.num_channels, *["*"] * (x.dim() - 2)))
        rows = self._rows(_wide(x))
        if rows.numel() == self.num_groups:  # of one sample, as torch
            self._refuse_x(x, "more than one value in a group of one sample")
        xhat = rows - rows.mean(1, keepdim=True)
        scale = xhat.square().mean(1, keepdim=True).add_(self.eps).rsqrt_()
        xhat = xhat.mul_(scale)
        weight, bias = (
            None if p is None else p.view(-1, *(1,) * (x.dim() - 2))
            for p in (self.weight, self.bias)
        )
        y = _affine(xhat.view(x.shape), weight, bias, x)
        self._keep(y, xhat, scale)
        return y

    def backward(self, dy: Tensor) -> Tensor:
        """`dx = (dxhat - mean(dxhat) - xhat * mean(dxhat * xhat)) / s`, `dxhat = weight * dy`.

        Means are over a group of a sample, and s = sqrt(variance + eps). Also
        `dweight += sum of dy * xhat` and `dbias += sum of dy` over the samples and places of a
        channel. The derivation is that of Ioffe and Szegedy 2015, section 3.
        """
        xhat, scale = self._recall(dy)
        dxhat, axes = _wide(dy), (0, *range(2, dy.dim()))
        if self.weight is not None:
            self.dbias.add_(dxhat.sum(axes))
            self.dweight.add_((dxhat * xhat.view(dy.shape)).sum(axes))
            dxhat = dxhat * self.weight.view(-1, *(1,) * (dy.dim() - 2))
        dxhat = self._rows(dxhat)
        product = (dxhat * xhat).mean(1, keepdim=True)
        dx = dxhat - dxhat.mean(1, keepdim=True)
        return dx.addcmul_(xhat, product, value=-1).mul_(scale).view(dy.shape).to(dy.dtype)

    def _rows(self, x: Tensor) -> Tensor:
        """x as `[B * groups, entries of one]`, a row for what is normalised together."""
        return x.reshape(len(x) * self.num_groups, x.shape[1:].numel() // self.num_groups)

    def extra_repr(self) -> str:
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}"
