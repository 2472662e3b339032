"""What `parity.check` gives: a report that shows itself, when printed and in a notebook."""

from __future__ import annotations

from dataclasses import fields
from html import escape
from pathlib import Path
from typing import Any

from parity.run import run
from parity.run.report import Report
from parity.show.html import page
from parity.show.plain import plain
from parity.show.text import text
from parity.subject.subject import Subject


class Shown(Report):
    """A report; `print` shows what the command would, and a notebook the page for people."""

    def __str__(self) -> str:
        return plain(text(self))

    def _repr_html_(self) -> str:
        inside = escape(page(self))
        style = "width: 100%; height: 40rem; border: 1px solid #888"
        return f'<iframe srcdoc="{inside}" style="{style}" title="parity"></iframe>'


def check(subject: Subject | str | Path, **options: Any) -> Shown:
    found = run.check(subject, **options)
    return Shown(**{one.name: getattr(found, one.name) for one in fields(found)})


check.__doc__ = run.check.__doc__
