"""Layers that hang, exit, crash, raise, or take all memory; otherwise by `course`'s conventions.

The import is as rude: it switches torch's grad mode off, changes the default dtype, seeds the
generator, and prints. Its LeakyReLU is right.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time

import torch
from torch import Tensor

torch.set_grad_enabled(False)
torch.set_default_dtype(torch.float64)
torch.manual_seed(0)
print("rough: loaded")


class LeakyReLU:
    """`y = x`, or a small share of it where it is negative: nothing is wrong with it."""

    def forward(self, x: Tensor) -> Tensor:
        self.slope = torch.where(x > 0, 1.0, 0.01).to(x.dtype)
        return torch.where(x > 0, x, x * 0.01)

    def backward(self, dy: Tensor) -> Tensor:
        return dy * self.slope


class Tanh:
    """What the others make something bad of."""

    def forward(self, x: Tensor) -> Tensor:
        self.y = x.tanh()
        return self.y.clone()

    def backward(self, dy: Tensor) -> Tensor:
        return dy * (1 - self.y**2)


class Hanging(Tanh):
    """Never comes back from backward."""

    def backward(self, dy: Tensor) -> Tensor:
        while True:
            time.sleep(1)


class Exiting(Tanh):
    """Calls sys.exit in forward."""

    def forward(self, x: Tensor) -> Tensor:
        sys.exit("not implemented")


class Ending(Tanh):
    """Ends the process in forward, without a word."""

    def forward(self, x: Tensor) -> Tensor:
        os._exit(3)


class Crashing(Tanh):
    """Reads from address 0 in backward."""

    def backward(self, dy: Tensor) -> Tensor:
        ctypes.string_at(0)
        return dy


class Greedy(Tanh):
    """Takes 128 GiB in forward."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros(2**34, dtype=torch.float64)


class Raising(Tanh):
    """Raises an exception in backward."""

    def backward(self, dy: Tensor) -> Tensor:
        raise NotImplementedError("backward: to do")
