"""Moves every number on the way of an evaluation by a little, as rounding does.

Under the mode `Moves` torch's operations return what they would, each entry a random share of a few
units in the last place nearer to 0.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._decomp import get_decompositions
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

ULPS, HALF_ULPS = 4, 1
"""Units in the last place: how far numbers are moved, and how far results may be off.

One in half precision, whose operations are carried out in float32 and rounded once.
"""

_ATEN = torch.ops.aten
#: Operations that add up on their way what cancels in the end, as the sums that they are made of.
_PARTS = get_decompositions(
    [
        _ATEN._softmax,
        _ATEN._softmax_backward_data,
        _ATEN._log_softmax,
        _ATEN._log_softmax_backward_data,
        _ATEN.native_layer_norm,
        _ATEN.native_layer_norm_backward,
        _ATEN.native_group_norm,
        _ATEN.native_group_norm_backward,
        _ATEN.native_batch_norm,
        _ATEN._native_batch_norm_legit,
        _ATEN.native_batch_norm_backward,
        _ATEN.gelu_backward,
    ]
)


#: By operation, what makes its result of x - logsumexp(x).
_SOFTMAX = {
    _ATEN._softmax.default: torch.exp,
    _ATEN._safe_softmax.default: lambda x: torch.exp(x).nan_to_num(0.0),  # of nothing: 0
    _ATEN._log_softmax.default: torch.clone,
}


#: By operation that adds up terms, the sum of the squares of those.
_SUMS: dict[Any, Callable[..., Tensor]] = {
    _ATEN.mm.default: lambda x, y: (x * x) @ (y * y),
    _ATEN.bmm.default: lambda x, y: (x * x) @ (y * y),
    _ATEN.addmm.default: lambda b, x, y: b * b + (x * x) @ (y * y),
    _ATEN.sum.default: lambda x: (x * x).sum(),
    _ATEN.sum.dim_IntList: lambda x, *where: (x * x).sum(*where),
}

_SOFTMAX_BACKWARD = _ATEN._softmax_backward_data.default

#: Operations that add terms one by one to the entries that indices name.
_SCATTERED = {
    _ATEN.embedding_dense_backward.default,
    _ATEN.index_add.default,
    _ATEN.index_add_.default,
    _ATEN.index_put.default,
    _ATEN.index_put_.default,
    _ATEN.scatter_add.default,
    _ATEN.scatter_add_.default,
}

MANY = 64
"""For so many terms that are added one by one a result moves once more by `ULPS` of float32."""


class Moves(TorchDispatchMode):
    """Moves what every operation returns: each entry nearer to 0, by up to `share` of itself.

    Nearer to 0 and not away from it, since a probability must stay one.
    """

    def __init__(self, share: float, seed: int, any_order: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.share = share
        self.seed = seed
        self.any_order = any_order
        self.sizes: dict[int, tuple[Tensor, Tensor]] = {}  # of what sums gave, by where it lies
        self.place = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Spares an import of torch's compiler, half a second, which knows nothing of moves."""
        return False

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        options = kwargs or {}
        if self.any_order and operation in _SOFTMAX:
            x, dim = args[:2]
            total = self._raised(torch.logsumexp(x, dim, keepdim=True))
            with self:
                return _SOFTMAX[operation](x - total)
        if self.any_order and operation is _SOFTMAX_BACKWARD:
            return self._softmax_backward(*args[:3])
        if operation in _PARTS:
            with self:
                return _PARTS[operation](*args, **options)
        results = operation(*args, **options)
        if written := _written(operation):  # some return nothing: it is among the arguments
            for place in written:
                name = operation._schema.arguments[place].name
                value = args[place] if place < len(args) else options.get(name)
                if isinstance(value, Tensor):
                    self._move_(value, self._more(operation, args, value))
                else:
                    tree_map_only(Tensor, self._move_, value)
            return results
        if _keeps(operation):
            return results
        if self.any_order and operation in _SUMS and not options and results.is_floating_point():
            size = _SUMS[operation](*args).sqrt().maximum(results.abs())
            found = self._moved_by(size, results)
            self.sizes[found.data_ptr()] = found, size
            return found
        if isinstance(results, Tensor):
            return self.moved(results, self._more(operation, args, results))
        return tree_map_only(Tensor, self.moved, results)

    def moved(self, x: Tensor, more: float = 0.0) -> Tensor:
        """`x` a little nearer to 0, as a new tensor; what is no real number stays as it is.

        Args:
            more: how many times further.
        """
        return x * self._factors(x, more) if x.is_floating_point() else x

    def _moved_by(self, size: Tensor, x: Tensor) -> Tensor:
        """`x` a little nearer to 0, by a share of `size`."""
        return x - (1 - self._factors(x)) * size.copysign(x)

    def _softmax_backward(self, dy: Tensor, y: Tensor, dim: int) -> Tensor:
        """`y * (dy - sum(dy * y))`. Flash attention takes the sum from what came out of the
        attention, so that it has errors of its own, of the size of the terms that dy is made of."""
        _, size = self.sizes.get(dy.data_ptr(), (dy, dy))
        size = size.reshape(dy.shape) if size.numel() == dy.numel() else dy
        total = (dy * y).sum(dim, keepdim=True)
        error = (size * y).square().sum(dim, keepdim=True).sqrt()
        total = self._moved_by(error.maximum(total.abs()), total)
        with self:
            return y * (dy - total)

    def _more(self, operation: Any, args: Any, result: Tensor) -> float:
        """How many times further a result moves, since many terms were added one by one to it."""
        if not self.any_order or operation not in _SCATTERED or not result.numel():
            return 0.0
        terms = max(x.numel() for x in args if isinstance(x, Tensor)) / result.numel()
        return (terms // MANY) * ULPS * torch.finfo(torch.float32).eps / self.share

    def _raised(self, x: Tensor) -> Tensor:
        """`x` moved up: a share of its exponential gets nearer to 0."""
        return x + x.abs() * (1 - self._factors(x))

    def _move_(self, x: Tensor, more: float = 0.0) -> Tensor:
        return x.mul_(self._factors(x, more)) if x.is_floating_point() else x

    def _factors(self, x: Tensor, more: float = 0.0) -> Tensor:
        """The next of those that are drawn; of more than there are, all of them again."""
        count = x.numel()
        drawn = _drawn(self.share, self.seed, x.device)
        if count > POOL:
            self.place = (self.place + count) % POOL
            drawn = drawn.roll(-self.place).repeat(-(-count // POOL))[:count]
        else:
            self.place = (self.place + count) % (POOL - count + 1)
            drawn = drawn[self.place : self.place + count]
        drawn = 1 - (1 - drawn) * (1 + more) if more else drawn
        return drawn.view(x.shape).to(x.dtype)


POOL = (1 << 19) - 1
"""How many factors are drawn at once: to draw those of each move anew was half of its time. A prime
number: where they are used again, no row of a tensor has those of another."""


@functools.lru_cache(maxsize=8)
def _drawn(share: float, seed: int, device: torch.device) -> Tensor:
    generator = torch.Generator(device).manual_seed(seed)
    parts = torch.rand(POOL, dtype=torch.float64, device=device, generator=generator)
    return 1 - share * parts


@functools.cache
def _written(operation: Any) -> tuple[int, ...]:
    """The places of the arguments that an operation writes into."""
    arguments = enumerate(operation._schema.arguments)
    return tuple(n for n, a in arguments if a.alias_info is not None and a.alias_info.is_write)


@functools.cache
def _keeps(operation: Any) -> bool:
    """Whether nothing is rounded: an operation looks at memory that is there, or draws."""
    is_view = any(result.alias_info is not None for result in operation._schema.returns)
    return is_view or torch.Tag.nondeterministic_seeded in operation.tags
