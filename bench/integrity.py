"""What pytest-benchmark passes over when a run is compared with a baseline: here it makes it red.

A benchmark that was renamed, skipped or disabled has nothing to be compared with, and so nothing
that could be slower; a baseline that is missing, or of another machine, compares nothing either.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from bench.environment import processor

BROKEN = 2  # the exit code
PROBLEMS = pytest.StashKey[list[str]]()

#: What a time depends on besides the code; the same in the baseline, or nothing is compared.
SAME = ("python_version", "torch", "processor", "threads")


def pytest_benchmark_update_machine_info(
    config: pytest.Config, machine_info: dict[str, Any]
) -> None:
    threads = config.getoption("threads", default=None)
    machine_info |= {"torch": torch.__version__, "processor": processor(), "threads": threads}


def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    session: Any = config.pluginmanager.get_plugin("session")
    output_json["failed"] = session.testsfailed


def pytest_benchmark_compare_machine_info(
    config: pytest.Config, machine_info: dict[str, Any], compared_benchmark: dict[str, Any]
) -> None:
    found = config.stash.setdefault(PROBLEMS, [])
    theirs = compared_benchmark["machine_info"]
    found += [
        f"the baseline is of {name} {theirs.get(name)}, this run of {machine_info[name]}"
        for name in SAME
        if theirs.get(name) != machine_info[name]
    ]
    if failed := compared_benchmark.get("failed"):
        found.append(f"the baseline is of a run in which {failed} benchmarks failed")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    run: Any = session.config._benchmarksession  # type: ignore[attr-defined]
    if not run.compare:
        return
    found = session.config.stash.setdefault(PROBLEMS, [])
    found += _problems(run)
    if found:
        session.exitstatus = BROKEN


def _problems(run: Any) -> list[str]:
    """What of a finished run cannot be compared."""
    own = {one.fullname: one for one in run.benchmarks if one}
    if not run.compared_mapping:
        return [
            f"there is no baseline {run.compare!r} that can be read: record one by --benchmark-save"
        ]
    if not own:
        return ["no benchmark was measured: are they skipped, deselected or disabled?"]
    found = [
        f"{name} has no finite time"
        for name, one in own.items()
        if one.has_error or not math.isfinite(one.stats.median)
    ]
    for baseline in run.compared_mapping.values():
        if not baseline:
            found.append("the baseline is empty")
        for name in sorted(baseline.keys() - own.keys()):
            found.append(
                f"{name} is in the baseline, and was not measured: renamed, skipped or deselected?"
            )
        for name in sorted(own.keys() - baseline.keys()):
            found.append(f"{name} was measured, and is not in the baseline: new or renamed?")
        for name, one in baseline.items():
            if not math.isfinite(one.get("stats", {}).get("median", math.nan)):
                found.append(f"{name} has no finite time in the baseline")
    return found


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    found = terminalreporter.config.stash.get(PROBLEMS, [])
    if not found or not terminalreporter.config.getoption("benchmark_compare"):
        return
    terminalreporter.section("the comparison is broken", red=True)
    for problem in found:
        terminalreporter.write_line(problem)
    terminalreporter.write_line(
        "For these nothing was compared. If the change is meant, record a new baseline: "
        "--benchmark-save=NAME, by a run of all benchmarks that passes."
    )
