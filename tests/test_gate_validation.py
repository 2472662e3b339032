"""The gate of this project: its plan and manifest agree, and what is committed of its validation
says what the report says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from bench.deep import DEEP
from bench.gate import counts, report, timed, trajectories, trials, validation
from bench.gate.plan import gate
from parity.gate.data import baseline
from parity.gate.data.broken import Broken
from parity.gate.judge.verdicts import FAIL, PASS
from parity.judge.outcome import UNCHECKED
from parity.run.plan import Planned, planned
from parity.run.run import opened
from reference import pairs
from tests import gate_faults, gate_rewrites
from tests.faults import all_faults, planted
from tests.gate_rewrites import REWRITES, Rewrite

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def manifest() -> baseline.Manifest:
    text = (ROOT / "bench/gate/baseline/manifest.json").read_text()
    return baseline.listed(text)


REFUSED = ("rank", "batch_of_one", "infinite_gradient")
"""The checks that are not run of every layer: not by it, or not by torch."""


def test_the_manifest_lists_every_check_and_benchmark(manifest: baseline.Manifest) -> None:
    """Where this fails: parity gate --update-baseline --reason "…"."""
    checks = planned(opened(gate.subject))
    ids = {str(one) for one in checks}
    none = {str(o) for o in checks if o.name in REFUSED and o.run().verdict == UNCHECKED}
    assert none
    assert manifest["checks"].keys() == ids - none
    assert manifest["timed"].keys() == timed.benchmarks().keys()
    for kind in ("trajectories", "counts", "against_torch", "pairs", "runs"):
        assert manifest[kind].keys() == getattr(gate, kind).keys()


def test_every_class_of_scratch_is_timed() -> None:
    names = timed.benchmarks().keys()
    for pair in pairs.PAIRS:
        passes = {"optimizer": ("step",)}.get(pair.entry.kind, ("forward", "backward"))
        for what in passes:
            assert f"{pair.entry.name} {what}" in names


@pytest.mark.parametrize("name", timed.benchmarks())
def test_every_benchmark_works_as_often_as_it_is_told(name: str) -> None:
    sample = timed.benchmarks()[name](2)
    for _ in range(3):
        sample()()


def test_twice_the_units_are_twice_the_work() -> None:
    """Counted by operations: what the trials of the gate rely on."""
    for name in ("Linear backward", "Adam step", "model_2 step", "BCELoss forward"):
        done = []
        for units in (3, 6):
            sample = timed.benchmarks()[name](units)
            sample()()  # what is made at first
            run = sample()
            with counts._Counting() as counting:
                run()
            done.append(counting.count)
        assert done[1] == 2 * done[0] > 0


def test_counts_are_the_same_each_time() -> None:
    first, second = (counts.of_disk(pairs.MODELS[2]) for _ in range(2))
    assert first == second
    assert first["allocations"] > 0


def test_a_trajectory_leaves_torchs_where_a_derivative_is_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import scratch

    pair = pairs.MODELS[0]
    assert trajectories.first_steps(pair) <= 1
    before = scratch.Tanh.backward
    monkeypatch.setattr(scratch.Tanh, "backward", lambda self, dy: before(self, dy) * 1.0001)
    assert trajectories.first_steps(pair) > 1


@pytest.mark.parametrize(("place", "layer"), [(0, "BatchNorm2d"), (1, "SwiGLU")])
def test_so_does_that_of_a_model_of_images_or_of_text(
    place: int, layer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import scratch

    assert trajectories.deep_steps(DEEP[place]) <= 1
    cls = getattr(scratch, layer)
    before = cls.backward
    monkeypatch.setattr(cls, "backward", lambda self, dy: before(self, dy) * 1.001)
    assert trajectories.deep_steps(DEEP[place]) > 1


def trial(number: int, doses: dict[str, float], **ratios: list[float]) -> trials.Trial:
    made = {
        "number": number, "doses": doses, "extended": [], "seconds": 20.0, "control": 1.2,
        "date": "2026-11-22", "log ratios": {"control": [0.18] * 15, **ratios},
    }  # fmt: skip
    return {**made, "verdicts": report.verdicts_of(made)}


def test_verdicts_of_trials_and_their_shares() -> None:
    same = [0.0001 * n for n in range(-7, 8)]
    slow = [0.095 + x for x in same]
    done = [trial(0, {}, a=same, b=same), trial(1, {}, a=same, b=slow)]
    done.append(trial(4, {"a": 0.1, "b": 0.02}, a=slow, b=same))
    assert done[2]["verdicts"] == {"a": FAIL, "b": PASS}
    found = report.shares(done)
    assert found[0.0] == (1, 2)
    assert found[0.1] == (1, 1)
    assert found[0.02] == (0, 1)
    assert found[0.05] == (0, 0)


def test_nothing_in_three_hundred_is_what_one_percent_takes() -> None:
    assert report.bounds(0, 300)[1] == pytest.approx(0.01, abs=1e-4)
    assert report.bounds(0, 299)[1] > 0.0099
    low, high = report.bounds(5, 100)
    assert 0.016 < low < 0.017
    assert 0.112 < high < 0.113


def test_a_fifth_of_the_trials_has_more_work_in_four_benchmarks() -> None:
    names = [*timed.benchmarks()]
    some = [trials.doses_of(number, names) for number in range(50)]
    assert sum(map(bool, some)) == 10
    assert {tuple(one.values()) for one in some if one} == {trials.DOSES}
    assert some == [trials.doses_of(number, names) for number in range(50)]


def test_a_line_that_was_cut_off_is_no_trial(tmp_path: Path) -> None:
    file = tmp_path / "trials.jsonl"
    kept = json.dumps({"version": trials.version(), "number": 0})
    file.write_text(f"{kept}\n{kept[:20]}")
    assert trials.read(file) == [json.loads(kept)]


def test_trials_of_other_code_are_neither_mixed_nor_lost(tmp_path: Path) -> None:
    file = tmp_path / "trials.jsonl"
    file.write_text(json.dumps({"version": "of other code", "number": 0}) + "\n")
    with pytest.raises(RuntimeError, match="of other code"):
        trials.run(1, file)
    assert "of other code" in file.read_text()


def test_a_trial_that_breaks_is_kept_and_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> trials.Trial:
        raise Broken("the clock was stepped")

    monkeypatch.setattr(trials, "_measured", broken)
    done = trials.run(2, tmp_path / "trials.jsonl")
    assert [one["broken"] for one in trials.read(tmp_path / "trials.jsonl")] == [
        "the clock was stepped"
    ] * 2
    assert report.shares(done)[0.0] == (2, 2)
    assert report.verdicts_of(done[0]) == {}


@pytest.mark.slow
def test_committed_verdicts_follow_from_committed_ratios() -> None:
    """Also by the rule as it is now: the thresholds are those that the trials began with. Of
    every third: each takes a tenth of a second."""
    done = validation.kept(validation.Plan())["trials"]
    assert len({one["number"] for one in done}) == len(done) > 100
    for one in done[::3]:
        assert report.verdicts_of(one) == one["verdicts"], one["number"]
        timed_then = [name for name in timed.benchmarks() if name in one["log ratios"]]
        assert one["doses"] == trials.doses_of(one["number"], timed_then)


def test_the_report_is_of_the_committed_data() -> None:
    plan = validation.Plan()
    results = validation.kept(plan)
    assert (plan.folder / "VALIDATION.md").read_text() == report.text(results)
    drawn = (plan.folder / "power.svg").read_text()  # by whatever matplotlib there was
    for _, of in report.shares(results["trials"]).values():
        assert f"n = {of}<" in drawn
        assert f"n = {of}<" in report.figure(results).decode()
    assert {one["name"] for one in results["faults"]} == gate_faults.names().keys()
    assert not any(report.missed_and_stopped(results))


def test_promises_are_kept_only_where_enough_was_measured() -> None:
    results = validation.kept(validation.Plan())
    assert report.kept_promises(results)
    assert not report.kept_promises(results | {"trials": results["trials"][:300]})
    assert not report.kept_promises(results | {"trials": []})
    assert not report.kept_promises(results | {"faults": []})
    for seen, kind in ((False, "scratch"), (False, "gate"), (True, "harmless")):
        other = {"name": f"{kind}: another", "seen": seen}
        assert not report.kept_promises(results | {"faults": [*results["faults"], other]})
    slow = results["seconds"] | {"seconds": 301}
    assert not report.kept_promises(results | {"seconds": slow})


def test_lower_accuracies_are_seen_and_the_same_are_not() -> None:
    accuracies = validation.kept(validation.Plan())["accuracies"]
    for name, verdicts in report.drawn(accuracies, count=100).items():
        assert FAIL not in verdicts, name
    for name, verdicts in report.drawn(accuracies, loss=3.0, count=20).items():
        assert verdicts == [FAIL] * 20, name


@pytest.mark.parametrize("number", range(0, 40, 8))
def test_faults_of_scratch_are_seen(number: int) -> None:
    torch.set_num_threads(1)
    assert gate_faults.seen(all_faults()[number])


@pytest.fixture(scope="module")
def bounds() -> dict[str, float]:
    try:
        return gate_rewrites.recorded()
    except LookupError as error:
        pytest.skip(str(error))


def of_float32() -> list[Planned]:
    """Of layers, losses and optimizers; `tests.gate_faults` runs all, and networks."""
    torch.set_num_threads(1)
    every = planned(opened(gate.subject))
    return [one for one in every if one.dtype == "float32" and one.case.kind != "network"]


@pytest.mark.parametrize("one", REWRITES, ids=str)
def test_a_rewrite_changes_what_it_is_judged_on(one: Rewrite) -> None:
    """Some error ratio; and there are checks of each of its classes and networks."""
    checks = one.about(planned(opened(gate.subject)))
    assert {str(check.case).split("-")[0] for check in checks} == set(one.cases)
    torch.set_num_threads(1)
    passes = [check for check in checks if check.case.kind != "network"]
    assert any(check.run().ratio != _with(one, check) for check in reversed(passes))


def _with(one: Rewrite, check: Planned) -> float:
    with planted(one.plant()):
        return check.run().ratio


@pytest.mark.parametrize("one", [r for r in REWRITES if not r.loses][::3], ids=str)
def test_a_rewrite_that_loses_no_digits_passes(one: Rewrite, bounds: dict[str, float]) -> None:
    assert not one.exceeds(of_float32()[::3], bounds)


def test_a_rewrite_that_loses_digits_fails(bounds: dict[str, float]) -> None:
    (one,) = (one for one in REWRITES if one.name == "e^x - 1 in two operations")
    assert "the error has grown" in one.exceeds(of_float32(), bounds)
