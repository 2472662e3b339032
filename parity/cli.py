"""The command: `parity check`, `parity kernel`, `parity gate`, `parity list`, `parity new`."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import os
import platform
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from parity import console
from parity.classroom import command as classroom
from parity.console import (
    handed_out,
    limits,
    outputs_of,
    progress,
    reports,
    settings_of,
    undisturbed,
)
from parity.demo import command as demo
from parity.gate import command as gate
from parity.kernels import command as kernels
from parity.play.broken import Broken, Own, Stopped, legible, place
from parity.play.remote import GIBIBYTES, Process
from parity.show.plain import plain
from parity.subject.error import AdapterError

if TYPE_CHECKING:
    from parity.judge.outcome import Outcome

PASSED, FAULT, COULD_NOT_RUN = console.PASSED, console.FAULT, console.COULD_NOT_RUN
SHOWN = 8  # variants of a class, in a list of all


EXAMPLES = """\
examples:
  parity check adapter.py                        every check
  parity check adapter.py --only tanh -v         those of Tanh alone, a row for each
  parity check adapter.py --html report.html     a page for people
  parity check adapter.py --forbid torch.nn,torch.autograd,torch.optim
  parity check adapter.py --submissions class/*/ --html pages --csv grades.csv

exit codes: 0 all passed; 1 a fault; 2 it could not run, or not to its end; 130 interrupted
"""


def main(arguments: list[str] | None = None) -> int:
    """Runs the command. 0: all passed; 1: a fault; 2: it could not run, or not to its end."""
    parser = _parser()
    if "_ARGCOMPLETE" in os.environ:  # a shell asks how a line may go on
        import argcomplete

        argcomplete.autocomplete(parser)
    options = parser.parse_args(arguments)
    try:
        return int(options.run(options))
    except (AdapterError, Stopped) as error:
        return _refused(str(error))
    except KeyboardInterrupt:
        print("\nparity: interrupted, nothing written", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `parity list | head`
        sys.stderr.close()
        return COULD_NOT_RUN
    except MemoryError:
        return _refused("there is not enough memory for parity itself")
    except Exception as error:
        if getattr(options, "debug", False):
            raise
        what = f"{type(error).__name__}: {legible(str(error))}{place(error)}"
        if isinstance(error, Own):  # in the subject's process: its last line says what
            what = legible(str(error).splitlines()[-1])
        return _refused(f"an error of parity's own, {what}; --debug shows where it comes from")


def _refused(why: str) -> int:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        print(plain(f"parity: {why}"), file=sys.stderr)
    return COULD_NOT_RUN


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="parity", description=__doc__)
    parser.add_argument("--version", action="version", version=_versions())
    commands = parser.add_subparsers(required=True, metavar="command")

    check = commands.add_parser(
        "check", help="check a framework against torch, layer by layer",
        formatter_class=argparse.RawDescriptionHelpFormatter, epilog=EXAMPLES,
    )  # fmt: skip
    check.add_argument("adapter", help="the Python file that defines `subject`")
    check.add_argument("--only", action="append", default=[], metavar="ID",
                       help="checks whose id has this in it, such as Linear or 'float32-*grad'; "
                            "may be given several times")  # fmt: skip
    check.add_argument("--quick", action="store_true",
                       help="leave out other sizes, magnitudes, several of a class, an optimizer's "
                            "later life")  # fmt: skip
    check.add_argument("--strict", action="store_true",
                       help="remarks fail too: what differs from torch by choice, loses digits, "
                            "or is wrong at an edge")  # fmt: skip
    check.add_argument("--seed", type=int, default=0, help="of all that is random (default: 0)")
    check.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    check.add_argument("--forbid", type=_modules, default=(), metavar="MODULES",
                       help="modules that the framework may not use, such as "
                            "torch.nn,torch.autograd,torch.optim or numpy: each use is refused and "
                            "reported, with file and line; the adapter may")  # fmt: skip
    check.add_argument("--name", help="what reports call it (default: the adapter's name for it)")
    limits(check, seconds=20.0, of="one call of the subject")
    reports(check)
    classroom.add(check)
    check.set_defaults(run=_check)

    kernels.add(commands)

    listed = commands.add_parser(
        "list", help="list the checks of an adapter, or all there are, or what is known of a class"
    )
    listed.add_argument("adapter", nargs="?",
                        help="the Python file that defines `subject`, or a class of torch, such as "
                             "Conv2d: its options, shapes and known mistakes")  # fmt: skip
    listed.set_defaults(run=_list)

    gate.add(commands)
    demo.add(commands)

    new = commands.add_parser("new", help="write the skeleton of an adapter")
    new.add_argument("module", help="the framework: a Python file, or a module's name")
    new.add_argument("-o", "--output", metavar="FILE", help="default: parity_adapter.py")
    new.add_argument("--no-import", action="store_true",
                     help="write it alone; else it is tried, and the settings that it lacks are "
                          "written into it")  # fmt: skip
    new.set_defaults(run=_new)
    return parser


def _versions() -> str:
    """What is installed, without importing it."""
    found = []
    for name in ("torch-parity", "torch", "numpy"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found.append(f"{name} {metadata.version(name)}")
    return ", ".join([*found, f"Python {platform.python_version()}"])


def _modules(text: str) -> tuple[str, ...]:
    """Names of modules, with commas between them."""
    names = tuple(filter(None, (one.strip() for one in text.split(","))))
    odd = [one for one in names if not all(part.isidentifier() for part in one.split("."))]
    if odd or not names:
        raise argparse.ArgumentTypeError(f"takes names of modules, such as torch.nn, not {text!r}")
    return names


def _check(options: argparse.Namespace) -> int:
    if options.submissions is not None:
        return classroom.run(options, _settings(options))
    classroom.refuse_alone(options)
    # A GPU's memory is mapped into the address space, which is what the limit is on.
    memory = options.memory if options.device == "cpu" else 0.0
    if any(name.startswith("TQDM_") for name in os.environ):
        progress(0).close()  # torch imports it too, here and in the subject's process
    with _started(options.adapter, memory, options.forbid) as process:
        return _checked(options, process, memory)


@contextlib.contextmanager
def _started(
    adapter: str, gibibytes: float = GIBIBYTES, forbidden: tuple[str, ...] = ()
) -> Iterator[Process]:
    """The adapter's process, which imports torch while this one does; at the end it is ended."""
    try:
        process = Process(adapter, gibibytes, forbidden=forbidden)
    except Broken as broken:
        raise AdapterError(str(broken)) from None
    try:
        yield process
    finally:
        process.end()


def _checked(options: argparse.Namespace, process: Process, memory: float) -> int:
    with undisturbed():
        import parity.run.run
        import parity.show.html  # noqa: F401

    from parity.run.plan import planned
    from parity.run.run import opened, run
    from parity.run.setup.stage import set_up

    outputs = outputs_of(options, options.adapter)
    until = time.monotonic() + options.total_seconds
    session = opened(
        options.adapter, seconds=options.seconds, gibibytes=memory, process=process, until=until,
        forbidden=options.forbid,
    )  # fmt: skip
    with contextlib.closing(session):
        set_up(session)
        only = tuple(options.only)
        checks = planned(
            session, device=options.device, seed=options.seed, only=only, quick=options.quick
        )
        if not checks:
            what = f"no check has {' or '.join(only)} in its id" if only else "nothing to check"
            reasons = {f"{c}: {c.missing}": 0 for c in session.description.cases if c.missing}
            what += f" ({'; '.join(reasons)})" if reasons and not only else ""
            raise AdapterError(f"{options.adapter}: {what}; see `parity list {options.adapter}`")
        with progress(len(checks)) as bar:

            def on_outcome(outcome: Outcome) -> None:
                bar.set_postfix_str(plain(outcome.case), refresh=False)
                bar.update()

            found = run(
                session, checks, complete=not only and not options.quick, on_outcome=on_outcome,
                settings=_settings(options), until=until, strict=options.strict,
                forbidden=options.forbid,
            )  # fmt: skip
        return handed_out(options, outputs, replace(found, name=options.name or found.name))


def _settings(options: argparse.Namespace) -> dict[str, object]:
    own = {
        "depth": "quick" if options.quick else "all",
        "seed": options.seed,
        "device": options.device,
    }
    return settings_of(options, options.adapter, own)


def _list(options: argparse.Namespace) -> int:
    given = options.adapter
    if given is not None and (not given.isidentifier() or Path(given).exists()):
        with _started(given) as process:
            return _list_of(given, process)
    from parity.catalogue.table import CATALOGUE
    from parity.checks.kinds import KINDS

    if given is not None:
        return _listed([_of_class(given)])
    lines = []
    for entry in CATALOGUE.values():
        variants = [variant or "default" for variant in entry.variants]
        more = f" and {len(variants) - SHOWN} more" if len(variants) > SHOWN else ""
        shapes = dict.fromkeys(str(list(entry.shape_of(name))) for name in entry.variants)
        at = f", at {' or '.join(shapes)}" if entry.kind in ("layer", "loss") else ""
        lines.append(f"{entry.name} ({entry.kind}): {', '.join(variants[:SHOWN])}{more}{at}")
    lines.append("`parity list CLASS` names the mistakes that are known of one.")
    for kind, module in KINDS.items():
        lines += ["", f"checks of a{'n' * (kind[0] in 'aeiou')} {kind}:"]
        for name, check in module.CHECKS.items():
            lines.append(f"  {name}: {_first_sentence(check.__doc__)}")
    return _listed(lines)


def _of_class(name: str) -> str:
    """What is known of a class of torch.

    Raises:
        AdapterError: there is no such class in the catalogue.
    """
    from parity.catalogue.table import CATALOGUE

    by_name = {entry.name.lower(): entry for entry in CATALOGUE.values()}
    if name.lower() not in by_name:
        near = difflib.get_close_matches(name.lower(), by_name, 1)
        meant = f"did you mean {by_name[near[0]].name}?" if near else "see parity list"
        raise AdapterError(f"there is no adapter {name}, and no class {name} is known: {meant}")
    with undisturbed():
        from parity.show.catalogue import section

        return section(by_name[name.lower()])


def _listed(lines: list[str]) -> int:
    from parity.show import files

    if why := files.say("\n".join(lines)):
        raise AdapterError(f"the list cannot be printed: {why}")
    return PASSED


def _list_of(adapter: str, process: Process) -> int:
    with undisturbed():
        import parity.run.run  # noqa: F401
    from parity.run.plan import planned
    from parity.run.run import opened

    session = opened(adapter, process=process)
    try:
        lines = [legible(str(one)) for one in planned(session)]
        for case in session.description.cases:
            if case.missing:
                lines.append(f"not offered: {legible(str(case))}: {case.missing}")
    finally:
        session.close()
    return _listed(lines)


def _first_sentence(doc: str | None) -> str:
    return " ".join((doc or "").split("\n\n")[0].split())


def _new(options: argparse.Namespace) -> int:
    from parity.show import files
    from parity.subject.skeleton import skeleton

    path = Path(options.output or "parity_adapter.py")
    if path.is_file():
        raise AdapterError(f"{path} is there already; --output names another")
    files.writable(path)
    files.write(path, skeleton(options.module, path.parent))
    if options.no_import:
        print(f"wrote {path}; look it over, then: parity check {path}")
        return PASSED
    with undisturbed():
        from parity.run.tune import tuned
    found, why = tuned(path, files.write)
    also = f"; found by trying it: {', '.join(found)}" if found else ""
    print(plain(f"wrote {path}{also}"))
    if why:
        print(plain(f"it does not run yet: {why}"))
    print(f"look it over, then: parity check {path}")
    return PASSED


if __name__ == "__main__":
    sys.exit(main())
