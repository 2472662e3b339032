"""`tox -e mutants`: mutmut changes scratch in small ways, and the tests must notice.

Survivors are held against `mutants.txt`, which says of each that is expected why it is. The
command fails on a survivor that is not there, on an entry that no survivor answers to any more,
and on a mutant without a verdict. The file is a pytest plugin too, for mutmut's runs.
"""

from __future__ import annotations

import ast
import difflib
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
MUTANTS = ROOT / "mutants"  # where mutmut writes: scratch with all its mutants, and verdicts
EXPLAINED = Path(__file__).with_suffix(".txt")
VERDICTS = {0: "survived", 1: "killed", 3: "killed", 24: "timeout", -24: "timeout", 36: "timeout"}

#: A mutant: its file, its function, and the lines that it changes, as `- old` and `+ new`.
Mutant = tuple[str, str, str]


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Once mutmut has timed the tests, the quickest first: most mutants fail many."""
    times = Path("mutmut-stats.json")
    seconds = json.loads(times.read_text())["duration_by_test"] if times.exists() else {}
    items.sort(key=lambda item: seconds.get(item.nodeid, 0))


def verdicts() -> Iterator[tuple[Mutant, str]]:
    """Every mutant, and what became of it."""
    for meta in sorted(MUTANTS.glob("scratch/**/*.py.meta")):
        source = meta.with_suffix("").read_text()
        lines = source.splitlines()
        functions = {
            node.name: [line.strip() for line in lines[node.lineno - 1 : node.end_lineno]]
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.FunctionDef)
        }
        for key, code in json.loads(meta.read_text())["exit_code_by_key"].items():
            name = key.rpartition(".")[2]  # such as xǁLinearǁforward__mutmut_12
            stem = name.rpartition("_")[0]
            before = [line.replace(f"{stem}_orig(", "(") for line in functions[f"{stem}_orig"]]
            after = [line.replace(f"{name}(", "(") for line in functions[name]]
            changed = [line.rstrip() for line in difflib.ndiff(before, after) if line[0] in "-+"]
            function = stem.removesuffix("__mutmut").replace("ǁ", ".")[2:]
            file = meta.with_suffix("").relative_to(MUTANTS).as_posix()
            mutant = (file, function, "\n".join(changed))
            yield mutant, VERDICTS.get(code, f"no verdict, {code}")


def explained() -> dict[Mutant, str]:
    """What `mutants.txt` has: reasons, each above the mutants that it is for."""
    found, reason = {}, ""
    for block in EXPLAINED.read_text().split("\n\n"):
        if not block.strip():
            continue
        first, *rest = block.strip().splitlines()
        if rest and all(line[0] in "-+" for line in rest):
            file, function = first.split()
            found[file, function, "\n".join(rest)] = reason
        else:
            reason = " ".join([first, *rest])
    return found


def run(*arguments: str) -> None:
    """All mutants, anew: mutmut would keep the verdicts of earlier tests."""
    shutil.rmtree(MUTANTS, ignore_errors=True)
    command = ["mutmut", "run", *arguments]
    one_thread = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    subprocess.run(command, cwd=ROOT, env=os.environ | one_thread, check=True)


def judge() -> bool:
    """Prints what is not as `mutants.txt` has it, and the score; whether all is."""
    found, reasons = list(verdicts()), explained()
    survivors = {mutant for mutant, verdict in found if verdict == "survived"}
    faults = [
        *(f"survived, unexplained: {' '.join(m[:2])}\n{m[2]}" for m in survivors - reasons.keys()),
        *(f"explained, but killed: {' '.join(m[:2])}\n{m[2]}" for m in reasons.keys() - survivors),
        *(f"{verdict}: {' '.join(m[:2])}\n{m[2]}" for m, verdict in found if "no" in verdict),
    ]
    print(*sorted(faults), sep="\n\n", end="\n\n")
    count = Counter(verdict for _, verdict in found)
    caught = count["killed"] + count["timeout"]
    print(
        f"{len(found)} mutants, {caught} caught ({caught / len(found):.1%}; {count['timeout']} by "
        f"a timeout), {count['survived']} survived; {len(reasons)} explained; {len(faults)} faults"
    )
    return not faults


if __name__ == "__main__":
    start = time.monotonic()
    if "--judge" not in sys.argv:
        run(*sys.argv[1:])
        print(f"{(time.monotonic() - start) / 60:.0f} minutes")
    sys.exit(not judge())
