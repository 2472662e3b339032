"""Toy frameworks with other conventions: the right ones pass, and the others hear what is wrong."""

from __future__ import annotations

import ast
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import nn

import parity
from parity.judge.outcome import FAILED, WAIVED
from parity.run.plan import planned
from parity.run.report import Report
from parity.run.run import opened, run
from parity.subject.adapter import load
from parity.subject.builders import bound

SUBJECTS = Path(__file__).parent / "subjects"

#: The frameworks in which nothing is wrong, and what is checked of each.
RIGHT = {
    "bound": "Linear ELU BCEWithLogitsLoss Adam network",
    "columns": "Linear ReLU Softmax MSELoss SGD network",
    "course": "Linear Dropout ReLU Tanh Softmax MSELoss CrossEntropyLoss SGD network",
    "flat": "Linear Sigmoid MSELoss SGD network",
    "cmu11785": "Linear Sigmoid ReLU MSELoss CrossEntropyLoss network",
    "cs231n": "Linear ReLU Conv2d BatchNorm1d Dropout CrossEntropyLoss SGD network",
    "forgetful": "Linear Softplus MSELoss network",
    "functions": "Linear ReLU CrossEntropyLoss network",
    "fused": "Linear Tanh MSELoss network",
    "given": "Linear Dropout CrossEntropyLoss network",
    "loop": "model-Tanh model-Sigmoid",
    "stateless": "Linear SiLU L1Loss network",
    "vectors": "Linear LeakyReLU MSELoss SGD network",
}

#: One thing is wrong with each: what the one fault says, which classes fail, what is run.
WRONG = {
    "wrong_tanh": (
        "Tanh input gradient has the derivative's formula, which takes the output, applied to the "
        "input",
        "Tanh network",
        "Linear-float32 ReLU-float32 Tanh-float32 MSELoss-mean-float32 network-float32-layer",
    ),
    "wrong_softmax": (
        "Softmax input gradient has the diagonal of the Jacobian alone",
        "Softmax",
        "Linear-float32 Softmax-float32 MSELoss-mean-float32 network-float32-layer",
    ),
    "wrong_dropout": (
        "Dropout input gradient is scaled, but the mask is not applied",
        "Dropout network",
        "Linear-float32 Dropout-p=0.5-float32 Dropout-p=0-float32 network-float32-layer",
    ),
    "wrong_relu": (
        "ReLU writes into its input",
        "ReLU",
        "Linear-float32 ReLU-float32 Softmax-float32 network-float32-layer",
    ),
    "wrong_sequential": (
        "(Linear) is skipped in backward",
        "network",
        "Linear-float32 ReLU-float32 MSELoss-mean-float32 SGD-float32 network-float32-layer",
    ),
    "wrong_bias": (
        "Linear.bias gradient is that of the last sample alone, not summed over the batch",
        "Linear network",
        "Linear-float32 Sigmoid-float32 MSELoss-sum-float32 SGD-float32 network-float32-layer",
    ),
    "wrong_average": (
        "Linear.weight gradient, like that of Linear.bias, is 0.143 times what it should be: "
        "1 / 7, 7 is the batch size",
        "Linear network",
        "Linear-float32 SiLU-float32 L1Loss-mean-float32 network-float32",
    ),
    "wrong_cmu11785": (
        "Linear.bias gradient is 0.143 times what it should be: 1 / 7, 7 is the batch size",
        "Linear",
        "Linear ReLU",
    ),
    "wrong_cache": (
        "the two share what forward keeps",
        "Linear network",
        "Linear-float32 Sigmoid-float32 MSELoss-sum-float32 network-float32-layer",
    ),
    "wrong_optimizer": (
        "Adam has no bias correction",
        "Adam",
        "Linear-float64 ELU-float64 BCEWithLogitsLoss-mean-float64 Adam-float64",
    ),
    "wrong_loss": (
        "MSELoss gradient is 7 times what it should be: 7 is the batch size",
        "MSELoss network",
        "Linear-float64 ReLU-float64 MSELoss SGD network-float64-layer",
    ),
    "wrong_mean": (
        "gradient, like that of 5 others, is 7 times what it should be: 7 is the batch size",
        "model-Tanh model-Sigmoid",
        "*",
    ),
    "wrong_first_layer": (
        "The model's 0.weight gradient, like that of 0.bias, is zero everywhere",
        "model-Tanh model-Sigmoid",
        "*",
    ),
}

#: What each layer of `rough` does instead of answering, by the class that it stands for.
ROUGH = {
    "Tanh": "hangs in backward: no answer within 2 seconds",
    "Sigmoid": "calls sys.exit('not implemented')",
    "SELU": "ended the process, with exit code 3, in forward",
    "SiLU": "crashed the interpreter: SIGSEGV, in backward",
    "GELU": "asks for more memory than there is",
    "ReLU": "raises NotImplementedError: backward: to do (rough.py:",
}


#: Conventions that are declared as they are not: what is changed, what is run, what is said.
MISDECLARED = [
    ("flat", {"weight": "out_in"}, "Linear-float32-f", "weights [in, out]"),
    ("flat", {"parameters": "lists"}, "Linear-float32-f", "list of parameters has 4 of Tensor"),
    ("flat", {"gradients": "accumulated"}, "Linear-float32-accum", "is that of the last backward"),
    ("flat", {"reduction": "mean"}, "MSELoss-mean-float32-value", "is the sum, where mean"),
    ("course", {"parameters": "flat"}, "Linear-float32-f", "is not as parameters='flat' has it"),
    ("course", {"parameters": "objects"}, "Linear-float32-f", "list of parameters has 2 of tuple"),
    ("course", {"gradients": "overwritten"}, "Linear-float32-accum", "is the sum of both"),
    ("fused", {"forward": None}, "Linear-float64-f", "is not callable"),
]


def adapter(name: str) -> Path:
    return SUBJECTS / f"{name}_adapter.py"


def failed(report: Report) -> set[str]:
    return {outcome.cls for outcome in report.outcomes if outcome.verdict == FAILED}


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_framework_passes_every_check(name: str) -> None:
    report = parity.check(adapter(name))
    assert report.findings == []
    assert report.passed
    assert report.habits == []
    assert {outcome.cls for outcome in report.outcomes} == set(RIGHT[name].split())


@pytest.mark.parametrize("name", WRONG)
def test_one_fault_is_named_and_no_other_layer_blamed(name: str) -> None:
    says, classes, only = WRONG[name]
    report = parity.check(adapter(name), only=tuple(only.split()))
    (fault,) = report.findings
    assert says in str(fault)
    assert failed(report) == set(classes.split())
    assert not report.passed
    if name not in ("wrong_mean", "wrong_first_layer"):
        assert {outcome.cls for outcome in report.outcomes} > failed(report)


def test_a_finding_that_is_waived_with_a_reason_does_not_count() -> None:
    report = parity.check(adapter("waived"))
    assert report.passed
    waived = {outcome.id for outcome in report.outcomes if outcome.verdict == WAIVED}
    assert {"ReLU-float32-kink", "ReLU-float64-kink"} <= waived
    assert "ReLU-float32-forward" not in waived


@pytest.mark.parametrize(("name", "change", "only", "says"), MISDECLARED)
def test_a_wrong_declaration_is_told_from_a_wrong_layer(
    name: str, change: dict[str, Any], only: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    subject = replace(load(adapter(name)), **change)
    try:
        (finding,) = parity.check(subject, only=(only,)).findings
        said = str(finding)
    except parity.AdapterError as error:  # beyond doubt, before any check
        said = str(error)
    assert says in said


def test_a_class_with_torchs_own_init_is_handed_no_options() -> None:
    class Criterion(nn.Module):
        pass

    entry = parity.CATALOGUE[nn.MSELoss]
    assert bound(Criterion, entry, {"reduction": "sum"}) == "takes no reduction=sum"
    assert bound(Criterion, entry, {"reduction": "mean"}) == ([], {})


def test_an_option_that_a_builder_cannot_do_without_is_torchs_default() -> None:
    entry = parity.CATALOGUE[nn.LeakyReLU]
    assert bound(lambda negative_slope: None, entry, {}) == ([], {"negative_slope": 0.01})
    assert bound(lambda: None, entry, {}) == ([], {})


ROUGHS = pytest.mark.xdist_group("rough")  # made once


@pytest.fixture(scope="module")
def rough() -> Report:
    """One check of each layer of `rough`, and all of its LeakyReLU, which is right."""
    only = (*(f"{name}-float32-input_grad" for name in ROUGH), "Linear-float32-f", "Leaky*float32")
    session = opened(adapter("rough"), seconds=2.0)
    try:
        return run(session, planned(session, only=only), complete=False)
    finally:
        session.close()


@ROUGHS
@pytest.mark.parametrize("cls", ROUGH)
def test_it_is_told_what_a_layer_does_instead_of_answering(cls: str, rough: Report) -> None:
    (outcome,) = [one for one in rough.outcomes if one.cls == cls]
    assert outcome.verdict == FAILED
    assert ROUGH[cls] in outcome.diagnosis


@ROUGHS
def test_the_other_layers_of_a_rough_framework_are_still_judged(rough: Report) -> None:
    judged = [one for one in rough.outcomes if one.cls in ("LeakyReLU", "Linear")]
    assert len(judged) > 10
    assert failed(rough) == set(ROUGH)


@ROUGHS
def test_what_a_framework_does_to_the_process_is_reported(rough: Report) -> None:
    assert sorted(rough.habits) == [
        "changes torch's default dtype",
        "prints",
        "seeds torch's global generator",
        "switches torch's grad mode off",
    ]


def test_a_case_that_ended_the_process_twice_is_given_up() -> None:
    report = parity.check(adapter("rough"), only=("SELU-float32-[fei]*",))
    ends = ["with exit code 3" in outcome.diagnosis for outcome in report.outcomes]
    assert ends == [True, True] + [False] * (len(ends) - 2)
    assert all("not run" in outcome.diagnosis for outcome in report.outcomes[2:])
    assert len(ends) > 2
    assert "prints" in report.habits, "what was noted before the process ended is lost"


def test_an_adapter_that_cannot_be_imported_says_where_it_failed() -> None:
    with pytest.raises(parity.AdapterError, match=r"AttributeError: .*raising_adapter\.py:7"):
        parity.check(adapter("raising"))


def test_each_subject_says_what_it_is_and_is_tested_here() -> None:
    of_layers = (
        "layers_by_loops more_by_loops wrong_layers more_wrong wrong_cs231n "
        "sequences_by_loops wrong_sequences recurrent_styles ctc_by_loops wrong_ctc"
    ).split()
    named = {*RIGHT, *WRONG, *of_layers, "waived", "rough", "raising"}
    files = list(SUBJECTS.glob("*.py"))
    assert {file.stem.removesuffix("_adapter") for file in files} == named
    assert [file for file in files if not ast.get_docstring(ast.parse(file.read_text()))] == []


@pytest.mark.parametrize("file", sorted(SUBJECTS.glob("*_adapter.py")), ids=lambda file: file.stem)
def test_an_adapter_has_at_most_twenty_lines_beside_its_imports(file: Path) -> None:
    text = file.read_text()
    body = ast.parse(text).body[1:]
    code = [node for node in body if not isinstance(node, (ast.Import, ast.ImportFrom))]
    parts = [text.splitlines()[node.lineno - 1 : node.end_lineno] for node in code]
    assert 0 < sum(bool(line.strip()) for lines in parts for line in lines) <= 20
