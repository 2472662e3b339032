"""The command's options: `parity gate`. What it does, with all that it imports, is in `main.py`."""

from __future__ import annotations

import argparse
import os
import sys
from datetime import date
from typing import Any

from parity.gate.data.broken import GATE_BROKEN
from parity.gate.data.names import LAYERS


def add(commands: Any) -> None:
    """Adds the command to a parser's."""
    gate = commands.add_parser(
        "gate", help="judge a change: is it slower, numerically worse, or less accurate?",
        epilog="exit codes: 0 pass, 1 regression, 2 the gate is broken, 3 inconclusive",
    )  # fmt: skip
    gate.add_argument("--base", metavar="COMMIT",
                      help="compare with its merge base (default: the branch of the pull request, "
                           "or main; on main the commit before)")  # fmt: skip
    gate.add_argument("--layers", nargs="+", choices=LAYERS, metavar="LAYER",
                      help=f"run these alone, of {', '.join(LAYERS)}")  # fmt: skip
    gate.add_argument("--date", type=date.fromisoformat, metavar="YYYY-MM-DD",
                      help="whose seeds the trainings have (default: today)")  # fmt: skip
    gate.add_argument("--workers", type=int, choices=range(1, (os.cpu_count() or 1) + 1),
                      metavar="N", help="processes at a time (default: all)")  # fmt: skip
    gate.add_argument("--strict", action="store_true", help="inconclusive is a failure")
    gate.add_argument("--markdown", metavar="FILE", help="write a report, as for a comment")
    gate.add_argument("--json", metavar="FILE", help="write all figures, and every raw pair")
    gate.add_argument("--plot", metavar="FILE", help="write the paired ratios, as an SVG")
    gate.add_argument("--update-baseline", action="store_true",
                      help="record the baseline of this machine, if all is right")  # fmt: skip
    gate.add_argument("--reason", help="why the baseline is to change")
    gate.add_argument("--calibrate", action="store_true",
                      help="time the head against itself: what this machine can see")  # fmt: skip
    gate.add_argument("-v", "--verbose", action="store_true", help="also what passed")
    gate.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    try:
        from parity.gate import main
    except ImportError as error:
        print(f'parity gate: {error}: pip install "torch-parity[gate]"', file=sys.stderr)
        return GATE_BROKEN
    return main.run(options)
