"""The benchmarks' own parts: protocol, intervals, the table, resuming, options."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import scratch
from bench import cost, environment, graphs, measure, peers, speed, table, targets
from bench.peers import CONTENDERS
from bench.setting import Prepared, setting
from bench.table import Protocol, Results, Run
from tests import warm

ROOT = Path(__file__).parent.parent
TINY = Protocol(runs=2, epochs=1, batch_size=100)


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for results in place of the project's."""
    monkeypatch.setattr(table, "RESULTS", tmp_path)
    return tmp_path


def test_a_run_may_have_a_folder_of_its_own(tmp_path: Path) -> None:
    show = [sys.executable, "-c", "from bench.storage import RESULTS; print(RESULTS)"]
    for folder, right in ((str(tmp_path), tmp_path), ("", ROOT / "bench" / "results")):
        environment = os.environ | {"PARITY_RESULTS": folder}
        shown = subprocess.run(
            show, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        )
        assert shown.stdout.strip() == str(right)


@pytest.mark.parametrize("name", ["runs", "epochs", "batch_size", "threads"])
@pytest.mark.parametrize("value", [0, -3])
def test_protocol_refuses(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least 1, not {value}"):
        Protocol(**{name: value})  # type: ignore[arg-type]


def test_median_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    for count in (6, 10, 40):
        hits = 0
        for _ in range(400):
            interval = measure.median(rng.exponential(size=count).tolist())
            hits += interval.low <= np.log(2) <= interval.high
        assert hits / 400 >= 0.92, count  # 95 % less three standard errors


def test_median_of_few_values() -> None:
    interval = measure.median([3.0, 1.0, 2.0])
    assert (interval.low, interval.median, interval.high) == (1.0, 2.0, 3.0)
    assert str(measure.median([0.5])) == "0.500 [0.500, 0.500]"
    with pytest.raises(ValueError, match="no values"):
        measure.median([])


def test_interleaved_takes_turns() -> None:
    calls: list[str] = []
    times = measure.interleaved(lambda: calls.append("a"), lambda: calls.append("b"), 3, "cpu")
    assert "".join(calls) == "abbaab"
    assert [len(side) for side in times] == [3, 3]


def test_both_sides_of_a_run_start_alike() -> None:
    """Without dropout the two sides of a run differ by rounding alone."""
    ours, *others = (table.train(TINY, "model_1", side, 0) for side in TINY.sides)
    assert all(abs(ours.accuracy - other.accuracy) <= 0.002 for other in others)
    assert table.train(TINY, "model_1", "scratch", 1).accuracy != ours.accuracy


def test_table_is_measured_and_written(results: Path) -> None:
    done: list[str] = []
    kept = table.results(TINY, done.append)
    assert done.count("Model 1 scratch") == 2
    assert len(done) == 20, "sixteen runs, and the parity of two models by two engines"
    assert sorted(path.suffix for path in results.iterdir()) == [".json", ".md"]
    stored = json.loads((results / f"{TINY.name}.json").read_text())
    assert len(stored["runs"]) == 16
    assert {"torch", "processor", "threads"} <= stored["environment"].keys()
    assert all(run["seconds"] > 0 for run in stored["runs"])
    rows = table.rows(kept)
    assert [row["model"] for row in rows] == [
        "Model 1 (scratch)",
        "Model 1 (scratch, 2 at once)",
        "Model 1 (scratch, 2 at once, fused)",
        "Model 1 (torch)",
        "Model 2 (scratch)",
        "Model 2 (scratch, 2 at once)",
        "Model 2 (scratch, 2 at once, fused)",
        "Model 2 (torch)",
    ]
    assert all(row["parity"].startswith("ok") for row in rows if "torch" not in row["model"])
    assert rows[1]["report B: seconds"] == ""
    assert rows[4]["report B: seconds"] == "37.11"
    assert "| Model 1 (scratch)" in (results / f"{TINY.name}.md").read_text()


@pytest.mark.slow
def test_an_interrupted_table_goes_on_where_it_was(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def interrupt(what: str) -> None:
        done.append(what)
        if len(done) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        table.results(TINY, interrupt)
    (partial,) = results.iterdir()
    before = json.loads(partial.read_text())["runs"]
    assert len(before) == 5
    assert table.kept_runs(TINY) == 4

    trained: list[tuple[str, str, int]] = []
    right = table.train

    def counted(protocol: Protocol, model: str, side: str, seed: int) -> Run:
        if protocol == TINY:
            trained.append((model, side, seed))
        return right(protocol, model, side, seed)

    monkeypatch.setattr(table, "train", counted)
    kept = table.results(TINY)
    assert len(trained) == 12, "a part of a run is done again: its ratios are of sides in turn"
    assert len({(r.model, r.side, r.seed) for r in kept.runs}) == len(kept.runs) == 16
    assert [vars(run) for run in kept.runs[:4]] == before[:4]
    assert not partial.exists()


def test_another_protocol_or_machine_is_not_resumed(results: Path) -> None:
    facts = environment.environment("cpu")
    file = results / f"{TINY.name}.partial.json"
    both = [vars(Run("model_1", side, 0, 1.0, 0.5)) for side in TINY.sides]
    kept = {"protocol": asdict(TINY), "environment": facts, "runs": both}
    file.write_text(json.dumps(kept))
    assert len(table.resumed(TINY, file).runs) == 4
    file.write_text(json.dumps(kept | {"environment": facts | {"code": "another"}}))
    assert table.resumed(TINY, file).runs == []
    file.write_text(json.dumps(kept | {"environment": facts | {"processor": "another"}}))
    assert table.resumed(TINY, file).runs == []
    for broken in (json.dumps(kept)[:-9], "[]", "{}", "null"):
        file.write_text(broken)
        assert table.resumed(TINY, file).runs == [], "a broken file is no file"


def test_agreement_is_students_interval_of_the_paired_differences() -> None:
    kept = Results(TINY, {})
    for seed, (ours, theirs) in enumerate([(0.9, 0.8), (0.8, 0.8), (0.7, 0.8)]):
        kept.runs.append(Run("model_1", "scratch", seed, 1.0, ours))
        kept.runs.append(Run("model_1", "torch", seed, 1.0, theirs))
    mean, half, wide = table.agreement(kept, "model_1")
    assert mean == pytest.approx(0)
    assert half == pytest.approx(4.303 * 0.1 / np.sqrt(3), rel=1e-3)  # t(0.975, 2) = 4.303
    assert wide > half


SMALL = speed.Plan(runs=(2, 1), batches=(100,), epochs=1, rounds=2)


@pytest.mark.slow
def test_every_contender_is_timed_and_judged(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "RESULTS", results)
    monkeypatch.setattr(speed, "peak", lambda: 1e11)
    monkeypatch.setattr(targets, "MANY", 20)
    monkeypatch.setattr(targets, "ROUNDS", 1)
    # The one takes a minute, the other forbids forks ever after: see below.
    fast = [one for one in CONTENDERS if one.name not in ("torch.compile", "JAX")]
    monkeypatch.setattr(speed, "CONTENDERS", fast)
    found = speed.measured(SMALL)
    names = [one.name for one in fast if not one.missing("cpu")]
    assert {row.contender for row in found.rows if row.seconds} == set(names)
    assert all(len(r.seconds) == r.runs for r in found.rows if r.contender in names), "2 and 1"
    assert all(0 <= ratio <= 1 for ratio in found.parity.values()), found.parity
    assert len(found.parity) == 2 * len(names)
    text = speed.text(found)
    assert "Model 2, batch size 100, 2 runs x 1 epochs" in text
    assert text.count("scratch, fused") == 4
    assert text.count("not measured") == 4, "at batch 10 none, and JAX"
    assert set(found.targets) >= set(targets.GOALS["cpu"])
    assert {len(by_model) for by_model in found.targets.values()} == {1, 2}
    assert "Left out: scratch, CUDA graphs: it is for CUDA." in text
    assert {file.suffix for file in speed.write(found)} >= {".md", ".json"}
    stored = json.loads((results / "speed-cpu-threads1.json").read_text())
    assert len(stored["rows"]) == 2 * 2 * len(fast)


def test_a_contender_that_is_wrong_is_said_to_be() -> None:
    (right,) = (one for one in CONTENDERS if one.name == "scratch, stacked")

    def prepare(setting: Any) -> Any:
        off = [{k: v + 1e-4 for k, v in weights.items()} for weights in setting.weights]
        return right.prepare(dataclasses.replace(setting, weights=off))

    off = dataclasses.replace(right, prepare=prepare)
    ratios = [ratio for ratio, _ in speed.verdicts([right, off], "model_1", 20)]
    assert ratios[0] <= 1 < ratios[1]


@pytest.mark.skipif(not importlib.util.find_spec("jax"), reason="JAX is not installed")
def test_jax_leads_where_torch_does() -> None:
    script = (
        "from bench import speed; from bench.peers import CONTENDERS; "
        "jax = [one for one in CONTENDERS if one.name == 'JAX']; "
        "print(*(next(speed.verdicts(jax, model, 20))[0] for model in speed.TITLES))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    ratios = list(map(float, done.stdout.split()))
    assert len(ratios) == 2
    assert all(ratio <= 1 for ratio in ratios), ratios


def test_what_would_take_too_long_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    (chosen,) = (one for one in CONTENDERS if one.name == "scratch, stacked")
    (first,) = (one for one in CONTENDERS if one.name == speed.FIRST)
    monkeypatch.setattr(speed, "CONTENDERS", [first, chosen])
    monkeypatch.setattr(speed, "verdicts", lambda contenders, *_: [(0.0, 0.0)] * len(contenders))
    monkeypatch.setattr(speed, "peak", lambda: 1e11)
    monkeypatch.setattr(targets, "measured", lambda *_: {})
    found = speed.measured(dataclasses.replace(SMALL, runs=(1, 2), limit=1e-9))
    left = [row for row in found.rows if row.runs == 2]
    assert left
    assert all(row.seconds == [] and "more than the 1e-09 s" in row.why for row in left)
    assert "-" in speed.text(found)


@pytest.mark.parametrize("dropout", [True, False])
@pytest.mark.parametrize("model", ["model_1", "model_2"])
def test_what_is_captured_for_cuda_graphs_trains_as_fit(model: str, dropout: bool) -> None:
    """Here nothing is captured, and all else is as there."""
    chosen = setting(model, 2, 2, 20, 60, dropout=dropout)
    found = []
    for prepare in (graphs.prepare, peers.stacked):
        prepared = prepare(chosen)
        for _ in range(2):
            prepared.reset()
            prepared.train()
        found.append(prepared.weights())
    for ours, right in zip(*found, strict=True):
        for name, value in right.items():
            torch.testing.assert_close(ours[name], value)


def test_targets_are_met_or_missed_by_the_median() -> None:
    samples: targets.Samples = {
        targets.TORCH: {"model_1": [90.0, 101.0, 150.0], "model_2": [119.0]},
        targets.COST: {"model_1": [1.09, 1.1, 9.0], "model_2": [1.11]},
        targets.CACHED: {"": [0.004]},
    }
    lines = targets.table(samples, "cpu", "github").splitlines()
    met = [line.split("|")[-2].strip() for line in lines[2:]]
    assert met == ["yes", "no", "", "", "", "", "", "", "yes", "no", "", "", "yes", "", ""]
    assert "101 [90, 150]" in lines[2]


def test_a_short_training_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    prepared = Prepared(lambda: calls.append("reset"), lambda: calls.append("train"), list)
    monkeypatch.setattr(measure, "seconds", lambda train, _: train() or 0.1)
    assert speed._seconds(prepared, "cpu") == 0.1
    assert calls == ["reset", "train"] * 3


def test_multiply_adds_are_those_of_the_products() -> None:
    # 2 x 25 + 25 x 25 + 25 x 25 + 25 x 2, three times, less the first layer's dx.
    assert speed.multiply_adds("model_1", 1, 1) == (3 * 1350 - 50) * 1000


def _pytest(*arguments: str) -> subprocess.CompletedProcess[str]:
    return warm.python(["-m", "pytest", "bench", "-p", "no:cacheprovider", *arguments], cwd=ROOT)


@pytest.mark.slow
def test_a_small_run_of_every_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARITY_RESULTS", str(tmp_path))
    few = ("--benchmark-max-time=0.01", "--benchmark-min-rounds=2", "--benchmark-columns=median")
    small = ("--runs=2", "--epochs=2", "--rounds=3")
    done = _pytest("--benchmark-only", "-q", *small, *few)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert " passed" in done.stdout


def _listen_to_ctrl_c() -> None:
    """What a shell starts in the background, CI perhaps, ignores it, and so would its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send")
def test_ctrl_c_leaves_no_traceback_and_what_was_measured(tmp_path: Path) -> None:
    """Twice, as a terminal and tox send it."""
    options = ["--runs=9", "--epochs=9", "--batch-size=11", "--device=cpu"]
    partial = tmp_path / f"{Protocol(runs=9, epochs=9, batch_size=11).name}.partial.json"
    with subprocess.Popen(
        [sys.executable, "-m", "pytest", "bench/test_table.py", "--benchmark-only", *options],
        cwd=ROOT, env=os.environ | {"PARITY_RESULTS": str(tmp_path)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=_listen_to_ctrl_c,
    ) as running:  # fmt: skip
        deadline = time.monotonic() + 120
        while not (partial.exists() and json.loads(partial.read_text())["runs"]):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        time.sleep(0.1)
        running.send_signal(signal.SIGINT)
        output, _ = running.communicate(timeout=60)
    assert "Traceback" not in output
    assert "runs are kept: the same command goes on from them" in output
    assert running.returncode == 130
    assert json.loads(partial.read_text())["runs"]


@pytest.mark.parametrize(
    ("option", "value"),
    [("--runs", "0"), ("--epochs", "-1"), ("--batch-size", "ten"), ("--threads", "0")],
)
def test_options_refuse(option: str, value: str) -> None:
    done = _pytest(f"{option}={value}", "--collect-only")
    assert done.returncode == 4
    assert f"argument {option}: takes a whole number of 1 or more, not '{value}'" in done.stderr


def test_more_threads_than_processors_are_refused() -> None:
    done = _pytest("--threads=999", "--collect-only")
    assert done.returncode == 4
    assert "argument --threads: takes at most" in done.stderr
    with pytest.raises(ValueError, match="at most"):
        Protocol(threads=999)


def test_cuda_without_cuda_is_refused() -> None:

    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    done = _pytest("--device=cuda", "--collect-only")
    assert done.returncode == 4
    assert "--device cuda: this torch sees no CUDA device" in done.stderr


def test_every_pair_and_network_has_its_benchmarks() -> None:
    from reference import pairs

    done = _pytest("--collect-only", "-q", "--device=cpu")
    assert done.returncode == 0, done.stderr
    for case in pairs.cases():
        if case.kind == "optimizer":
            assert f"test_optimizer[cpu-{case.entry.name}-scratch]" in done.stdout
        elif case.kind == "loss":
            assert f"test_loss[cpu-{case}-scratch]" in done.stdout
        elif case.kind == "layer":
            for what in ("forward", "forward and backward"):
                assert f"test_layer[cpu-{case}-{what}-scratch]" in done.stdout
    for pair in pairs.MODELS:
        assert f"test_epoch[cpu-{pair}-scratch]" in done.stdout


def test_the_peak_is_of_what_is_held_at_one_time() -> None:
    size = 1 << 20

    def function() -> None:
        kept = torch.zeros(size, dtype=torch.uint8)
        for _ in range(3):
            del kept
            kept = torch.zeros(size, dtype=torch.uint8)
        both = [kept, torch.zeros(size, dtype=torch.uint8)]
        del both

    assert cost.peak(function, "cpu") == 2 * size
    assert sum(measure.allocations(function)) == 0, "all is given back"


def test_a_wrong_layer_is_told_beside_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    (row,) = (one for one in cost.ROWS if one.name == "RMSNorm")
    assert row.verdict("cpu").passed
    right = scratch.RMSNorm.backward
    monkeypatch.setattr(scratch.RMSNorm, "backward", lambda self, dy: right(self, dy) * 1.0001)
    assert row.verdict("cpu").name == "input_grad"
    assert not row.verdict("cpu").passed
