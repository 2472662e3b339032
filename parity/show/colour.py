"""Colours of a report on a terminal. Nothing is said by colour alone."""

from __future__ import annotations

import os
import re
import sys

RED, GREEN, YELLOW, BOLD, PLAIN = "\33[31m", "\33[32m", "\33[33m", "\33[1m", "\33[0m"

_STYLES = (
    (re.compile(r"^(\d+\. )(\[[^\]]*, a remark\])(.*)$", re.MULTILINE), rf"\1{YELLOW}\2{PLAIN}\3"),
    (re.compile(r"^(\d+\. )(\[\w+\])(.*)$", re.MULTILINE), rf"\1{RED}\2{PLAIN}{BOLD}\3{PLAIN}"),
    (re.compile(r"^(.*: )(PASSED)\b", re.MULTILINE), rf"\1{GREEN}\2{PLAIN}"),
    (re.compile(r"^(.*: )(\d+ faults?)\b", re.MULTILINE), rf"\1{RED}\2{PLAIN}"),
)


def wanted() -> bool:
    """Whether standard output shows colours: a terminal does, unless NO_COLOR or TERM=dumb says
    otherwise (no-color.org); FORCE_COLOR has them anywhere."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    try:
        return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    except (AttributeError, ValueError):
        return False


def painted(text: str) -> str:
    """A report's text with its findings and its verdict in colour."""
    for pattern, style in _STYLES:
        text = pattern.sub(style, text)
    return text
