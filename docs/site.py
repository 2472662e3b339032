"""What mkdocs does beside building the pages: a hook, which `mkdocs.yml` names.

The pages read well on GitHub, and link to files of the repository outside `docs/`. The site gets a
copy of each such file, and of what that links to. `<!-- ::: parity.check -->` is the whole
docstring there, in the place of its first sentence.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parent.parent
LINK = re.compile(r"(?<=\]\()(?![a-z+]+:|#)([^)#\s]+)")
DOCSTRING = re.compile(r"^.+\n\n<!-- (::: [\w.]+) -->$", re.MULTILINE)


def on_files(files: Any, config: Any) -> Any:
    """Adds what the pages link to outside `docs/`."""
    left = [Path(one.abs_src_path) for one in files if one.src_uri.endswith(".md")]
    added: set[Path] = set()
    while left:
        page = left.pop()
        for link in LINK.findall(page.read_text("utf-8")):
            target = Path(os.path.normpath(page.parent / link))
            outside = target.is_relative_to(ROOT) and not target.is_relative_to(ROOT / "docs")
            if outside and target.is_file() and target not in added:
                added.add(target)
                uri = target.relative_to(ROOT).as_posix()
                files.append(File.generated(config, uri, abs_src_path=str(target)))
                left += [target] if target.suffix == ".md" else []
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turns links out of `docs/` to these copies, and comments into docstrings."""
    depth = page.file.src_uri.count("/")
    markdown = markdown.replace(f"]({'../' * (depth + 1)}", f"]({'../' * depth}")
    return DOCSTRING.sub(r"\1", markdown)
