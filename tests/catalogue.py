"""`python -m tests.catalogue` writes `docs/reference/catalogue.md`, what parity knows."""

from __future__ import annotations

from pathlib import Path

from parity.show.catalogue import page

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "catalogue.md"

if __name__ == "__main__":
    PAGE.write_text(page())
