"""What `parity gate` judges of this project; `pyproject.toml` names this file."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from bench import deep, own
from bench.gate import accuracies, counts, trajectories
from bench.measure import interleaved
from bench.steps import epoch
from parity.gate import Gate
from reference import pairs
from reference.pairs import ModelPair

ROUNDS, BATCH = 30, 10

REPORTED = [pair for pair in pairs.MODELS if pair.name in ("model_1", "model_2")]


def step_beside_torch(pair: ModelPair) -> tuple[list[float], list[float]]:
    """Seconds of epochs of training steps, of scratch and of torch in turn."""
    ours, theirs = (epoch(pair, side, BATCH, "cpu") for side in ("scratch", "torch"))
    interleaved(ours, theirs, 5, "cpu")
    return interleaved(ours, theirs, ROUNDS, "cpu")


def counted(one: deep.Deep) -> dict[str, int]:
    """What a step of a model beyond the reports' takes, at batch 10."""
    x, t = trajectories.inputs(one, BATCH)
    return counts.of_a_step(one.pair, x, t.flatten())


gate = Gate(
    subject=own.SUBJECT,
    trajectories={
        **{f"{p}, 10 steps": partial(trajectories.first_steps, p) for p in pairs.MODELS},
        **{f"{p}, a whole run": partial(trajectories.whole_run, p) for p in REPORTED},
        **{
            f"{one}, {deep.STEPS} steps": partial(trajectories.deep_steps, one) for one in deep.DEEP
        },
    },
    counts={
        **{f"{pair} step": partial(counts.of_disk, pair) for pair in pairs.MODELS},
        **{f"{one} step": partial(counted, one) for one in deep.DEEP},
    },
    timed=Path(__file__).with_name("timed.py"),
    against_torch={f"{pair} step": partial(step_beside_torch, pair) for pair in REPORTED},
    pairs={str(pair): partial(accuracies.of_pairs, pair) for pair in REPORTED},
    runs={str(pair): partial(accuracies.of_runs, pair) for pair in REPORTED},
)
