"""Imports an adapter, the Python file in which a user defines `subject`."""

from __future__ import annotations

import importlib.util
import re
import sys
import types
from collections.abc import Callable
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path

from parity.subject.error import AdapterError
from parity.subject.subject import Subject


def load(path: str | Path, *, alone: bool = False) -> Subject:
    """The `subject` that an adapter file defines, once it has been imported.

    Args:
        alone: whether the modules beside the adapter are none of the subject's.

    Raises:
        AdapterError: there is no such file, or it defines no `subject`.
    """
    subject = getattr(imported(path, alone=alone), "subject", None)
    if not isinstance(subject, Subject):
        raise AdapterError(f"{path} defines no `subject = parity.Subject(…)`")
    if not subject.name:
        object.__setattr__(subject, "name", Path(path).resolve().stem)
    return subject


def imported(path: str | Path, *, alone: bool = False) -> types.ModuleType:
    """A user's file as a module, which, unless it is to be `alone`, may import its folder's.

    Raises:
        AdapterError: there is no such file.
    """
    file = Path(path).resolve()
    if not file.is_file():
        raise AdapterError(f"there is no file {path}")
    folder, package = package_of(file)
    if not alone:
        sys.path += dict.fromkeys([str(file.parent), folder])
    own = f"{package}." if package else "parity_adapter_"
    spec = importlib.util.spec_from_file_location(own + re.sub(r"\W", "_", file.stem), file)
    if spec is None or spec.loader is None:
        raise AdapterError(f"{path} is no Python file")
    from_source(spec)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


class _Source(SourceFileLoader):
    """Compiles a file each time: of one that was changed within the second, and is as long as it
    was, Python takes what it has compiled before."""

    after: Callable[[types.ModuleType], object] | None = None

    def get_code(self, fullname: str) -> types.CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)

    def exec_module(self, module: types.ModuleType) -> None:
        super().exec_module(module)
        if self.after is not None:
            self.after(module)


def from_source(
    spec: ModuleSpec, after: Callable[[types.ModuleType], object] | None = None
) -> None:
    """Has a module of the subject's read from its source; `after` is called with it then."""
    if type(spec.loader) is SourceFileLoader:
        spec.loader = _Source(spec.loader.name, spec.loader.path)
        spec.loader.after = after


def package_of(path: str | Path) -> tuple[str, str]:
    """The package that a file is part of, whose modules it may import by `from .layers import …`:
    the folder that it is imported from, and its name; where it is of none, its own folder and "".
    """
    folder, names = Path(path).resolve().parent, list[str]()
    while (folder / "__init__.py").is_file() and folder.name.isidentifier():
        names.insert(0, folder.name)
        folder = folder.parent
    return str(folder), ".".join(names)
