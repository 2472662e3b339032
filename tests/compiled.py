"""Compiles the Triton kernel for an H100 or H200, without a GPU: `python -m tests.compiled`.

It takes what `scratch.fit` gives the kernel, and has Triton specialise and compile it as at a
launch, but launches nothing.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget

import scratch
from scratch import data, models
from scratch.engines import cuda, fused, kernel

REAL = kernel.train


class Absent:
    """In place of the driver of a GPU, of which Triton asks what it is to compile for."""

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


class Compiled:
    """In place of the kernel."""

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        return self.launch

    def launch(self, *given: Any, **named: Any) -> None:
        made = REAL.warmup(*given, grid=(1,), **named)
        assert ".target sm_90" in made.asm["ptx"]
        size = f"{len(made.asm['cubin'])} bytes, {made.metadata.shared} of shared memory"
        print(f"Triton {triton.__version__}, {given[0].dtype}: {size}")


def main() -> None:
    triton.runtime.driver.set_active(Absent())
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
