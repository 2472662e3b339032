"""The fully-connected layer: y = x @ weight.T + bias."""

from __future__ import annotations

import torch
from torch import Tensor

from scratch.init import Source, draw
from scratch.module import Module, checked_device, describe


class Linear(Module):
    """Fully-connected layer, `y = x @ weight.T + bias`: torch.nn.Linear; report B, eq. (2).

    Shapes: x `[B, in_features]`, y `[B, out_features]`; weight `[out_features, in_features]`,
    bias `[out_features]`; all with a leading R when stacked.

    Args:
        in_features, out_features: widths, at least 1.
        bias: whether there is one. Default: True.
        init: the distribution of the initial weight, and of the bias:
            "uniform" (default): U(-a, a), a = 1 / sqrt(in_features), as torch.nn.Linear;
            "xavier_normal": N(0, 2 / (in_features + out_features)), report B, eq. (1)
            (Glorot and Bengio 2010, eq. 16, whose biases start at zero);
            "normal": N(0, 1); "zeros": 0.
        bias_init: like `init`, for the bias alone. Default: the same as `init`.
        generator: where the initial values are drawn from: torch's, or a `Philox`, whose are the
            same on every device. Default: torch's global generator.
        device, dtype: of the parameters. Default: torch's defaults.

    Raises:
        ValueError: a width below 1, an unknown `init`, an absent device.
    """

    weight: Tensor
    dweight: Tensor
    bias: Tensor | None
    dbias: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        init: str = "uniform",
        bias_init: str | None = None,
        generator: Source = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        for name, width in (("in_features", in_features), ("out_features", out_features)):
            if not isinstance(width, int) or width < 1:
                raise ValueError(f"Linear takes a positive integer as {name}, not {width!r}")
        self.in_features, self.out_features = in_features, out_features
        device = None if device is None else checked_device(device)
        fans = (in_features, out_features)
        weight = torch.empty(out_features, in_features, device=device, dtype=dtype)
        self.register("weight", draw(weight, init, fans, generator))
        self.bias = None
        if bias:
            values = torch.empty(out_features, device=device, dtype=dtype)
            self.register("bias", draw(values, bias_init or init, fans, generator))

    def forward(self, x: Tensor) -> Tensor:
        """`y = x @ weight.T + bias`: x `[B, in_features]` to y `[B, out_features]`."""
        weight, bias = self.weight, self.bias
        if x.device != weight.device:
            self._refuse(x, "forward", self.in_features)
        try:  # the operations themselves refuse what does not fit; `_refuse` says it better
            if bias is None:
                y = (torch.mm if x.dim() == 2 else torch.bmm)(x, weight.mT)
            elif x.dim() == 2:
                y = torch.addmm(bias, x, weight.mT)  # [B, out]
            else:
                y = torch.baddbmm(bias.unsqueeze(-2), x, weight.mT)  # [R, B, out]
        except (RuntimeError, IndexError):
            self._refuse(x, "forward", self.in_features)
            raise
        self._kept = x  # [R, B, in]
        return y

    def backward(self, dy: Tensor) -> Tensor:
        """`dx = dy @ weight`, after `backward_param`. Report B, eq. (5)."""
        self.backward_param(dy)
        return (torch.mm if dy.dim() == 2 else torch.bmm)(dy, self.weight)  # [R, B, in]

    def backward_param(self, dy: Tensor) -> None:
        """`dweight += dy.T @ x` and `dbias += sum of dy over the batch`. Report B, eq. (3), (4)."""
        x = self._kept
        if x is None:
            self._refuse_dy(dy, x)
        if dy.device != x.device:
            self._refuse(dy, "backward", self.out_features)
        try:
            if x.dim() == 2:
                self.dweight.addmm_(dy.mT, x)
            else:
                self.dweight.baddbmm_(dy.mT, x)  # [R, out, in]
        except (RuntimeError, IndexError):
            self._refuse(dy, "backward", self.out_features)
            raise
        if self.bias is not None:
            # A product with ones takes half the time, and loses digits where large terms cancel.
            self.dbias.add_(dy.sum(-2))  # [R, out]
        self._kept = None

    def _refuse(self, got: Tensor, method: str, width: int) -> None:
        """Says what does not fit; returns if all fits, and the fault is another."""
        weight, runs = self.weight, [] if self.runs is None else [self.runs]
        batch = got.shape[-2] if got.dim() > 1 else None
        if method == "backward" and self._kept is not None:
            batch = self._kept.shape[-2]
        fits = list(got.shape) == [*runs, batch, width]
        if fits and got.dtype == weight.dtype and got.device == weight.device:
            return
        hint = ""
        if got.dim() == 3 and not runs:
            hint = "; three dimensions are for a model that runs.stack built"
        elif got.dim() == 2 and runs:
            hint = "; this model is stacked: each run takes a batch of its own"
        takes = ", ".join(str(size) for size in [*runs, "B", width])
        dtype, device = str(weight.dtype).removeprefix("torch."), weight.device
        kind = ValueError if got.dtype == weight.dtype else TypeError
        raise kind(
            f"{self}: {method} got {describe(got)}, takes {dtype} [{takes}] on {device}{hint}"
        )

    def extra_repr(self) -> str:
        bias = "" if self.bias is not None else ", bias=False"
        runs = "" if self.runs is None else f", runs={self.runs}"
        return f"{self.in_features}, {self.out_features}{bias}{runs}"
