"""The contract that every layer keeps: `forward`, `backward`, and `param`."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import torch
from torch import Tensor

if TYPE_CHECKING:
    from typing_extensions import Self

Pair: TypeAlias = tuple[Tensor, Tensor]


def describe(x: object) -> str:
    """A value as an error message shows it: `float32 [10, 2] on cpu` for a tensor."""
    if isinstance(x, Tensor):
        kind = "" if x.layout == torch.strided else f", {str(x.layout).removeprefix('torch.')}"
        return f"{str(x.dtype).removeprefix('torch.')} {list(x.shape)} on {x.device}{kind}"
    return f"{type(x).__name__} {x!r}"


def is_dense(x: object) -> bool:
    """Whether it is a tensor whose numbers are there: not sparse, nested, quantized, or of none."""
    return (
        isinstance(x, Tensor)
        and x.layout == torch.strided
        and not (x.is_nested or x.is_quantized or x.is_meta or x.is_complex())
    )


@functools.lru_cache(maxsize=256)
def constant(value: float, dtype: torch.dtype) -> Tensor:
    """A number as a tensor without axes, made once.

    Given a Python number, an operation makes it into a tensor each time, which costs as much
    as the operation itself on a small batch. Half-precision types keep it in float32.
    """
    with torch.inference_mode(False):  # it outlives the mode that it is first asked for in
        kept = torch.promote_types(dtype, torch.float32)
        return torch.tensor(value, dtype=kept, device="cpu")  # a scalar serves every device


def summed(dtype: torch.dtype) -> torch.dtype:
    """What many numbers of a dtype are summed in, one after another: float32 at least, as torch."""
    return torch.promote_types(dtype, torch.float32)


class Module:
    """A function of tensors that knows its own derivative.

    A subclass writes `forward` and `backward`, and registers what it learns with
    `register`, and what else belongs to its state with `register_buffer`. Between the two,
    `forward` keeps what `backward` needs; one `backward` uses it up.

    Tensors are batch first, `[B, features]`. In a model that `runs.stack` built from R
    models, everything has a leading axis of runs: `[R, B, features]`, and R leads every
    parameter. Layers index from the right, so that one body of code serves both. A layer that
    has no such axis sets `stackable = False`, and `runs.stack` refuses it.

    What forward took and returned must not be modified in place before its backward: it is
    kept as it is, not copied. `training` tells layers such as `Dropout` how to behave.
    """

    stackable = True

    def __init__(self) -> None:
        self.training = True
        self.runs: int | None = None  # R, in a model that runs.stack built
        self._kept: Tensor | None = None  # shaped like the output, unless a layer says otherwise
        self._saved: tuple[Any, ...] = ()  # what else backward needs: see _keep
        self._pairs: dict[str, Pair] = {}
        self._buffers: dict[str, Tensor] = {}

    def __call__(self, x: Tensor) -> Tensor:
        return self.forward(x)

    def forward(self, x: Tensor) -> Tensor:
        """Returns `y`, and keeps what `backward` needs. `x` is not modified."""
        raise NotImplementedError(f"{type(self).__name__} must define forward")

    def backward(self, dy: Tensor) -> Tensor:
        """Takes `dy` = d loss / d y, accumulates d loss / d parameters, returns d loss / d x.

        Raises:
            RuntimeError: without a `forward` of its own before it.
            ValueError, TypeError: `dy` is not shaped, placed or typed like `forward`'s output.
        """
        raise NotImplementedError(f"{type(self).__name__} must define backward")

    def backward_param(self, dy: Tensor) -> None:
        """`backward` for the first layer in training: no one needs d loss / d x there."""
        self.backward(dy)

    def register(self, name: str, value: Tensor) -> None:
        """Makes `value` a parameter: the attribute `name`, its gradient, zero, `d` + `name`."""
        self._pairs[name] = (value, torch.zeros_like(value))
        setattr(self, name, value)
        setattr(self, f"d{name}", self._pairs[name][1])

    def register_buffer(self, name: str, value: Tensor) -> None:
        """Makes `value` a buffer, the attribute `name`: state that no gradient moves.

        A buffer is saved, loaded, moved and copied with the parameters. It is not in `param()`.
        Like a parameter, it is written in place and never replaced. It has no axis of runs:
        `runs.stack` refuses a module with buffers.
        """
        self.stackable = False
        self._buffers[name] = value
        setattr(self, name, value)

    def children(self) -> Iterator[tuple[str, Module]]:
        """The modules that this one is made of, with their names: its attributes.

        Raises:
            TypeError: modules in a list, tuple or dict, which would be passed over.
        """
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield name, value
            held = value.values() if isinstance(value, dict) else value
            if isinstance(value, (list, tuple, dict)) and any(isinstance(m, Module) for m in held):
                raise TypeError(
                    f"{type(self).__name__}.{name} holds modules in a {type(value).__name__}, "
                    "where they are not found; make it a Sequential, or define children()"
                )

    def modules(self) -> Iterator[Module]:
        """This module and all that it is made of, itself first."""
        yield self
        for _, child in self.children():
            yield from child.modules()

    def named_param(self) -> dict[str, Pair]:
        """`param()` by torch's names: `{"0.weight": (weight, dweight), …}`.

        Raises:
            RuntimeError: an attribute that was a parameter or its gradient is another tensor now.
        """
        own = dict(self._pairs)
        for name, (parameter, gradient) in own.items():
            self._check_own(name, parameter, "parameter")
            self._check_own(f"d{name}", gradient, "parameter")
        for name, child in self.children():
            own |= {f"{name}.{key}": pair for key, pair in child.named_param().items()}
        return own

    def param(self) -> list[Pair]:
        """All `(parameter, gradient)` pairs, first layer first.

        They are the module's own tensors, and stay the same objects for its whole life:
        `to` and optimizers may move their memory, but never replace them.
        """
        return list(self.named_param().values())

    def zero_grad(self) -> None:
        """Sets every gradient to zero."""
        for _, gradient in self.param():
            gradient.zero_()

    def train(self, mode: bool = True) -> Self:
        """Sets training mode here and below, or with `mode=False` evaluation; returns itself."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Sets evaluation mode: `train(False)`."""
        return self.train(False)

    def to(
        self,
        device: torch.device | str | torch.dtype | None = None,
        dtype: torch.dtype | None = None,
    ) -> Self:
        """Moves parameters and gradients to a device, a floating-point dtype, or both.

        Raises:
            ValueError: the device is not there, or the dtype is not a floating-point one.
        """
        if isinstance(device, torch.dtype):  # to(torch.float64), as in torch
            device, dtype = None, device
        device = None if device is None else checked_device(device)
        if dtype is not None and not dtype.is_floating_point:
            raise ValueError(f"a model is moved to a floating-point dtype, not to {dtype}")
        generators: dict[int, torch.Generator] = {}
        for module in self.modules():
            module._place(device, dtype, generators)
        return self

    def state_dict(self) -> dict[str, Tensor]:
        """A copy of every parameter and buffer, by torch's name and in its layout.

        For example `0.weight` `[out, in]`.
        """
        return {name: value.clone() for name, value in self._named_state().items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Copies parameters and buffers in, from this module's or the torch.nn mirror's state_dict.

        Raises:
            ValueError: keys are missing or left over, a shape differs, or a tensor is not one of
                real numbers, one beside the other; nothing is loaded then.
        """
        own = self._named_state()
        faults = [f"{key} is missing" for key in own.keys() - state.keys()]
        faults += [f"{key} is not a parameter or buffer here" for key in state.keys() - own.keys()]
        faults += [
            f"{key} is {describe(state[key])}, and {list(own[key].shape)} here"
            for key in own.keys() & state.keys()
            if not is_dense(state[key]) or state[key].shape != own[key].shape
        ]
        if faults:
            raise ValueError(
                f"the state_dict does not fit, nothing loaded: {'; '.join(sorted(faults))}"
            )
        values = {key: state[key].detach().to(value, copy=True) for key, value in own.items()}
        for key, value in own.items():
            value.copy_(values[key])

    def extra_repr(self) -> str:
        """The constructor's arguments, as `repr` shows them."""
        return ""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.extra_repr()})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        kept = ("_kept", "_saved")
        state = {key: value for key, value in vars(self).items() if key not in kept}
        vars(twin).update(copy.deepcopy(state, memo), _kept=None, _saved=())
        return twin

    def _place(
        self,
        device: torch.device | None,
        dtype: torch.dtype | None,
        generators: dict[int, torch.Generator],
    ) -> None:
        """`to` for what this module itself owns; `generators` are those moved so far, by id."""
        self._kept, self._saved = None, ()
        for pair in self._pairs.values():
            for tensor in pair:
                tensor.data = tensor.to(device=device, dtype=dtype)
        for buffer in self._buffers.values():  # a count stays an integer
            buffer.data = buffer.to(device, dtype if buffer.is_floating_point() else None)

    def _named_state(self) -> dict[str, Tensor]:
        """Parameters and buffers by torch's names, in torch's order."""
        own = {name: parameter for name, (parameter, _) in self._pairs.items()} | self._buffers
        for name, value in own.items():
            self._check_own(name, value, "buffer" if name in self._buffers else "parameter")
        for name, child in self.children():
            own |= {f"{name}.{key}": value for key, value in child._named_state().items()}
        return own

    def _check_own(self, name: str, tensor: Tensor, kind: str) -> None:
        """Raises RuntimeError if the attribute is no longer the tensor that was registered."""
        if getattr(self, name, None) is not tensor:
            raise RuntimeError(
                f"{type(self).__name__}.{name} was replaced, and the {kind} is "
                f"not it any more: write in place, {name}.copy_(…)"
            )

    def _keep(self, y: Tensor, *saved: Any) -> None:
        """Keeps `saved` for backward, with the output's shape, dtype and device, not its memory."""
        self._kept, self._saved = y.new_empty(()).expand(y.shape), saved

    def _recall(self, dy: Tensor) -> Any:
        """What `_keep` saved, once it is clear that `dy` is shaped like the output."""
        self._take(dy)
        saved, self._saved = self._saved, ()
        return saved

    def _take(self, dy: Tensor) -> Tensor:
        """What `forward` kept, once it is clear that `dy` is shaped like the output."""
        kept = self._kept
        if (
            kept is None
            or dy.shape != kept.shape
            or dy.dtype != kept.dtype
            or dy.device != kept.device
        ):
            self._refuse_dy(dy, kept)
        self._kept = None
        return kept

    def _check_x(self, x: Tensor, like: Tensor | None, *shapes: Sequence[int | str]) -> None:
        """Raises unless x has one of the shapes, and is typed and placed like a parameter.

        Args:
            like: a parameter or buffer; None if any floating-point dtype on any device will do.
            shapes: as `("B", 3, "H", "W")`: a name stands for any size, and a first "*" for any
                number of axes.
        """
        typed = x.is_floating_point() if like is None else x.dtype == like.dtype
        placed = like is None or x.device == like.device
        if typed and placed and any(_fits(x.shape, shape) for shape in shapes):
            return
        dtype = "floating-point" if like is None else str(like.dtype).removeprefix("torch.")
        takes = " or ".join(f"[{', '.join(map(str, shape))}]" for shape in shapes)
        device = "" if like is None else f" on {like.device}"
        self._refuse_x(x, f"{dtype} {takes}{device}", ValueError if typed else TypeError)

    def _refuse_x(self, x: Tensor, takes: str, kind: type[Exception] = ValueError) -> NoReturn:
        raise kind(f"{self}: forward got {describe(x)}, takes {takes}")

    def _refuse_dy(self, dy: Tensor, y: Tensor | None) -> NoReturn:
        if y is None:
            raise RuntimeError(
                f"{self}: backward without a forward of its own; forward keeps what one "
                "backward needs, and that backward uses it up"
            )
        kind = ValueError if dy.dtype == y.dtype else TypeError
        raise kind(f"{self}: backward got {describe(dy)}, takes {describe(y)}")


def _fits(got: torch.Size, due: Sequence[int | str]) -> bool:
    """Whether a shape is one that `Module._check_x` describes."""
    if due[0] == "*":
        due = due[1:]
        got = got[max(0, len(got) - len(due)) :]
    return len(got) == len(due) and all(
        isinstance(size, str) or size == own for own, size in zip(got, due, strict=True)
    )


def check_sizes(layer: str, **sizes: object) -> None:
    """Refuses a size of a layer, by its argument's name, that is not an integer of at least 1."""
    for name, size in sizes.items():
        if not isinstance(size, int) or size < 1:
            raise ValueError(f"{layer} takes a positive integer as {name}, not {size!r}")


def checked_device(device: torch.device | str) -> torch.device:
    """`device` as a torch.device, if this machine has it.

    Raises:
        ValueError: it has not, or there is no such kind of device.
    """
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, ValueError, TypeError) as error:
        reason = "this torch sees no CUDA device" if "cuda" in str(device) else str(error)
        raise ValueError(f"device {device!r} cannot be used: {reason}") from error
    return torch.device(device)
