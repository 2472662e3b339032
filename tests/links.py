"""`python -m tests.links`: does each relative link of the pages lead somewhere, and each anchor?

The pages are `README.md`, `CONTRIBUTING.md`, `CHANGELOG.md` and all of `docs/`. An anchor is that
of a heading, as GitHub makes it. Links with a scheme, such as https, are left alone: nothing is
asked of the network.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parent.parent
MARKDOWN = MarkdownIt("commonmark").enable("table")


def pages() -> list[Path]:
    """All that are checked."""
    names = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
    return [*(ROOT / name for name in names), *sorted((ROOT / "docs").rglob("*.md"))]


def broken(among: Sequence[Path] = ()) -> list[str]:
    """The links that lead nowhere, each with its page."""
    found = []
    for page in among or pages():
        for link in links(page):
            path, _, anchor = link.partition("#")
            target = (page.parent / unquote(path)) if path else page
            if re.match(r"[a-z+]+:", link):
                continue
            if not target.exists():
                found.append(f"{page}: {link}: there is no {target.resolve()}")
            elif anchor and anchor not in anchors(target):
                found.append(f"{page}: {link}: {target.name} has no heading #{anchor}")
    return found


def links(page: Path) -> list[str]:
    """The targets of a page's links and images."""
    attributes = {"link_open": "href", "image": "src"}
    return [
        str(token.attrGet(attributes[token.type]))
        for token in _tokens(page)
        if token.type in attributes
    ]


@cache
def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    if page.suffix != ".md":
        return set()
    tokens, found = MARKDOWN.parse(page.read_text("utf-8")), set()
    for before, token in pairwise(tokens):
        if before.type == "heading_open":
            text = "".join(
                one.content for one in token.children or () if one.type in ("text", "code_inline")
            )
            slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            found.add(slug if slug not in found else f"{slug}-1")
    return found


def _tokens(page: Path) -> Iterator[Token]:
    for token in MARKDOWN.parse(page.read_text("utf-8")):
        yield from token.children or ()


if __name__ == "__main__":
    sys.exit("\n".join(broken()) or None)
