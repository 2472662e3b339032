"""Plays a function under test at a case: calls it, goes backward, and watches its memory."""

from __future__ import annotations

import contextlib
import copy
import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from parity.catalogue.values import Tensors
from parity.judge.comparison import MEMORY, Comparison
from parity.kernels.cases import Case
from parity.kernels.layouts import laid
from parity.kernels.reference import coming_of, fixed, wanted_of
from parity.kernels.spec import Function, Sweep, made
from parity.play.arrays import Watch, same_bits
from parity.play.broken import Broken
from parity.play.guard import guarded


@dataclass(frozen=True)
class Pair:
    """A forward and a backward that know nothing of autograd.

    Args:
        forward: takes the inputs; returns the outputs, and, if it likes, something for backward as
            one thing more.
        backward: takes the gradients of the outputs, and then what forward has kept, or else the
            inputs; returns the gradients of the tensors that have one, in order, or by name.
    """

    forward: Function
    backward: Function


@dataclass
class Played:
    """What came of a call.

    Args:
        results: outputs and gradients by name, as `reference.evaluated` has them.
        again: the same of a second call, where it has other bits.
        facts: what is so or not so beside the numbers.
        given: the tensors as they lay in memory.
    """

    results: Tensors
    again: Tensors = field(default_factory=dict)
    facts: list[Comparison] = field(default_factory=list)
    given: Tensors = field(default_factory=dict)


def played(sweep: Sweep, subject: Any, case: Case, inputs: Tensors) -> Played:
    """Calls the subject twice at a case.

    Raises:
        Broken: it raised an exception.
    """
    poison = case.get("memory") == "poisoned"
    with guarded(torch.float32, poison, sweep.device), _mode(sweep, case):
        call = _Call(sweep, subject, case, inputs)
        found = Played(call.results(), facts=call.facts, given=call.given)
        if case.get("mode") == "released":
            found.facts += _released(sweep, subject, case, inputs)
        again = _Call(sweep, subject, case, inputs).results()
    if not all(name in again and same_bits(again[name], y) for name, y in found.results.items()):
        found.again = again
    return found


def prepared(sweep: Sweep, subject: Any, case: Case, inputs: Tensors) -> Callable[[], Tensors]:
    """One call of the subject, forward and backward, whose inputs are there already."""
    return _Call(sweep, subject, case, inputs).results


@contextlib.contextmanager
def _mode(sweep: Sweep, case: Case) -> Iterator[None]:
    """The circumstances of a case."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = case.dtype == "tf32"
    kind = sweep.device.partition(":")[0]
    try:
        match case.get("mode"):
            case "no_grad":
                with torch.no_grad():
                    yield
            case "inference":
                with torch.inference_mode():
                    yield
            case "autocast":
                with torch.autocast(kind, torch.bfloat16):
                    yield
            case "stream":
                with torch.cuda.stream(torch.cuda.Stream()):
                    yield
                torch.cuda.synchronize()
            case _:
                yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


class _Call:
    """One pass through the subject."""

    def __init__(self, sweep: Sweep, subject: Any, case: Case, inputs: Tensors) -> None:
        self.sweep, self.case = sweep, case
        self.facts: list[Comparison] = []
        self.watch = Watch()
        tensors = {name: x for name, x in inputs.items() if name not in sweep.incoming}
        self.wanted = wanted_of(sweep, case, tensors)
        self.given = self._laid(tensors)
        self.dys = {
            name: self._keep(name, laid(inputs[name].to(sweep.device), case.get("layout", name)))
            for name in coming_of(sweep, case)
            if name in inputs
        }
        self.subject = subject
        self.function = self._function(subject)

    def _laid(self, tensors: Tensors) -> Tensors:
        found = {}
        for name, x in tensors.items():
            given = laid(x.to(self.sweep.device), self.case.get("layout", name)).detach()
            self._keep(name, given)
            found[name] = given.requires_grad_() if name in self.wanted else given
        first, _, second = self.case.get("tied").partition("=")
        if second:
            found[second] = found[first]
        return found

    def _keep(self, name: str, x: Tensor) -> Tensor:
        if name not in self.sweep.writes:
            self.watch.keep(name, x)
        return x

    def _function(self, subject: Any) -> Function:
        if isinstance(subject, Pair):
            return self.sweep.function_of(self.case, subject.forward)
        if self.sweep.modules:
            subject = _with_buffers(subject, self.sweep.module(self.case), self.case)
        if self.case.get("mode") == "compiled":
            subject = compiled(subject, self.sweep.device)
        return self.sweep.function_of(self.case, subject)

    def results(self) -> Tensors:
        found = self._of_pair() if isinstance(self.subject, Pair) else self._of_autograd()
        for name in self.watch.modified():
            what = "the gradient that came in" if name in self.sweep.incoming else name
            what = "the output that it had returned" if name in self.sweep.outputs else what
            self.facts.append(_fact(f"{name} untouched", f"writes into {what}"))
        return found

    def _of_pair(self) -> Tensors:
        assert isinstance(self.subject, Pair)
        returned = self.function(*self.given.values())
        ys = list(returned) if isinstance(returned, (tuple, list)) else [returned]
        kept = ys[len(self.sweep.outputs) :]
        ys = self._outputs(ys[: len(self.sweep.outputs)])
        dys = [self.dys.get(dy, torch.zeros_like(y)) for dy, y in zip(self.sweep.incoming, ys,
                                                                     strict=True)]  # fmt: skip
        results = {n: y.detach() for n, y in zip(self.sweep.outputs, ys, strict=True)}
        if not self.wanted:
            return results
        back = kept if len(kept) == 1 else (*kept,) if kept else self._arguments()
        found = self.subject.backward(*dys, *back)
        times = 2 if self.case.get("repeated") == "accumulated" else 1
        for name, gradient in _by_name(found, self.sweep.wanted).items():
            if gradient is not None and name in self.wanted:
                results[f"{name}_grad"] = times * gradient.detach()
        first, _, second = self.case.get("tied").partition("=")
        if second and (other := _by_name(found, self.sweep.wanted).get(second)) is not None:
            results[f"{first}_grad"] = results[f"{first}_grad"] + other
        return results

    def _arguments(self) -> list[Any]:
        values = {**self.given, **self.case.of("option"), **self.sweep.constants}
        return [values[name] for name in self.sweep.order]

    def _outputs(self, ys: list[Any]) -> list[Tensor]:
        names = self.sweep.outputs
        if len(ys) != len(names):
            raise Broken(f"returns {len(ys)} results, where the reference returns {len(names)}")
        for name, y in zip(names, ys, strict=True):
            if not isinstance(y, Tensor):
                raise Broken(f"returns {type(y).__name__} as its {name}, where a tensor is due")
            self.watch.keep(name, y)
        return ys

    def _of_autograd(self) -> Tensors:
        returned = self.function(*self.given.values())
        ys = self._outputs(list(returned) if isinstance(returned, (tuple, list)) else [returned])
        results = {n: y.detach().clone() for n, y in zip(self.sweep.outputs, ys, strict=True)}
        if not self.wanted:
            return results
        pairs = [(y, self.dys[dy]) for dy, y in zip(self.sweep.incoming, ys, strict=True)
                 if dy in self.dys]  # fmt: skip
        attached = [(y, dy) for y, dy in pairs if y.requires_grad]
        if not attached:
            self.facts.append(_fact("attached", DETACHED, severity=""))
            return results
        for y, dy in attached:
            if y.shape != dy.shape:
                raise Broken(f"returns the shape {list(y.shape)}, where {list(dy.shape)} is due")
        into, dys = [y for y, _ in attached], [dy.to(y.dtype) for y, dy in attached]
        return results | self._gradients(into, dys)

    def _gradients(self, ys: list[Tensor], dys: list[Tensor]) -> Tensors:
        leaves = [self.given[name] for name in self.wanted]
        how = self.case.get("repeated")
        double = self.case.get("mode") == "double"
        if how == "accumulated":
            for leaf in leaves:
                leaf.grad = None
            for _ in range(2):
                torch.autograd.backward(ys, dys, retain_graph=True, inputs=leaves)
            found: tuple[Tensor | None, ...] = tuple(leaf.grad for leaf in leaves)
        else:
            for _ in range(1 + (how == "twice")):
                found = torch.autograd.grad(
                    ys, leaves, dys, allow_unused=True, create_graph=double,
                    retain_graph=how == "twice" or double,
                )  # fmt: skip
        results = {
            f"{name}_grad": gradient.detach().clone()
            for name, gradient in zip(self.wanted, found, strict=True)
            if gradient is not None
        }
        return results | (self._second(found, leaves) if double else {})

    def _second(self, gradients: tuple[Tensor | None, ...], leaves: list[Tensor]) -> Tensors:
        total = [(g * fixed(g)).sum() for g in gradients if g is not None and g.requires_grad]
        if not total:
            return {}
        found = torch.autograd.grad(total, leaves, allow_unused=True)
        pairs = zip(self.wanted, found, strict=True)
        return {f"{name}_double_grad": g.detach() for name, g in pairs if g is not None}


DETACHED = "is detached from autograd's graph: no gradient goes back through it"


def _by_name(found: Any, wanted: list[str]) -> dict[str, Tensor | None]:
    """The gradients that a backward returned, by the names of the tensors."""
    if isinstance(found, dict):
        return {str(name).removesuffix("_grad"): value for name, value in found.items()}
    ones = list(found) if isinstance(found, (tuple, list)) else [found]
    if len(ones) < len(wanted):
        raise Broken(f"backward returns {len(ones)} gradients, where {len(wanted)} are due: of "
                     f"{', '.join(wanted)}")  # fmt: skip
    return dict(zip(wanted, ones, strict=False))


def _with_buffers(subject: Any, theirs: nn.Module, case: Case) -> nn.Module:
    """The subject's module at the sizes of a case, with the buffers that torch's has."""
    module = copy.deepcopy(made(subject, case.sizes))
    own = {name: p.shape for name, p in module.named_parameters()}
    due = {name: p.shape for name, p in theirs.named_parameters()}
    if own != due:
        raise Broken(f"has the parameters {_shapes(own)}, where torch's has {_shapes(due)}")
    buffers = dict(theirs.named_buffers())
    for name, buffer in module.named_buffers():
        if name in buffers and buffers[name].shape == buffer.shape:
            buffer.copy_(buffers[name])
    return module


def _shapes(parameters: dict[str, torch.Size]) -> str:
    return ", ".join(f"{name} {list(shape)}" for name, shape in parameters.items()) or "none"


def compiled(subject: Any, device: str) -> Any:
    """The subject as torch.compile takes it whole. On a CPU it is traced, and run as traced: what
    the compiler's own code generator does is tested on a GPU alone."""
    backend = "inductor" if device.startswith("cuda") else "aot_eager"
    return torch.compile(subject, fullgraph=True, backend=backend)


class Zeroed(TorchDispatchMode):
    """Memory that nobody has written to is full of zeros."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        found = operation(*args, **(kwargs or {}))
        if "empty" in str(operation) and isinstance(found, Tensor):
            found.zero_()
        return found


def _released(sweep: Sweep, subject: Any, case: Case, inputs: Tensors) -> list[Comparison]:
    """Whether anything that went through the subject is still in memory after another pass."""
    call: _Call | None = _Call(sweep, subject, case, inputs)
    assert call is not None
    call.results()
    seen = {name: StorageWeakRef(x.untyped_storage()) for name, x, _ in call.watch.seen}
    call = None
    _Call(sweep, subject, case, inputs).results()
    if not all(one.expired() for one in seen.values()):
        gc.collect()  # it may be in a circle that nobody holds
    kept = [name for name, one in seen.items() if not one.expired()]
    return [_fact(f"{name} released", f"keeps {name} in memory after the backward")
            for name in kept[:1]]  # fmt: skip


def _fact(name: str, text: str, severity: str = MEMORY) -> Comparison:
    """What is not as it should be, beside the numbers."""
    return Comparison(name, float("inf"), reason=text, diagnosis=text, named=True,
                      severity=severity)  # fmt: skip
