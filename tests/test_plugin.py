"""Checks as pytest tests: their ids, what fails, what is waived."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import parity
from tests import warm
from tests.test_cli import adapter

TEST = """
import parity

@parity.parametrize({adapter!r}, seed=3)
def test_parity(check):
    check()
"""


def run(folder: Path, more: str = "") -> str:
    """The output of pytest on a test file for the adapter whose Tanh is wrong."""
    file = folder / "test_framework.py"
    file.write_text(TEST.format(adapter=str(adapter(folder, more))))
    command = ["-m", "pytest", str(file), "-v", "-p", "no:cacheprovider", "-rx"]
    done = warm.python(command, cwd=folder)
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout


def outcomes(out: str) -> dict[str, str]:
    """The outcome of each test by its id."""
    return dict(re.findall(r"test_parity\[(.+?)\] (PASSED|FAILED|XFAIL|ERROR)", out))


def test_each_check_is_a_test_and_a_fault_fails_with_its_sentence(tmp_path: Path) -> None:
    out = run(tmp_path)
    found = outcomes(out)
    assert found["Tanh-float32-input_grad"] == "FAILED"
    assert found["Tanh-float32-forward"] == found["ReLU-float64-kink"] == "PASSED"
    assert "Tanh input gradient has the wrong sign" in out
    assert "times the error allowed" in out
    assert {name.split("-")[0] for name, word in found.items() if word == "FAILED"} == {"Tanh"}


def test_a_waiver_is_an_expected_failure_and_one_too_many_fails(tmp_path: Path) -> None:
    waivers = 'waivers={"Tanh-*": "our sign", "ReLU-*-kink": "nothing", "Linear-*": "no such"}'
    out = run(tmp_path, waivers)
    found = outcomes(out)
    assert found["Tanh-float32-input_grad"] == "XFAIL"
    assert "our sign" in out
    assert found["waiver-Tanh-*"] == "PASSED"
    assert found["waiver-ReLU-*-kink"] == "FAILED"
    assert "not needed: what it is for passes" in out
    assert found["waiver-Linear-*"] == "FAILED"
    assert "not needed: what it is for matches no check" in out


def test_nothing_to_check_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(parity.AdapterError, match="there is nothing to check"):
        parity.parametrize(str(adapter(tmp_path)), only=("Conv",))
    with pytest.raises(parity.AdapterError, match="there is no file"):
        parity.parametrize(str(tmp_path / "nowhere.py"))
