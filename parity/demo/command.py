"""The command: `parity demo`."""

from __future__ import annotations

import argparse
import tempfile
import textwrap
from importlib import resources
from pathlib import Path
from typing import Any

from parity.console import PASSED, progress, undisturbed
from parity.show import files
from parity.subject.error import AdapterError

POINTS, EPOCHS, BATCH, RATE = 1000, 40, 10, 0.2
"""How it is trained."""


def add(commands: Any) -> None:
    """Adds the command to a parser's."""
    demo = commands.add_parser(
        "demo", help="see what parity says of a small framework that has a mistake: ten seconds"
    )
    demo.add_argument("--folder", metavar="FOLDER",
                      help="where framework, adapter and report are written (default: a new folder "
                           "for temporary files)")  # fmt: skip
    demo.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    with undisturbed():
        from parity.run.run import opened, run
        from parity.run.setup.stage import set_up
        from parity.show.html import page
        from parity.show.text import findings_said
    from parity.run.plan import planned

    folder = _written(options.folder)
    adapter = folder / "adapter.py"
    right = f"{_accuracy(folder):.0%} of {POINTS} new points"
    said = [
        f"A student's framework has this Tanh, in {folder / 'course.py'}:",
        _of_tanh((folder / "course.py").read_text("utf-8")),
        f"Trained to tell whether a point lies in a disk, it puts {right} on the right side.\n"
        f"Nothing seems to be wrong. `parity check {adapter}` says:",
    ]
    if why := files.say("\n\n".join(said) + "\n"):
        raise AdapterError(f"the demo cannot be printed: {why}")
    session = opened(adapter)
    try:
        set_up(session)
        checks = planned(session)
        with progress(len(checks)) as bar:
            report = run(session, checks, on_outcome=lambda one: bar.update())
    finally:
        session.close()
    html = folder / "report.html"
    files.write(html, page(report))
    told = [
        *findings_said(report, verbose=False),
        f"The whole report, as a page for people: {html.as_uri()}",
        f"Mend backward in {folder / 'course.py'}, and run it again: parity check {adapter}\n"
        "For a framework of your own: parity new YOUR_FRAMEWORK.py",
    ]
    files.say("\n\n".join(told))
    return PASSED


def _written(name: str | None) -> Path:
    """The folder, with the framework and its adapter.

    Raises:
        AdapterError: it cannot be written, or has such files already.
    """
    folder = Path(name).absolute() if name else Path(tempfile.mkdtemp(prefix="parity-demo-"))
    for file in ("course.py", "adapter.py"):
        target = folder / file
        if target.exists():
            raise AdapterError(f"{target} is there already; --folder names another place")
        text = (resources.files("parity.demo") / "files" / file).read_text("utf-8")
        files.write(files.writable(target), text)
    return folder


def _of_tanh(source: str) -> str:
    """The class with the mistake, as it stands in the framework."""
    begin = source.index("class Tanh")
    end = source.index("\n\n\n", begin)
    return textwrap.indent(source[begin:end], "    ")


def _accuracy(folder: Path) -> float:
    """The share of new points that the framework puts on the right side, once it is trained."""
    import torch

    from parity.subject.adapter import imported

    course = imported(folder / "course.py")
    generator = torch.Generator().manual_seed(0)
    state = torch.random.get_rng_state()
    torch.manual_seed(0)
    network = course.Sequential(course.Linear(2, 25), course.Tanh(), course.Linear(25, 25),
                                course.Tanh(), course.Linear(25, 2))  # fmt: skip
    torch.random.set_rng_state(state)
    criterion, optimizer = course.MSELoss(), course.SGD(network.param(), RATE)
    (x, sides), (others, theirs) = (_disk(generator) for _ in range(2))
    target = torch.nn.functional.one_hot(sides).float()
    for begin in [*range(0, POINTS, BATCH)] * EPOCHS:
        batch = slice(begin, begin + BATCH)
        optimizer.zero_grad()
        criterion.forward(network.forward(x[batch]), target[batch])
        network.backward(criterion.backward())
        optimizer.step()
    return float((network.forward(others).argmax(1) == theirs).float().mean())


def _disk(generator: Any) -> tuple[Any, Any]:
    """Points in a square, and which of them lie in a disk of half its area, around its middle."""
    import torch

    x = torch.rand(POINTS, 2, generator=generator)
    sides = ((x - 0.5).square().sum(1) < 1 / (2 * torch.pi)).long()
    return 2 * x - 1, sides
