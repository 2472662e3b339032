"""The command: what it prints, what it writes, how it ends; and the skeletons of adapters."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from parity import cli
from tests import warm

SUBJECTS = Path(__file__).parent / "subjects"
COURSE = SUBJECTS / "course_adapter.py"

WRONG = """
import sys
sys.path.insert(0, {folder!r})
import course
import torch
from torch import nn
import parity

class Tanh(course.Tanh):
    def backward(self, dy):
        return -super().backward(dy)

subject = parity.Subject({{nn.Tanh: Tanh, nn.ReLU: course.ReLU}}, {more})
"""


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    """An adapter of a framework whose Tanh has the wrong sign."""
    return adapter(tmp_path)


def adapter(folder: Path, more: str = "") -> Path:
    path = folder / "wrong.py"
    path.write_text(WRONG.format(folder=str(SUBJECTS), more=more))
    return path


def parity(*arguments: object) -> subprocess.CompletedProcess[str]:
    return warm.python(["-m", "parity", *map(str, arguments)], cwd=Path.cwd())


def test_what_is_right_passes_with_exit_code_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", str(COURSE), "--only", "Tanh", "--only", "SGD-"]) == cli.PASSED
    out = capsys.readouterr().out
    assert "course_adapter: PASSED." in out
    assert "seed 0, device cpu, torch" in out


def test_a_fault_is_named_with_exit_code_1_and_written_down(
    wrong: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {kind: tmp_path / f"out/report.{kind}" for kind in ("html", "json", "junit")}
    options = [f"--{kind}={path}" for kind, path in files.items()]
    assert cli.main(["check", str(wrong), *options]) == cli.FAULT
    out = capsys.readouterr().out
    assert "1. [wrong] Tanh input gradient has the wrong sign." in out
    assert f"reproduce: parity check {wrong} --only Tanh-float32-input_grad" in out
    assert "ReLU    " in out

    data = json.loads(files["json"].read_text())
    assert data["passed"] is False
    assert data["findings"][0]["sentence"] == "Tanh input gradient has the wrong sign"
    failed = [o for o in data["outcomes"] if o["verdict"] == "FAILED"]
    assert {o["cls"] for o in failed} == {"Tanh"}
    right = next(o for o in data["outcomes"] if o["id"] == "ReLU-float32-input_grad")
    (certificate,) = right["comparisons"]
    assert certificate["error"] <= certificate["floor"]
    assert certificate["distance"] >= 10
    assert certificate["nearest"]

    suite = ET.parse(files["junit"]).getroot()[0]
    assert int(suite.attrib["tests"]) == len(data["outcomes"])
    assert int(suite.attrib["failures"]) == len(failed) == len(suite.findall(".//failure"))
    assert "Tanh input gradient has the wrong sign" in files["html"].read_text()


def test_the_command_that_reproduces_does(wrong: Path) -> None:
    first = parity("check", wrong)
    line = next(one for one in first.stdout.splitlines() if "reproduce: " in one)
    again = parity(*line.split("reproduce: parity ")[1].split())
    assert first.returncode == again.returncode == cli.FAULT
    assert "has the wrong sign" in again.stdout
    assert "of 1 checks" in again.stdout


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "there is no file"),
        ("x = 1", "defines no `subject = parity.Subject(…)`"),
        ("import nothing_of_the_kind", "No module named 'nothing_of_the_kind'"),
        ("def (", "SyntaxError"),
        ("import sys; sys.exit(3)", "calls sys.exit(3)"),
        ("import os; os._exit(7)", "ended the process, with exit code 7"),
        ("import parity; subject = parity.Subject()", "needs layers, by torch class, or a model"),
        ("import parity; subject = parity.Subject({int: int})", "parity knows Sequential, Linear"),
        ("import parity; subject = parity.Subject({}, batch='row')", "batch='rows' or 'columns'"),
    ],
)
def test_an_adapter_that_cannot_be_used_ends_with_2_and_one_line(
    content: str | None, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "adapter.py"
    if content is not None:
        path.write_text(content)
    assert cli.main(["check", str(path)]) == cli.COULD_NOT_RUN
    captured = capsys.readouterr()
    assert says in captured.err
    assert len(captured.err.strip().splitlines()) == 1
    assert captured.out == ""


def test_a_pattern_that_nothing_matches_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", str(COURSE), "--only", "Conv"]) == cli.COULD_NOT_RUN
    assert "no check has Conv in its id; see `parity list" in capsys.readouterr().err


def test_a_device_that_is_not_there_ends_with_2(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert cli.main(["check", str(COURSE), "--device", "cuda"]) == cli.COULD_NOT_RUN
    assert "this torch sees no CUDA device" in capsys.readouterr().err


def test_a_waiver_accepts_with_its_reason_and_must_be_needed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    waivers = 'waivers={"Tanh-*": "our sign", "ReLU-*-kink": "not needed at all"}'
    path = adapter(tmp_path, waivers)
    assert cli.main(["check", str(path), "--only", "Tanh"]) == cli.PASSED
    assert "checks Tanh-*: our sign" in capsys.readouterr().out
    assert cli.main(["check", str(path)]) == cli.FAULT
    assert "The waiver 'ReLU-*-kink' is not needed" in capsys.readouterr().out


def test_list_names_checks_and_what_is_not_offered(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list", str(COURSE)]) == cli.PASSED
    lines = capsys.readouterr().out.splitlines()
    assert "Linear-no_bias-float32-param_grad" in lines
    assert any(line.startswith("not offered: Softmax-dim=0") for line in lines)
    assert cli.main(["list"]) == cli.PASSED
    everything = capsys.readouterr().out
    assert "LeakyReLU (layer): default, slope=0.3" in everything
    assert "MaxPool2d (layer): default, overlap, " in everything
    assert ", at [5, 3, 7, 6]" in everything
    assert "  kink: At 0 and beside it, and at the limits of a Hardtanh, values" in everything


def test_what_is_changed_within_the_second_is_read_anew(tmp_path: Path) -> None:
    """Python takes a file for unchanged by its time, in seconds, and its length."""
    framework = tmp_path / "framework.py"
    (tmp_path / "adapter.py").write_text(
        "import framework\nimport parity\nfrom torch import nn\n"
        "subject = parity.Subject({nn.Tanh: framework.Tanh}, dtypes=('float32',))\n"
    )
    right = (
        "import torch\nclass Tanh:\n    def forward(self, x):\n        return torch.tanh(1 * x)\n"
    )
    for text, code in ((right, cli.PASSED), (right.replace("1 *", "2 *"), cli.FAULT)):
        framework.write_text(text)
        os.utime(framework, (1e9, 1e9))
        given = ["check", str(tmp_path / "adapter.py"), "--only", "Tanh-float32-forward"]
        assert cli.main(given) == code


def test_what_is_known_of_a_class_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list", "avgpool2d"]) == cli.PASSED
    out = capsys.readouterr().out
    assert "Its input is [5, 3, 7, 6]" in out
    assert "- counts the padding among the entries (output, input gradient)" in out
    assert cli.main(["list", "Conv2"]) == cli.COULD_NOT_RUN
    assert "no class Conv2 is known: did you mean Conv2d?" in capsys.readouterr().err


WAITS = """
import time
from pathlib import Path

class Waits(course.Tanh):
    def forward(self, x):
        Path("called").touch()
        time.sleep(20)

subject = parity.Subject({nn.Tanh: Waits})
"""


def test_interrupted_it_ends_with_one_line_and_no_file(tmp_path: Path) -> None:
    """While it waits for the subject, which is where nearly all of its time goes."""
    adapter(tmp_path, "").rename(tmp_path / "waits.py")
    with (tmp_path / "waits.py").open("a") as file:
        file.write(WAITS)
    command = [sys.executable, "-m", "parity", "check", "waits.py", "--json", "report.json"]
    process = subprocess.Popen(
        command, cwd=tmp_path, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    until = time.monotonic() + 60
    while not (tmp_path / "called").exists() and process.poll() is None:
        assert time.monotonic() < until
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert err.strip().splitlines()[-1] == "parity: interrupted, nothing written"
    assert "Traceback" not in out + err
    assert {file.name for file in tmp_path.iterdir()} <= {"waits.py", "called", "__pycache__"}


def test_new_writes_an_adapter_that_works(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "adapter.py"
    assert cli.main(["new", str(SUBJECTS / "course.py"), "-o", str(path)]) == cli.PASSED
    assert cli.main(["check", str(path), "--only", "float32"]) == cli.PASSED, path.read_text()
    out = capsys.readouterr().out
    assert "Linear " in out
    assert "network" in out
    assert cli.main(["new", str(SUBJECTS / "course.py"), "-o", str(path)]) == cli.COULD_NOT_RUN
    assert "is there already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("module", "says"),
    [("nothing_of_the_kind", "no Python file, folder or module"), (__file__, "looks like a layer")],
)
def test_new_says_what_it_cannot_read(
    module: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "adapter.py"
    assert cli.main(["new", module, "-o", str(path)]) == cli.COULD_NOT_RUN
    assert says in capsys.readouterr().err
    assert not path.exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--json", "."], "a report is written to a file"),
        (["--html", ""], "a report is written to a file"),
        (["--json", "{file}/in.json"], "cannot be written"),
        (["--json", "same", "--html", "same"], "take a file each"),
        (["--device", "tpu"], "device 'tpu': takes cpu or cuda"),
        (["--seed", "-1"], "a seed is an integer from 0"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(
    arguments: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "file"
    file.touch()
    arguments = [one.format(file=file) for one in arguments]
    assert cli.main(["check", str(COURSE), *arguments]) == cli.COULD_NOT_RUN
    captured = capsys.readouterr()
    assert says in captured.err
    assert captured.out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("option", ["--seconds", "--memory"])
@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "1e300"])
def test_a_limit_is_a_number_that_can_be_one(
    option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["check", str(COURSE), option, value])
    assert ended.value.code == cli.COULD_NOT_RUN
    assert "takes a number above 0" in capsys.readouterr().err


def test_a_report_goes_through_a_link_and_into_a_pipe(tmp_path: Path) -> None:
    target, link, pipe = tmp_path / "target", tmp_path / "link", tmp_path / "pipe"
    target.write_text("before")
    link.symlink_to(target)
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        only = ["--only", "Tanh-float32-forward"]
        done = cli.main(["check", str(COURSE), *only, "--json", str(link), "--junit", str(pipe)])
        assert done == cli.PASSED
        assert os.read(reader, 1 << 16).startswith(b"<?xml")
    finally:
        os.close(reader)
    assert link.is_symlink()
    assert json.loads(target.read_text())["passed"]
    assert pipe.is_fifo()


OWN_REFERENCE = """
import time

import torch
from torch import nn

import parity


class Double(nn.Module):
    def forward(self, x):
        {reference}
        return 2 * x


class Ours:
    def forward(self, x):
        return {forward}

    def backward(self, dy):
        return 2 * dy


subject = parity.Subject({{parity.Entry(Double, "layer"): Ours}}, dtypes=("float32",))
"""


def own_reference(folder: Path, forward: str = "2 * x", reference: str = "", more: str = "") -> str:
    path = folder / "own_adapter.py"
    path.write_text(OWN_REFERENCE.format(forward=forward, reference=reference) + more)
    return str(path)


def test_a_reference_that_the_adapter_alone_has_is_judged_from_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The judge imports nothing of the adapter's: it has it judged in the subject's process."""
    assert cli.main(["check", own_reference(tmp_path)]) == cli.PASSED
    assert "PASSED" in capsys.readouterr().out
    assert cli.main(["check", own_reference(tmp_path, "3 * x"), "--quick"]) == cli.FAULT
    said = " ".join(capsys.readouterr().out.split())
    assert "[wrong] Double output is 1.5 times what it should be" in said
    assert "Ours.forward (own_adapter.py:" in said
    assert "reproduce: parity check" in said


def test_a_reference_that_hangs_or_is_none_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = own_reference(tmp_path, reference="time.sleep(60)")
    only = ["--only", "Double-float32-forward", "--seconds", "0.7"]
    assert cli.main(["check", path, *only]) == cli.FAULT
    assert "hangs when checked" in " ".join(capsys.readouterr().out.split())
    more = "subject = parity.Subject({parity.Entry(lambda: 3, 'layer', name='Three'): Ours})\n"
    assert cli.main(["check", own_reference(tmp_path, more=more)]) == cli.COULD_NOT_RUN
    assert "makes no torch.nn.Module" in capsys.readouterr().err


def test_checks_that_an_adapter_brings_are_run_from_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = """
def doubles(trial):
    x = torch.ones(2, 5, dtype=trial.dtype)
    right = torch.equal(trial.layer({}).forward(x), 2 * x)
    return [parity.Comparison("doubles", 0.0 if right else 2.0)]


def fails(trial):
    raise KeyError("no such thing")


subject = parity.Subject(
    {parity.Entry(Double, "layer"): Ours}, dtypes=("float32",),
    checks={"layer": {"doubles": doubles, "fails": fails}},
)
"""
    path = own_reference(tmp_path, more=more)
    assert cli.main(["check", path, "--only", "doubles"]) == cli.PASSED
    assert "1 passed" in capsys.readouterr().out
    assert cli.main(["check", path, "--only", "fails"]) == cli.FAULT
    assert "its own check raises KeyError" in " ".join(capsys.readouterr().out.split())


NETWORK = """
import torch
from torch import nn

import parity
import scratch


def theirs():
    return nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 2))


def ours():
    return scratch.Sequential(scratch.Linear(2, 4), scratch.Tanh(), scratch.Linear(4, 2))


net = parity.Network(theirs, name="net", optimizer=("SGD", {"lr": 0.1}))
layers = {net: ours, nn.MSELoss: scratch.MSELoss, torch.optim.SGD: scratch.SGD}
subject = parity.Subject(layers)
"""


def test_a_network_whose_reference_the_adapter_makes_is_judged_from_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))
    adapter = tmp_path / "net_adapter.py"
    adapter.write_text(NETWORK)
    assert cli.main(["check", str(adapter), "--only", "net-"]) == cli.PASSED
    assert "4 passed" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--help"], ["check", "nothing.py"], ["check", "--help"]])
def test_what_needs_no_torch_answers_before_it_is_imported(arguments: list[str]) -> None:
    program = (
        "import sys\n"
        "from parity.cli import main\n"
        "try:\n"
        f"    main({arguments})\n"
        "except SystemExit:\n"
        "    pass\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
