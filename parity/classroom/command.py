"""`parity check ADAPTER --submissions FOLDER …`: the options of a class."""

from __future__ import annotations

import argparse
import os
from typing import Any

from parity.console import undisturbed
from parity.subject.error import AdapterError


def add(check: argparse.ArgumentParser) -> None:
    """Adds the options of a class to those of `parity check`."""
    group = check.add_argument_group("a class of submissions")
    group.add_argument("--submissions", nargs="+", metavar="FOLDER",
                       help="check each of these folders by the adapter, which finds the "
                            "student's modules there and nowhere else; --html then names a "
                            "folder")  # fmt: skip
    group.add_argument("--csv", metavar="FILE",
                       help="write a row for each student, a column for each class")  # fmt: skip
    group.add_argument("--points", metavar="FILE",
                       help="a TOML file with what each class is worth: a table [points], and "
                            "forward = 0.5 for the share that right values earn")  # fmt: skip
    group.add_argument("--workers", type=_workers, default=os.cpu_count() or 1, metavar="N",
                       help="how many are checked at once (default: the number of "
                            "processors)")  # fmt: skip


def _workers(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 256:
        raise argparse.ArgumentTypeError(f"takes a number from 1 to 256, not {text}")
    return int(text)


def refuse_alone(options: argparse.Namespace) -> None:
    """Of options that belong to a class where there is none.

    Raises:
        AdapterError: one is given.
    """
    for name in ("csv", "points"):
        if getattr(options, name) is not None:
            raise AdapterError(f"--{name} is of a class: it goes with --submissions FOLDER …")


def run(options: argparse.Namespace, settings: dict[str, Any]) -> int:
    """Checks every submission. 0: all passed; 1: not all; 2: it could not run to its end."""
    with undisturbed():
        from parity.classroom.run import run as checked
    return checked(options, settings)
