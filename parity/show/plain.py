"""Whatever a subject can name, as a terminal, a CI system and XML may have it."""

from __future__ import annotations

import re


def characters(text: str) -> str:
    """Text with its line ends, and whatever else is not a character escaped."""
    return "".join(c if c == "\n" or c.isprintable() else ascii(c)[1:-1] for c in text)


def plain(text: str) -> str:
    """Text with its line ends, and whatever else is not a character escaped.

    A terminal obeys escape sequences, and CI systems lines such as `::error::` and `##[error]`;
    after this they are read and nothing more.
    """
    lines = re.sub(r"##(?=\w*\[)", "# #", characters(text)).split("\n")
    return "\n".join(f"'{line}" if line.lstrip().startswith("::") else line for line in lines)
