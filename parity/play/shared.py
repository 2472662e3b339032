"""What all cases of a process share: one may leave it changed, and another would be blamed."""

from __future__ import annotations

import builtins
import gc
import math
import random
import signal
from typing import Any

import numpy as np
import torch

_PLACES: dict[str, Any] = {
    "torch": torch,
    "torch.Tensor": torch.Tensor,
    "torch.nn.functional": torch.nn.functional,
    "numpy": np,
    "numpy.random": np.random,
    "math": math,
    "random": random,
    "builtins": builtins,
}


class Shared:
    """How the process is now, once the subject has been imported."""

    def __init__(self) -> None:
        self.names = {name: dict(vars(place)) for name, place in _PLACES.items()}
        self.state = _state()
        gc.collect()
        gc.freeze()  # what is there already need not be looked through again

    def changed(self) -> list[str]:
        """What is not as it was; what nobody holds any more is deleted first, which runs code."""
        gc.collect()
        found = []
        for name, before in self.names.items():
            now = vars(_PLACES[name])
            # A module may have loaded more of itself; what a class has more hides its base's.
            keys = before.keys() | now.keys() if isinstance(_PLACES[name], type) else before.keys()
            found += [
                f"replaces {name}.{key}" for key in keys if now.get(key) is not before.get(key)
            ]
        state = _state()
        return found + [what for what, value in self.state.items() if state[what] != value]


def _state() -> dict[str, Any]:
    timers = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
    return {
        "leaves a timer running": any(signal.getitimer(one) != (0, 0) for one in timers),
        "changes how signals are handled": [signal.getsignal(n) for n in signal.valid_signals()],
        "changes whether subnormal numbers are zero": float(torch.full((), 1e-40) * 1) == 0,
        "changes how numpy takes errors": np.geterr(),
    }
