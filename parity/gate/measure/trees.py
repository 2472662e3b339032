"""The two trees that are timed: the merge base and the head, each exported to a folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from parity.gate.data.broken import Broken
from parity.gate.measure.arm import MARK


@dataclass(frozen=True)
class Base:
    """What the head is held against.

    Args:
        commit: of the merge base; empty where there is none.
        why: how it was found, or why there is none.
    """

    commit: str
    why: str


def git(
    root: Path, *arguments: str, check: bool = True, environment: Mapping[str, str] | None = None
) -> str:
    """What git prints; nothing if it fails and need not succeed.

    Raises:
        Broken: git is missing, or fails.
    """
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, check=False,
            env={**os.environ, **(environment or {})},
        )  # fmt: skip
    except OSError as error:
        raise Broken(f"git cannot be run: {error}") from None
    if b"not a git repository" in done.stderr:
        raise Broken(f"{root} is in no git repository: git init, and commit what is to be judged")
    if done.returncode and check:
        raise Broken(f"git {arguments[0]} fails: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout.decode(errors="replace").strip() if not done.returncode else ""


def base_of(root: Path, wanted: str | None = None) -> Base:
    """The merge base of the head with a branch, or what the head changes on the main branch.

    Args:
        wanted: a branch or commit. Default: the branch that a pull request is for, as GitHub
            says it, else the remote's own, main or master; on that branch itself, the commit
            before; with changes that are not committed, the last commit.

    Raises:
        Broken: no such commit, or history too shallow to know.
    """
    if wanted is not None and not wanted.strip():
        raise Broken("--base takes a commit or a branch; it got an empty text")
    head = git(root, "rev-parse", "--verify", "HEAD^{commit}", check=False)
    if not head:
        return Base("", "there is no commit yet")
    shallow = git(root, "rev-parse", "--is-shallow-repository") == "true"
    target = os.environ.get("GITHUB_BASE_REF")
    names = [wanted] if wanted is not None else [f"origin/{target}"] if target else _BRANCHES
    for name in names:
        if not git(root, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}", check=False):
            continue
        found = git(root, "merge-base", name, head, check=False)
        if not found:
            raise Broken(f"no merge base with {name}{_DEEPER if shallow else ''}")
        if found != head:
            return Base(found, f"merge base with {name}")
        if wanted:
            raise Broken(f"{name} is the head itself, or comes after it: it takes an earlier one")
        break
    else:
        if wanted or target:
            raise Broken(f"there is no commit {names[0]}{_DEEPER if shallow else ''}")
    if changed(root):
        return Base(head, "the last commit: there are changes that are not committed")
    before = git(root, "rev-parse", "--verify", "--quiet", "HEAD^1", check=False)
    if not before:
        if shallow:
            raise Broken(f"the commit before the head is not here{_DEEPER}")
        return Base("", "the head is the first commit")
    return Base(before, "the commit before the head")


def changed(root: Path) -> bool:
    """Whether files that git follows have changes that are not committed."""
    return bool(git(root, "status", "--porcelain", "--untracked-files=no"))


_BRANCHES = ["origin/HEAD", "origin/main", "origin/master", "main", "master"]
_DEEPER = ": the history is too shallow; fetch all of it (actions/checkout: fetch-depth: 0)"


def export(root: Path, commit: str | None, folder: Path, name: str) -> Path:
    """Writes the files of a commit, or of the working tree as it is, to a new folder.

    Args:
        commit: None: the working tree, without what git ignores.
        name: of the arm that will run it, which the folder is marked by.
    """
    folder.mkdir(parents=True)
    packed = subprocess.run(
        ["git", "-C", str(root), "archive", "--format=tar", commit or _snapshot(root)],
        capture_output=True, check=False,
    )  # fmt: skip
    if packed.returncode:
        raise Broken(f"git archive fails: {packed.stderr.decode(errors='replace').strip()}")
    with tarfile.open(fileobj=BytesIO(packed.stdout)) as archive:
        archive.extractall(folder, filter="data")
    (folder / MARK).write_text(name)
    return folder


def _snapshot(root: Path) -> str:
    """A tree of git's of the working tree as it is, by an index of its own."""
    with temporary() as folder:
        index = {"GIT_INDEX_FILE": str(Path(folder, "index"))}
        git(root, "read-tree", "HEAD", environment=index)
        git(root, "add", "--all", ".", environment=index)
        return git(root, "write-tree", environment=index)


def temporary() -> tempfile.TemporaryDirectory[str]:
    """A folder for both; the two names in it are of the same length, as paths are part of what a
    process has in memory. What a gate that was killed has left is removed."""
    for left in Path(tempfile.gettempdir()).glob("parity-gate-*-*"):
        process = left.name.split("-")[2]
        if process.isdigit() and not _lives(int(process)):
            shutil.rmtree(left, ignore_errors=True)
    return tempfile.TemporaryDirectory(prefix=f"parity-gate-{os.getpid():07}-")


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        pass
    return True
