"""What torch says: the reference in the dtype under test, the oracle in float64, and the floor.

The floor is the error that nobody can be blamed for. Inputs reach an implementation rounded,
so moving each of them by a few units in the last place moves the true result by as much as a
good implementation may be off. The oracle is evaluated again at such inputs, several times:
what that changes, and a few units in the last place of the result itself, is the floor, entry
by entry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

Tensors = dict[str, Tensor]
Evaluate = Callable[[Tensors], Tensors]

ULPS = 4
"""Units in the last place: how far inputs are moved, and how far results may be off."""


@dataclass(frozen=True)
class Truth:
    """Named results, in the order in which they are computed.

    Args:
        reference: of torch in the dtype under test.
        oracle: of torch in float64 at the same inputs.
        floor: how far each entry of the oracle may be missed by the best implementation.
    """

    reference: Tensors
    oracle: Tensors
    floor: Tensors

    def only(self, names: Iterable[str]) -> Truth:
        """The truth of some results."""
        kept = list(names)
        kinds = (self.reference, self.oracle, self.floor)
        return Truth(*({name: kind[name] for name in kept} for kind in kinds))


def truth(evaluate: Evaluate, inputs: Tensors, *, draws: int = 8, seed: int = 0) -> Truth:
    """Evaluates torch at `inputs`, in their dtype and in float64, and around them for the floor.

    Args:
        evaluate: a pure function from named inputs to named results, such as `layer` makes.
        inputs: floating-point tensors of one dtype; integer ones are passed on as they are.
        draws: how many moved inputs the floor is taken from: enough of them that no entry is
            left unmoved by bad luck. With 0 it is the result's own
            rounding alone: for inputs at which torch's value is a convention, as log(0) is.
        seed: of the moves.
    """
    real = [x for x in inputs.values() if x.is_floating_point()]
    eps = max(torch.finfo(x.dtype).eps for x in real)
    largest = max((float(x.abs().nan_to_num(0, 0, 0).max()) for x in real if x.numel()), default=0)
    # The oracle rounds too, on its way, by as much as its largest number: in float64.
    own = max(torch.finfo(x.dtype).tiny for x in real) + torch.finfo(torch.float64).eps * largest
    exact = {name: x.double() if x.is_floating_point() else x for name, x in inputs.items()}
    oracle = evaluate(exact)
    spread = {name: torch.zeros_like(y, dtype=torch.float64) for name, y in oracle.items()}
    generator = torch.Generator().manual_seed(seed)
    for _ in range(draws):
        moved = evaluate({name: _moved(x, ULPS * eps, generator) for name, x in exact.items()})
        for name, y in moved.items():
            spread[name] = torch.maximum(spread[name], (y - oracle[name]).abs().nan_to_num(0))
    floor = {
        name: spread[name] + ULPS * (eps * y.abs().nan_to_num(0, 0, 0) + own)
        for name, y in oracle.items()
    }
    return Truth(evaluate(inputs), oracle, floor)


def _moved(x: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Every entry, by chance, as it is or nearer to 0 by `share` of itself."""
    if not x.is_floating_point():
        return x
    coins = torch.rand(x.shape, generator=generator, dtype=torch.float64).round().to(x.device)
    return x * (1 - share * coins)
