"""A comparison with a baseline is red where pytest-benchmark has nothing to compare."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import warm

ROOT = Path(__file__).parent.parent
CONFTEST = """
from bench import integrity


def pytest_addoption(parser, pluginmanager):
    pluginmanager.register(integrity)
"""
BENCHMARKS = """
import pytest


def test_sum(benchmark):
    benchmark(sum, [1, 2])


def test_max(benchmark):
    benchmark(max, [1, 2])
"""


def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    quick = ("--benchmark-only", "--benchmark-max-time=0.01", "--benchmark-min-rounds=2")
    return pytest_in(folder, *quick, *options)


def pytest_in(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = ["-m", "pytest", "-p", "no:cacheprovider", "-q", "test_it.py", *options]
    return warm.python(command, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)})


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two benchmarks and their baseline."""
    folder = tmp_path_factory.mktemp("integrity")
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_it.py").write_text(BENCHMARKS)
    done = run(folder, "--benchmark-save=base")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def compared(recorded: Path) -> Any:
    """Compares with the baseline, after the benchmarks or the baseline were changed."""
    (baseline,) = (recorded / ".benchmarks").rglob("*.json")
    before = baseline.read_text()

    def compare(
        benchmarks: str = BENCHMARKS,
        change: Callable[[dict[str, Any]], object] = lambda content: None,
        options: tuple[str, ...] = (),
        text: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        (recorded / "test_it.py").write_text(benchmarks)
        content = json.loads(before)
        change(content)
        baseline.write_text(json.dumps(content) if text is None else text)
        return run(recorded, "--benchmark-compare", *options)

    yield compare
    baseline.write_text(before)


def test_the_same_benchmarks_are_compared(compared: Any) -> None:
    done = compared()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the comparison is broken" not in done.stdout


RENAMED = BENCHMARKS.replace("test_max", "test_min")
SKIPPED = BENCHMARKS.replace("def test_max", "@pytest.mark.skip\ndef test_max")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"benchmarks": RENAMED}, "test_max is in the baseline, and was not measured"),
        ({"benchmarks": RENAMED}, "test_min was measured, and is not in the baseline"),
        ({"benchmarks": SKIPPED}, "test_max is in the baseline, and was not measured"),
        ({"options": ("-k", "sum")}, "test_max is in the baseline, and was not measured"),
        ({"options": ("-k", "none")}, "no benchmark was measured"),
        ({"text": "{"}, "there is no baseline"),
        ({"options": ("--benchmark-compare=0099",)}, "there is no baseline '0099'"),
        ({"change": lambda c: c["benchmarks"].clear()}, "the baseline is empty"),
        (
            {"change": lambda c: c["benchmarks"][0]["stats"].update(median=float("nan"))},
            "has no finite time in the baseline",
        ),
        (
            {"change": lambda c: c["machine_info"].update(processor="another")},
            "the baseline is of processor another, this run of",
        ),
        ({"change": lambda c: c["machine_info"].pop("torch")}, "the baseline is of torch None"),
        ({"change": lambda c: c.update(failed=2)}, "a run in which 2 benchmarks failed"),
    ],
)
def test_what_cannot_be_compared_is_red_and_told(compared: Any, given: Any, says: str) -> None:
    done = compared(**given)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "the comparison is broken" in done.stdout
    assert says in done.stdout
    assert "record a new baseline" in done.stdout


def test_disabled_it_is_red(recorded: Path) -> None:
    """--benchmark-only refuses it; without that, nothing would be measured, and nothing said."""
    (recorded / "test_it.py").write_text(BENCHMARKS)
    done = pytest_in(recorded, "--benchmark-disable", "--benchmark-compare")
    assert done.returncode == 2
    assert "no benchmark was measured: are they skipped, deselected or disabled?" in done.stdout


def test_a_run_that_fails_says_so_in_its_baseline(recorded: Path, tmp_path: Path) -> None:
    failing = BENCHMARKS + "\n\ndef test_fails(benchmark):\n    benchmark(int, 'x')\n"
    (recorded / "test_it.py").write_text(failing)
    done = run(recorded, f"--benchmark-json={tmp_path / 'failing.json'}")
    assert done.returncode == 1
    assert json.loads((tmp_path / "failing.json").read_text())["failed"] == 1
