"""Report A's dying ReLU: is it the hidden units that die, or the output unit?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bench.paper import a_table_1
from bench.paper.a_table_1 import INIT, ROUNDS
from bench.paper.cells import Scale
from bench.paper.figures import BLACK, BLUE, GREEN, RED, SKY, panels
from bench.paper.protocol import WIDTH
from bench.paper.section import Canvas, Found, Section, Verdict, table
from bench.paper.statistics import Array, share, share_of_new
from bench.paper.training import DEAD, WATCHED, Task

TITLE = "Report A: dying ReLU"
STATED = replace(a_table_1.STATED, hidden=("relu", "relu", "relu"))
LAST = {"nothing after the output unit": "", "ReLU after the output unit": "relu"}
COLLAPSED = 40.0  # percent of test points: runs that are wrong on more have learnt nothing
CLAIMED = ROUNDS // 2  # of the report's rounds ended 'near 50 %'

LAYERS = (("hidden 1", SKY), ("hidden 2", BLUE), ("hidden 3", GREEN), ("output", RED))


def _tasks(scale: Scale) -> dict[tuple[str, str], Task]:
    seeds = tuple(range(scale.decided))
    return {
        (last, init): Task(replace(STATED, last=after, **fields), seeds, watch="dead")
        for last, after in LAST.items()
        for init, fields in INIT.items()
    }


def tasks(scale: Scale) -> list[Task]:
    """Each initialisation, with and without the activation after the output unit."""
    return list(_tasks(scale).values())


def section(scale: Scale, found: Found, canvas: Canvas) -> Section:
    """The counts over training, and what they say."""
    each = _tasks(scale)
    results = {key: found(task) for key, task in each.items()}
    dead = {key: _shares(one["watched"]) for key, one in results.items()}
    errors = {
        key: np.array(one["errors"][each[key].protocol.evaluation]["test"])
        for key, one in results.items()
    }
    rows = [_row(key, dead[key][-1], errors[key]) for key in each]
    caption = (
        f"{TITLE}. Units that give 0 at {100 * DEAD:g} % of the training points or more, in "
        f"percent of a layer's, after each epoch; means of {scale.decided} runs. Epoch 0 is before "
        "training."
    )
    conclusion, verdicts = _conclusion(each, dead, errors)
    text = (
        f"{canvas.picture('dying-relu', _figure(dead), caption)}\n\n{table(rows)}\n\n"
        f"Collapsed: more than {COLLAPSED:g} % of test points wrong. In brackets, 95 % intervals."
        f"\n\n{conclusion}"
    )
    return Section(TITLE, text, verdicts)


def _shares(watched: list[list[list[int]]]) -> Array:
    """Dead units in percent of a layer: `[epochs, layers, runs]`."""
    widths = [WIDTH, WIDTH, WIDTH, 1][: len(watched[0])]
    return 100 * np.array(watched) / np.array(widths)[:, None]


def _row(key: tuple[str, str], dead: Array, errors: Array) -> dict[str, str]:
    """One setting after the last epoch."""
    collapsed = errors > COLLAPSED
    low, high = share(int(collapsed.sum()), len(errors))
    both = f"{int((collapsed & (dead[3] > 0)).sum())}" if len(dead) > 3 else "-"
    return {
        "after the output unit": "ReLU" if LAST[key[0]] else "nothing",
        "initial values": key[1],
        "test error": f"{errors.mean():.1f} ± {errors.std(ddof=1):.1f}",
        "collapsed": f"{int(collapsed.sum())} of {len(errors)} [{low:.2f}, {high:.2f}]",
        "of these, output unit dead": both,
        "dead, hidden 1, 2, 3": ", ".join(f"{one.mean():.1f} %" for one in dead[:3]),
        "the same in runs that learn": ", ".join(
            f"{one[~collapsed].mean():.1f} %" if (~collapsed).any() else "-" for one in dead[:3]
        ),
    }


def _figure(dead: dict[tuple[str, str], Array]) -> object:
    figure, axes = panels(len(INIT), len(LAST), size=(3.3, 2.6))
    for axis, ((last, init), shares) in zip(axes.flat, dead.items(), strict=True):
        for (name, colour), own in zip(LAYERS, shares.swapaxes(0, 1), strict=False):
            style = "-" if name != "output" else "--"
            axis.plot(WATCHED, own.mean(-1), style, color=colour, label=name, linewidth=1.8)
        axis.set_xscale("symlog", linthresh=1)
        axis.set_xticks([0, 1, 3, 10, 30, 100], ["0", "1", "3", "10", "30", "100"])
        axis.set(ylim=(-2, 102), xlim=(0, 100))
        axis.set_title(f"{init}\n{last}", fontsize=9, color=BLACK)
    for axis in axes[-1]:
        axis.set_xlabel("epoch")
    for axis in axes[:, 0]:
        axis.set_ylabel("dead units, %")
    handles, labels = axes[-1, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure


def _conclusion(
    each: dict[tuple[str, str], Task],
    dead: dict[tuple[str, str], Array],
    errors: dict[tuple[str, str], Array],
) -> tuple[str, list[Verdict]]:
    """A paragraph, and the verdicts on 'approximately half of the time' and on its cause."""
    said, verdicts, agreeing = [], [], []
    collapsed, hidden = {}, {}
    for last in LAST:
        keys = [key for key in each if key[0] == last]
        collapsed[last] = np.concatenate([errors[key] for key in keys]) > COLLAPSED
        hidden[last] = float(np.mean([dead[key][-1, :3].mean() for key in keys]))
        said.append(
            f"With {last}, {int(collapsed[last].sum())} of {len(collapsed[last])} runs collapse, "
            f"and {hidden[last]:.0f} % of the hidden units are dead at the end."
        )
    without, after = LAST
    keys = [key for key in each if key[0] == after]
    output = np.concatenate([dead[key][-1, 3] for key in keys]) > 0
    start = np.concatenate([dead[key][0, 3] for key in keys]) > 0
    lost = collapsed[after]
    said.append(
        f"In {int((lost & output).sum())} of the {int(lost.sum())} that collapse the output unit "
        f"is dead, in {int((lost & start).sum())} of them before training began; in the "
        f"{int((~lost).sum())} that learn, it is so in {int((~lost & output).sum())}."
    )
    settled = collapsed[without].mean() < 0.01 and (lost & output).sum() >= 0.9 * lost.sum() > 0
    said.append(
        "So it is dying ReLU, but of the output unit: hidden ones die in either case, and networks "
        "learn with those that are left. That a ReLU stood there the report does not say; its "
        "numbers do."
        if settled
        else "What the runs die of is not settled by these."
    )
    for (last, init), own in errors.items():
        count = int((own > COLLAPSED).sum())
        low, high = share_of_new(count, len(own), ROUNDS)
        if low <= CLAIMED <= high:
            agreeing.append(f"{init}, {last}")
        verdicts.append((last, init, count, low, high))
    stated = verdicts[0]
    count, low, high = stated[2:]
    if low <= CLAIMED <= high:
        verdict = "reproduced"
    elif agreeing:
        verdict = f"reproduced only with {'; or '.join(agreeing)}"
    else:
        verdict = "not reproduced"
    ours = f"as stated {count} of {len(errors[stated[:2]])}: {low} to {high} of {ROUNDS} new runs"
    others = "; ".join(
        f"{init}, {last}: {low} to {high} of {ROUNDS}" for last, init, _, low, high in verdicts[1:]
    )
    text = (
        f"{' '.join(said)} The report says that about half of its runs ended near 50 %, "
        f"{CLAIMED} of {ROUNDS}. Of as many new runs, between so many would (95 %): {ours}; "
        f"{others}."
    )
    claim = Verdict(
        "A, III", "ReLU: about half of the runs near 50 %", "said", ours, f"**{verdict}**"
    )
    cause = Verdict("A, III", "the cause is ReLU units that die", "said", " ".join(said[:3]),
                    "**reproduced only with a ReLU after the output unit, which dies**"
                    if settled else "**not reproduced**")  # fmt: skip
    return text, [claim, cause]
