"""What the gate says of numbers: speeds, accuracies, error ratios, and what a machine can see."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import combinations
from typing import cast

import numpy as np
import pytest

from parity.gate import calibration
from parity.gate.data.broken import Broken
from parity.gate.judge import accuracy, numerics, speed, timing, verdicts
from parity.gate.judge.result import FASTER, NOTE
from parity.gate.judge.verdicts import FAIL, INCONCLUSIVE, PASS, Rule
from parity.gate.measure.arm import CONTROL
from parity.gate.measure.lockstep import Design, Lockstep, Offer, Raw

RESTARTS = 15


def restarts(
    slower: float, spread: float = 0.01, count: int = RESTARTS, seed: int = 0
) -> list[float]:
    """Log ratios of restarts, with exactly that mean."""
    x = np.random.default_rng(seed).normal(size=count)
    return list(math.log1p(slower) + spread * (x - x.mean()) / x.std())


def one(slower: float, spread: float = 0.01, rule: Rule | None = None) -> verdicts.Speed:
    return verdicts.judged({"it": restarts(slower, spread)}, rule or Rule())[0]


@pytest.mark.parametrize(
    ("slower", "spread", "verdict"),
    [
        (0.0, 0.01, PASS),
        (0.02, 0.005, PASS),  # at the margin
        (0.10, 0.01, FAIL),
        (0.15, 0.03, FAIL),
        (-0.2, 0.01, PASS),
        (0.0, 0.2, INCONCLUSIVE),
        (0.08, 0.1, INCONCLUSIVE),
    ],
)
def test_verdict(slower: float, spread: float, verdict: str) -> None:
    assert one(slower, spread).verdict == verdict


def test_a_win_is_told_only_where_it_is_sure() -> None:
    assert one(-0.1).faster
    assert not one(0.0).faster
    assert not one(-0.1, 0.3).faster
    assert not one(-0.015, 0.005).faster  # within the margin


def test_a_margin_of_its_own_holds_for_that_benchmark_alone() -> None:
    ratios = {name: restarts(0.06, 0.005) for name in ("noisy", "other")}
    found = {s.name: s.verdict for s in verdicts.judged(ratios, Rule(margins={"noisy": 0.08}))}
    assert found == {"noisy": PASS, "other": FAIL}


def test_more_benchmarks_ask_for_more_evidence() -> None:
    """Eight restarts of eight are worth 1 in 256: enough for one benchmark, not for forty."""
    x = restarts(0.10, 0.001, count=8)
    assert verdicts.judged({"it": x}, Rule())[0].verdict == FAIL
    many = {"it": x} | {f"other {n}": restarts(0, 0.001, 8, n) for n in range(39)}
    assert next(s for s in verdicts.judged(many, Rule()) if s.name == "it").verdict != FAIL


def test_no_verdict_is_passed_at_the_limit() -> None:
    """What is 10 % slower passes at most once in a hundred, whatever the spread."""
    random, passed = np.random.default_rng(0), 0
    for _ in range(500):
        x = random.normal(math.log(1.10), 0.02, RESTARTS).tolist()
        passed += verdicts.judged({"it": x}, Rule())[0].verdict == PASS
    assert passed <= 12


@pytest.mark.slow
def test_false_alarms_at_the_margin_are_as_rare_as_promised() -> None:
    """Of forty benchmarks that are all just at the margin: 1 % of looks, of both half."""
    random, alarms, level = np.random.default_rng(1), 0, Rule().level(40)
    for _ in range(400):
        ratios = random.normal(math.log(1.02), 0.02, (40, RESTARTS))
        alarms += any(verdicts.p_above(x, math.log(1.02)) <= level for x in ratios)
    assert alarms <= 6  # 2 are due; more than 6 come once in two hundred


def test_p_value_counts_the_signs_of_ranks() -> None:
    """By hand: of all 2^5 ways to give signs, those whose positive ranks sum up as high."""
    x = np.array([0.5, 0.1, -0.2, 0.4, 0.3])
    ranks = {value: rank for rank, value in enumerate(sorted(abs(x)), 1)}
    seen = sum(ranks[value] for value in x[x > 0])
    sums = [sum(some) for size in range(6) for some in combinations(range(1, 6), size)]
    assert verdicts.p_above(x, 0.0) == pytest.approx(sum(s >= seen for s in sums) / 32)


def test_interval_holds_the_centre_as_often_as_it_says() -> None:
    random = np.random.default_rng(2)
    held = 0
    for _ in range(600):
        middle, low, high = verdicts.interval(random.normal(0.3, 1.0, RESTARTS))
        assert low <= middle <= high
        held += low <= 0.3 <= high
    assert 0.93 <= held / 600 <= 0.97 + 0.01


def test_critical_sums_are_those_of_the_test() -> None:
    """The largest sum of negative ranks that is still significant, by the test itself."""
    for count, level in ((15, 0.005 / 42), (30, 0.005 / 42), (9, 0.025)):
        largest = verdicts.critical(count, level)
        for total, rejected in ((largest, True), (largest + 1, False)):
            x, left = np.arange(1.0, count + 1), total
            for rank in range(count, 0, -1):
                if rank <= left:
                    x[rank - 1], left = -x[rank - 1], left - rank
            assert left == 0
            assert (verdicts.p_above(x, 0.0) <= level) is rejected
    assert verdicts.critical(7, 0.005) == -1  # not even if all are above


def test_interval_of_few_values_is_all_of_them() -> None:
    assert verdicts.interval(np.array([1.0, 2.0, 4.0]))[1:] == (1.0, 4.0)


def test_detectable_change_is_detected() -> None:
    """A slowdown of just that size is failed nineteen times in twenty."""
    random = np.random.default_rng(3)
    least = one(0.0, 0.02).detectable
    failed = sum(
        verdicts.judged({"it": random.normal(math.log1p(least), 0.02, RESTARTS).tolist()}, Rule())[
            0
        ].verdict
        == FAIL
        for _ in range(400)
    )
    assert failed >= 0.9 * 400


def test_medians_are_of_head_over_base() -> None:
    raw = {"it": [[1.0, 2.0], [1.0, 4.0], [1.0, 1000.0]]}
    assert verdicts.medians([raw, raw]) == {"it": [math.log(4)] * 2}


@pytest.mark.parametrize("pairs", [[], [[1.0, math.nan]], [[0.0, 1.0]], [[-1.0, 1.0]]])
def test_times_that_are_none_break_the_gate(pairs: list[list[float]]) -> None:
    with pytest.raises(Broken, match="it: "):
        verdicts.medians([{"it": pairs}])


def test_no_restart_breaks_the_gate() -> None:
    with pytest.raises(Broken, match="zero pairs"):
        verdicts.medians([])


def pairs_row(differences: list[float], margin: float = 0.5) -> str:
    theirs = [90.0 + n for n in range(len(differences))]
    ours = [t + d for t, d in zip(theirs, differences, strict=True)]
    return accuracy.against_torch("net", [ours, theirs], {"margin": margin}).verdict


def test_accuracies_beside_torch() -> None:
    assert pairs_row([0.0] * 10) == PASS
    assert pairs_row([0.1, -0.1] * 5) == PASS
    assert pairs_row([-1.0] * 10) == FAIL
    assert pairs_row([1.0] * 10) == FAIL  # also better than torch is not the same
    assert pairs_row([-2.0, -2.1] * 5) == FAIL
    assert pairs_row([3.0, -3.0] * 5) == INCONCLUSIVE


def test_accuracies_beside_the_record() -> None:
    random = np.random.default_rng(4)
    recorded = accuracy.recorded_runs(random.normal(95, 2, 2000).tolist(), 500)

    def verdict(mean: float, count: int = 500) -> str:
        x = random.normal(mean, 2, count)
        return accuracy.against_record("net", (x - x.mean() + mean).tolist(), recorded).verdict

    assert verdict(95) == PASS
    assert verdict(97) == PASS  # better is not worse
    assert verdict(94) == FAIL
    assert verdict(95, 10) == INCONCLUSIVE


def test_the_margin_is_the_least_that_is_nearly_always_shown() -> None:
    random = np.random.default_rng(5)
    recorded = {"runs": 2000, "mean": 95.0, "std": 2.0, "margin": accuracy.margin(2.0, 400)}
    shown = [
        accuracy.against_record("net", random.normal(95, 2, 500).tolist(), recorded).verdict
        for _ in range(300)
    ]
    assert shown.count(PASS) >= 295
    assert recorded["margin"] == pytest.approx(2.0 / 20 * (2.326 + 2.807), rel=1e-3)


@pytest.mark.parametrize("values", [[], [90.0], [90.0, math.nan], [90.0, math.inf]])
def test_accuracies_that_are_none_break_the_gate(values: list[float]) -> None:
    with pytest.raises(Broken, match="net"):
        accuracy.against_torch("net", [values, values], {"margin": 1.0})


def test_counts_may_fall_and_not_rise() -> None:
    recorded = {"step": {"operations": 10, "allocations": 5}}
    rows = numerics.counts({"step": {"operations": 11, "allocations": 4}}, recorded)
    assert [(row.name, row.verdict) for row in rows] == [
        ("step: operations", FAIL),
        ("step: allocations", NOTE),
    ]
    assert not numerics.counts(recorded, recorded)


def test_trajectories_fail_above_one() -> None:
    rows = numerics.trajectories({"near": 1.0, "off": 1.01})
    assert [row.name for row in rows] == ["off"]


def test_calibration_asks_for_more_restarts_where_it_is_noisier() -> None:
    ratios = {"quiet": restarts(0, 0.005, 45), "noisy": restarts(0, 0.05, 45)}
    noisy, quiet = calibration.of_ratios(ratios, Rule())
    assert (noisy.name, quiet.name) == ("noisy", "quiet")
    assert noisy.restarts > quiet.restarts >= 9  # the least that is worth the level
    assert quiet.margin == Rule().margin
    assert "wants a margin of its own" in calibration.text(
        calibration.of_ratios({"off": restarts(0.04, 0.005, 45)}, Rule())
    )


def test_a_calibrated_margin_is_rounded_up() -> None:
    """To what would have been kept: 0.020 is the default, and was not."""
    (found,) = calibration.of_ratios({"it": restarts(0.0203, 1e-6, 45)}, Rule())
    assert found.margin == 0.021
    assert "margins={'it': 0.021}" in calibration.text([found])


def test_calibrated_restarts_have_the_power_that_they_promise() -> None:
    found = calibration.of_ratios({"it": restarts(0, 0.04, 45)}, Rule())[0]
    random = np.random.default_rng(6)
    failed = sum(
        verdicts.judged(
            {"it": random.normal(math.log(1.1), 0.04, found.restarts).tolist()}, Rule()
        )[0].verdict
        == FAIL
        for _ in range(300)
    )
    assert failed >= 0.9 * 300


def test_a_control_that_is_not_surely_seen_passes_nothing() -> None:
    def row(spread: float) -> str:
        control = verdicts.judged({"control": restarts(0.2, spread)}, Rule())[0]
        return speed._control(control, Rule()).verdict

    assert row(0.01) == PASS
    assert row(0.3) == INCONCLUSIVE


class Played:
    """A lockstep whose stages give these slowdowns and spreads of the control, and 0 of the rest.

    Stands for `Lockstep`, whose processes are not what is tried here.
    """

    design = Design()

    def __init__(self, *stages: tuple[float, float]) -> None:
        self.stages = list(stages)

    def restarts(self, offer: Offer, count: int) -> Iterator[Raw]:
        control = restarts(*self.stages.pop(0), count=count)
        other = restarts(0.0, count=count)
        for mine, its in zip(control, other, strict=True):
            both = {CONTROL: [[1.0, math.exp(mine)]], "it": [[1.0, math.exp(its)]]}
            yield {name: both[name] for name in offer.names}


def played(*stages: tuple[float, float]) -> timing.Timing:
    lockstep = cast(Lockstep, Played(*stages))
    return timing.compared(lockstep, Rule(), Offer([CONTROL, "it"], {CONTROL: 4, "it": 4}))


def test_a_control_that_noise_has_moved_is_measured_again() -> None:
    found = played((0.31, 0.3), (0.20, 0.01))
    assert found.extended == [CONTROL]
    assert found.control.restarts == 2 * RESTARTS
    assert timing.seen(found.control)
    assert speed._control(found.control, Rule()).verdict == PASS


def test_a_control_that_stays_noisy_leaves_it_undecided() -> None:
    found = played((0.31, 0.3), (0.31, 0.3))
    assert not timing.seen(found.control)
    assert speed._control(found.control, Rule()).verdict == INCONCLUSIVE


@pytest.mark.parametrize("slower", [0.0, -1 / 6, 0.4])  # no dose, arms swapped, twice the dose
def test_a_control_that_is_surely_off_is_a_broken_gate(slower: float) -> None:
    with pytest.raises(Broken, match="the control has 20% more work"):
        played((slower, 0.01))


def test_a_ratio_to_torch_has_a_wide_limit() -> None:
    assert speed.beside_torch("step", 0.59, 0.4).verdict == PASS
    assert speed.beside_torch("step", 0.61, 0.4).verdict == FAIL
    assert speed.beside_torch("step", math.nan, 0.4).verdict == FAIL


def test_rows_say_the_size_and_a_margin_of_its_own() -> None:
    rule = Rule(margins={"it": 0.05})
    assert "margin +5.0%" in speed._row(one(0.0, rule=rule), rule).says
    assert "margin" not in speed._row(one(0.0), Rule()).says
    assert speed._row(one(-0.1), Rule()).verdict == FASTER
    slow = one(0.1)
    assert speed._row(slow, Rule()).says == f"slower: {slow.ratio - 1:+.1%}, margin +2.0%"
    assert slow.ratio == pytest.approx(1.1, abs=0.01)
