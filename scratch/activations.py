"""Activations: functions of each entry, and softmax, with their derivatives."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from scratch.module import Module, check_sizes, checked_device, constant, describe, summed

SELU_ALPHA = 1.6732632423543772
SELU_SCALE = 1.0507009873554805


class ReLU(Module):
    """`y = max(x, 0)`: torch.nn.ReLU; report B, eq. (6). Any shape.

    Its derivative at 0 is 0, as torch's; report B's eq. (7) has 1 there.
    """

    def forward(self, x: Tensor) -> Tensor:
        self._kept = y = x.clamp_min(0)
        return y

    def backward(self, dy: Tensor) -> Tensor:
        """`dx = dy where x > 0, else 0`."""
        y = self._take(dy)
        return dy.masked_fill(y.logical_not(), 0)  # y is never negative: 0 means x <= 0


class LeakyReLU(Module):
    """`y = x where x > 0, else negative_slope * x`: torch.nn.LeakyReLU; report A, eq. (3).

    Any shape. `negative_slope`: default 0.01, which report A chose too.
    """

    def __init__(self, negative_slope: float = 0.01) -> None:
        super().__init__()
        self.negative_slope = negative_slope

    def forward(self, x: Tensor) -> Tensor:
        self._kept = x
        zero, slope = constant(0, x.dtype), constant(self.negative_slope, x.dtype)
        return torch.where(x > zero, x, slope * x)

    def backward(self, dy: Tensor) -> Tensor:
        """`dx = dy where x > 0, else negative_slope * dy`."""
        x = self._take(dy)
        zero, slope = constant(0, x.dtype), constant(self.negative_slope, x.dtype)
        return torch.where(x > zero, dy, slope * dy)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}"


class PReLU(Module):
    """`y = x where x > 0, else weight * x`, a slope that is learned: torch.nn.PReLU.

    He et al. 2015, eq. (1). It cannot be stacked.

    Shapes: x and y `[B, num_parameters, *]`, or any with one parameter; weight `[num_parameters]`.

    Args:
        num_parameters: slopes, one for all or one for each channel. Default: 1.
        init: what they are at first. Default: 0.25.
        device, dtype: of the weight. Default: torch's defaults.

    Raises:
        ValueError: no parameters, an absent device.
    """

    stackable = False
    weight: Tensor
    dweight: Tensor

    def __init__(
        self,
        num_parameters: int = 1,
        init: float = 0.25,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_sizes("PReLU", num_parameters=num_parameters)
        self.num_parameters = num_parameters
        device = None if device is None else checked_device(device)
        self.register("weight", torch.full((num_parameters,), init, device=device, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        shape: list[int | str] = ["*"]
        if self.num_parameters > 1:
            shape = ["B", self.num_parameters, *["*"] * max(0, x.dim() - 2)]
        self._check_x(x, self.weight, shape)
        y = torch.where(x > 0, x, self._slopes(x) * x)
        self._keep(y, x)
        return y

    def backward(self, dy: Tensor) -> Tensor:
        """`dx = dy where x > 0, else weight * dy`; `dweight += sum of x * dy where x <= 0`."""
        (x,) = self._recall(dy)
        positive = x > 0
        product = (x * dy).masked_fill(positive, 0)
        axes = [n for n in range(x.dim()) if n != 1 or self.num_parameters == 1]
        self.dweight.add_(product.sum(axes))
        return torch.where(positive, dy, self._slopes(x) * dy)

    def _slopes(self, x: Tensor) -> Tensor:
        """The weight, as it is multiplied with x."""
        axes = () if self.num_parameters == 1 else (-1, *(1,) * (x.dim() - 2))
        return self.weight.view(axes)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


class ELU(Module):
    """`y = x where x > 0, else alpha * (e^x - 1)`: torch.nn.ELU; report A, eq. (2).

    Any shape. `alpha`: default 1, as torch's; report A chose 0.01.
    """

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        self.alpha = alpha

    def forward(self, x: Tensor) -> Tensor:
        self._kept = x
        zero, alpha = constant(0, x.dtype), constant(self.alpha, x.dtype)
        return torch.where(x > zero, x, torch.expm1(x).mul_(alpha))

    def backward(self, dy: Tensor) -> Tensor:
        """`dx = dy where x > 0, else alpha * e^x * dy`."""
        x = self._take(dy)
        zero, alpha = constant(0, x.dtype), constant(self.alpha, x.dtype)
        return torch.where(x > zero, dy, torch.exp(x).mul_(alpha).mul_(dy))

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}"


class SELU(ELU):
    """`y = scale * ELU(x)`, with alpha: torch.nn.SELU. Any shape.

    Klambauer et al. 2017, eq. (2). Their constants are the defaults, as in torch; report B,
    eq. (18), has alpha = scale = 1 and leaves scale out of the negative side.
    """

    def __init__(self, alpha: float = SELU_ALPHA, scale: float = SELU_SCALE) -> None:
        super().__init__(alpha)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).mul_(constant(self.scale, x.dtype))

    def backward(self, dy: Tensor) -> Tensor:
        """`dx = scale * dy where x > 0, else scale * alpha * e^x * dy`."""
        return super().backward(dy).mul_(constant(self.scale, dy.dtype))

    def extra_repr(self) -> str:
        if (self.alpha, self.scale) == (SELU_ALPHA, SELU_SCALE):
            return ""
        return f"alpha={self.alpha}, scale={self.scale}"


class GELU(Module):
    """`y = x * Phi(x)`, Phi the normal distribution's function: torch.nn.GELU. Any shape.

    Hendrycks and Gimpel 2016, section 2. Half precision is computed in float32.

    Args:
        approximate: "none" (default), or "tanh" for
            `Phi(x) = (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))) / 2`.

    Raises:
        ValueError: another approximation.
    """

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        if approximate not in ("none", "tanh"):
            raise ValueError(f"GELU takes approximate 'none' or 'tanh', not {approximate!r}")
        self.approximate = approximate

    def forward(self, x: Tensor) -> Tensor:
        self._kept = x
        wide = x.to(summed(x.dtype))
        return (wide * self._phi(wide)[0]).to(x.dtype)

    def backward(self, dy: Tensor) -> Tensor:
        """`dx = dy * (Phi(x) + x * Phi'(x))`, Phi' the normal density, or the tanh's derivative."""
        x = self._take(dy)
        wide = x.to(summed(x.dtype))
        phi, slope = self._phi(wide)
        return (phi.addcmul_(wide, slope).mul_(dy)).to(dy.dtype)

    def _phi(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Phi and its derivative. Phi is half the complementary error function of -x / sqrt(2),
        which keeps its digits where it is small."""
        if self.approximate == "none":
            phi = torch.erfc(x * -math.sqrt(0.5)).mul_(0.5)
            return phi, x.square().mul_(-0.5).exp_().mul_(1 / math.sqrt(2 * math.pi))
        square = x.square()
        inner = math.sqrt(2 / math.pi) * x * (0.044715 * square + 1)
        tanh = torch.tanh(inner)
        slope = (0.5 - 0.5 * tanh.square()) * (math.sqrt(2 / math.pi) * (3 * 0.044715 * square + 1))
        return tanh.mul_(0.5).add_(0.5), slope

    def extra_repr(self) -> str:
        return "" if self.approximate == "none" else f"approximate={self.approximate!r}"


class SiLU(Module):
    """`y = x * s`, `s = 1 / (1 + e^-x)`, also called swish: torch.nn.SiLU. Any shape.

    Elfwing et al. 2018, eq. (5). Half precision is computed in float32.
    """

    def forward(self, x: Tensor) -> Tensor:
        self._kept = x
        wide = x.to(summed(x.dtype))
        return (wide * torch.sigmoid(wide)).to(x.dtype)

    def backward(self, dy: Tensor) -> Tensor:
        """`dx = dy * s * (1 + x * (1 - s))`."""
        x = self._take(dy)
        wide = x.to(summed(x.dtype))
        s = torch.sigmoid(wide)
        return ((wide * (1 - s)).add_(1).mul_(s).mul_(dy)).to(dy.dtype)


class Softplus(Module):
    """`y = log(1 + e^(beta * x)) / beta`: torch.nn.Softplus. Any shape.

    Half precision is computed in float32.

    Args:
        beta: default 1.
        threshold: where beta * x is above it, y is x. Default: 20.

    Raises:
        ValueError: a beta of 0 or below.
    """

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        if not beta > 0:
            raise ValueError(f"Softplus takes a beta above 0, not {beta!r}")
        self.beta, self.threshold = beta, threshold

    def forward(self, x: Tensor) -> Tensor:
        self._kept = x
        wide = x.to(summed(x.dtype))
        scaled = wide * self.beta
        soft = scaled.abs().neg_().exp_().log1p_().add_(scaled.clamp_min(0)).div_(self.beta)
        return torch.where(scaled > self.threshold, wide, soft).to(x.dtype)

    def backward(self, dy: Tensor) -> Tensor:
        """`dx = dy / (1 + e^(-beta * x))`, and dy above the threshold."""
        x = self._take(dy)
        scaled = x.to(summed(x.dtype)) * self.beta
        return torch.where(scaled > self.threshold, dy, dy * torch.sigmoid(scaled)).to(dy.dtype)

    def extra_repr(self) -> str:
        return f"beta={self.beta}, threshold={self.threshold}"


class Sigmoid(Module):
    """`y = 1 / (1 + e^(-slope * x))`: torch.nn.Sigmoid; report A, eq. (1). Any shape.

    `slope`: default 1, as torch's; report A calls it lambda and chose 3.
    """

    def __init__(self, slope: float = 1.0) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        self._kept = y = torch.sigmoid(constant(self.slope, x.dtype) * x)
        return y

    def backward(self, dy: Tensor) -> Tensor:
        """`dx = dy * slope * y * (1 - y)`."""
        y = self._take(dy)
        return constant(self.slope, y.dtype) * dy * y * (constant(1, y.dtype) - y)

    def extra_repr(self) -> str:
        return "" if self.slope == 1 else f"slope={self.slope}"


class Tanh(Module):
    """`y = (e^x - e^-x) / (e^x + e^-x)`: torch.nn.Tanh; report B, eq. (8). Any shape."""

    def forward(self, x: Tensor) -> Tensor:
        self._kept = y = torch.tanh(x)
        return y

    def backward(self, dy: Tensor) -> Tensor:
        """`dx = dy * (1 - y^2)`, which is report B's eq. (9), 4 / (e^x + e^-x)^2."""
        y = self._take(dy)
        return dy * (constant(1, y.dtype) - y * y)


def log_softmax(x: Tensor, dim: int = -1) -> Tensor:
    """`x_i - log sum_j e^(x_j)` over an axis, shifted by the maximum so that e^x stays finite."""
    shifted = _shifted(x, dim)
    return shifted - torch.exp(shifted).sum(dim, keepdim=True).log()


def _shifted(x: Tensor, dim: int) -> Tensor:
    return x - x.amax(dim, keepdim=True) if x.numel() else x.clone()


class _OverAxis(Module):
    """What Softmax and LogSoftmax share: which axis they run over."""

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        if dim not in (-2, -1, 0, 1):
            raise ValueError(f"{type(self).__name__} takes dim -2, -1, 0 or 1, not {dim!r}")
        self.dim = dim if dim < 0 else dim - 2  # from the right: right with the runs axis too

    def _check(self, x: Tensor) -> None:
        if x.dim() != (2 if self.runs is None else 3):
            takes = "[B, features]" if self.runs is None else f"[{self.runs}, B, features]"
            raise ValueError(f"{self}: forward got {describe(x)}, takes {takes}")

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Softmax(_OverAxis):
    """`y_i = e^(x_i) / sum_j e^(x_j)` over an axis: torch.nn.Softmax; report B, eq. (20).

    Shape `[B, features]`. `dim`: -1 or 1, the features (default), or -2 or 0, the batch; the
    runs axis does not count.
    """

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        e = _shifted(x, self.dim).exp_()
        self._kept = y = e.div_(e.sum(self.dim, keepdim=True))
        return y

    def backward(self, dy: Tensor) -> Tensor:
        """`dx_i = y_i * (dy_i - sum_j dy_j * y_j)`; report B's eq. (21) has the diagonal only."""
        y = self._take(dy)
        return (dy - (dy * y).sum(self.dim, keepdim=True)).mul_(y)


class LogSoftmax(_OverAxis):
    """`y_i = x_i - log sum_j e^(x_j)` over an axis: torch.nn.LogSoftmax.

    Shape `[B, features]`. `dim` as for `Softmax`.
    """

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        self._kept = y = log_softmax(x, self.dim)
        return y

    def backward(self, dy: Tensor) -> Tensor:
        """`dx_i = dy_i - e^(y_i) * sum_j dy_j`."""
        y = self._take(dy)
        return dy - torch.exp(y) * dy.sum(self.dim, keepdim=True)
