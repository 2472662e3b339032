"""Where results are kept, and how: a file is whole, or it is not there.

They are kept in `bench/results`, or in the folder that `PARITY_RESULTS` names. Two processes may
write to one folder: a file is that of the one that ended last, and never a mixture. Times that are
measured side by side disturb each other, though: give each run a folder of its own.
"""

from __future__ import annotations

import os
from pathlib import Path

RESULTS = Path(os.environ.get("PARITY_RESULTS") or Path(__file__).parent / "results").absolute()


def write(file: Path, content: str | bytes) -> None:
    """Writes a whole file or nothing, in a folder that it makes."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
