"""The pages of `docs/`: their code, written to files, and their commands, run as they stand.

What a page says to a reader who goes through it from top to bottom, it says to a test:

- `<!-- file: net.py -->` before a block of Python: the block is this file;
- `<!-- into: net.py -->`: it is a class or a function, in the place of the one of that name;
- `<!-- made: net.py -->`: a command has written this file, and the block is what it says;
- a block of `console`: each line after `$` is a command, and what follows it is printed by it. A
  line `…` stands for what is left out.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"

BLOCK = re.compile(
    r"(?:<!-- (?P<how>file|into|made): (?P<file>[\w./]+) -->\n)?"
    r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^ *```$",
    re.DOTALL | re.MULTILINE,
)
ROW = re.compile(r"^(\S+ +\d+ +[\w ]+?) {2,}\S+( {2,}\S.*)?$")  # of a report's table
FIGURES = re.compile(r"[\d.e+]+ times the error allowed; .*$")


class Block(NamedTuple):
    """A block of code of a page; `how` it goes into which `file`, if it does."""

    how: str
    file: str
    language: str
    text: str


class Command(NamedTuple):
    """A command of a page, and what it prints there."""

    arguments: list[str]
    shown: list[str]


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of code of a page, in order."""
    for found in BLOCK.finditer(page.read_text("utf-8")):
        indent = len(found["indent"])
        text = "".join(line[indent:] or "\n" for line in found["text"].splitlines(keepends=True))
        yield Block(found["how"] or "", found["file"] or "", found["language"], text)


def commands(block: Block) -> Iterator[Command]:
    """Those of a block of `console`."""
    for one in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        first, *shown = one.splitlines()
        yield Command(shlex.split(first), shown)


def written(block: Block, folder: Path) -> None:
    """Puts a block into its file."""
    path = folder / block.file
    path.parent.mkdir(parents=True, exist_ok=True)
    if block.how == "made":
        assert path.read_text("utf-8") == block.text
        return
    if block.how == "file":
        path.write_text(block.text, "utf-8")
        return
    (begin,) = re.findall(r"^(?:class|def) \w+", block.text, re.MULTILINE)
    old = re.compile(rf"^{begin}\b.*?(?=\n\n\n|\n*\Z)", re.DOTALL | re.MULTILINE)
    text, count = old.subn(lambda _: block.text.rstrip(), path.read_text("utf-8"))
    assert count == 1, f"{block.file} has no one {begin}"
    path.write_text(text, "utf-8")


def steady(text: str) -> list[str]:
    """The lines of an output, without what depends on the processor and the day."""
    lines = (ROW.sub(r"\1", line) for line in text.splitlines())
    lines = (FIGURES.sub("", line) for line in lines if not line.startswith("(date "))
    return [" ".join(line.split()) for line in lines if line.strip()]


def missing(shown: list[str], printed: str) -> list[str]:
    """The lines that a page shows, and that a command does not print in this order."""
    left = iter(steady(printed))
    return [line for line in steady("\n".join(shown)) if line != "…" and line not in left]
