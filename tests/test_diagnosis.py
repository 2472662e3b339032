"""What is said of a wrong result, what is not said, and what a right one is worth."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

import parity
from parity import Comparison
from parity.explain import diagnosis
from parity.explain.diagnosis import judge
from parity.explain.mistakes import Mistake, simple
from parity.judge.outcome import FAILED, MISTRUSTED, PASSED, Outcome
from parity.run.plan import Planned
from parity.run.report import Report
from reference import pairs

RIGHT = torch.arange(1.0, 13, dtype=torch.float64).reshape(4, 3).sin()


def explain(*given: Any) -> str:
    """What is said of a wrong result."""
    return diagnosis.explain(*given).text


CONSTANTS = {"the batch size": 7.0, "the number of features": 5.0, "alpha": 5.0}


@pytest.mark.parametrize(
    ("factor", "says"),
    [
        (7, "is 7 times what it should be: 7 is the batch size"),
        (1 / 7, "is 0.143 times what it should be: 1 / 7, 7 is the batch size"),
        (-7, "is -7 times what it should be: 7 is the batch size"),
        (5, "is 5 times what it should be"),  # two things are 5: neither is named
        (3.3, "is 3.3 times what it should be"),
        (-1, "has the wrong sign"),
        (0, "is zero everywhere"),
        (1 + 1e-5, "is right to 4 digits alone"),
    ],
)
def test_a_constant_factor_is_named_if_one_thing_alone_is_so_large(
    factor: float, says: str
) -> None:
    assert explain(RIGHT * factor, RIGHT, simple(RIGHT), CONSTANTS) == says


def test_a_single_number_is_not_called_a_multiple() -> None:
    right = torch.tensor(3.0, dtype=torch.float64)
    assert explain(right * 2.2, right, [], CONSTANTS) == ""
    assert explain(right * 7, right, [], CONSTANTS).endswith("7 is the batch size")


def test_nothing_is_said_where_two_mistakes_fit_or_none() -> None:
    wrong = RIGHT.flip(0)
    one, other = Mistake("a", "is this", wrong), Mistake("b", "is that", wrong)
    assert explain(wrong, RIGHT, [one]) == "is this"
    assert explain(wrong, RIGHT, [one, replace(one, name="again")]) == "is this"
    assert explain(wrong, RIGHT, [one, other]) == ""
    assert explain(RIGHT.cos(), RIGHT, [one, other]) == ""


def test_a_mistake_that_is_no_mistake_here_explains_nothing() -> None:
    harmless = Mistake("same", "is wrong elsewhere", RIGHT.clone())
    assert explain(RIGHT * 1.5, RIGHT, [harmless]) == "is 1.5 times what it should be"


def test_shapes_tell() -> None:
    assert explain(RIGHT.mT, RIGHT, []) == "is shaped as its transpose"
    rows = RIGHT.expand(7, 4, 3)
    assert explain(rows, RIGHT, []).startswith("is not summed over the batch")
    assert explain(RIGHT[:1, :2], RIGHT, []) == ""


def test_what_went_through_a_smaller_dtype_is_said_to() -> None:
    assert explain(RIGHT.float().double(), RIGHT, []) == "is rounded to float32 on its way"
    assert explain(RIGHT.bfloat16().float(), RIGHT, []).endswith("0.998 times what it should be") \
        is False  # fmt: skip
    assert "float32" not in explain((RIGHT * (1 + 1e-5)).float(), RIGHT, [])


def test_a_pass_is_certified_by_its_nearest_mistake() -> None:
    truth = parity.truth(lambda inputs: {"y": 2 * inputs["x"]}, {"x": RIGHT.float()})
    right = truth.oracle["y"]
    known = {"y": [Mistake("far", "", -right), Mistake("near", "", right * (1 + 3e-6))]}
    (verdict,) = judge(truth.reference, truth, known)
    assert verdict.passed
    assert verdict.nearest == "near"
    assert verdict.distance < 10
    assert not verdict.trusted
    (verdict,) = judge(truth.reference, truth, {"y": known["y"][:1]})
    assert (verdict.nearest, verdict.trusted) == ("far", True)


def test_what_rounding_alone_could_do_is_a_blind_spot_where_nobody_could_tell() -> None:
    truth = parity.truth(lambda inputs: {"y": 2 * inputs["x"]}, {"x": RIGHT.float()})
    right = truth.oracle["y"]
    known = {"y": [Mistake("far", "", -right), Mistake("hidden", "", right * (1 + 1e-7))]}
    (strict,) = judge(truth.reference, truth, known)
    assert not strict.trusted
    (verdict,) = judge(truth.reference, truth, known, strict=False)
    assert (verdict.nearest, verdict.blind, verdict.trusted) == ("far", ("hidden",), True)


def planned(*comparisons: Comparison) -> Planned:
    case = pairs.cases("layer")[0]
    session = parity.Local(pairs.subject)
    return Planned(session, case, "float32", "made_up", lambda trial: list(comparisons))


def test_what_is_too_near_to_a_mistake_is_mistrusted_and_not_passed() -> None:
    near = Comparison("output", 0.1, distance=9.9, nearest="zero")
    outcome = planned(near).run()
    assert outcome.verdict == MISTRUSTED
    assert not Report("it", [outcome]).passed
    assert "'zero' would be 9.9 times the error allowed" in outcome.diagnosis
    assert planned(replace(near, distance=10.0)).run().verdict == PASSED


def test_inputs_are_drawn_again_where_they_cannot_tell() -> None:
    seeds = []

    def check(trial: parity.Trial) -> list[Comparison]:
        seeds.append(trial.seed)
        return [Comparison("output", 0.1, distance=1.0 if len(seeds) < 3 else 100.0)]

    assert replace(planned(), check=check).run().verdict == PASSED
    assert len(set(seeds)) == 3


def test_a_check_that_compares_nothing_fails() -> None:
    outcome = planned().run()
    assert outcome.verdict == FAILED
    assert "compared nothing" in str(outcome.failures[0])


def test_what_is_inherited_is_no_fault_of_its_own() -> None:
    wrong = Comparison("1.output", math.inf, reason="is wrong", inherited=True)
    assert planned(wrong).run().verdict == PASSED


def test_faults_are_told_apart_by_their_sentence() -> None:
    def outcome(name: str, case: str, diagnosis: str) -> Outcome:
        failed = Comparison("output", 5.0, diagnosis=diagnosis, named=True)
        return Outcome(name, "ReLU", case, "float32", "forward", FAILED, [failed])

    outcomes = [
        outcome("a", "ReLU-1", "it is this"),
        outcome("b", "ReLU-2", "it is that"),
        outcome("c", "ReLU-3", "it is this"),
    ]
    faults = Report("it", outcomes).findings
    assert {str(one): [o.id for o in one.outcomes] for one in faults} == {
        "It is this": ["a", "c"],
        "It is that": ["b"],
    }


def test_a_report_of_nothing_has_not_passed() -> None:
    assert not Report("it", []).passed
