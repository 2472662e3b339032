"""`python -m tests.wrongs`: layers by loops with one mistake each, and what is found of each.

It prints a line for each that has no name or more than one finding, and a table of all. It ends
with 1 if one is not found. With `--seeds N` it takes the right ones by loops at N seeds instead, in
turn, and prints how often one of them is called wrong; interrupted, it goes on where it was.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tabulate import tabulate
from tqdm import tqdm

import parity
from parity.catalogue.table import by_name
from parity.explain.finding import Finding
from parity.judge.outcome import PASSED, UNCHECKED
from parity.run.plan import planned
from tests import seeds
from tests.subjects import (
    layers_by_loops,
    more_by_loops,
    more_wrong,
    sequences_by_loops,
    wrong_layers,
    wrong_sequences,
)
from tests.subjects.wrong_layers import Wrong

BY_LOOPS: dict[str, Any] = {
    name: getattr(module, name)
    for module, names in (
        (layers_by_loops, "Conv2d MaxPool2d Flatten BatchNorm1d BatchNorm2d LayerNorm RMSNorm "
                          "Embedding"),
        (more_by_loops, "Conv1d ConvTranspose2d AvgPool2d AdaptiveAvgPool2d Upsample GroupNorm "
                        "PReLU"),
        (sequences_by_loops, "RNNCell GRUCell LSTMCell RNN GRU LSTM ScaledDotProductAttention "
                             "MultiheadAttention SwiGLU GeGLU RoPE"),
    )
    for name in names.split()
}  # fmt: skip
"""The right ones."""
WRONG = [*wrong_layers.WRONG, *more_wrong.WRONG, *wrong_sequences.WRONG]
TELLING = ("-forward", "-input_grad", "-param_grad", "-ranges", "-statistics", "-eval_mode",
           "-kink", "-differences")  # fmt: skip
"""The checks that tell what is wrong; the others show that it is."""
WHOLE = ("-forward", "-input_grad", "-param_grad", "-statistics", "-sizes", "-rank")
"""Those that judge every result of a pass, at other shapes too."""
TURNS = 4
"""Of right ones, each case is tried at one in so many seeds."""


@dataclass(frozen=True)
class Told:
    """What was found of a wrong layer."""

    wrong: Wrong
    findings: list[Finding]

    @property
    def named(self) -> bool:
        return bool(self.findings) and all(one.evidence.named for one in self.findings)


_told: dict[type[Any], Told] = {}


def subject(name: str, cls: type[Any], **settings: Any) -> parity.Subject:
    return parity.Subject({by_name(name).key: cls}, array="numpy", name=name, **settings)


def told(wrong: Wrong) -> Told:
    """What the telling checks say in float32; of one layer it is asked once."""
    if wrong.cls not in _told:
        only = subject(wrong.layer, wrong.cls, dtypes=("float32",))
        report = parity.check(only, only=TELLING)
        assert not report.errors, [one.why for one in report.errors]
        _told[wrong.cls] = Told(wrong, report.findings)
    return _told[wrong.cls]


def table(found: Sequence[Told]) -> str:
    """How many of each class are found, named, and one finding."""
    rows = []
    for name in [*dict.fromkeys(one.wrong.layer for one in found), "all"]:
        of = [one for one in found if name in (one.wrong.layer, "all")]
        rows.append([
            name, len(of), sum(bool(one.findings) for one in of), sum(one.named for one in of),
            sum(len(one.findings) == 1 for one in of),
        ])  # fmt: skip
    return tabulate(rows, ["layer", "wrong", "found", "named", "one finding"])


def alarms(seed: int) -> tuple[int, list[str], float]:
    """Of the right ones at a seed, each case in its turn: how many comparisons of float64 and
    float32, what is called wrong, and the worst ratio."""
    torch.set_num_threads(1)
    compared, found, worst = 0, [], 0.0
    for name, cls in BY_LOOPS.items():
        session = parity.Local(subject(name, cls))
        checks = planned(session, seed=seed, only=WHOLE)
        cases = dict.fromkeys(str(one.case) for one in checks)
        turn = set([*cases][seed % TURNS :: TURNS])
        for one in (one for one in checks if str(one.case) in turn):
            outcome = one.run()
            compared += len(outcome.comparisons)
            worst = max(worst, outcome.ratio)
            if outcome.verdict not in (PASSED, UNCHECKED):
                found.append(f"{outcome.id}, seed {seed}: {outcome.verdict}: {outcome.diagnosis}")
    return compared, found, worst


def over_seeds(count: int) -> int:
    """Prints the false alarms of so many seeds; 0 if there are none."""
    results = seeds.over(count, os.cpu_count() or 1, alarms, "wrongs").values()
    found = [alarm for _, ones, _ in results for alarm in ones]
    print(
        f"false alarms: {len(found)} in {count} seeds, {len(BY_LOOPS)} layers by loops: "
        f"{sum(one[0] for one in results)} comparisons, the worst at "
        f"{max(one[2] for one in results):.2f} of what is allowed"
    )
    print("".join(f"alarm: {alarm}\n" for alarm in found), end="")
    return int(bool(found))


def main() -> int:
    """Prints what is found; 0 if that is as it should be."""
    parser = argparse.ArgumentParser(prog="python -m tests.wrongs", description=__doc__)
    parser.add_argument("--seeds", type=int, help="take the right ones, at so many seeds")
    if count := parser.parse_args().seeds:
        return over_seeds(count)
    torch.set_num_threads(1)
    found = [told(wrong) for wrong in tqdm(WRONG, unit="layer", disable=not sys.stderr.isatty())]
    for one in found:
        if not one.named or len(one.findings) != 1:
            print(f"{one.wrong.layer}, {one.wrong.mistake}:")
            print("".join(f"    {finding}\n" for finding in one.findings), end="")
    print(table(found))
    return int(not all(one.findings for one in found))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("\ninterrupted; the seeds that are done are kept")
        sys.exit(130)
