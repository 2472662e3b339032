"""Options of the benchmarks, and their tables at the end of the session."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator

import pytest
import torch

from bench import integrity
from bench.table import Protocol

TABLES = pytest.StashKey[list[tuple[str, str]]]()


def positive(value: str) -> int:
    """An option's value, if it is a whole number of 1 or more."""
    if not value.isdigit() or int(value) < 1:
        raise argparse.ArgumentTypeError(f"takes a whole number of 1 or more, not {value!r}")
    return int(value)


def processors(value: str) -> int:
    """A number of threads, if the machine has as many processors."""
    threads, most = positive(value), os.cpu_count() or 1
    if threads > most:
        raise argparse.ArgumentTypeError(f"takes at most {most}, the processors here, not {value}")
    return threads


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    pluginmanager.register(integrity)
    group = parser.getgroup("bench", "torch-parity's benchmarks")
    default = Protocol()
    group.addoption("--runs", type=positive, default=default.runs, help="of the table (10)")
    group.addoption("--epochs", type=positive, default=default.epochs, help="of a run (30)")
    group.addoption("--batch-size", type=positive, default=default.batch_size, help="(10)")
    group.addoption("--rounds", type=positive, default=40, help="of each ratio of steps (40)")
    group.addoption("--threads", type=processors, default=default.threads, help="of torch (1)")
    group.addoption(
        "--model-1",
        choices=("text", "listing"),
        default=default.model_1,
        help="Model 1 as report B's text has it, without dropout (default), or as its listing",
    )


def devices(config: pytest.Config) -> list[str]:
    """The devices to measure on."""
    wanted: str = config.getoption("--device")
    if wanted != "auto":
        return [wanted]
    return ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def pytest_configure(config: pytest.Config) -> None:
    config.stash[TABLES] = []


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """--benchmark-max-time counts also where a benchmark's own is longer."""
    most = float(config.option.benchmark_max_time)
    for one in items:
        mark = one.get_closest_marker("benchmark")
        if mark is not None and mark.kwargs.get("max_time", 0) > most:
            shorter = pytest.mark.benchmark(**{**mark.kwargs, "max_time": most})
            one.add_marker(shorter, append=False)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "device" in metafunc.fixturenames:
        metafunc.parametrize("device", devices(metafunc.config), scope="session")


@pytest.fixture(scope="session", autouse=True)
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """Torch's number of threads, for the whole session."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.config.getoption("--threads"))
    yield torch.get_num_threads()
    torch.set_num_threads(before)


@pytest.fixture
def protocol(request: pytest.FixtureRequest, device: str) -> Protocol:
    """The table's protocol, as the options have it."""
    options = request.config.option
    return Protocol(
        options.runs, options.epochs, options.batch_size, options.model_1, options.threads, device
    )


@pytest.fixture
def show(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Keeps a table, by its title, for the end of the session."""
    return lambda title, text: request.config.stash[TABLES].append((title, text))


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for title, text in terminalreporter.config.stash[TABLES]:
        terminalreporter.section(title)
        terminalreporter.write_line(text)
