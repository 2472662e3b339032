"""Where results are kept, and how: a file is whole, or it is not there."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def write(file: Path, content: str) -> None:
    """Writes a whole file or nothing, in a folder that it makes."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(handle, "w") as opened:
            opened.write(content)
        Path(temporary).replace(file)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
