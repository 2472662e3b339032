"""`python -m bench paper`: its statistics, its protocols, its verdicts, and the command itself."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

import reference.train
import scratch
from bench.paper import a_table_1, a_table_2, b_table_1, cells, dying_relu, statistics, training
from bench.paper.as_published import VARIANTS, diagnosis
from bench.paper.cells import Cell, Scale, judged
from bench.paper.protocol import Protocol
from bench.paper.report import page
from bench.paper.training import Task
from bench.problem import disks
from tests.browser import Browser, Tree

ROOT = Path(__file__).parent.parent
CELLS = [*a_table_1.CELLS, *a_table_2.CELLS, *b_table_1.CELLS]
SMALL = replace(b_table_1.MODEL_2, epochs=2, batch_size=100)


# Statistics.


def normal(random: np.random.Generator, count: Any) -> Any:
    return random.normal(5, 1.5, count)


def collapsing(random: np.random.Generator, count: int) -> Any:
    """As with ReLU: a run learns, or it does not."""
    return np.where(random.random(count) < 0.5, random.normal(50, 1, count), normal(random, count))


@pytest.mark.parametrize("law", [normal, collapsing])
def test_new_runs_lie_in_their_prediction_interval(law: Callable[..., Any]) -> None:
    """And a protocol that was used is refused as seldom as it says."""
    random, inside, refused, repeats = np.random.default_rng(0), 0, 0, 300
    for repeat in range(repeats):
        ours = law(random, 200)
        new = law(random, 20)
        one = statistics.simulated(ours, ours + 1, 20, seed=repeat)
        published = {"test": new.mean(), "std": new.std(ddof=1)}
        low, high = one.interval("test")
        inside += low <= published["test"] <= high
        refused += one.p(published) < statistics.LEVEL
    assert stats.binomtest(inside, repeats, 0.95).pvalue > 1e-3
    assert refused / repeats < 0.09


def seldom_collapsing(random: np.random.Generator, count: int) -> Any:
    return np.where(random.random(count) < 0.03, random.normal(50, 1, count), normal(random, count))


@pytest.mark.parametrize("law", [normal, collapsing, seldom_collapsing])
def test_a_few_runs_do_not_refute_the_protocol_that_was_used(law: Callable[..., Any]) -> None:
    """Not even where what happens seldom happened in the report and not in them, or the reverse."""
    random, refuted, repeats = np.random.default_rng(4), 0, 300
    for repeat in range(repeats):
        new, few = law(random, 20), law(random, 60)
        one = statistics.simulated(few, few, 20, seed=repeat)
        refuted += one.refuted({"test": new.mean(), "std": new.std(ddof=1)}, 60, 20)
    assert refuted / repeats < 0.02
    far = statistics.simulated(few + 40, few, 20)
    assert far.refuted({"test": 5.0, "std": 1.5}, 60, 20) is True


def test_what_is_far_off_is_refused_and_by_each_of_its_figures() -> None:
    ours = normal(np.random.default_rng(1), 200)
    one = statistics.simulated(ours, ours - 1, 20)
    right = dict(one.mean)
    assert one.p(right) > 0.5
    assert one.distance(right) < 0.2
    for figure, wrong in (("test", 7.0), ("std", 0.4), ("train", 2.0)):
        published = right | {figure: wrong}
        assert one.p(published) < 0.01
        assert one.p_values(published)[figure] < 0.001
        assert one.distance(published) > 2
    with pytest.raises(ValueError, match="a spread needs two runs"):
        statistics.simulated([1.0], [1.0], 20)


def test_an_interval_is_of_as_many_figures_as_it_says() -> None:
    test, train = normal(np.random.default_rng(5), (2, 200))
    one = statistics.simulated(test, train, 20)
    for among, inside in ((1, 0.95), (2, 0.975), (3, 0.98333)):
        low, high = one.interval("test", among)
        assert ((low <= one.draws["test"]) & (one.draws["test"] <= high)).mean() == pytest.approx(
            inside, abs=0.002
        )
        for value in (low - 0.05, high + 0.05):  # what lies outside is refused
            assert among * one.p_values({"test": value})["test"] < statistics.LEVEL


def test_a_tail_is_two_sided_and_never_zero() -> None:
    ordered = np.arange(99.0)
    assert statistics.tail(ordered, np.array([-1.0, 49.0, 200.0])).tolist() == [0.02, 1.0, 0.02]


def test_how_often_a_setting_is_wrongly_needed() -> None:
    """Seldom, if what was used is among what is tried without it; often, if it is not."""
    random = np.random.default_rng(2)
    far, near, beside = (
        statistics.simulated(normal(random, 200) + shift, normal(random, 200), 20)
        for shift in (20, 0, 0.8)
    )
    figures = ["test", "std"]
    assert statistics.wrongly_needed([far], [near], figures) == 0
    assert 0 < statistics.wrongly_needed([near], [beside], figures) < 0.06
    assert statistics.wrongly_needed([near, far], [beside] * 20, figures) < 0.06
    assert statistics.wrongly_needed([], [near], figures) == 0


def test_equivalence_is_two_one_sided_tests() -> None:
    random = np.random.default_rng(3)
    ours = random.normal(5, 1, 20)
    theirs = ours + random.normal(0.2, 0.5, 20)
    one = statistics.equivalence(ours, theirs)
    each = [
        stats.ttest_1samp(ours - theirs, -1, alternative="greater").pvalue,
        stats.ttest_1samp(ours - theirs, 1, alternative="less").pvalue,
    ]
    assert one.p == pytest.approx(max(each))
    assert statistics.equivalence(theirs, ours).p == pytest.approx(one.p), "either way round"
    assert one.shown
    assert one.shown == (one.low > -1 and one.high < 1)
    interval = stats.ttest_1samp(ours - theirs, 0).confidence_interval(0.9)
    assert (one.low, one.high) == pytest.approx((interval.low, interval.high))
    assert not statistics.equivalence(ours, ours + 2).shown
    assert not statistics.equivalence(ours, ours + random.normal(0, 5, 20)).shown, "too few to say"
    assert statistics.equivalence(ours, ours).shown
    for wrong in (ours[:3], ours[:1]):
        with pytest.raises(ValueError, match="pairs of two or more"):
            statistics.equivalence(wrong, theirs if len(wrong) > 1 else wrong)


def test_counts_and_shares_have_their_intervals() -> None:
    assert statistics.share(0, 300) == pytest.approx((0, 0.01222), abs=1e-4)
    low, high = statistics.share_of_new(100, 200, 20)
    assert (low, high) == (5, 15)
    assert statistics.share_of_new(0, 200, 20) == (0, 1)
    mean, half = statistics.paired_difference([1.0, 2.0, 3.5], [0.0, 1.0, 2.0])
    assert mean == pytest.approx(3.5 / 3)
    assert half == pytest.approx(stats.t.ppf(0.975, 2) / 6)


# Protocols.


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.row)
def test_both_implementations_train_a_protocol_alike(cell: Cell) -> None:
    protocol = replace(cell.stated, epochs=1, batch_size=50)
    model, twin = protocol.network(3), protocol.twin()
    assert [name for name, _ in twin.named_parameters()] == list(model.named_param())
    twin.load_state_dict(model.state_dict())
    (x,), (labels,) = disks([3])
    t = protocol.targets(labels)
    scratch.fit(
        model, protocol.criterion("scratch"), protocol.optimizer_of("scratch", model.param()),
        x, t, epochs=1, batch_size=50, seed=3,
    )  # fmt: skip
    reference.train.fit(
        twin, protocol.criterion("torch"), protocol.optimizer_of("torch", twin.parameters()),
        x, t, epochs=1, batch_size=50, draws=scratch.Draws(3), masks=True,
    )  # fmt: skip
    torch.testing.assert_close(model.state_dict(), dict(twin.state_dict()), rtol=1e-3, atol=1e-5)
    y, own = scratch.train.predict(model, x), reference.train.predict(twin, x)
    assert protocol.classes(y).equal(protocol.classes(own))


def test_a_task_by_scratch_and_by_torch_finds_the_same_errors() -> None:
    ours = training.run(Task(SMALL, (0, 1, 2), watch="errors"))
    theirs = [training.run(Task(SMALL, (seed,), "torch", "errors")) for seed in range(3)]
    for part in ("train", "test"):
        found = [one["errors"]["without dropout"][part][0] for one in theirs]
        assert ours["errors"]["without dropout"][part] == pytest.approx(found, abs=0.31)
    assert np.shape(ours["watched"]) == (2, 2, 3)  # [epochs, train and test, runs]
    assert [np.shape(one["watched"]) for one in theirs] == [(2, 2, 1)] * 3
    last = ours["watched"][-1]
    assert last == [ours["errors"]["without dropout"][part] for part in ("train", "test")]
    assert ours["errors"]["with dropout"] != ours["errors"]["without dropout"]
    assert ours["diverged"] == 0
    assert json.loads(json.dumps(ours)) == json.loads(json.dumps(ours))


def test_errors_are_of_the_test_points_and_of_the_cut() -> None:
    protocol = replace(a_table_1.STATED, epochs=2, batch_size=100)
    result = training.run(Task(protocol, (4, 5)))
    assert set(result["errors"]) == {"cut 0.5, without dropout", "cut 0, without dropout"}
    model = protocol.network(5)
    x, labels = disks([5])
    scratch.fit(
        model, scratch.MSELoss(), scratch.SGD(model.param(), 0.05), x[0],
        labels[0].float().unsqueeze(-1), epochs=2, batch_size=100, seed=5,
    )  # fmt: skip
    points, right = disks([5], test=True)
    for cut, name in ((0.5, "cut 0.5, without dropout"), (0.0, "cut 0, without dropout")):
        exact = scratch.train.accuracy(model, points[0], right[0], threshold=cut)
        assert result["errors"][name]["test"][1] == pytest.approx(100 * (1 - float(exact)), abs=0.2)


def test_dead_units_are_zero_at_nearly_every_training_point() -> None:
    protocol = replace(dying_relu.STATED, last="relu", epochs=1, batch_size=100)
    result = training.run(Task(protocol, (0, 1, 2), watch="dead"))
    assert np.shape(result["watched"]) == (2, 4, 3)  # before and after an epoch, layers, runs
    model, (x, _) = protocol.network(1), disks([1])
    y, counts = x[0], []
    for layer in model:
        y = layer(y)
        if isinstance(layer, scratch.ReLU):
            counts.append(int(((y == 0).sum(0) >= 990).sum()))
    assert [layer[1] for layer in result["watched"][0]] == counts
    assert sum(counts) > 0


def test_maps_and_wrong_points_are_of_each_run() -> None:
    protocol = replace(a_table_2.CROSS_ENTROPY, epochs=3)
    (drawn,) = training.run(Task(protocol, (0,), watch="map"))["watched"]
    assert len(drawn) == training.SIDE**2
    assert all(0 <= one <= 1 for one in drawn)
    corners = training.square()[[0, training.SIDE - 1, -1]].tolist()
    assert corners == [[0, 0], [1, 0], [1, 1]]
    result = training.run(Task(protocol, (0, 1), watch="wrong"))
    shares = [len(run) / 10 for run in result["watched"]]
    assert shares == pytest.approx(result["errors"][protocol.evaluation]["test"])


@pytest.mark.parametrize(
    ("name", "says"),
    {
        "dropout passing": "Dropout input gradient is the incoming gradient itself",
        "dropout unscaled": "Dropout output lacks the factor 1 / (1 - p)",
        "relu at 0": "ReLU's derivative at 0 is 1, torch's is 0",
        "selu of 1, 1": "SELU output takes alpha and scale to be 1",
        "selu without λ": "SELU output leaves the scale out where x is negative",
        "tanh of exponentials": "Tanh output is NaN or infinite at inputs as large as 1e4",
        "softmax diagonal": "Softmax input gradient has the diagonal of the Jacobian alone, w",
        "mse summed": "MSELoss value is the sum, where mean is declared",
        "bce with eps": "BCELoss value has 0.01 added to the probabilities",
        "adam lagging": "Adam corrects the bias by the number of the step before",
        "sigmoid of another slope": "Sigmoid of slope 3: input gradient is wrong",
    }.items(),
)
def test_every_formula_as_printed_is_caught_by_name(name: str, says: str) -> None:
    assert diagnosis(name)[0].startswith(says)


def test_every_formula_as_printed_has_its_test_and_changes_a_training() -> None:
    marks = test_every_formula_as_printed_is_caught_by_name.pytestmark  # type: ignore[attr-defined]
    assert {name for name, _ in marks[0].args[1]} == set(VARIANTS)
    for names in (["softmax diagonal"], b_table_1.PRINTED):
        printed = training.run(Task(replace(SMALL, published=tuple(names)), (0, 1)))
        assert printed["errors"] != training.run(Task(SMALL, (0, 1)))["errors"]
    with pytest.raises(ValueError, match="torch has no softmax diagonal"):
        replace(SMALL, published=("softmax diagonal",)).twin()


# Verdicts.


OPEN: Any = {
    "after": {"nothing": {}, "relu": {"last": "relu"}},
    "rate": {"0.05": {"rate": 0.05}, "0.1": {"rate": 0.1}},
}
CELL = Cell("T", "row", {"train": 4.0, "test": 5.0, "std": 1.0}, 20, a_table_1.STATED, OPEN)
SCALE = Scale(tried=60, decided=200, pairs=2)


def made_by(law: Callable[[Protocol], float]) -> Callable[[Task], dict[str, Any]]:
    """Results in which a protocol's mean error is what a law says."""

    def found(task: Task) -> dict[str, Any]:
        random = np.random.default_rng(task.seeds[0])
        test = random.normal(law(task.protocol), 1, len(task.seeds))
        errors = {"test": test.tolist(), "train": (test - 1).tolist()}
        return {"errors": dict.fromkeys(task.protocol.evaluations(), errors)}

    return found


@pytest.mark.parametrize(
    ("law", "verdict"),
    [
        (lambda p: 5.0, "reproduced"),
        (lambda p: 5.0 if p.last else 15.0, "reproduced only with after = relu"),
        (
            lambda p: 5.0 if p.last and p.rate == 0.1 else 15.0,
            "reproduced only with after = relu; rate = 0.1",
        ),
        (
            lambda p: 15.0 if not p.last and p.rate == 0.05 else 5.0,
            "reproduced only with other choices, such as ",
        ),
        (lambda p: 15.0, "not reproduced"),
    ],
)
def test_a_verdict_is_what_the_runs_say(law: Callable[[Protocol], float], verdict: str) -> None:
    one = judged(CELL, SCALE, made_by(law))
    assert one.verdict.startswith(verdict)
    assert (one.verdict == verdict) != verdict.endswith(" ")
    assert one.tried == 4
    assert all(need.wrongly < 0.06 for need in one.needed.values())


def test_of_those_that_agree_the_one_that_changes_least_is_told() -> None:
    def law(protocol: Protocol) -> float:
        if protocol.rate == 0.05 and not protocol.last:
            return 15.0
        return 5.0 if protocol.rate == 0.1 and protocol.last else 5.3

    one = judged(CELL, SCALE, made_by(law))
    assert one.nearest_p < max(one.fits.values())
    assert one.describe(one.nearest) in ("after = relu", "rate = 0.1")
    assert one.verdict.endswith(f"such as {one.describe(one.nearest)}")
    assert [one.describe(point) for point in one.fits][-1] == "after = relu; rate = 0.1"


def test_the_stated_protocol_comes_first_and_evaluation_alone_trains_nothing_new() -> None:
    for cell in CELLS:
        points = cell.points(Scale())
        assert points[0].protocol == cell.stated
        assert len({point.levels for point in points}) == len(points)
        assert len(cell.points(cells.QUICK)) < len(points)
    relu = CELLS[0]
    assert len(relu.points(Scale())) == 2 * len(set(relu.tried(Scale()).values()))


# The command: one report, for whoever asks for it.

ONCE = pytest.mark.xdist_group("paper")


def started(folder: Path, workers: int = 2) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable, "-m", "bench", "paper", "--quick", "--workers", str(workers),
            "--output", str(folder / "report"), "--results", str(folder / "results"),
        ],
        cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=os.environ | {"PARITY_RESULTS": str(folder / "seconds")},
    )  # fmt: skip


def stored(folder: Path) -> dict[str, int]:
    """The files of results, and when each was written."""
    return {one.name: one.stat().st_mtime_ns for one in (folder / "results").glob("[!.]*.json")}


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A quick report, made by a command that was killed halfway and run again."""
    folder = tmp_path_factory.mktemp("paper")
    if sys.platform != "win32":
        process = started(folder)
        while len(stored(folder)) < 20 and process.poll() is None:
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        (folder / "before.json").write_text(json.dumps(stored(folder)))
    process = started(folder)
    out, err = process.communicate(timeout=900)
    assert process.returncode == 0, err
    assert "REPORT.md" in out
    return folder


@pytest.mark.slow
@ONCE
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_killed_it_goes_on_and_computes_nothing_twice(reported: Path) -> None:
    before = json.loads((reported / "before.json").read_text())
    assert len(before) >= 20
    after = stored(reported)
    assert {name: after[name] for name in before} == before
    assert len(after) > len(before)


@pytest.mark.slow
@ONCE
def test_a_second_run_computes_nothing_and_writes_the_same(reported: Path) -> None:
    files = [one for one in sorted((reported / "report").rglob("*")) if one.is_file()]
    before, contents = stored(reported), [one.read_bytes() for one in files]
    seconds = reported / "seconds" / "table-cpu-2x2-batch10-threads1.json"
    measured = seconds.stat().st_mtime_ns
    _, err = started(reported).communicate(timeout=300)
    assert stored(reported) == before
    assert seconds.stat().st_mtime_ns == measured
    assert re.search(r"2 of 3: .*: (\d+) tasks, \1 of them there already", err)
    assert re.search(r"3 of 3: .*: (\d+) tasks, \1 of them there already", err)
    changed = [
        one.name for one, old in zip(files, contents, strict=True) if one.read_bytes() != old
    ]
    assert not changed


@pytest.mark.slow
@ONCE
def test_the_report_has_a_verdict_for_every_published_row(reported: Path) -> None:
    text = (reported / "report" / "REPORT.md").read_text()
    assert "This is the quick version" in text
    for cell in CELLS:
        (row,) = re.findall(rf"^\| {cell.table} \| {re.escape(cell.row)} \|.*$", text, re.M)
        assert re.search(r"\*\*(reproduced|reproduced only with .*|not reproduced)\*\* \|$", row)
        assert f"{cell.published['test']:.2f} ± {cell.published['std']:.2f}" in row
    for what in (
        "ReLU: about half of the runs near 50 %", "the cause is ReLU units that die",
        "a training set with the circle", "the map shows the disk",
        "Model 2 ends better than Model 1, torch", "wrong points lie near the circle",
        "Model 1: written by hand it takes longer than torch",
    ):  # fmt: skip
        assert len(re.findall(rf"^\| [^|]* \| {re.escape(what)} \|", text, re.M)) == 1
    for variant in VARIANTS.values():
        assert variant.title in text
    shown = re.findall(r"\]\((figures/[\w-]+)\.svg\)", text)
    drawn = {one.stem for one in (reported / "report" / "figures").iterdir()}
    assert {Path(one).name for one in shown} == drawn
    assert len(shown) == len(drawn) == 9
    for name in drawn:
        for kind in ("png", "svg"):
            assert (reported / "report" / "figures" / f"{name}.{kind}").stat().st_size > 5000


@pytest.mark.slow
@ONCE
def test_the_page_shows_all_of_it_in_a_browser(reported: Path, browser: Browser) -> None:
    html = (reported / "report" / "REPORT.html").read_text()
    dom, console = browser.opened(html)
    assert console == []
    assert dom.first("h1").text == "Two reports, reproduced"
    assert len(list(dom.every("table"))) > 15
    assert all(one.attributes["src"].startswith("data:image/svg") for one in dom.every("img"))
    script = """onload = () => { document.title = JSON.stringify([
        [...document.images].map(i => [i.complete, i.naturalWidth, i.width]),
        document.documentElement.scrollWidth <= innerWidth]) }"""
    open_to_scripts = html.replace("Content-Security-Policy", "x-no-policy")
    text = open_to_scripts.replace("</body>", f"<script>{script}</script></body>")
    for width in (1400, 500):
        dom = Tree(browser.run(text, "--dump-dom", width=width)[0]).open[0]
        images, fits = json.loads(dom.first("title").text)
        assert len(images) == 9
        assert all(complete and own > 200 and shown > 200 for complete, own, shown in images)
        assert fits, f"the page is wider than a window of {width}"


def test_the_committed_page_is_of_the_committed_report() -> None:
    folder = ROOT / "bench" / "paper"
    text = (folder / "REPORT.md").read_text()
    assert page(text, folder) == (folder / "REPORT.html").read_text()
    assert "This is the quick version" not in text
