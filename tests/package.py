"""The distributions, as users get them: `tox -e package`.

Builds both, looks at what is in them, and installs the wheel into an empty environment beside a
`scratch.py` of somebody's own. There the commands must work; a right framework must pass, and a
wrong one must not.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TRIALS = "bench/gate/validation/trials.jsonl"
LARGEST = 1_500_000
"""How many bytes a distribution may have."""


def run(*command: str | Path, cwd: Path = ROOT, code: int = 0) -> str:
    """What a command prints.

    Raises:
        AssertionError: it ends with another exit code.
    """
    environment = {key: one for key, one in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run([*map(str, command)], cwd=cwd, env=environment, capture_output=True,
                          text=True, check=False)  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == code, f"{command} ended with {done.returncode}, not {code}:\n{said}"
    return done.stdout


def built(folder: Path) -> tuple[Path, Path]:
    """The wheel and the source distribution, each as it should be."""
    run(sys.executable, "-m", "build", "--outdir", folder, ROOT)
    (wheel,), (source,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    run(sys.executable, "-m", "twine", "check", "--strict", wheel, source)
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"parity"}, tops
    for name in ("parity/py.typed", "parity/show/report.css", "parity/demo/files/course.py"):
        assert name in names, f"{name} is not in the wheel"
    with tarfile.open(source) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert TRIALS not in inside, "the gate's trials are in the source distribution"
    assert {"LICENSE", "README.md", "pyproject.toml"} <= inside
    for one in (wheel, source):
        assert one.stat().st_size < LARGEST, f"{one.name} has {one.stat().st_size:,} bytes"
    return wheel, source


def used(wheel: Path, folder: Path) -> None:
    """Installs the wheel where nothing else is, and uses it as on the first day."""
    environment = folder / "environment"
    venv.create(environment, with_pip=True)
    python, parity = environment / "bin" / "python", environment / "bin" / "parity"
    constraints = ROOT / "constraints.txt"
    run(python, "-m", "pip", "install", "--quiet", "--constraint", constraints, wheel)
    own = folder / "own"
    own.mkdir()
    (own / "scratch.py").write_text("mine = True\n")
    assert run(python, "-c", "import parity, scratch; print(scratch.mine)", cwd=own) == "True\n"
    assert "torch" in run(parity, "--version", cwd=own)
    assert "check" in run(parity, "--help", cwd=own)
    assert "Linear (layer)" in run(parity, "list", cwd=own)
    told = run(parity, "demo", "--folder", "demo", cwd=own)
    assert "Tanh input gradient lacks the square in 1 - y^2" in told, told
    adapter, course = own / "demo" / "adapter.py", own / "demo" / "course.py"
    run(parity, "check", adapter, cwd=own, code=1)
    course.write_text(course.read_text().replace("(1 - self.y)", "(1 - self.y**2)"))
    assert "PASSED" in run(parity, "check", adapter, "--html", "report.html", cwd=own)
    assert (own / "report.html").is_file()
    course.rename(own / "mine.py")
    run(parity, "new", "mine.py", cwd=own)
    assert "PASSED" in run(parity, "check", "parity_adapter.py", "--quick", cwd=own)
    missing = subprocess.run([parity, "gate"], cwd=own, capture_output=True, text=True, check=False)
    assert missing.returncode == 2
    assert 'pip install "torch-parity[gate]"' in missing.stderr, missing.stderr


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where both are put")
    parser.add_argument("--tag", help="the tag, such as v0.1.0, which is to be of this version")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        wheel, source = built(folder / "dist")
        print(f"{wheel.name}: {wheel.stat().st_size:,} bytes; {source.name}: "
              f"{source.stat().st_size:,} bytes")  # fmt: skip
        version = wheel.name.split("-")[1]
        assert options.tag in (None, f"v{version}"), f"{options.tag} is no tag of {version}"
        used(wheel, folder)
        print("installed beside a scratch.py of one's own: all commands work")
        if options.keep is not None:
            options.keep.mkdir(parents=True, exist_ok=True)
            for one in (wheel, source):
                shutil.copy(one, options.keep)


if __name__ == "__main__":
    main()
