"""How much memory a function takes for a pass forward and backward, beside torch's."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from parity.kernels.player import prepared
from parity.kernels.spec import Sweep
from parity.play.broken import Broken
from parity.play.guard import guarded


class _Peak(TorchDispatchMode):
    """Counts the bytes of all memory that is made within it and still there, at their most."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.alive: dict[int, tuple[StorageWeakRef, int]] = {}
        self.most = 0

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        found = operation(*args, **(kwargs or {}))
        before = {
            x.untyped_storage()._cdata for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)
        }
        self.alive = {key: one for key, one in self.alive.items() if not one[0].expired()}
        for x in tree_leaves(found):
            if isinstance(x, Tensor) and x.untyped_storage()._cdata not in before:
                storage = x.untyped_storage()
                self.alive[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        self.most = max(self.most, sum(size for _, size in self.alive.values()))
        return found


def beside_torch(sweep: Sweep, subject: Any) -> str:
    """The most memory that a pass takes at the largest sizes, beside torch's; "" where that cannot
    be said."""
    plain = sweep.axes.plain()
    case = plain.at({("size", name): max(sizes) for name, sizes in sweep.sizes.items()})
    found = []
    try:
        inputs = sweep.drawn(case) | sweep.gradients_of(case)
        for one in (subject, sweep.reference):
            call = prepared(sweep, one, case, inputs)
            with guarded(torch.float32, device=sweep.device), _peak(sweep.device) as most:
                call()
            found.append(most[0])
    except (Broken, RuntimeError, ValueError):
        return ""
    own, torchs = found
    if not torchs:
        return ""
    return f"{own / torchs:.2f} times torch's, {own / 2**20:.3g} MiB at {case}"


@contextlib.contextmanager
def _peak(device: str) -> Iterator[list[int]]:
    """The most bytes that are taken within it, beyond those that were before."""
    most = [0]
    if device.startswith("cuda"):
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        yield most
        torch.cuda.synchronize()
        most[0] = torch.cuda.max_memory_allocated() - before
        return
    with _Peak() as counted:
        yield most
    most[0] = counted.most
