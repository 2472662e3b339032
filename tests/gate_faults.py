"""What the gate must see, tried one by one: every named fault of scratch, and every way to break
the gate itself. And what it must not: rewrites that are right, and lose no digits.

`python -m tests.gate_faults` prints a line of JSON for each, or for those that it is given; with
`--list` their names.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from bench.gate.plan import gate
from parity.gate.data.broken import GATE_BROKEN
from parity.gate.judge import numerics
from parity.gate.judge.result import REGRESSION, Result, Row, Section
from parity.gate.measure import jobs
from parity.run.plan import Planned, planned
from parity.run.run import opened
from tests.faults import Fault, all_faults
from tests.gate_broken import BREAKAGES, broken
from tests.gate_rewrites import REWRITES, Rewrite, recorded
from tests.toy import Toy


def seen(fault: Fault) -> str:
    """What the gate says of scratch with a fault in it: the first row that fails; or nothing."""
    with fault.planted():
        for rows in _rows(fault):
            if Result([Section("numerics", "", rows)], {}).code == REGRESSION:
                return f"{rows[0].name}: {rows[0].says}"
    return ""


def _rows(fault: Fault) -> Iterator[list[Row]]:
    """What the gate has to say by each of its checks, first those that are likely to see it."""
    kind, _, name = fault.check.partition(".")

    def far(one: Planned) -> tuple[bool, ...]:
        return (
            one.name != name,
            not str(one.case).startswith(fault.cases),
            one.case.kind != kind,
            one.dtype != fault.dtype,
        )

    for one in sorted(planned(opened(gate.subject)), key=far):
        yield numerics.suite([one.run()], {})
    for name in gate.trajectories:
        ratio = jobs.perform(gate, ("trajectories", name, None))
        yield numerics.trajectories({name: ratio})


def names() -> dict[str, Any]:
    """Everything to be tried, by its name."""
    found: dict[str, Any] = {f"scratch: {fault}": fault for fault in all_faults()}
    for one in REWRITES:
        found[f"{'loses digits' if one.loses else 'harmless'}: {one}"] = one
    return found | {f"gate: {one.name}": one for one in BREAKAGES}


def main(arguments: list[str]) -> int:
    """Prints what is asked for; 1 if a fault was not seen, or what is harmless was stopped."""
    everything = names()
    if arguments == ["--list"]:
        print("\n".join(everything))
        return 0
    torch.set_num_threads(1)
    checks = planned(opened(gate.subject))
    wrong = False
    with tempfile.TemporaryDirectory() as folder:
        toy = None
        for number, name in enumerate(arguments or everything):
            one = everything[name]
            if isinstance(one, Fault):
                says = seen(one)
                found = bool(says)
                wrong |= not found
            elif isinstance(one, Rewrite):
                says = one.exceeds(checks, recorded())
                found = bool(says)
                wrong |= found and not one.loses
            else:
                toy = toy or Toy.made(Path(folder, "toy"))
                place = Path(folder, str(number), "toy")
                code, says = broken(one, toy.folder, place, fresh=True)
                found = code == GATE_BROKEN and one.says in " ".join(says.split())
                says = one.says if found else says
                wrong |= not found
            print(json.dumps({"name": name, "seen": found, "says": says}), flush=True)
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
