"""`python -m tests.pictures` takes `docs/images/report.png` anew: the page that `parity check
--html` writes of the README's wrong Tanh, in a headless browser (chromium)."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.browser import found_browser
from tests.pages import DOCS, ROOT, blocks, written

PICTURE = DOCS / "images" / "report.png"
SIZE = 1000, 780
LARGEST = 200 * 1024
"""Bytes."""


def taken(to: Path = PICTURE) -> None:
    """Takes the picture.

    Raises:
        ValueError: it is too large for a README.
    """
    with tempfile.TemporaryDirectory() as folder:
        report, profile = Path(folder, "report.html"), Path(folder, "profile")
        written(next(block for block in blocks(ROOT / "README.md") if block.how), Path(folder))
        check = [sys.executable, "-m", "parity", "check", "tanh.py", "--html", report.name]
        subprocess.run(check, cwd=folder, check=False, stdout=subprocess.DEVNULL)
        width, height = SIZE
        command = [
            found_browser(), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            f"--user-data-dir={profile}", f"--window-size={width},{height}", f"--screenshot={to}",
            report.as_uri(),
        ]  # fmt: skip
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL, timeout=60)
    if (size := to.stat().st_size) > LARGEST:
        raise ValueError(f"{to} has {size:,} bytes, and may have {LARGEST:,}")


if __name__ == "__main__":
    taken()
