# PYTHON_ARGCOMPLETE_OK
"""The command's door: `parity`, and `python -m parity`."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def main() -> int:
    """Runs the command; Ctrl-C is heard from the first moment."""
    for descriptor in range(3):  # one that is closed would be that of a file or a socket of ours
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    try:
        Path.cwd()
    except OSError:
        os.chdir("/")  # the folder that one works in is gone: torch's libraries cannot be loaded
    try:
        from parity import cli

        return cli.main()
    except KeyboardInterrupt:
        print("\nparity: interrupted, nothing written", file=sys.stderr)
        return 130


if __name__ == "__main__":
    if not getattr(sys.flags, "safe_path", False):
        del sys.path[0]  # the folder that one works in: a `random.py` there is not Python's
    sys.exit(main())
