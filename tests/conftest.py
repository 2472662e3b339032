"""What all tests share: the device under test, the dtypes, and how a verdict becomes a failure."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch

from parity import Comparison
from parity.plugin import CheckTest
from tests import warm
from tests.browser import Browser, found_browser

for name in [name for name in os.environ if name.startswith("PYTEST_XDIST")]:
    del os.environ[name]  # a pytest that a test starts is no worker of this one

TIERS = ("fast", "slow", "all")
LEFT_OUT = pytest.StashKey[int]()
#: Whole trainings of scratch in float64, which train in float32 in the fast tier.
SLOW = re.compile(r"test_scratch\[.*-float64-(training|runs_together)\]")

DTYPES = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--tier", choices=TIERS, default="fast",
        help="fast (default), slow: what is marked so and nothing else, or all",
    )  # fmt: skip


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """With `-n auto` three workers for two processors: a check waits for its subject's process, and
    that for the check."""
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, (own or 1) * 3 // 2)


def pytest_itemcollected(item: pytest.Item) -> None:
    """The checks of a case in a dtype share what torch says: one worker runs them all."""
    check = getattr(getattr(item, "callspec", None), "params", {}).get("check")
    if isinstance(check, CheckTest):
        group = f"{check.planned.case}-{check.planned.dtype}"
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.hookimpl(trylast=True)  # of what -k and -m have left
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out the tests of the other tier."""
    for one in items:
        if SLOW.search(one.name):
            one.add_marker("slow")
    tier = config.getoption("--tier")
    others = [one for one in items if (one.get_closest_marker("slow") is None) != (tier == "fast")]
    if tier != "all" and others:
        items[:] = [one for one in items if one not in set(others)]
        config.hook.pytest_deselected(items=others)
        config.stash[LEFT_OUT] = len(others)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of pytest-xdist tells how many it has left out."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left out"] = session.config.stash.get(LEFT_OUT, 0)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """All workers leave out the same."""
    node.config.stash[LEFT_OUT] = getattr(node, "workeroutput", {}).get("left out", 0)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Says what was not run, and how it is."""
    if count := config.stash.get(LEFT_OUT, 0):
        other = "slow" if config.getoption("--tier") == "fast" else "fast"
        how = "tox -e tests -- --tier slow" if other == "slow" else "tox -e tests"
        terminalreporter.write_line("")
        terminalreporter.write_line(
            f"{count} tests of the {other} tier were left out. To run them: {how}, or pytest "
            f"--tier {other}"
        )


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> str:
    """Where the checks run: `--device cuda`, or else the CPU."""
    return "cuda" if request.config.getoption("--device") == "cuda" else "cpu"


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """The tensors are small: more threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session", autouse=True)
def warm_keepers() -> Iterator[None]:
    """Subjects' processes are forks of one that has imported torch, which takes two seconds."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        warm.fork_keepers(monkeypatch)
        yield


@pytest.fixture(autouse=True)
def fresh(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a test that is marked so, they are started as they are for users."""
    if request.node.get_closest_marker("fresh"):
        monkeypatch.setattr(subprocess, "Popen", warm.POPEN)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Browser:
    """A real browser, with a profile of its own."""
    return Browser(found_browser(), tmp_path_factory.mktemp("browser"))


def demand(comparisons: Sequence[Comparison]) -> None:
    """Fails with every verdict that is not a pass, the first divergence first."""
    if not comparisons:
        pytest.fail("the check compared nothing")
    failures = [str(comparison) for comparison in comparisons if not comparison.passed]
    if failures:
        pytest.fail("\n".join(failures), pytrace=False)
