"""Imports an adapter, the Python file in which a user defines `subject`."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

from parity.subject.error import AdapterError
from parity.subject.subject import Subject


def load(path: str | Path) -> Subject:
    """The `subject` that an adapter file defines, once it has been imported.

    Raises:
        AdapterError: there is no such file, or it defines no `subject`.
    """
    file = Path(path).resolve()
    if not file.is_file():
        raise AdapterError(f"there is no file {path}")
    sys.path.append(str(file.parent))
    spec = importlib.util.spec_from_file_location(
        "parity_adapter_" + re.sub(r"\W", "_", file.stem), file
    )
    if spec is None or spec.loader is None:
        raise AdapterError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    subject = getattr(module, "subject", None)
    if not isinstance(subject, Subject):
        raise AdapterError(f"{path} defines no `subject = parity.Subject(…)`")
    if not subject.name:
        object.__setattr__(subject, "name", file.stem)
    return subject
