"""A real browser, and what it makes of a page.

Where there is none its tests are skipped; where `PARITY_BROWSER` is `required`, they fail.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
EMPTY = frozenset({"meta", "wbr", "br", "img", "link", "input", "hr"})


@dataclass
class Node:
    """An element as the browser has it."""

    tag: str
    attributes: dict[str, str] = field(default_factory=dict)
    inside: list[Node | str] = field(default_factory=list)

    def every(self, tag: str = "", cls: str = "") -> Iterator[Node]:
        """All elements below, in order, by tag and class."""
        for one in self.inside:
            if isinstance(one, Node):
                if tag in ("", one.tag) and (not cls or cls in one.classes):
                    yield one
                yield from one.every(tag, cls)

    def first(self, tag: str, cls: str = "") -> Node:
        return next(self.every(tag, cls))

    @property
    def classes(self) -> list[str]:
        return self.attributes.get("class", "").split()

    @property
    def text(self) -> str:
        whole = "".join(one if isinstance(one, str) else one.text for one in self.inside)
        return " ".join(whole.split())


class Tree(HTMLParser):
    """Reads what a browser writes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open = [Node("")]
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        node = Node(tag, {key: value or "" for key, value in attrs})
        self.open[-1].inside.append(node)
        if tag not in EMPTY:
            self.open.append(node)

    def handle_endtag(self, tag: str) -> None:
        if tag not in EMPTY:
            assert self.open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        self.open[-1].inside.append(data)


def found_browser(
    environment: Mapping[str, str] = os.environ, which: Callable[[str], str | None] = shutil.which
) -> str:
    """The browser; without one, the test is skipped, or fails where one is required."""
    path = next(filter(None, map(which, BROWSERS)), None)
    if path:
        return path
    if environment.get("PARITY_BROWSER") == "required":
        pytest.fail(f"PARITY_BROWSER is required, and there is none of {', '.join(BROWSERS)}")
    pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is installed")


@dataclass(frozen=True)
class Browser:
    path: str
    folder: Path

    def run(
        self, text: str, *options: str, width: int = 1400, dark: bool = False
    ) -> tuple[str, str]:
        """Opens a page; what the browser writes, and what it logs."""
        file = self.folder / "page.html"
        file.write_text(text, encoding="utf-8")
        done = subprocess.run(
            [
                self.path, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                "--enable-logging=stderr", "--v=0", f"--user-data-dir={self.folder / 'profile'}",
                f"--blink-settings=preferredColorScheme={0 if dark else 1}",
                f"--window-size={width},1000", *options, file.as_uri(),
            ],
            capture_output=True, text=True, encoding="utf-8", errors="replace", timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout, done.stderr

    def opened(self, text: str) -> tuple[Node, list[str]]:
        """The page once it is rendered, and what the browser's console has to say."""
        dom, log = self.run(text, "--dump-dom")
        return Tree(dom).open[0], [line for line in log.splitlines() if "CONSOLE" in line]

    def shot(self, text: str, *, dark: bool = False) -> bytes:
        file = self.folder / "shot.png"
        file.unlink(missing_ok=True)
        self.run(text, f"--screenshot={file}", dark=dark)
        return file.read_bytes()

    def measured(self, text: str, script: str, *, width: int = 1400, dark: bool = False) -> object:
        """What a script finds on the page, with all that is folded unfolded."""
        script = f"document.title = JSON.stringify((() => {{ {script} }})())"
        text = text.replace("Content-Security-Policy", "x-no-policy")
        text = text.replace("<details>", "<details open>")
        text = text.replace("</body>", f"<script>{script}</script></body>")
        dom, _ = self.run(text, "--dump-dom", width=width, dark=dark)
        return json.loads(Tree(dom).open[0].first("title").text)
