"""The command `parity gate`, on a small project: how it ends, what it says, what it writes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from parity.gate import run
from parity.gate.data import baseline
from parity.gate.data.broken import Broken
from parity.gate.judge.result import BROKEN, FASTER, NOTE, Result, Row, Section
from parity.gate.judge.verdicts import FAIL, INCONCLUSIVE, PASS
from parity.gate.measure import trees
from parity.gate.show import report
from tests.gate_broken import BREAKAGES, broken
from tests.toy import Toy

Copy = Callable[[], Toy]


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Toy.made(tmp_path_factory.mktemp("toy") / "toy").folder


@pytest.fixture
def toy(source: Path, tmp_path: Path) -> Toy:
    """A copy of the project, to be changed."""
    return Toy(Path(shutil.copytree(source, tmp_path / "toy")))


def passed(done: subprocess.CompletedProcess[str]) -> bool:
    """Nothing failed; a machine that does much else may leave a time undecided."""
    undecided = done.returncode == 3 and "INCONCLUSIVE" in done.stdout
    return (done.returncode == 0 or undecided) and "FAIL " not in done.stdout


def test_a_comment_passes_and_a_slower_tanh_does_not(toy: Toy, tmp_path: Path) -> None:
    files = [str(tmp_path / name) for name in ("a.md", "a.json", "a.svg")]
    done = toy.gate("--markdown", files[0], "--json", files[1], "--plot", files[2])
    assert passed(done), done.stdout + done.stderr
    found = json.loads(Path(files[1]).read_text())
    assert len(found["timing"]["raw"]) in (9, 18)  # restarts
    assert {len(pairs) for pairs in found["timing"]["raw"][0].values()} == {3}
    assert found["exit code"] == done.returncode
    assert Path(files[0]).read_text().startswith(report.MARKER)
    assert "more work" in Path(files[2]).read_text()

    toy.replace("library.py", "range(20)", "range(60)")
    done = toy.gate("--layers", "timing")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "slower: +" in done.stdout
    assert "To see it again: parity gate --layers timing --base " in done.stdout
    assert "numerics" in done.stdout  # that it was left out
    assert "left out, as asked" in done.stdout


@pytest.mark.slow
def test_in_fresh_processes_it_ends_as_in_forks(toy: Toy, tmp_path: Path) -> None:
    """As its user calls it: of all that is tested here this alone is not run by forks."""
    file = tmp_path / "a.json"
    uneasy = "from parity.gate.judge import timing; timing.CONTROL_WITHIN = 0, 9"  # one says little
    done = toy.gate("--json", str(file), patch=uneasy, restarts=1, fresh=True)
    assert passed(done), done.stdout + done.stderr
    found = json.loads(file.read_text())
    assert len(found["timing"]["raw"]) == 2  # one restart decides nothing: it is extended
    assert found["timing"]["raw"][0].keys() == {"work", "more work", "control"}
    assert found["accuracy"]["pairs"].keys() == found["accuracy"]["runs"].keys() == {"net"}
    by_forks = toy.gate("--json", str(file), "--layers", "numerics", "accuracy")
    assert by_forks.returncode == 0, by_forks.stdout + by_forks.stderr
    again = json.loads(file.read_text())
    for what in ("error ratios", "trajectories", "counts", "accuracy"):
        assert again[what] == found[what]


@pytest.mark.slow
def test_in_fresh_processes_a_comment_passes_and_a_slower_tanh_does_not(toy: Toy) -> None:
    done = toy.gate(fresh=True)
    assert passed(done), done.stdout + done.stderr
    toy.replace("library.py", "range(20)", "range(60)")
    done = toy.gate("--layers", "timing", fresh=True)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "slower: +" in done.stdout


def test_a_wrong_gradient_fails_and_says_what_it_is(toy: Toy) -> None:
    toy.replace("library.py", "1 - self.y**2", "1 - self.y")
    done = toy.gate("--layers", "numerics", "-v")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Tanh" in done.stdout
    assert "To see it again: parity gate --layers numerics" in done.stdout


def test_an_error_that_grows_within_the_tolerance_fails(toy: Toy) -> None:
    """Each result moved by three units in its last place."""
    toy.replace("library.py", "torch.tanh(x)", "torch.tanh(x) * (1 + 3 * torch.finfo(x.dtype).eps)")
    done = toy.gate("--layers", "numerics")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "the error has grown" in done.stdout
    assert "WRONG" not in done.stdout


def test_one_operation_more_fails(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    toy.replace("plan.py", '"operations": 20', '"operations": 21')
    monkeypatch.setenv("PARITY_GATE", "tox -e gate --")  # what it is called by is what it says
    done = toy.gate("--layers", "numerics")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "21, recorded 20; if that is meant" in done.stdout
    assert "tox -e gate -- --update-baseline" in done.stdout
    assert "To see it again: tox -e gate -- --layers numerics" in done.stdout


def test_worse_accuracy_fails_and_says_the_seeds(toy: Toy) -> None:
    toy.replace("plan.py", "seeds: [90 + seed", "seeds: [89 + seed")
    done = toy.gate("--layers", "accuracy", "--date", "2026-11-22")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "--layers accuracy --date 2026-11-22" in done.stdout
    assert "-1.00, margin" in done.stdout


def test_without_a_base_nothing_is_passed(toy: Toy) -> None:
    shutil.rmtree(toy.folder / ".git")
    toy.git("init", "--quiet", "--initial-branch=main")
    toy.commit("first")
    done = toy.gate()
    assert done.returncode == 3, done.stdout + done.stderr
    assert "the head is the first commit" in done.stdout
    assert "To see it again" not in done.stdout
    assert toy.gate("--strict", "--layers", "timing").returncode == 1


def test_a_new_benchmark_is_not_compared_and_is_told(toy: Toy) -> None:
    toy.replace("timed.py", '"more work": repeated', '"more work": repeated, "new": newer')
    toy.replace(
        "timed.py",
        "def benchmarks",
        "def newer(units):\n    return lambda: library.new\n\n\ndef benchmarks",
    )
    toy.replace("library.py", "def work", "def new():\n    pass\n\n\ndef work")
    done = toy.gate("--update-baseline", "--reason", "one more")
    assert done.returncode == 0, done.stdout + done.stderr
    done = toy.gate("--layers", "timing")
    assert passed(done), done.stdout + done.stderr
    assert "new, and not compared" in done.stdout


def test_a_benchmark_that_the_base_cannot_run_any_more_is_inconclusive(toy: Toy) -> None:
    toy.replace("library.py", "def work", "def other():\n    pass\n\n\ndef work")
    toy.replace("timed.py", "    return {", "    library.other()\n    return {")
    done = toy.gate("--layers", "timing")
    assert done.returncode == 3, done.stdout + done.stderr
    assert "has no attribute 'other'" in " ".join(done.stdout.split())


def test_what_the_manifest_lost_since_the_base_is_told_with_its_reason(toy: Toy) -> None:
    toy.replace("timed.py", ', "more work": repeated', "")
    done = toy.gate("--update-baseline", "--reason", "it was the same as work")
    assert done.returncode == 0, done.stdout + done.stderr
    done = toy.gate("--layers", "timing")
    assert passed(done), done.stdout + done.stderr
    assert "reason: it was the same as work" in " ".join(done.stdout.split())


def test_a_failing_run_is_not_recorded(toy: Toy) -> None:
    before = toy.baseline.read_text()
    toy.replace("library.py", "1 - self.y**2", "1 - self.y")
    done = toy.gate("--update-baseline", "--reason", "make it green")
    assert done.returncode == 2
    assert "a failing run is not recorded" in done.stderr
    assert toy.baseline.read_text() == before


def test_a_baseline_is_recorded_with_a_reason_only(toy: Toy) -> None:
    for options in (
        ("--update-baseline",),
        ("--update-baseline", "--reason", " "),
        ("--reason", "x"),
    ):
        done = toy.gate(*options)
        assert done.returncode == 2
        assert "--reason" in done.stderr


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--calibrate", "--json", "a"), "--calibrate does not go with --json"),
        (("--update-baseline", "--reason", "x", "--strict"), "does not go with --strict"),
        (("--json", "a", "--markdown", "./a"), "a file each"),
    ],
)
def test_options_that_mean_nothing_together_are_refused(
    toy: Toy, options: tuple[str, ...], says: str
) -> None:
    done = toy.gate(*options)
    assert done.returncode == 2
    assert says in done.stderr
    assert not (toy.folder / "a").exists()


def test_what_is_looser_than_at_the_base_is_told_with_its_reason(toy: Toy) -> None:
    toy.replace("plan.py", '"operations": 20', '"operations": 22')
    assert toy.gate("--update-baseline", "--reason", "two more are needed").returncode == 0
    done = toy.gate("--layers", "numerics", "--markdown", "gate.md")
    assert done.returncode == 0, done.stdout + done.stderr
    shown = (toy.folder / "gate.md").read_text().split("<details>")[0]
    assert "work; reason: two more are needed" in shown
    says = " ".join(done.stdout.split())
    assert "looser than in the base's baseline" in says
    assert "work; reason: two more are needed" in says


def test_fewer_parameters_fail(toy: Toy) -> None:
    toy.replace("plan.py", '"operations": 20', '"parameters": 20')
    assert toy.gate("--update-baseline", "--reason", "parameters").returncode == 0
    toy.replace("plan.py", '"parameters": 20', '"parameters": 19')
    assert toy.gate("--layers", "numerics").returncode == 1


#: Of all ways to break it some of each kind; the slow tier tries all of them. So does
#: `python -m tests.gate_faults`, in fresh processes; what came of that is committed, and looked at
#: in `test_gate_validation.py`.
HERE = (
    "benchmark deleted, benchmark renamed, error ratio NaN, time NaN, baseline missing, "
    "baseline cut off, baseline changed by hand, baseline of another machine, trees swapped, "
    "times swapped, arm killed, worker killed, arm's clock stepped, disk full, plan gone, "
    "history too shallow, a waiver that was not recorded, no counts any more, no runs any more"
).split(", ")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(one.name, marks=() if one.name in HERE else pytest.mark.slow)
        for one in BREAKAGES
    ],
)
def test_what_breaks_the_gate_is_red_by_name(name: str, source: Path, tmp_path: Path) -> None:
    breakage = next(one for one in BREAKAGES if one.name == name)
    for attempt in range(3):
        code, said = broken(breakage, source, tmp_path / f"it{attempt}" / "toy")
        says = " ".join(said.split())
        if breakage.says in says or "the control has 20% more work" not in says:
            break  # of two restarts on a busy machine the gate says, rightly, that they are noise
    assert code == 2, said
    assert breakage.says in says, said


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="asks Linux for children")
def test_ctrl_c_leaves_nothing_behind(toy: Toy, tmp_path: Path) -> None:
    environment = toy.environment() | {"TMPDIR": str(tmp_path)}
    running = subprocess.Popen(
        toy.command("--layers", "timing"), cwd=toy.folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    until = time.monotonic() + 100
    while not _alive(f"{tmp_path}/parity-gate-") and time.monotonic() < until:
        time.sleep(0.05)  # until there are arms, told of their trees
    assert list(tmp_path.glob("parity-gate-*"))
    os.killpg(running.pid, signal.SIGINT)
    said, _ = running.communicate(timeout=60)
    assert running.returncode == 130, said
    assert "Traceback" not in said
    assert "interrupted, nothing written" in said
    assert not list(tmp_path.glob("parity-gate-*"))
    assert not _alive(str(tmp_path))


def _alive(word: str) -> list[str]:
    """Processes that have a word among their arguments."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(path.read_bytes().decode(errors="replace"))
    return [line for line in found if word in line]


def test_base_is_the_merge_base_or_the_commit_before(toy: Toy) -> None:
    def commit(name: str) -> str:
        return trees.git(toy.folder, "rev-parse", name)

    assert trees.base_of(toy.folder).commit == commit("HEAD~1")  # on main
    toy.git("checkout", "--quiet", "-b", "change")
    toy.write("library.py", "# 1")
    toy.commit("third")
    assert trees.base_of(toy.folder).commit == commit("main")
    assert trees.base_of(toy.folder, "HEAD~2").commit == commit("HEAD~2")
    toy.git("checkout", "--quiet", "main")
    toy.write("library.py", "# 2")  # not committed
    assert trees.base_of(toy.folder).commit == commit("HEAD")
    with pytest.raises(Broken, match="comes after it"):
        trees.base_of(toy.folder, "change")
    with pytest.raises(Broken, match="there is no commit nowhere"):
        trees.base_of(toy.folder, "nowhere")


def test_the_target_of_a_pull_request_is_the_base(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_BASE_REF", "release")
    with pytest.raises(Broken, match="origin/release"):
        trees.base_of(toy.folder)
    toy.git("update-ref", "refs/remotes/origin/release", "HEAD~1")
    assert "origin/release" in trees.base_of(toy.folder).why


def test_the_working_tree_is_exported_as_it_is(toy: Toy, tmp_path: Path) -> None:
    toy.write("new.py", "# not committed")
    (toy.folder / "plan.py").unlink()
    head = trees.export(toy.folder, None, tmp_path / "head", "head")
    base = trees.export(toy.folder, "HEAD", tmp_path / "base", "base")
    assert (head / "new.py").exists()
    assert not (base / "new.py").exists()
    assert not (head / "plan.py").exists()
    assert (base / "plan.py").exists()


def test_no_two_days_share_a_seed() -> None:
    one, next_ = (run.seeds_of(date(2026, 11, day)) for day in (22, 23))
    assert not set(one["runs"]) & set(next_["runs"])
    assert one == run.seeds_of(date(2026, 11, 22))


def test_differences_of_manifests() -> None:
    listed = {"timed": {"a": ["seconds"], "b": ["seconds"], "old name": ["seconds"]}}
    there = {"timed": {"a": ["seconds"], "b": ["bytes"], "old names": ["seconds"]}}
    found = dict(baseline.differences(listed, there))
    assert found.keys() == {"timed: b", "timed: old name", "timed: old names"}
    assert "renamed to 'old names'" in found["timed: old name"]
    assert not baseline.differences(listed, listed)


def result(*rows: Row) -> Result:
    return Result([Section("timing", "all of it", list(rows))], {"base": "abc"})


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        ((PASS, FASTER, NOTE), 0),
        ((PASS, FAIL), 1),
        ((FAIL, BROKEN), 2),
        ((PASS, INCONCLUSIVE), 3),
        ((INCONCLUSIVE, FAIL), 1),
    ],
)
def test_exit_code_is_of_the_worst_row(verdicts: tuple[str, ...], code: int) -> None:
    assert result(*(Row("it", verdict) for verdict in verdicts)).code == code


def test_a_gate_of_no_sections_is_broken() -> None:
    assert Result([], {}).code == 2


def test_markdown_has_regressions_first_and_what_passes_folded() -> None:
    text = report.markdown(result(Row("fine", PASS, "x"), Row("slow|one", FAIL, "y <b>")))
    assert text.index("slow\\|one") < text.index("<details>") < text.index("fine")
    assert "<b>" not in text
    assert report.MARKER in text


def test_what_is_to_be_copied_is_not_broken_at_its_hyphens() -> None:
    for before in range(20, 90):
        shown = report.text(
            result(Row("it", FAIL, f"{'x' * before} parity gate --update-baseline"))
        )
        assert "--update-baseline" in shown


def test_a_layer_without_anything_to_judge_does_not_pass() -> None:
    empty = Section("accuracy", "nothing", [], judged=False)
    assert empty.verdict == NOTE
    assert Result([empty], {}).code == 0


def test_annotations_are_few_and_escaped() -> None:
    rows = [Row(f"it {n}", FAIL, "50 %\nof it") for n in range(9)]
    lines = report.commands(result(*rows)).splitlines()
    assert len(lines) == report.ANNOTATIONS + 1
    assert all(line.startswith("::error title=parity gate") for line in lines)
    assert "50 %25%0Aof it" in lines[0]
    assert "4 more" in lines[-1]
    assert report.commands(result(Row("it", INCONCLUSIVE))).startswith("::warning")
    assert not report.commands(result(Row("it", PASS)))
