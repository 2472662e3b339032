"""What torch says: the reference in the dtype under test, the oracle in float64, and the floor.

The floor is the error that nobody can be blamed for. Inputs reach an implementation rounded, and
every operation on the way rounds again; where results cancel, that is all that is left of them.
How much, is found by Monte Carlo arithmetic (Parker 1997): the oracle is evaluated again,
several times, with every input and the result of every operation moved by a random share of a
few units in the last place of the dtype under test. What that changes, entry by entry, is the
floor.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import torch

from parity.catalogue.values import Tensors
from parity.judge.moves import HALF_ULPS, ULPS, Moves

Evaluate = Callable[..., Tensors]


@dataclass(frozen=True)
class Truth:
    """Named results, in the order in which they are computed.

    Args:
        reference: of torch in the dtype under test.
        oracle: of torch in float64 at the same inputs.
        floor: how far each entry of the oracle may be missed by the best implementation.
        error: how far each entry of the reference is from the oracle, 0 where one of them is not
            finite. In float64, where the reference is the oracle, an estimate.
    """

    reference: Tensors
    oracle: Tensors
    floor: Tensors
    error: Tensors

    def only(self, names: Iterable[str]) -> Truth:
        """The truth of some results."""
        kept = list(names)
        kinds = (self.reference, self.oracle, self.floor, self.error)
        return Truth(*({name: kind[name] for name in kept} for kind in kinds))


class Refused(Exception):
    """Torch itself takes no such inputs: there is nothing to compare with."""


DRAWS = 16
"""How many evaluations the floor is taken from: enough that no entry is left unmoved by bad luck.

Of 8, an entry of a convolution was left unmoved in one of 160 comparisons, and raised an alarm.
"""

HALF = (torch.bfloat16, torch.float16)
"""The dtypes of half precision."""

NARROW = 2.0**-29
"""A unit in the last place of float64, in those of float32."""


def truth(
    evaluate: Evaluate,
    inputs: Tensors,
    *,
    draws: int = DRAWS,
    seed: int = 0,
    elementwise: bool = False,
    pure: bool = False,
    coarse: float | None = None,
    any_order: bool = False,
) -> Truth:
    """Evaluates torch at `inputs`, in their dtype and in float64, and around them for the floor.

    Args:
        evaluate: a pure function from named inputs to named results, such as `layer` makes. One
            that takes `over`, as those of `evaluate` do, is called once for all draws.
        inputs: floating-point tensors of one dtype; integer ones are passed on as they are.
        draws: how many evaluations the floor is taken from. With 0 it is the result's own
            rounding alone: for inputs at which torch's value is a convention, as log(0) is.
        seed: of the moves.
        elementwise: whether each entry of a result depends on the same entry of the inputs
            alone, as an optimizer's do: all draws are then one evaluation.
        pure: whether it is known that `evaluate` gives the same at the same inputs. Else it is
            tried.
        coarse: how far apart numbers are where some operations round to fewer digits than the
            inputs' dtype has, as TensorFloat-32 does; without it, as far as in that dtype.
        any_order: whether terms may be added up in any order, and a softmax be evaluated as
            exp(x - logsumexp(x)), as kernels do that keep no probabilities (Dao 2022). Where large
            terms cancel, what is left has the errors of those; the logsumexp of large numbers has
            few digits; and terms that are added one by one to an entry, as the gradients of an
            embedding are, each round it.

    Raises:
        Refused: torch takes no such inputs.
        ValueError: `evaluate` gives two results at the same inputs: its own randomness would
            pass for rounding, and hide every fault.
    """
    real = [x for x in inputs.values() if x.is_floating_point()]
    double = all(x.dtype == torch.float64 for x in real)
    eps = max([torch.finfo(x.dtype).eps for x in real] + [coarse or 0.0])
    ulps = HALF_ULPS if eps > torch.finfo(torch.float32).eps else ULPS
    largest = max((float(x.abs().nan_to_num(0, 0, 0).max()) for x in real if x.numel()), default=0)
    # The oracle rounds too, on its way, by as much as its largest number: in float64.
    own = max(torch.finfo(x.dtype).tiny for x in real) + torch.finfo(torch.float64).eps * largest
    exact = _as(torch.float64, inputs)
    try:
        oracle = evaluate(exact)
        reference = oracle if double else evaluate(inputs)
    except (RuntimeError, ValueError, IndexError) as refusal:
        raise Refused(f"torch itself refuses such inputs: {refusal}") from refusal
    again = oracle if pure else evaluate(exact)
    for name, y in oracle.items():
        if not pure and not torch.equal(y.nan_to_num(), again[name].nan_to_num()):
            raise ValueError(f"torch's {name} differs from call to call: evaluate is not pure")
    floor = {name: ulps * (eps * y.abs().nan_to_num(0, 0, 0) + own) for name, y in oracle.items()}
    moves = Moves(ulps * eps, seed, any_order)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own parts warn of a variance of one number
        for spread in _spreads(evaluate, exact, oracle, moves, draws, elementwise):
            for name, y in spread.items():
                floor[name] = torch.maximum(floor[name], y)
    sums = not elementwise and draws > 0  # the errors of sums are what the floor does not know of
    error = _errors(reference, oracle)
    if double and sums:
        error = _errors_in_double(evaluate, inputs, oracle)
    return Truth(reference, oracle, floor, error)


def _errors(results: Tensors, oracle: Tensors) -> Tensors:
    return {name: (results[name] - y).abs().nan_to_num(0, 0, 0) for name, y in oracle.items()}


def _as(dtype: torch.dtype, inputs: Tensors) -> Tensors:
    return {name: x.to(dtype) if x.is_floating_point() else x for name, x in inputs.items()}


def _spreads(
    evaluate: Evaluate,
    exact: Tensors,
    oracle: Tensors,
    moves: Moves,
    draws: int,
    elementwise: bool,
) -> Iterator[Tensors]:
    """How far each entry of the results is from the oracle, at most, where all is moved."""

    def moved(evaluate: Evaluate, start: Tensors) -> Tensors:
        moves.sizes.clear()
        with moves:
            return evaluate(start)

    def farthest(results: Tensors) -> Tensors:  # from `[draws, …]`
        return {
            name: (y - oracle[name]).abs().nan_to_num(0, 0, 0).amax(0)
            for name, y in results.items()
        }

    if not draws:
        return
    many = {name: moves.moved(x.expand(draws, *x.shape)) for name, x in exact.items()}
    if elementwise:
        yield farthest(moved(evaluate, many))
        return
    if "over" in inspect.signature(evaluate).parameters:
        try:
            yield farthest(moved(partial(evaluate, over=torch.vmap), many))
            return
        except RuntimeError:
            pass  # a module that vmap does not know of: one draw after another
    for draw in range(draws):
        results = moved(evaluate, {name: x[draw] for name, x in many.items()})
        yield farthest({name: y.unsqueeze(0) for name, y in results.items()})


def _errors_in_double(evaluate: Evaluate, inputs: Tensors, oracle: Tensors) -> Tensors:
    """About what torch errs by in float64, where the oracle is torch itself: what it errs by in
    float32, scaled.

    A sum of thousands of terms errs by more than moved inputs show. No entry errs by more than
    `NARROW` of the largest: where float32 overflows, its errors tell nothing of float64's.
    """
    rounded = _as(torch.float32, inputs)
    errors = _errors(evaluate(rounded), evaluate(_as(torch.float64, rounded)))
    for name, y in oracle.items():
        most = float(y.abs().nan_to_num(0, 0, 0).max()) if y.numel() else 0.0
        errors[name] = NARROW * errors[name].clamp(max=most)
    return errors
