"""What a subject may not use: refused while it is played, and reported with file and line.

It is poisoning: in the subject's process whatever a forbidden module offers asks who calls it. A
call that stands in a file of the subject's raises `Forbidden`. Torch may go on calling itself, and
the adapter, which names torch's classes, may do what it likes. What a module does while it is
imported, and what a class derives from, is noted and goes on, so that the rest can be judged.

It does not stop a determined cheat: whoever knows of it, in the same interpreter, gets round it.
"""

from __future__ import annotations

import builtins
import contextlib
import functools
import importlib
import inspect
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

noted: dict[str, None] = {}
"""What was used that may not be, with its place; in order."""

AUTOGRAD, NUMPY = "torch.autograd", "numpy"

FACTORIES = ("arange empty empty_like eye full full_like linspace logspace normal ones ones_like "
             "rand rand_like randint randn randn_like tensor zeros zeros_like").split()  # fmt: skip
"""The functions of torch that take `requires_grad`."""

ALLOWED = ("torch.autograd.grad_mode",)
"""What is in a forbidden module, and differentiates nothing: `torch.no_grad`."""


class Forbidden(Exception):
    """The subject uses what it may not."""


def forbid(modules: Sequence[str], own: Sequence[str], adapter: str) -> None:
    """Poisons modules for the rest of this process.

    Args:
        modules: names, such as `torch.nn`; with `torch.autograd` go `backward`, `requires_grad` and
            `torch.func`.
        own: the subject's folders, whose files may not use them.
        adapter: the file that may.
    """
    watch = _Watch(tuple(modules), tuple(own), adapter)
    watch.imports()
    for name in modules:
        watch.poison(name)
    if AUTOGRAD in modules:
        watch.gradients()
        watch.poison("torch.func", as_=AUTOGRAD)
    if NUMPY in modules:
        _put(torch.Tensor, "numpy", watch.asking(torch.Tensor.numpy, "Tensor.numpy()"))


playing = False
"""Whether the subject has been imported, and its calls are refused."""


class _Watch:
    def __init__(self, modules: tuple[str, ...], own: tuple[str, ...], adapter: str) -> None:
        self.modules, self.own, self.adapter = modules, own, str(Path(adapter).resolve())
        self.torch = str(Path(torch.__file__).parent)
        self.known: dict[str, bool] = {}

    def place(self, frame: types.FrameType | None) -> str:
        """Where the subject's own file has called, `course.py:12`; "" if it was somebody else. A
        class of torch's that calls its own base is not the caller: who made it is."""
        while frame is not None:
            file = frame.f_code.co_filename
            if file == __file__ or self.of_library(file):
                frame = frame.f_back
                continue
            return f"{Path(file).name}:{frame.f_lineno}" if self.is_own(file) else ""
        return ""

    def of_library(self, file: str) -> bool:
        """Whether a file is part of what is forbidden."""
        folders = (Path(self.torch, *name.split(".")[1:]) for name in self.modules
                   if name.startswith("torch."))  # fmt: skip
        return any(Path(file).is_relative_to(one) for one in folders)

    def is_own(self, file: str) -> bool:
        if file not in self.known:
            path = Path(file).resolve() if Path(file).is_absolute() else Path(file)
            inside = any(path.is_relative_to(folder) for folder in self.own)
            library = path.is_relative_to(_PARITY) or any(
                part.endswith("-packages") for part in path.parts
            )
            self.known[file] = inside and not library and str(path) != self.adapter
        return self.known[file]

    def refuse(self, what: str) -> None:
        """Notes it if the subject's own code has called what is asking.

        Raises:
            Forbidden: it has, and is not being imported.
        """
        if place := self.place(sys._getframe(2)):
            noted[f"uses {what} ({place})"] = None
            if playing:
                raise Forbidden(f"uses {what}, which is forbidden")

    def asking(self, function: Callable[..., Any], what: str) -> Callable[..., Any]:
        """A function that asks first who calls it."""

        @functools.wraps(function, updated=())
        def asked(*args: Any, **options: Any) -> Any:
            self.refuse(what)
            return function(*args, **options)

        return asked

    def imports(self) -> None:
        """Notes the imports of forbidden modules in the subject's files."""
        genuine, by_name = builtins.__import__, importlib.import_module

        def imported(
            name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0
        ) -> Any:
            if not level:
                names = [name, *(f"{name}.{one}" for one in fromlist or ())]
                self.note(names, sys._getframe(1))
            return genuine(name, globals, locals, fromlist, level)

        def by_its_name(name: str, package: str | None = None) -> Any:
            self.note([name], sys._getframe(1))
            return by_name(name, package)

        builtins.__import__ = imported
        importlib.import_module = by_its_name

    def note(self, names: Sequence[str], frame: types.FrameType) -> None:
        if not self.is_own(frame.f_code.co_filename):
            return
        for name in names:
            if any(f"{name}.".startswith(f"{one}.") for one in self.modules):
                file = Path(frame.f_code.co_filename).name
                noted[f"imports {name} ({file}:{frame.f_lineno})"] = None
                return

    def poison(self, name: str, *, as_: str = "") -> None:
        """Has all that a module offers ask who calls it: its functions, and its classes as they are
        made or derived from."""
        if not name.startswith("torch."):
            return
        for module in _modules_of(name):
            if module.__name__.startswith(ALLOWED):
                continue
            for key, one in list(vars(module).items()):
                what = f"{name}.{key}" if module.__name__ == name else f"{module.__name__}.{key}"
                if inspect.isclass(one):
                    if one.__module__.startswith(as_ or name) and not issubclass(one, Exception):
                        self.watch_class(one, what)
                elif _callable(one, name) and not key.startswith("_"):
                    _put(module, key, self.asking(one, what))

    def watch_class(self, kind: type, what: str) -> None:
        """Has a class ask who makes it, and who derives from it."""
        if kind.__module__.startswith(ALLOWED) or "__parity__" in vars(kind):
            return
        for method in ("__init__", "__new__", "apply"):
            if isinstance(one := vars(kind).get(method), types.FunctionType):
                _put(kind, method, self.asking(one, what))
            elif isinstance(one, (classmethod, staticmethod)):
                _put(kind, method, type(one)(self.asking(one.__func__, what)))
        watch = self

        def derived(cls: Any, /, **options: Any) -> None:
            if place := watch.place(sys._getframe(1)):
                noted[f"derives {cls.__name__} from {what} ({place})"] = None
            super(kind, cls).__init_subclass__(**options)  # type: ignore[arg-type]

        if "__init_subclass__" not in vars(kind):
            _put(kind, "__init_subclass__", classmethod(derived))
        _put(kind, "__parity__", True)

    def gradients(self) -> None:
        """Has autograd's ways in ask: `backward`, and whatever sets `requires_grad`."""
        for name in ("backward", "requires_grad_", "register_hook", "retain_grad"):
            _put(torch.Tensor, name, self.asking(getattr(torch.Tensor, name), f"Tensor.{name}()"))
        genuine: Any = torch._C.TensorBase.requires_grad
        watch = self

        def setting(tensor: Any, value: bool) -> None:
            if value:
                watch.refuse("requires_grad = True")
            genuine.__set__(tensor, value)

        get = genuine.__get__
        _put(torch.Tensor, "requires_grad", property(lambda tensor: get(tensor), setting))
        for name in FACTORIES:
            _put(torch, name, self.making(getattr(torch, name)))

    def making(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function, updated=())
        def made(*args: Any, **options: Any) -> Any:
            if options.get("requires_grad"):
                self.refuse("requires_grad=True")
            return function(*args, **options)

        return made


_PARITY = Path(__file__).resolve().parents[1]


def _modules_of(name: str) -> Iterator[types.ModuleType]:
    """A module, and those within it that have been imported."""
    importlib.import_module(name)
    for own, module in sorted(sys.modules.items()):
        if f"{own}.".startswith(f"{name}.") and isinstance(module, types.ModuleType):
            yield module


def _callable(one: Any, name: str) -> bool:
    """Whether a module's attribute is a function, of its own or of torch's C++."""
    if isinstance(one, (types.FunctionType, types.BuiltinFunctionType)):
        return True
    return callable(one) and str(getattr(one, "__module__", "")).startswith(name)


def _put(place: Any, name: str, value: Any) -> None:
    with contextlib.suppress(AttributeError, TypeError):  # some classes of C++ cannot be changed
        setattr(place, name, value)
