"""Chains of modules: forward from the first to the last, backward from the last to the first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor

from scratch.module import Module


class Sequential(Module):
    """Modules in a row, each fed with the one before: torch.nn.Sequential.

    Args:
        modules: modules as arguments, or one list of them, as in report B's Figure 1.

    Raises:
        ValueError: no modules, or the same instance twice: an instance keeps one forward's
            tensors, so each place needs its own.
        TypeError: something that is not a `scratch.Module`.
    """

    def __init__(self, *modules: Module | Sequence[Module]) -> None:
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], (list, tuple)):
            modules = tuple(modules[0])
        if not modules:
            raise ValueError("Sequential takes at least one module")
        self._chain: list[Module] = []
        for place, module in enumerate(modules):
            if not isinstance(module, Module):
                raise TypeError(f"Sequential takes scratch modules; place {place} is {module!r}")
            self._chain.append(module)
        seen: dict[int, int] = {}
        for place, module in enumerate(self._chain):
            for part in module.modules():
                if seen.setdefault(id(part), place) != place:
                    raise ValueError(
                        f"Sequential has one {part} at places {seen[id(part)]} and {place}; "
                        "each place needs an instance of its own"
                    )

    def forward(self, x: Tensor) -> Tensor:
        for module in self._chain:
            x = module.forward(x)
        return x

    def backward(self, dy: Tensor) -> Tensor:
        """The chain rule: each module's `dx` is the `dy` of the one before it."""
        for module in reversed(self._chain):
            dy = module.backward(dy)
        return dy

    def backward_param(self, dy: Tensor) -> None:
        for module in reversed(self._chain[1:]):
            dy = module.backward(dy)
        self._chain[0].backward_param(dy)

    def children(self) -> Iterator[tuple[str, Module]]:
        return ((str(place), module) for place, module in enumerate(self._chain))

    def __len__(self) -> int:
        return len(self._chain)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._chain)

    def __getitem__(self, place: int) -> Module:
        return self._chain[place]

    def __repr__(self) -> str:
        lines = [f"  ({name}): {module}" for name, module in self.children()]
        return "\n".join(["Sequential(", *(line.replace("\n", "\n  ") for line in lines), ")"])


class Residual(Module):
    """`y = x + f(x)`, f being modules in a row: He et al. 2016, eq. (1). Torch has no such class.

    Args:
        modules: as `Sequential` takes them; what they return is shaped like x.

    Raises:
        ValueError, TypeError: as `Sequential`; in `forward`, a result that x cannot be added to.
    """

    def __init__(self, *modules: Module | Sequence[Module]) -> None:
        super().__init__()
        self._inside = Sequential(*modules)

    def forward(self, x: Tensor) -> Tensor:
        y = self._inside.forward(x)
        if y.shape != x.shape:
            raise ValueError(f"{self}: {list(x.shape)} became {list(y.shape)}; both are added up")
        return x + y

    def backward(self, dy: Tensor) -> Tensor:
        """`dx = dy + f'(x) * dy`."""
        return dy + self._inside.backward(dy)

    def backward_param(self, dy: Tensor) -> None:
        self._inside.backward_param(dy)

    def children(self) -> Iterator[tuple[str, Module]]:
        return self._inside.children()

    def __repr__(self) -> str:
        return f"Residual{repr(self._inside).removeprefix('Sequential')}"
