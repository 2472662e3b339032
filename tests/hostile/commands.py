"""What the command is given: adapters, files, an environment, signals."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.hostile.case import CASES, CHECKS, MARK, ROOT, Case, Promise, Run, left_behind, subject

RIGHT = subject()
PASSED = ("Tanh 1 passed",)


def command(
    group: str,
    name: str,
    *says: str,
    code: int = 0,
    text: str | bytes | None = RIGHT,
    blameless: bool | None = None,
    never: tuple[str, ...] = ("Traceback",),
    worst: bool = False,
    adapter: str = "adapter.py",
    options: tuple[str, ...] = (),
    environment: dict[str, str] | None = None,
    prepare: Callable[[Path], object] = lambda folder: None,
    shell: str = "",
) -> None:
    """Adds a case of the command."""
    promise = Promise(code, says, never, blameless=code != 2 if blameless is None else blameless)
    run = Run(promise, (*CHECKS, *options), adapter, environment or {}, prepare, shell)
    CASES.append(Case(group, name, run.attempt(text), worst))


# ---- adapters ----

HUGE = """
entry = parity.Entry(nn.Tanh, "layer", shape=(10_000, 10_000), name="Vast")
subject = parity.Subject({entry: Tanh})
"""

for name, content, says in (
    ("does not parse", "def (", "SyntaxError"),
    ("defines no subject", "x = 1", "defines no `subject"),
    ("is empty", "", "defines no `subject"),
    ("is no text", b"\xff\xfe\x00\x01" * 9, "raises"),
    ("has a NUL", b"x = 1\x00", "raises"),
    ("defines a class", "class subject: pass", "defines no `subject"),
    ("misses a module", "import not_here", "No module named 'not_here'"),
    ("raises", "raise ValueError('mine')", "raises ValueError: mine"),
    ("calls sys.exit", "import sys; sys.exit(0)", "calls sys.exit(0)"),
    ("ends the process", "import os; os._exit(3)", "with exit code 3, when imported"),
    ("raises KeyboardInterrupt", "raise KeyboardInterrupt", "raises KeyboardInterrupt"),
    ("ends with a last word", "import os\nos.write(2, b'my last word')\nos._exit(3)",
     "it last printed: my last word"),
    ("says it with an escape", "raise ValueError('\\x1b[2J')", "\\x1b[2J"),
):  # fmt: skip
    command("adapters", name, says, code=2, text=content, never=("Traceback", "\x1b"))
command("adapters", "is not there", "there is no file", code=2, text=None)
command("adapters", "is a folder", "there is no file", code=2, text=None, adapter="folder",
        prepare=lambda folder: (folder / "folder").mkdir())  # fmt: skip
for name in ("json.py", "random.py", "queue.py", "torch.py", "types.py"):
    command("adapters", f"is called {name}", *PASSED, adapter=name, worst=name == "json.py")
command("adapters", "is called parity.py", *PASSED, adapter="parity.py",
        shell="mkdir d; mv parity.py d; $PARITY d/parity.py --only=-forward")  # fmt: skip
command("adapters", "is called by a command of CI", *PASSED, adapter="::error::x.py",
        never=("Traceback", "\n::error"))  # fmt: skip
command("adapters", "is called by an escape", *PASSED, adapter="a\x1b[31m.py",
        never=("Traceback", "\x1b"))  # fmt: skip
command("adapters", "is called by two lines", *PASSED, adapter="a\n::error::b.py",
        never=("Traceback", "\n::error"))  # fmt: skip
command("adapters", "has a name with a quote", *PASSED, adapter="it's.py")

# ---- files ----

command("files", "a report over the adapter", "is a source file", code=2,
        options=("--html", "adapter.py"), worst=True)  # fmt: skip
command("files", "a report over another source", "is a source file", code=2,
        options=("--json", "mine.py"),
        prepare=lambda folder: (folder / "mine.py").write_text("x = 1"))  # fmt: skip
command("files", "a report over the adapter, by a link", "is a source file", code=2,
        options=("--json", "link.json"),
        prepare=lambda folder: (folder / "link.json").symlink_to("adapter.py"))  # fmt: skip


def loop_of_links(folder: Path) -> None:
    (folder / "a.json").symlink_to("b.json")
    (folder / "b.json").symlink_to("a.json")


command("files", "a loop of links", "cannot be written", code=2, options=("--json", "a.json"),
        prepare=loop_of_links)  # fmt: skip
command("files", "a name of 300 characters", "cannot be written", code=2,
        options=("--json", "x" * 300 + ".json"))  # fmt: skip
command("files", "a name of 250 characters", *PASSED, options=("--json", "x" * 245 + ".json"))
command("files", "a folder", "is none", code=2, options=("--html", "."))
command("files", "a device", *PASSED, options=("--json", "/dev/null"))
command("files", "the standard output, into a file", *PASSED,
        shell="$PARITY $ADAPTER --only=-forward --json /dev/stdout > both; code=$?; cat both; "
              "grep -q outcomes both && exit $code")  # fmt: skip
command("files", "a full device for a list", "the list cannot be printed", code=2,
        shell="${PARITY% check} list $ADAPTER > /dev/full")  # fmt: skip
command("files", "a full device, and another file", "cannot be written", code=2, blameless=True,
        shell="$PARITY $ADAPTER --only=-forward --json /dev/full --html b.html; code=$?; "
              "test -s b.html && exit $code")  # fmt: skip
command("files", "the same file twice", "take a file each", code=2,
        options=("--html", "a", "--json", "./a"))  # fmt: skip
command("files", "the mask of the user", *PASSED,
        shell="umask 077; $PARITY $ADAPTER --only=-forward --json a.json && "
              "test $(stat -c %a a.json) = 600")  # fmt: skip
command("files", "a mask that lets all read", *PASSED,
        shell="umask 002; $PARITY $ADAPTER --only=-forward --json a.json && "
              "test $(stat -c %a a.json) = 664")  # fmt: skip

# ---- the terminal ----

ODD = subject(forward="raise ValueError('größer ≥ \\ud800')")
command("the terminal", "full", "cannot be printed", code=2, blameless=False, worst=True,
        shell="$PARITY $ADAPTER --only=-forward --json a.json > /dev/full; code=$?; "
              "test -s a.json && exit $code")  # fmt: skip
command("the terminal", "closed", blameless=False,
        shell="$PARITY $ADAPTER --only=-forward --json a.json >&-; code=$?; "
              "test -s a.json && exit $code")  # fmt: skip
command("the terminal", "a reader that has enough", code=0, blameless=False,
        shell="$PARITY $ADAPTER --only=-forward --json a.json | head -c 1 > /dev/null; "
              "test -s a.json -a ${PIPESTATUS[0]} = 0")  # fmt: skip
for coding in ("ascii", "latin-1", "utf-16"):
    command("the terminal", f"in {coding}", code=1, text=ODD, blameless=coding != "utf-16",
            environment={"PYTHONIOENCODING": coding}, worst=coding == "ascii",
            shell="$PARITY $ADAPTER --only=-forward")  # fmt: skip
command("the terminal", "no errors, and libraries that tell of some", *PASSED,
        environment={"OMP_NUM_THREADS": "abc"},
        shell="$PARITY $ADAPTER --only=-forward 2>&-")  # fmt: skip
command("the terminal", "no errors either", *PASSED,
        shell="$PARITY $ADAPTER --only=-forward 2>&-")  # fmt: skip

# ---- the environment ----


def shadows(*names: str) -> Callable[[Path], object]:
    """Modules of the standard library in the folder that one works in."""

    def prepare(folder: Path) -> None:
        for name in names:
            (folder / f"{name}.py").write_text("raise SystemExit('the wrong one')")

    return prepare


def shadow_of_torch(folder: Path) -> None:
    (folder / "torch").mkdir()
    (folder / "torch" / "__init__.py").write_text("raise SystemExit('the wrong one')")


command("the environment", "modules beside it", *PASSED, worst=True,
        prepare=shadows("random", "queue", "struct", "tempfile", "socket", "select"),
        shell="$PARITY $ADAPTER --only=-forward")  # fmt: skip
command("the environment", "a torch beside it", *PASSED, prepare=shadow_of_torch,
        shell="$PARITY $ADAPTER --only=-forward")  # fmt: skip
command("the environment", "warnings are errors", *PASSED, environment={"PYTHONWARNINGS": "error"},
        options=())  # fmt: skip
command("the environment", "a width of lines that is none", "TQDM_NCOLS of the environment is no",
        code=2, shell="TQDM_NCOLS=wide $PARITY $ADAPTER --only=-forward")  # fmt: skip
command("adapters", "a hundred million numbers", "inputs are of 1,048,576 numbers at most",
        code=2, text=RIGHT + HUGE)  # fmt: skip
command("the environment", "optimized", *PASSED, environment={"PYTHONOPTIMIZE": "2"},
        shell="$PARITY $ADAPTER --only=-forward")  # fmt: skip
command("the environment", "no home", *PASSED, shell="env -u HOME $PARITY $ADAPTER --only=-forward")
command("the environment", "no folder for temporary files", *PASSED,
        environment={"TMPDIR": "/not/there"},
        shell="$PARITY $ADAPTER --only=-forward")  # fmt: skip
command("the environment", "a plain locale", *PASSED, environment={"LC_ALL": "C"},
        shell="$PARITY $ADAPTER --only=-forward")  # fmt: skip
command(
    "the environment",
    "little address space",
    code=2,
    never=("when imported",),
    shell="$PARITY --help > /dev/null; ulimit -v 600000; $PARITY $ADAPTER --only=-forward",
)
command("the environment", "some address space", *PASSED,
        shell="ulimit -v 6000000; $PARITY $ADAPTER --only=-forward")  # fmt: skip
command("the environment", "few files", *PASSED,
        shell="ulimit -n 40; $PARITY $ADAPTER --only=-forward")  # fmt: skip
command("the environment", "the folder is gone", *PASSED,
        shell="cp $ADAPTER ..; mkdir gone; cd gone; rmdir ../gone; "
              "$PARITY $OLDPWD/$ADAPTER --only=-forward")  # fmt: skip
command("the environment", "no standard input", *PASSED,
        shell="$PARITY $ADAPTER --only=-forward <&-")  # fmt: skip
command("the environment", "a module of the caller's", *PASSED, text="import mine\n" + RIGHT,
        prepare=lambda folder: (folder / "mine.py").write_text("x = 1"))  # fmt: skip

# ---- adapters that are right, and do what Python lets them do ----


def files(contents: dict[str, str]) -> Callable[[Path], object]:
    """Modules by their paths, without `.py`."""

    def prepare(folder: Path) -> None:
        for name, content in contents.items():
            file = folder / f"{name}.py"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)

    return prepare


def folder_of_data(folder: Path) -> None:
    (folder / "tabulate").mkdir()
    (folder / "tabulate" / "data.txt").touch()


IN_FRONT = (
    "import sys\nfrom pathlib import Path\nsys.path.insert(0, str(Path(__file__).parent / 'b'))\n"
)
command("right adapters", "a folder of data called as a package", *PASSED, worst=True,
        text="from tabulate import tabulate\n" + RIGHT,
        prepare=folder_of_data)  # fmt: skip
command("right adapters", "a path put in front", *PASSED, worst=True,
        text=f"{IN_FRONT}import layers\nassert layers.x == 2\n{RIGHT}",
        prepare=files({"layers": "x = 1", "b/layers": "x = 2"}))  # fmt: skip
command("right adapters", "part of a package", *PASSED, worst=True, adapter="pack/sub/adapter.py",
        text="from . import other\nfrom ..layers import x\nassert x == other.x == 1\n" + RIGHT,
        prepare=files({"pack/__init__": "", "pack/sub/__init__": "", "pack/layers": "x = 1",
                       "pack/sub/other": "x = 1"}))  # fmt: skip
command("right adapters", "below a folder called site-packages", *PASSED,
        adapter="site-packages/mine/adapter.py", text="import colorsys\ncolorsys.x\n" + RIGHT,
        prepare=files({"site-packages/mine/colorsys": "x = 1"}))  # fmt: skip
command("right adapters", "a script where one works", *PASSED, adapter="adapter.py",
        text="from colorsys import rgb_to_hsv\n" + RIGHT,
        shell="mkdir sub; mv adapter.py sub; echo 'raise SystemExit(1)' > colorsys.py; "
              "$PARITY sub/adapter.py --only=-forward")  # fmt: skip
command("right adapters", "one that reads its arguments", *PASSED,
        text="import argparse\nargparse.ArgumentParser().parse_args()\n" + RIGHT)  # fmt: skip
command("right adapters", "a name with dots", *PASSED, adapter="my.adapter.v2.py",
        text="import pickle\n" + RIGHT + "\npickle.dumps(Tanh)")  # fmt: skip
command(
    "right adapters", "a set of dtypes", *PASSED, text=RIGHT.replace('("float32",)', '{"float32"}')
)
command("right adapters", "many files are open", *PASSED,
        shell="ulimit -n 4096; for i in $(seq 1100); do exec {fd}</dev/null; done; "
              "$PARITY $ADAPTER --only=-forward")  # fmt: skip
command("signals", "SIGCHLD is ignored by the caller", "exit code 3", code=1,
        text=subject(forward="os._exit(3)"), never=("Traceback", "goes on"),
        shell="python3 -c \"import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); "
              "os.execv('/bin/bash', ['bash', '-c', os.environ['PARITY'] + ' ' + "
              "os.environ['ADAPTER'] + ' --only=-forward'])\"")  # fmt: skip
command("signals", "SIGINT is ignored by the caller", *PASSED,
        shell="trap '' INT; $PARITY $ADAPTER --only=-forward & p=$!; sleep 0.9; kill -INT $p; "
              "wait $p")  # fmt: skip
# ---- signals ----


def killed(number: int, after: float | None = None) -> Callable[[Path], list[str]]:
    """The judge gets a signal, while the subject is in a loop in C; nothing may be left."""

    def attempt(folder: Path) -> list[str]:
        loops = subject(forward="open('called', 'w').close(); sum(iter(int, 1))")
        waits = subject(forward="time.sleep(15)") if number == signal.SIGINT else RIGHT
        (folder / "adapter.py").write_text(loops if after is None else waits)
        mark = f"{os.getpid()}-{time.monotonic_ns()}"
        environment = os.environ | {"PYTHONPATH": str(ROOT), MARK: mark, "TMPDIR": str(folder)}
        before = set(folder.iterdir())
        process = subprocess.Popen(
            [sys.executable, "-m", "parity", "check", "adapter.py"], cwd=folder, env=environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip
        until = time.monotonic() + (60 if after is None else after)
        while not (folder / "called").exists() and time.monotonic() < until:
            time.sleep(0.01)
        process.send_signal(number)
        said, _ = process.communicate(timeout=60)
        found = [f"says {said[-500:]!r}"] if "Traceback" in said else []
        if number == signal.SIGINT and process.returncode != 130:
            found.append(f"exit code {process.returncode}: {said[-500:]}")
        if left := left_behind(mark):
            found.append(f"left processes {left}")
        new = {one.name for one in set(folder.iterdir()) - before} - {"called", "__pycache__"}
        return [*found, f"left files {new}"] if new else found

    return attempt


def killed_at_any_time(folder: Path) -> list[str]:
    """Twenty times, from Python's start to the last check; then it runs as if nothing had been."""
    chosen = random.Random(len(str(folder)) * time.monotonic_ns())
    for _ in range(20):
        after = chosen.uniform(0.02, 2.5)
        wrong = killed(signal.SIGKILL, after)(folder)
        if wrong:
            return [f"after {after:.3f} seconds", *wrong]
    return Run(Promise(0, PASSED), CHECKS).attempt(RIGHT)(folder)


CASES.append(Case("signals", "killed at twenty times", killed_at_any_time))
for name, number in {"killed": signal.SIGKILL, "SIGTERM": signal.SIGTERM, "SIGHUP": signal.SIGHUP,
                     "Ctrl-C": signal.SIGINT, "SIGQUIT": signal.SIGQUIT}.items():  # fmt: skip
    CASES.append(Case("signals", f"{name} in a loop in C", killed(number), name == "killed"))
for seconds in (0.2, 0.4, 0.8, 1.2, 1.6):
    attempt = killed(signal.SIGINT, seconds)
    CASES.append(Case("signals", f"Ctrl-C after {seconds} s", attempt))
