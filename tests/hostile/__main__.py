"""`python -m tests.hostile`: all attempts, and how many of each group were survived."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tabulate import tabulate
from tqdm import tqdm

from tests.hostile import CASES


def main() -> int:
    """0: all survived; 1: some were not."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__)
    parser.add_argument("only", nargs="?", default="", help="cases whose name has this in it")
    only = parser.parse_args().only
    tried: dict[str, list[bool]] = {}
    for case in tqdm([one for one in CASES if only in str(one)], disable=None):
        with tempfile.TemporaryDirectory() as folder:
            wrong = case.attempt(Path(folder))
        tried.setdefault(case.group, []).append(not wrong)
        if wrong:
            tqdm.write(f"{case}: {'; '.join(wrong)}", file=sys.stderr)
    rows = [(group, len(ones), sum(ones)) for group, ones in tried.items()]
    rows.append(("all", sum(row[1] for row in rows), sum(row[2] for row in rows)))
    print(tabulate(rows, headers=("group", "attempts", "survived")))
    return 0 if rows[-1][1] == rows[-1][2] else 1


if __name__ == "__main__":
    sys.exit(main())
