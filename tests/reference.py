"""`python -m tests.reference` writes the pages of `docs/reference/` that come from the code: the
commands from their parser, the settings from the docstrings, and every public name."""

from __future__ import annotations

import argparse
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import parity
import parity.gate
from parity import cli

FOLDER = Path(__file__).parent.parent / "docs" / "reference"

COMMANDS = """# Commands

Every command of `parity`, with every option. `parity COMMAND --help` prints the same.

| exit code | of `parity check` and `parity kernel` | of `parity gate` |
|---|---|---|
| 0 | everything passed | pass |
| 1 | there is a fault | a regression |
| 2 | the run could not start, or did not reach its end, or parity had an error of its own | the gate is broken |
| 3 | | inconclusive; `--strict` makes it 1 |
| 130 | you interrupted it with Ctrl-C | |

`python -m tests.reference` writes this page.
"""  # noqa: E501

SETTINGS = """# Settings

Every argument of what an adapter, a test or a plan calls, from the docstrings.
[Conventions](conventions.md) says which setting a framework needs.

`python -m tests.reference` writes this page.
"""

DOCUMENTED = {
    "Subject": (parity.Subject, "an adapter's `subject`"),
    "Entry": (parity.Entry, "a class that the catalogue does not have"),
    "Network": (parity.Network, "a whole model of your own"),
    "functions": (parity.functions, "layers that are functions"),
    "parametrize": (parity.parametrize, "a test for each check"),
    "check": (parity.check, "a run as data"),
    "sweep": (parity.sweep, "a test for each case of a kernel"),
    "check_function": (parity.check_function, "a sweep as data"),
    "check_pair": (parity.check_pair, "a sweep of a forward and a backward"),
    "check_module": (parity.check_module, "a sweep of a module"),
    "indices": (parity.indices, "an input of a sweep: indices"),
    "gate.Gate": (parity.gate.Gate, "the plan of a gate"),
}
"""What has settings, and what it is for."""

MORE = {
    "Network": {
        "kind": 'always "network"',
        "optimizer": "the entry's name and the options of the optimizer (default: none)",
    },
    "sweep": {
        "name": "what reports call it (default: the test's name, without `test_`)",
        "modules": "whether the reference and what is tested are modules",
    },
}
"""Settings that a docstring leaves out."""

API = """# The API

Every public name of `parity`. [Settings](settings.md) has the arguments of those that take some.
Names that are not on this page may change without notice.

`python -m tests.reference` writes this page.
"""

ITEM = re.compile(r"([\w*]+(?:, [\w*]+)*): (.*)", re.DOTALL)


def commands() -> str:
    """Every command with every option."""
    helps = {one.dest: one.help for one in _commands()._choices_actions}
    version, *_ = (one for one in options(cli._parser()) if one.dest == "version")
    told = "print the versions of parity, torch, numpy and Python"
    parts = [COMMANDS, f"## parity\n\n{_table([(_call(version), told)])}"]
    for name, parser in parsers().items():
        parts.append(f"## parity {name}\n\n{_sentence(helps[name])}\n")
        parts.append(f"```\n{_usage(name, parser)}\n```\n")
        parts.append(_table([(_call(one), _help(one)) for one in options(parser)]))
        if parser.epilog:
            several = "\n" in parser.epilog
            parts.append(f"```\n{parser.epilog.strip()}\n```\n" if several else
                         f"{_sentence(parser.epilog)}\n")  # fmt: skip
    return "\n".join(parts)


def _table(rows: list[tuple[str, str]]) -> str:
    lines = [f"| {call} | {_cell(text)} |" for call, text in rows]
    return "\n".join(["| argument | what it does |", "|---|---|", *lines, ""])


def parsers() -> dict[str, argparse.ArgumentParser]:
    """The parser of each command."""
    return dict(_commands().choices)


def _commands() -> argparse._SubParsersAction[argparse.ArgumentParser]:
    (found,) = (
        one for one in cli._parser()._actions if isinstance(one, argparse._SubParsersAction)
    )
    return found


def options(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """The arguments and options of a command."""
    return [one for one in parser._actions if not isinstance(one, argparse._HelpAction)]


def _usage(name: str, parser: argparse.ArgumentParser) -> str:
    positional = [one for one in options(parser) if not one.option_strings]
    shown = [
        f"[{one.dest.upper()}]" if one.nargs == "?" else one.dest.upper() for one in positional
    ]
    return " ".join(["parity", name, *shown, "[options]"])


def _call(one: argparse.Action) -> str:
    if not one.option_strings:
        return f"`{one.dest.upper()}`"
    value = ""
    if one.nargs != 0:
        value = f" {one.metavar or one.dest.upper().replace('_', '-')}"
        value += " …" if one.nargs == "+" else ""
    return ", ".join(f"`{name}{value}`" for name in one.option_strings)


def _help(one: argparse.Action) -> str:
    text = (one.help or "").replace("%%", "%")
    return re.sub(r"(?<![\w`-])(--[a-z][a-z-]+)(?![\w`-])", r"`\1`", text)


def settings() -> str:
    """Every argument of what is called."""
    parts = [SETTINGS]
    for name, (what, purpose) in DOCUMENTED.items():
        parts.append(f"## parity.{name}\n\n{_sentence(purpose)} {_first(what)}\n")
        rows = [
            f"| {_coded(names)} | {_default(what, names)} | {_cell(text)} |"
            for names, text in documented(what)
        ]
        rows += [f"| `{one}` |  | {text} |" for one, text in MORE.get(name, {}).items()]
        parts.append(
            "\n".join(["| argument | default | what it says |", "|---|---|---|", *rows, ""])
        )
    return "\n".join(parts)


def documented(what: Any) -> list[tuple[list[str], str]]:
    """The arguments of a docstring's `Args`, each with what is said of it; those of `spec` too."""
    doc = inspect.getdoc(what) or ""
    found = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", doc, re.DOTALL | re.MULTILINE)
    return list(_items(textwrap.dedent(found[1]))) if found else []


def _items(text: str) -> Iterator[tuple[list[str], str]]:
    for part in re.split(r"\n+(?=\S)", text.strip("\n")):
        item = ITEM.match(part)
        assert item, part
        names, said = item[1].split(", "), item[2]
        first, _, rest = said.partition("\n")
        inner = textwrap.dedent(rest)
        if names == ["spec"] and ITEM.match(inner):
            yield from _items(inner)
        else:
            yield names, " ".join(f"{first}\n{rest}".split())


def _default(what: Any, names: list[str]) -> str:
    """The default of an argument, where it is a plain value."""
    parameters = inspect.signature(what).parameters
    values = [parameters[name].default for name in names if name in parameters]
    plain = [
        one for one in values if isinstance(one, (str, int, float, bool, tuple)) or one is None
    ]
    if not plain or len(set(map(repr, plain))) > 1:
        return ""
    return f"`{plain[0]!r}`".replace("'", '"')


def api() -> str:
    """Every public name, with its first sentence, and for the site the whole docstring."""
    parts = [API]
    for name in sorted(parity.__all__, key=str.lower):
        what = getattr(parity, name)
        named = getattr(what, "__name__", "")
        place = named if inspect.ismodule(what) else f"{getattr(what, '__module__', '')}.{named}"
        parts.append(f"## parity.{name}\n\n{SAID.get(name) or _first(what)}\n")
        parts += [f"<!-- ::: {place} -->\n"] * (name not in SAID)
    return "\n".join(parts)


SAID = {
    "CATALOGUE": "The classes that parity knows, by torch class: [the catalogue](catalogue.md).",
    "Tensors": "Tensors by their names: a dict.",
}


def _first(what: Any) -> str:
    """The first sentence of a docstring."""
    paragraph = (inspect.getdoc(what) or "").split("\n\n")[0]
    return " ".join(paragraph.split())


def _sentence(text: str | None) -> str:
    text = text or ""
    return text[:1].upper() + text[1:] + "." * (text[-1:] not in tuple(".?"))


def _coded(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


PAGES = {"commands.md": commands, "settings.md": settings, "api.md": api}

if __name__ == "__main__":
    for page, made in PAGES.items():
        (FOLDER / page).write_text(made(), "utf-8")
