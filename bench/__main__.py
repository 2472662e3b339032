"""`python -m bench speed`: what is measured outside of pytest."""

from __future__ import annotations

import argparse
import sys

from tqdm import tqdm

from bench import speed
from bench.conftest import positive, processors
from bench.peers import CONTENDERS


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; 1 if a contender of ours is wrong, 130 if interrupted."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    default = speed.Plan()
    timed = commands.add_parser("speed", help="every engine and every peer, in one table")
    timed.add_argument("--runs", type=positive, nargs="+", default=[*default.runs],
                       help="how many; every batch size for the first (10 1 100 1000)")  # fmt: skip
    timed.add_argument("--batch-sizes", type=positive, nargs="+", default=[*default.batches],
                       help="the first for every number of runs (10 100)")  # fmt: skip
    timed.add_argument("--epochs", type=positive, default=default.epochs, help="of a run (30)")
    timed.add_argument("--rounds", type=positive, default=default.rounds,
                       help="trainings of each contender in a cell (3)")  # fmt: skip
    timed.add_argument("--limit", type=positive, default=int(default.limit), metavar="SECONDS",
                       help="leave out a training that would take longer (30)")  # fmt: skip
    timed.add_argument("--threads", type=processors, default=default.threads, help="(1)")
    options = parser.parse_args(arguments)
    plan = speed.Plan(
        tuple(options.runs), tuple(options.batch_sizes), options.epochs, options.rounds,
        options.limit, options.threads,
    )  # fmt: skip
    try:
        with tqdm(unit="training", file=sys.stderr) as bar:

            def progress(done: str) -> None:
                bar.set_description(done, refresh=False)
                bar.update()

            results = speed.measured(plan, progress)
    except KeyboardInterrupt:
        print("\ninterrupted: nothing is written", file=sys.stderr)
        return 130
    print(speed.text(results))
    print("\nWritten to " + ", ".join(str(file) for file in speed.write(results)) + ".")
    ours = [one.name for one in CONTENDERS if one.ours]
    wrong = [k for k, v in results.parity.items() if v > 1 and k.partition(" ")[2] in ours]
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
