"""The proof that the harness works, by one command: `python -m tests.proof`.

Every named fault is planted, and must be caught; every candidate that computes nothing must be
refused; what is wrong in small frameworks must be told as is due, and right ones raise no alarm;
and scratch, which is right, must raise none, whatever the seed. A run that is interrupted goes on
where it was, as long as the code is the same.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Iterator

import torch
from tqdm import tqdm

import parity
from bench.own import SUBJECT
from parity import Local
from parity.checks.kinds import KINDS
from parity.explain.causes import findings
from parity.judge.outcome import FAILED, PASSED, UNCHECKED, UNPROVEN
from parity.run.plan import Planned, planned
from tests import seeds, test_causes, test_subjects, trivial
from tests.faults import Fault, all_faults

WHOLE = ("noncontiguous", "layer_by_layer")
IN_HALF = ("forward", "input_grad", "param_grad")
"""The checks that are a whole pass of a layer, loss or network; and those in half precision."""
TURNS = 5
"""In half precision each case is tried at one in so many seeds; else at every one."""
SHARE = 200
"""Of the other checks, each is run at one in so many seeds."""


def caught(fault: Fault) -> bool:
    """Plants a fault, and says whether its check fails and says what it should."""
    with fault.planted():
        outcomes = [one.run() for one in fault.checks(Local(SUBJECT))]
    told = [outcome.diagnosis for outcome in outcomes if outcome.verdict == FAILED]
    return any(fault.says in text for text in told)


def told(fault: Fault) -> list[str]:
    """Of a fault, among all checks of one case in float32 and float64, what is found."""
    session = Local(SUBJECT)
    own = fault.checks(session)
    with fault.planted():
        case = next((str(one.case) for one in own if one.run().verdict == FAILED), "")
        outcomes = [
            one.run()
            for one in planned(session, quick=True)
            if str(one.case) == case
            and not one.dtype.endswith("16")
            and one.name in parity_checks(fault)
        ]
        outcomes += [one.run() for one in own if str(one.case) == case]
    found = [one for one in findings(outcomes) if one.severity != UNPROVEN]
    return [one.sentence for one in found]


def parity_checks(fault: Fault) -> Collection[str]:
    """The checks of parity's own for its kind of case; the others are scratch's."""
    return KINDS[fault.check.split(".")[0]].CHECKS


def named(sentence: str) -> bool:
    """Whether a finding says more than that something is wrong."""
    return "singles out no known mistake" not in sentence


def refused(candidate: str, kind: str) -> dict[str, bool]:
    """Whether each case of a candidate fails a check; those that happen to be right left out."""
    trivial.first.clear()
    found: dict[str, bool] = {}
    for one in planned(Local(trivial.subject(candidate, kind))):
        name = str(one.case)
        if one.case.kind == kind and (candidate, name) not in trivial.RIGHT:
            found[name] = found.get(name, False) or one.run().verdict == FAILED
    return found


def chosen(checks: list[Planned], seed: int) -> Iterator[Planned]:
    """The checks of one seed: a whole pass of every case, in half precision of some, and a share of
    the others, in turn."""
    cases = list(dict.fromkeys(str(one.case) for one in checks))
    turn = {name for place, name in enumerate(cases) if place % TURNS == seed % TURNS}
    others = 0
    for one in checks:
        if one.dtype == "bfloat16":
            if one.name in IN_HALF and str(one.case) in turn:
                yield one
        elif one.name in WHOLE:
            yield one
        else:
            others += 1
            if others % SHARE == seed % SHARE:
                yield one


def alarms(seed: int) -> tuple[int, int, list[str], float]:
    """A seed: how many checks, how many comparisons, what failed, and the worst ratio."""
    torch.set_num_threads(1)
    count, compared, found, worst = 0, 0, [], 0.0
    for one in chosen(planned(Local(SUBJECT), seed=seed), seed):
        outcome = one.run()
        count += outcome.verdict != UNCHECKED
        compared += len(outcome.comparisons)
        worst = max(worst, outcome.ratio)
        if outcome.verdict not in (PASSED, UNCHECKED):
            found.append(f"{outcome.id}, seed {seed}: {outcome.verdict}: {outcome.diagnosis}")
    return count, compared, found, worst


def main() -> int:
    """Prints the proof; 0 if it holds."""
    parser = argparse.ArgumentParser(prog="python -m tests.proof", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)

    faults = all_faults()
    missed = [str(fault) for fault in tqdm(faults, unit="fault") if not caught(fault)]
    subtle = sum(bool(fault.subtle) for fault in faults)
    naming = sum(bool(fault.says) for fault in faults)
    print(f"faults: {len(faults) - len(missed)} of {len(faults)} caught; {subtle} of them are "
          f"right somewhere, and {naming} must be named by their diagnosis")  # fmt: skip

    seen = [fault for fault in faults if fault.check.split(".")[1] in parity_checks(fault)]
    tales = {str(fault): told(fault) for fault in tqdm(seen, unit="fault")}
    nameless = [name for name, found in tales.items() if not any(map(named, found))]
    several = [f"{name}: {'; '.join(found)}" for name, found in tales.items() if len(found) != 1]
    count = len(seen)
    print(f"findings: of {count} faults that parity's own checks see {count - len(nameless)} are "
          f"named, {count - len(several)} by one finding")  # fmt: skip

    grid = [(candidate, kind) for candidate in trivial.CANDIDATES for kind in trivial.KINDS]
    verdicts = {
        f"{candidate}: {name}": verdict
        for candidate, kind in tqdm(grid, unit="candidate")
        for name, verdict in refused(candidate, kind).items()
    }
    passed = [name for name, verdict in verdicts.items() if not verdict]
    print(f"trivial candidates: {sum(verdicts.values())} of {len(verdicts)} refused "
          f"({', '.join(trivial.CANDIDATES)})")  # fmt: skip

    reports = {name: parity.check(test_subjects.adapter(name))
               for name in tqdm(test_subjects.RIGHT, unit="framework")}  # fmt: skip
    judged = sum(len(report.outcomes) for report in reports.values())
    wronged = [f"{name}: {one}" for name, report in reports.items() for one in report.findings]
    told_of = {case[0]: test_causes.not_due(case)
               for case in tqdm(test_causes.CASES, unit="framework")}  # fmt: skip
    others = [f"{name}: {text}" for name, text in told_of.items() if text]
    due = len(told_of) - len(others)
    print(f"small frameworks: {len(wronged)} findings in {judged} checks of {len(reports)} right "
          f"ones; {due} of {len(told_of)} wrong ones told as due")  # fmt: skip

    results = seeds.over(options.seeds, options.processes, alarms, "proof")
    found = [alarm for result in results.values() for alarm in result[2]]
    checks, compared = (sum(result[i] for result in results.values()) for i in (0, 1))
    worst = max((result[3] for result in results.values()), default=0.0)
    print(
        f"false alarms: {len(found)} in {len(results)} seeds, in float64, float32 and bfloat16: "
        f"{checks} checks, {compared} comparisons, the worst at {worst:.2f} of what is allowed"
    )
    for word, names in (
        ("missed", missed), ("nameless", nameless), ("findings", several), ("passed", passed),
        ("alarm", [*wronged, *found]), ("not as due", others),
    ):  # fmt: skip
        for name in names:
            print(f"{word}: {name}")
    return 1 if missed or passed or wronged or others or found else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("\ninterrupted; the seeds that are done are kept")
        sys.exit(130)
