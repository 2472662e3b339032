"""Of several mistakes that make the same of one input, others tell which it is."""

from __future__ import annotations

import math
from dataclasses import replace

from parity.explain.candidates import settled
from parity.judge.comparison import CONVENTION, Comparison
from parity.judge.outcome import FAILED, PASSED, Outcome
from parity.run.report import Report
from parity.show.json import as_json

BY_STRIDE, BY_SIZE, BY_HEIGHT = (
    f"AvgPool2d output is divided by the {what}" for what in ("stride", "size", "height")
)


def failed(case: str, *texts: str, result: str = "output") -> Outcome:
    """A check that fails in a way that is any of these mistakes."""
    clue = Comparison(result, 9.0, candidates=tuple((text, "") for text in texts))
    if len(texts) == 1:
        clue = replace(clue, diagnosis=texts[0], named=True, candidates=())
    return Outcome(case, "AvgPool2d", case, "float32", "forward", FAILED, [clue])


def passed(case: str, *refuted: str) -> Outcome:
    clue = Comparison("output", 0.1, refuted=refuted)
    return Outcome(case, "AvgPool2d", case, "float32", "forward", PASSED, [clue])


def told(outcomes: list[Outcome]) -> list[str]:
    return [one.comparisons[0].diagnosis for one in settled(outcomes)]


def test_the_mistake_that_explains_most_is_told() -> None:
    outcomes = [
        failed("a", BY_STRIDE, BY_SIZE),
        failed("b", BY_STRIDE),
        failed("c", BY_SIZE, BY_STRIDE),
    ]
    assert told(outcomes) == [BY_STRIDE] * 3
    (one, *_) = settled(outcomes)
    assert one.comparisons[0].named
    assert [str(finding) for finding in Report("it", outcomes).findings] == [BY_STRIDE]


def test_where_two_explain_the_same_it_stays_open() -> None:
    outcomes = [failed("a", BY_STRIDE, BY_SIZE), failed("b", BY_SIZE, BY_STRIDE)]
    assert told(outcomes) == ["", ""]
    assert not settled(outcomes)[0].comparisons[0].named


def test_a_pass_rules_a_mistake_out() -> None:
    ruled_out = passed("b", "is divided by the size", "is divided by the height")
    assert told([failed("a", BY_STRIDE, BY_SIZE), ruled_out]) == [BY_STRIDE, ""]
    both = [failed("a", BY_SIZE, BY_HEIGHT), ruled_out]  # then it is neither: nothing is told
    assert told(both) == ["", ""]


OF_GRADIENT = "AvgPool2d input gradient is divided by the size"


def test_what_is_said_of_another_result_too_explains_more() -> None:
    of_gradient = failed("b", OF_GRADIENT, result="input_grad")
    assert told([failed("a", BY_STRIDE, BY_SIZE), of_gradient]) == [BY_SIZE, OF_GRADIENT]


def test_what_another_result_is_right_of_steps_back() -> None:
    of_gradient = passed("b", "is divided by the size")
    of_gradient.comparisons[0] = replace(of_gradient.comparisons[0], name="input_grad")
    assert told([failed("a", BY_STRIDE, BY_SIZE), of_gradient])[0] == BY_STRIDE
    assert told([failed("a", BY_SIZE), of_gradient])[0] == BY_SIZE, "of one name it keeps it"


def test_zero_is_not_ruled_out_by_another_result() -> None:
    zero = "AvgPool2d output is zero everywhere"
    of_gradient = passed("b", "is divided by the size", "is zero everywhere")
    of_gradient.comparisons[0] = replace(of_gradient.comparisons[0], name="input_grad")
    assert told([failed("a", zero, BY_SIZE), of_gradient])[0] == zero


def test_what_has_one_name_keeps_it() -> None:
    outcomes = [failed("a", BY_SIZE), failed("b", BY_STRIDE), failed("c", BY_STRIDE)]
    assert told(outcomes) == [BY_SIZE, BY_STRIDE, BY_STRIDE]


def test_a_class_comes_with_its_text() -> None:
    clue = Comparison("output", math.inf, candidates=((BY_SIZE, CONVENTION), (BY_STRIDE, "")))
    (first, _) = settled([replace(failed("a", BY_SIZE, BY_STRIDE), comparisons=[clue]),
                          passed("b", "is divided by the stride")])  # fmt: skip
    assert first.comparisons[0].severity == CONVENTION
    assert first.comparisons[0].diagnosis == BY_SIZE


def test_what_passes_rule_out_is_not_in_the_figures() -> None:
    assert "refuted" not in as_json(Report("it", [passed("b", "is divided by the size")]))
