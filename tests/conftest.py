"""What all tests share: the device under test, the dtypes, and how a verdict becomes a failure."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import pytest
import torch

from parity import Comparison
from tests.browser import Browser, found_browser

for name in [name for name in os.environ if name.startswith("PYTEST_XDIST")]:
    del os.environ[name]  # a pytest that a test starts is no worker of this one

DTYPES = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16}


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
