"""What torch says: the reference in the dtype under test, the oracle in float64, and the floor.

The floor is the error that nobody can be blamed for. Inputs reach an implementation rounded, and
every operation on the way rounds again; where results cancel, that is all that is left of them.
How much, is found by Monte Carlo arithmetic (Parker 1997): the oracle is evaluated again,
several times, with every input and the result of every operation moved by a random share of a
few units in the last place of the dtype under test. What that changes, entry by entry, is the
floor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._decomp import get_decompositions
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from parity.catalogue.values import Tensors

Evaluate = Callable[[Tensors], Tensors]

ULPS, HALF_ULPS = 4, 1
"""Units in the last place: how far numbers are moved, and how far results may be off.

One in half precision, whose operations are carried out in float32 and rounded once.
"""


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


def truth(
    evaluate: Evaluate,
    inputs: Tensors,
    *,
    draws: int = 8,
    seed: int = 0,
    elementwise: bool = False,
) -> Truth:
    """Evaluates torch at `inputs`, in their dtype and in float64, and around them for the floor.

    Args:
        evaluate: a pure function from named inputs to named results, such as `layer` makes.
        inputs: floating-point tensors of one dtype; integer ones are passed on as they are.
        draws: how many evaluations the floor is taken from: enough of them that no entry is
            left unmoved by bad luck. With 0 it is the result's own rounding alone: for inputs
            at which torch's value is a convention, as log(0) is.
        seed: of the moves.
        elementwise: whether each entry of a result depends on the same entry of the inputs
            alone, as an optimizer's do: all draws are then one evaluation.

    Raises:
        ValueError: `evaluate` gives two results at the same inputs: its own randomness would
            pass for rounding, and hide every fault.
    """
    real = [x for x in inputs.values() if x.is_floating_point()]
    eps = max(torch.finfo(x.dtype).eps for x in real)
    ulps = HALF_ULPS if eps > torch.finfo(torch.float32).eps else ULPS
    largest = max((float(x.abs().nan_to_num(0, 0, 0).max()) for x in real if x.numel()), default=0)
    # The oracle rounds too, on its way, by as much as its largest number: in float64.
    own = max(torch.finfo(x.dtype).tiny for x in real) + torch.finfo(torch.float64).eps * largest
    exact = {name: x.double() if x.is_floating_point() else x for name, x in inputs.items()}
    oracle, again = evaluate(exact), evaluate(exact)
    for name, y in oracle.items():
        if not torch.equal(y.nan_to_num(), again[name].nan_to_num()):
            raise ValueError(f"torch's {name} differs from call to call: evaluate is not pure")
    floor = {name: ulps * (eps * y.abs().nan_to_num(0, 0, 0) + own) for name, y in oracle.items()}
    moves = _Moves(ulps * eps, seed)
    if elementwise and draws:
        exact = {name: x.expand(draws, *x.shape) for name, x in exact.items()}
    for _ in range(min(draws, 1) if elementwise else draws):
        start = {name: moves.moved(x) for name, x in exact.items()}
        with moves:
            results = evaluate(start)
        for name, y in results.items():
            spread = (y - oracle[name]).abs().nan_to_num(0, 0, 0)
            spread = spread.amax(0) if elementwise else spread
            floor[name] = torch.maximum(floor[name], spread)
    return Truth(evaluate(inputs), oracle, floor)


_ATEN = torch.ops.aten
#: Operations that add up on their way what cancels in the end, as the sums that they are made of.
_PARTS = get_decompositions(
    [
        _ATEN._softmax,
        _ATEN._softmax_backward_data,
        _ATEN._log_softmax,
        _ATEN._log_softmax_backward_data,
    ]
)


class _Moves(TorchDispatchMode):
    """Moves what every operation returns: each entry nearer to 0, by up to `share` of itself.

    Nearer to 0 and not away from it, since a probability must stay one.
    """

    def __init__(self, share: float, seed: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.share = share
        self.seed = seed
        self.generators: dict[torch.device, torch.Generator] = {}

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        options = kwargs or {}
        if operation in _PARTS:
            with self:
                return _PARTS[operation](*args, **options)
        results = operation(*args, **options)
        schema = operation._schema
        if schema.is_mutable:  # some return nothing: what they wrote is among the arguments
            given = {a.name: value for a, value in zip(schema.arguments, args, strict=False)}
            for argument in schema.arguments:
                written = argument.alias_info is not None and argument.alias_info.is_write
                if written:
                    tree_map_only(Tensor, self._move_, (given | options).get(argument.name))
            return results
        is_view = any(result.alias_info is not None for result in schema.returns)
        is_random = torch.Tag.nondeterministic_seeded in operation.tags
        if is_view or is_random:
            return results
        return tree_map_only(Tensor, self.moved, results)

    def moved(self, x: Tensor) -> Tensor:
        """`x` a little nearer to 0, as a new tensor; what is no real number stays as it is."""
        return x * self._factors(x) if x.is_floating_point() else x

    def _move_(self, x: Tensor) -> Tensor:
        return x.mul_(self._factors(x)) if x.is_floating_point() else x

    def _factors(self, x: Tensor) -> Tensor:
        if x.device not in self.generators:
            self.generators[x.device] = torch.Generator(x.device).manual_seed(self.seed)
        generator = self.generators[x.device]
        parts = torch.rand(x.shape, dtype=x.dtype, device=x.device, generator=generator)
        return 1 - self.share * parts
