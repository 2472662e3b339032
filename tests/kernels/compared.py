"""What gradcheck, `torch.testing.assert_close`, a usual test and a sweep see of the bugs that
public kernels had: `python -m tests.kernels.compared` prints a table; with `--seeds N` what a sweep
says of the right ones at so many seeds, in three dtypes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

import torch
from tabulate import tabulate
from torch import Tensor
from tqdm import tqdm

import parity
from parity.catalogue.values import Tensors
from parity.kernels.cases import Case
from parity.kernels.reference import wanted_of
from parity.kernels.spec import Sweep, sweep_of
from tests import seeds
from tests.kernels.faults import FAMILIES, Family

SIZES = {"M": 16, "N": 64, "B": 4, "T": 16, "S": 16, "D": 64, "E": 64, "V": 32, "H": 2}
"""The sizes of usual tests: powers of two."""


def results(sweep: Sweep, case: Case, function: Callable[..., Any], inputs: Tensors,
            dys: list[Tensor]) -> list[Tensor | None]:  # fmt: skip
    """Outputs and gradients; without `dys` those of an incoming gradient of ones."""
    wanted = wanted_of(sweep, case, inputs)
    leaves = {n: x.clone().requires_grad_(n in wanted) for n, x in inputs.items()}
    found = sweep.function_of(case, function)(*leaves.values())
    ys = list(found) if isinstance(found, tuple) else [found]
    into = dys or [torch.ones_like(y) for y in ys]
    gradients = torch.autograd.grad(ys, [leaves[n] for n in wanted], into, allow_unused=True)
    return [*(y.detach() for y in ys), *gradients]


def noticed(check: Callable[..., object], family: Family, bug: str, *, summed: bool) -> bool:
    """Whether a comparison at one contiguous shape of powers of two fails for a bug."""
    sweep = sweep_of(family.reference, **family.spec)
    plain = sweep.axes.plain()
    case = plain.at({("size", name): SIZES[name] for name in plain.sizes})
    inputs = sweep.drawn(case)
    dys = [] if summed else list(sweep.gradients_of(case).values())
    try:
        own, due = (results(sweep, case, one, inputs, dys)
                    for one in (family.make(bug), family.reference))  # fmt: skip
        for got, right in zip(own, due, strict=True):
            check(got, right)
    except (AssertionError, RuntimeError, ValueError, TypeError):
        return True
    return False


def usual(got: Tensor, right: Tensor) -> None:
    """The test that many kernels have."""
    assert torch.allclose(got, right, 1e-2, 1e-2)


def by_gradcheck(family: Family, bug: str) -> bool:
    """Whether torch's gradcheck fails, with its defaults, at a small contiguous shape."""
    sweep = sweep_of(family.reference, **{**family.spec, "dtypes": "float64"})
    case = sweep.axes.plain()
    inputs = sweep.drawn(case)
    wanted = wanted_of(sweep, case, inputs)
    leaves = [x.requires_grad_(name in wanted) for name, x in inputs.items()]
    try:
        return not torch.autograd.gradcheck(sweep.function_of(case, family.make(bug)), leaves)
    except (RuntimeError, ValueError):
        return True


def alarms(seed: int) -> tuple[int, list[str]]:
    """A seed: how many checks of right kernels there are, and what is said of them."""
    torch.set_num_threads(1)
    count, found = 0, []
    for family in FAMILIES:
        spec = {**family.spec, "dtypes": ["float32", "bfloat16", "float16"], "seed": seed}
        report = parity.check_function(family.make(), family.reference, **spec)
        count += len(report.outcomes)
        found += [f"{family.name}, seed {seed}: {one.sentence}" for one in report.faults]
    return count, found


def over_seeds(many: int) -> int:
    """Prints what a sweep says of right kernels; 0 if it is nothing."""
    results = seeds.over(many, 2, alarms, "kernels")
    found = [text for result in results.values() for text in result[1]]
    checks = sum(result[0] for result in results.values())
    print(f"right kernels: {len(found)} findings in {checks} checks at {len(results)} seeds")
    print("\n".join(found))
    return 1 if found else 0


def main() -> int:
    """Prints the table, and how many each sees."""
    parser = argparse.ArgumentParser(prog="python -m tests.kernels.compared", description=__doc__)
    parser.add_argument("--seeds", type=int, default=0)
    if many := parser.parse_args().seeds:
        return over_seeds(many)
    torch.set_num_threads(1)
    rows = []
    pairs = [(family, bug) for family in FAMILIES for bug in ("", *family.bugs)]
    for family, bug in tqdm(pairs, unit="bug", disable=None):
        seen = (
            noticed(usual, family, bug, summed=True),
            noticed(torch.testing.assert_close, family, bug, summed=False),
            by_gradcheck(family, bug),
            not parity.check_function(
                family.make(bug), family.reference, **family.spec_of(bug)
            ).passed,
        )
        rows.append([family.name, bug or "(right)", *("yes" if one else "" for one in seen)])
    heads = ["kernel", "bug", "usual test", "assert_close", "gradcheck", "sweep"]
    print(tabulate(rows, headers=heads))
    wrong = [row for row in rows if row[1] != "(right)"]
    for place, name in enumerate(heads[2:], 2):
        print(f"{name}: sees {sum(row[place] == 'yes' for row in wrong)} of {len(wrong)} bugs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
