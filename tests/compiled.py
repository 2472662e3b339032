"""Compiles the Triton kernel for a GPU, which none need be there for: `python -m tests.compiled`.

It takes what `scratch.fit` gives the kernel, and compiles it in place of launching it.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget

import scratch
from scratch import data, models
from scratch.engines import cuda, fused, kernel

TYPES = {torch.float32: "*fp32", torch.float64: "*fp64", torch.int64: "*i64", torch.int32: "*i32"}
H200 = GPUTarget("cuda", 90, 32)
REAL = kernel.train


class Compiled:
    """In place of the kernel."""

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        return self.launch

    def launch(self, *given: Any, **named: Any) -> None:
        constants = {name: value for name, value in named.items() if name.isupper()}
        options = {name: value for name, value in named.items() if not name.isupper()}
        given_types = [TYPES[a.dtype] if isinstance(a, torch.Tensor) else "i32" for a in given]
        signature = dict(zip(REAL.arg_names, given_types, strict=False))
        signature |= dict.fromkeys(constants, "constexpr")
        assert list(signature) == REAL.arg_names
        made = triton.compile(
            triton.compiler.ASTSource(REAL, signature, constants),
            target=H200, options=options,
        )  # fmt: skip
        assert ".target sm_90" in made.asm["ptx"]
        print(f"{len(made.asm['cubin'])} bytes, {made.metadata.shared} of shared memory")


def main() -> None:
    fused.backend = lambda device: cuda
    kernel.train = Compiled()
    x, labels = data.disk(40, seed=0)
    for dtype, make, loss, rule in (
        (torch.float32, models.model_1, scratch.MSELoss, scratch.SGD),
        (torch.float64, models.model_2, scratch.BCELoss, scratch.Adam),
    ):
        model = make().to(dtype)
        optimizer = rule(model.param())
        scratch.fit(
            model, loss(), optimizer, x.to(dtype), data.one_hot(labels).to(dtype),
            epochs=1, batch_size=10, engine="fused",
        )  # fmt: skip


if __name__ == "__main__":
    main()
