"""What every optimizer shares: one buffer for all parameters, and state in torch's format."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

import torch
from torch import Tensor

from scratch.module import Module, Pair, describe, is_dense


def pack(tensors: list[Tensor]) -> Tensor:
    """Moves tensors into one flat buffer, and returns it.

    Each stays the Tensor object that it is, with the values that it had, as a view of the
    buffer: one operation on the buffer is one on all of them.
    """
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    for tensor, piece in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        tensor.data = piece.view(tensor.shape)
    return flat


class Optimizer:
    """Moves the parameters of `(parameter, gradient)` pairs, all of them by the same rule.

    The pairs are packed: all parameters become views of one buffer and all gradients of
    another, so that an update is a handful of operations whatever the number of layers.

    Options are attributes, and may be changed between steps: `optimizer.lr *= 0.1`. Every
    update is elementwise, so stacked runs need nothing of their own. A gradient of zero is a
    gradient: the step is taken, as torch's is after `zero_grad(set_to_none=False)`.

    Raises:
        TypeError: a module in place of its `param()`.
        ValueError: no pairs, the same one twice, several dtypes or devices, an option out of range.
    """

    _options: tuple[str, ...]  # the constructor's arguments, as torch's param_groups name them
    _extras: frozenset[str] = frozenset()  # what torch's state_dict has besides
    _decoupled: bool | None = None  # of weight decay, where torch's state_dict says so
    maximize: bool

    def __init__(self, param: Iterable[Pair]) -> None:
        name = type(self).__name__
        if isinstance(param, Module):
            raise TypeError(f"{name} takes (parameter, gradient) pairs: {name}(model.param(), …)")
        self._pairs = list(param)
        if not self._pairs:
            raise ValueError(f"{name} got no parameters")
        self._tensors = [tensor for pair in self._pairs for tensor in pair]
        memory = {(tensor.data_ptr(), tensor.device) for tensor in self._tensors if tensor.numel()}
        if len(memory) < sum(tensor.numel() > 0 for tensor in self._tensors):
            raise ValueError(f"{name} got the same parameter or gradient twice")
        self._check_options()
        self._steps = 0
        self._state: dict[str, Tensor] = {}  # slot: flat, in the order of the pairs
        self._pack()

    def step(self) -> None:
        """Moves every parameter by its gradient."""
        self._pack_if_moved()
        self._steps += 1  # Adam's t, in this very update
        gradient = -self._gradients if self.maximize else self._gradients
        self._update(self._parameters, gradient)

    def moves(self, module: Module) -> bool:
        """Whether any of the module's parameters is among this optimizer's."""
        own = {id(parameter) for parameter, _ in self._pairs}
        return any(id(parameter) in own for parameter, _ in module.param())

    @property
    def pairs(self) -> list[Pair]:
        """The `(parameter, gradient)` pairs that it was made with."""
        return list(self._pairs)

    @property
    def steps(self) -> int:
        """How many steps it has made."""
        return self._steps

    @property
    def slots(self) -> list[str]:
        """What is kept for each parameter under these options, as torch's state names it."""
        return sorted(self._slots)

    def kept(self) -> dict[str, list[Tensor]]:
        """By slot, a copy of what is kept for each pair; empty before the first step."""
        self._pack_if_moved()
        return {slot: self._unpacked(flat) for slot, flat in self._state.items()}

    def go_on(self, steps: int, kept: Mapping[str, list[Tensor]]) -> None:
        """Takes over what so many more steps, made elsewhere, have left in each slot."""
        self._pack_if_moved()
        self._steps += steps
        for slot, pieces in kept.items():
            torch.cat([piece.reshape(-1) for piece in pieces], out=self._slot(slot))

    def zero_grad(self) -> None:
        """Sets every gradient to zero."""
        self._pack_if_moved()
        self._gradients.zero_()

    def state_dict(self) -> dict[str, Any]:
        """A copy of state and options in torch's format, which torch.optim's mirror can load."""
        slots = {slot: self._unpacked(flat) for slot, flat in self._state.items()}
        state: dict[int, dict[str, Tensor]] = {}
        if slots:
            for index in range(len(self._pairs)):
                state[index] = {slot: pieces[index] for slot, pieces in slots.items()}
                if "step" in self._extras:
                    state[index]["step"] = torch.tensor(float(self._steps))
        group = {option: getattr(self, option) for option in self._options}
        if "decoupled_weight_decay" in self._extras:
            group["decoupled_weight_decay"] = self._decoupled
        return {
            "state": state,
            "param_groups": [group | {"params": list(range(len(self._pairs)))}],
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes over state and options from the `state_dict` of this class or of torch's mirror.

        Raises:
            ValueError: it is of another optimizer or of other parameters; nothing is loaded then.
        """
        count = len(self._pairs)
        if not {"state", "param_groups"} <= set(state_dict):
            self._misfit("it has not the keys 'state' and 'param_groups'")
        state, groups = state_dict["state"], state_dict["param_groups"]
        if len(groups) != 1 or len(groups[0]["params"]) != count:
            self._misfit(f"it is not of one group of {count} parameters")
        options = groups[0]
        if missing := [option for option in self._options if option not in options]:
            self._misfit(f"it has no {', '.join(missing)}")
        if options.get("decoupled_weight_decay", self._decoupled) != self._decoupled:
            self._misfit("its weight decay is coupled where this one's is not, or the reverse")
        if state and set(state) != set(range(count)):
            self._misfit(f"it has a state for parameters {sorted(state)}, not for all {count}")
        steps = {int(entry.get("step", 1)) for entry in state.values()} or {0}
        if len(steps) > 1:
            self._misfit(f"its parameters are at different steps, {sorted(steps)}")
        slots = {k for entry in state.values() for k, v in entry.items() if v is not None}
        before = {option: getattr(self, option) for option in self._options}
        try:
            for option in self._options:
                setattr(self, option, options[option])
            self._check_options()
            if slots and slots != self._slots | self._extras & {"step"}:
                self._misfit(f"it has {sorted(slots)}, not {sorted(self._slots)}")
            packed = {
                slot: self._packed(slot, [state[index][slot] for index in range(count)])
                for slot in slots - {"step"}
            }
        except BaseException:
            for option, value in before.items():
                setattr(self, option, value)
            raise
        self._steps, self._state = steps.pop(), packed

    def _packed(self, slot: str, pieces: list[Tensor]) -> Tensor:
        """One slot of a loaded state as one flat tensor, if it fits the parameters."""
        for index, ((parameter, _), piece) in enumerate(zip(self._pairs, pieces, strict=True)):
            if not is_dense(piece) or piece.shape != parameter.shape:
                takes = list(parameter.shape)
                self._misfit(f"{slot} of parameter {index} is {describe(piece)}, not {takes}")
        return torch.cat([piece.reshape(-1) for piece in pieces]).to(self._parameters)

    def _unpacked(self, flat: Tensor) -> list[Tensor]:
        """A copy of a flat tensor, in the parameters' shapes."""
        pieces = flat.clone().split([parameter.numel() for parameter, _ in self._pairs])
        return [p.view(pair[0].shape) for p, pair in zip(pieces, self._pairs, strict=True)]

    def _misfit(self, reason: str) -> NoReturn:
        raise ValueError(f"{self}: the state_dict does not fit, nothing loaded: {reason}")

    def _where(self) -> list[int]:
        return list(map(Tensor.data_ptr, self._tensors))

    def _pack_if_moved(self) -> None:
        """Packs again if `to` or another optimizer has moved the parameters since."""
        if self._where() != self._packed_where:
            self._pack()

    @torch.inference_mode(False)  # `fit` sets it, and later steps may not
    def _pack(self) -> None:
        kinds = {f"{tensor.dtype} on {tensor.device}" for tensor in self._tensors}
        if len(kinds) > 1:
            raise ValueError(
                f"{type(self).__name__} takes parameters of one dtype on one device, "
                f"got {', '.join(sorted(kinds))}"
            )
        self._parameters = pack([parameter for parameter, _ in self._pairs])
        self._gradients = pack([gradient for _, gradient in self._pairs])
        self._state = {slot: flat.to(self._parameters) for slot, flat in self._state.items()}
        self._work = torch.empty_like(self._parameters)  # for what an update needs on its way
        self._packed_where = self._where()

    def _slot(self, name: str) -> Tensor:
        """What is kept under `name`, zeros at first."""
        if name not in self._state:
            with torch.inference_mode(False):  # as for `_pack`
                self._state[name] = torch.zeros_like(self._parameters)
        return self._state[name]

    @property
    def _slots(self) -> set[str]:
        """What is kept for each parameter under these options, as torch's state names it."""
        raise NotImplementedError(f"{type(self).__name__} must define _slots")

    def _check_options(self) -> None:
        """Raises ValueError if an option is out of range."""
        raise NotImplementedError(f"{type(self).__name__} must define _check_options")

    def _update(self, p: Tensor, g: Tensor) -> None:
        """Moves the flat parameters `p` in place by the flat gradients `g`, left as they are."""
        raise NotImplementedError(f"{type(self).__name__} must define _update")

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={getattr(self, name)}" for name in self._options)
        return f"{type(self).__name__}({options})"
