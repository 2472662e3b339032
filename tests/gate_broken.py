"""The gate's own faults: what breaks it, each of which must end with exit code 2, by name."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.toy import Toy


@dataclass(frozen=True)
class Breakage:
    """Something that breaks the gate.

    Args:
        name: what it is.
        says: what the gate must say.
        plant: does it to the project.
        patch: does it to the process, where no file of the project can.
        layer: of the gate that must see it.
        options: of the command.
    """

    name: str
    says: str
    plant: Callable[[Toy], object] = lambda toy: None
    patch: str = ""
    layer: str = "numerics"
    options: tuple[str, ...] = ()


def edited(name: str, old: str, new: str) -> Callable[[Toy], object]:
    """Replaces a text in a file of the project."""
    return lambda toy: toy.replace(name, old, new)


def _truncated(toy: Toy) -> None:
    content = toy.baseline.read_text()
    toy.baseline.write_text(content[: len(content) // 2])


def _by_hand(toy: Toy) -> None:
    content = toy.baseline.read_text()
    assert '"operations": 20' in content
    toy.baseline.write_text(content.replace('"operations": 20', '"operations": 30'))


def _stale(toy: Toy) -> None:
    """The manifest of today beside the values of yesterday."""
    before = toy.baseline.read_text()
    toy.replace("timed.py", '"more work": repeated', '"more work": repeated, "new": repeated')
    assert toy.gate("--update-baseline", "--reason", "another benchmark").returncode == 0
    toy.baseline.write_text(before)


def _elsewhere(toy: Toy) -> None:
    toy.baseline.rename(toy.baseline.with_name("another-processor-torch-2.6.0-python-3.10.json"))


def _shallow(toy: Toy) -> None:
    """As a checkout that fetches one commit."""
    whole = toy.folder.rename(toy.folder.with_name("whole"))
    command = ["git", "clone", "--quiet", "--depth", "1", f"file://{whole}", str(toy.folder)]
    subprocess.run(command, check=True, capture_output=True)


def _without(kind: str) -> Callable[[Toy], object]:
    """Takes a whole kind out of the plan."""

    def taken(toy: Toy) -> None:
        lines = (toy.folder / "plan.py").read_text().splitlines(keepends=True)
        kept = [line for line in lines if not line.startswith(f"    {kind}=")]
        assert len(kept) == len(lines) - 1
        toy.write("plan.py", "".join(kept))

    return taken


def _waived(toy: Toy) -> None:
    """A wrong gradient, and everything waived."""
    toy.replace("library.py", "1 - self.y**2", "1 - self.y")
    toy.replace("plan.py", 'name="toy"', 'name="toy", waivers={"*": "later"}')


def _deeper(toy: Toy) -> None:
    (toy.folder / "src").mkdir()
    (toy.folder / "library.py").rename(toy.folder / "src" / "library.py")
    toy.replace(
        "plan.py", "import library", "import sys\nsys.path.insert(0, 'src')\nimport library"
    )


_FULL = """
import errno, os
from parity.gate.measure import trees
def full(*arguments):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
trees.export = full
"""

_SWAPPED_TREES = """
from parity.gate.measure import trees
export = trees.export
def swapped(root, commit, folder, name):
    return export(root, commit, folder, {"base": "head", "head": "base"}[name])
trees.export = swapped
"""

_SWAPPED_TIMES = """
from parity.gate.measure.lockstep import Lockstep
restart = Lockstep._restart
def swapped(self, both, offer):
    return {n: [p[::-1] for p in pairs] for n, pairs in restart(self, both, offer).items()}
Lockstep._restart = swapped
"""

_NAN_TIMES = """
from parity.gate.measure.lockstep import Lockstep
restart = Lockstep._restart
def broken(self, both, offer):
    return restart(self, both, offer) | {"work": [[float("nan"), 1.0]]}
Lockstep._restart = broken
"""

_NO_PAIRS = """
from parity.gate.measure.lockstep import Lockstep
restart = Lockstep._restart
def broken(self, both, offer):
    return restart(self, both, offer) | {"work": []}
Lockstep._restart = broken
"""

_WALL_CLOCK = """
import time, types
from parity.gate.measure import lockstep
calls = []
def stepped():
    calls.append(0)
    return time.time() + 3600 * (len(calls) > 1)
lockstep.time = types.SimpleNamespace(
    time=stepped, monotonic=time.monotonic, perf_counter=time.perf_counter
)
"""

_KILLED = """
import os, signal, library
calls = []
def killed(units):
    def run():
        calls.append(0)
        if len(calls) > 12:
            os.kill(os.getpid(), signal.SIGKILL)
    return lambda: run
def benchmarks():
    return {"work": killed, "more work": killed}
"""

_FEWER = """
    import os
    if "parity-gate" in os.getcwd():
        return {"work": repeated}
    return {"""

_CLOCK = """
import time, library
now, calls = time.perf_counter_ns, []
def stepped():
    calls.append(0)
    return now() + 10**9 * max(0, len(calls) - 20)
time.perf_counter_ns = stepped
"""

BREAKAGES = [
    Breakage("benchmark deleted", "timed: more work",
             edited("timed.py", ', "more work": repeated', ""), layer="timing"),
    Breakage("benchmark renamed", "renamed to 'much work'",
             edited("timed.py", "more work", "much work"), layer="timing"),
    Breakage(
        "benchmark added, and not recorded", "extra: it is not in the manifest",
        edited("timed.py", '"more work": repeated', '"more work": repeated, "new": repeated'),
        layer="timing",
    ),
    Breakage(
        "check skipped", "missing: it is in the manifest",
        edited("plan.py", 'name="toy"', 'name="toy", dtypes=("float64",)'),
    ),
    Breakage(
        "no subject", "cannot be loaded",
        edited("plan.py", "{nn.Tanh: library.Tanh}", "{}"),
    ),
    Breakage("collection empty", "not one of the 2 in the manifest",
             edited("timed.py", '{"work": repeated, "more work": repeated}', "{}"), layer="timing"),
    Breakage("another metric", "other metrics than in the manifest",
             edited("plan.py", '"operations"', '"multiplications"')),
    Breakage("error ratio NaN", "NaN", edited("plan.py", "lambda: 0.5", 'lambda: float("nan")')),
    Breakage("accuracy NaN", "not finite",
             edited("plan.py", "seeds: [90", "seeds: [float('nan')"), layer="accuracy"),
    Breakage("time NaN", "NaN", layer="timing", patch=_NAN_TIMES),
    Breakage("zero pairs", "zero pairs", layer="timing", patch=_NO_PAIRS),
    Breakage("benchmark raises", "raises in the head's arm",
             edited("timed.py", "library.work()", "library.gone()"), layer="timing"),
    Breakage("baseline missing", "there is no baseline",
             lambda toy: shutil.rmtree(toy.folder / "baseline")),
    Breakage("no repository", "is in no git repository: git init",
             lambda toy: shutil.rmtree(toy.folder / ".git")),
    Breakage("baseline cut off", "corrupt", _truncated),
    Breakage("baseline changed by hand", "changed by hand", _by_hand),
    Breakage("baseline stale", "stale", _stale),
    Breakage("baseline of another machine", "only of another-processor", _elsewhere),
    Breakage("trees swapped", "the arms are swapped", layer="timing", patch=_SWAPPED_TREES),
    Breakage("times swapped", "the arms are swapped", layer="timing", patch=_SWAPPED_TIMES),
    Breakage("arm killed", "was killed by SIGKILL",
             lambda toy: toy.write("timed.py", _KILLED), layer="timing"),
    Breakage("worker killed", "a worker was killed",
             edited("plan.py", "lambda: 0.5", "lambda: __import__('signal').raise_signal(9)")),
    Breakage(
        "arm's clock stepped", "clock was stepped",
        lambda toy: toy.write("timed.py", _CLOCK + (toy.folder / "timed.py").read_text()),
        layer="timing",
    ),
    Breakage("wall clock stepped", "the clock was stepped", layer="timing", patch=_WALL_CLOCK),
    Breakage("disk full", "No space left on device", options=("--json", "/dev/full")),
    Breakage("plan that ends the process", "SystemExit",
             edited("plan.py", "lambda: 0.5", "lambda: __import__('sys').exit(0)")),
    Breakage("benchmark that the arm alone lacks", "in the head's arm",
             edited("timed.py", "    return {", _FEWER),
             layer="timing"),
    Breakage("something trained, and not recorded", "extra: it is not in the manifest",
             edited("plan.py", 'pairs={', 'pairs={"new": lambda seeds: ([90.0] * 10,) * 2, '),
             layer="accuracy"),
    Breakage("no trajectories any more", "trajectories", _without("trajectories")),
    Breakage("no counts any more", "counts", _without("counts")),
    Breakage("no pairs any more", "pairs", _without("pairs"), layer="accuracy"),
    Breakage("no runs any more", "runs", _without("runs"), layer="accuracy"),
    Breakage("no ratio to torch any more", "against_torch", _without("against_torch"),
             layer="timing"),
    Breakage("no times beside torch", "no pairs of times",
             edited("plan.py", "([1.0, 1.1, 1.0], [2.0, 2.0, 2.0])", "([], [])"), layer="timing"),
    Breakage("fewer accuracies than seeds", "accuracies of 500 seeds",
             edited("plan.py", "for seed in seeds]},\n)", "for seed in seeds[:400]]},\n)"),
             layer="accuracy"),
    Breakage("a waiver that was not recorded", "waived: ", _waived),
    Breakage("a margin of no benchmark", "there is no such benchmark",
             edited("plan.py", "    counts=", '    margins={"wrok": 0.05},\n    counts='),
             layer="timing"),
    Breakage("a margin that passes everything", "it takes 0 to below 0.1",
             edited("plan.py", "    counts=", '    margins={"work": 1.0},\n    counts='),
             layer="timing"),
    Breakage("a margin that was not recorded", "other metrics than in the manifest",
             edited("plan.py", "    counts=", '    margins={"work": 0.05},\n    counts='),
             layer="timing"),
    Breakage("disk full at the export", "No space left on device", layer="timing", patch=_FULL),
    Breakage("layout that both arms would share", "at the top of the project", _deeper,
             layer="timing"),
    Breakage("history too shallow", "fetch-depth: 0", _shallow),
    Breakage("plan gone", "which is not there", lambda toy: (toy.folder / "plan.py").unlink()),
]  # fmt: skip


def broken(
    breakage: Breakage, source: Path, folder: Path, *, fresh: bool = False
) -> tuple[int, str]:
    """Breaks a copy of the project, and runs its gate: exit code, and all that it says.

    Args:
        fresh: as `Toy.gate` takes it.
    """
    shutil.copytree(source, folder)  # makes its parents
    toy = Toy(folder)
    breakage.plant(toy)
    done = toy.gate(
        "--layers", breakage.layer, *breakage.options,
        patch=breakage.patch, restarts=2, fresh=fresh,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr
