"""The Triton kernels of liger-kernel against torch, under Triton's interpreter, on a CPU:

    pip install liger-kernel --no-deps
    parity kernel docs/examples/liger.py

Triton's interpreter computes in bfloat16 on the bits, as integers: these are sweeps of float32.
"""

from __future__ import annotations

import os
from typing import Any

os.environ["TRITON_INTERPRET"] = "1"  # before Triton is imported

import liger_kernel.ops.cross_entropy as entropy
import liger_kernel.ops.layer_norm as layer
import liger_kernel.ops.rms_norm as rms
import liger_kernel.ops.rope as rope
import liger_kernel.ops.swiglu as swiglu
import numpy as np
import torch
import triton.language as tl
from torch import Tensor
from torch.nn import functional
from triton.runtime import interpreter

import parity

# Two things that compiled Triton has, and its interpreter not: `rsqrt` of CUDA's library, and
# arguments that are Python's floats as scalars with `.to`.
rms.rsqrt = layer.rsqrt = lambda x: tl.rsqrt(x)
_as_scalar = interpreter._implicit_cvt


def as_scalar(argument: Any) -> Any:
    if type(argument) is not float:
        return _as_scalar(argument)
    handle = interpreter.TensorHandle(np.array([argument], np.float32), tl.float32)
    return tl.tensor(handle, tl.float32)


interpreter._implicit_cvt = as_scalar

EPS = 1e-6
ROWS: dict[str, Any] = {"sizes": {"M": [7, 1], "N": [33, 8, 50]}, "dtypes": "float32"}


@parity.sweep(
    lambda x, weight: functional.rms_norm(x, x.shape[-1:], weight, EPS),
    x="M N", weight="N", **ROWS,
)  # fmt: skip
def test_rms_norm(check: Any) -> None:
    check(lambda x, weight: rms.LigerRMSNormFunction.apply(x, weight, EPS, 0.0, "llama", False))


@parity.sweep(
    lambda x, weight, bias: functional.layer_norm(x, x.shape[-1:], weight, bias, EPS),
    x="M N", weight="N", bias="N", **ROWS,
)  # fmt: skip
def test_layer_norm(check: Any) -> None:
    check(lambda x, weight, bias: layer.LigerLayerNormFunction.apply(x, weight, bias, EPS))


@parity.sweep(
    lambda gate, up: functional.silu(gate) * up,
    gate="M N", up="M N", writes=("gate", "up"), **ROWS,
)  # fmt: skip
def test_swiglu(check: Any) -> None:
    check(swiglu.LigerSiLUMulFunction.apply)


@parity.sweep(
    lambda logits, target: functional.cross_entropy(logits, target, ignore_index=-100),
    logits="M N", target=parity.indices("M", "N", ignore=-100), writes=("logits",), **ROWS,
)  # fmt: skip
def test_cross_entropy(check: Any) -> None:
    check(lambda x, target: entropy.LigerCrossEntropyFunction.apply(x, target, None, -100)[0])


def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, -1)
    return x * cos.unsqueeze(1) + torch.cat([-b, a], -1) * sin.unsqueeze(1)


def angles(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    half = torch.rand(*shape[:-1], shape[-1] // 2, generator=generator, dtype=torch.float64)
    return torch.cat([half, half], -1)


@parity.sweep(
    lambda q, k, angle: (turned(q, angle.cos(), angle.sin()), turned(k, angle.cos(), angle.sin())),
    q="2 3 T D", k="2 2 T D", angle=parity.drawn("1 T D", angles, grad=False),
    sizes={"T": [7, 1], "D": [8, 34]}, writes=("q", "k", "dy0", "dy1"), dtypes="float32",
)  # fmt: skip
def test_rope(check: Any) -> None:
    check(lambda q, k, angle: rope.LigerRopeFunction.apply(q, k, angle.cos(), angle.sin()))
