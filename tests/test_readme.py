"""The README: short, and right as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.pages import ROOT, blocks
from tests.pictures import LARGEST, PICTURE
from tests.test_docs import played

README = ROOT / "README.md"


def test_the_finding_is_the_one_that_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert played(README, tmp_path, capsys) == [1]


def test_the_readme_is_short_and_its_commands_are_these() -> None:
    assert len(README.read_text("utf-8").splitlines()) <= 150
    texts = [block.text for block in blocks(README)]
    for command in (
        "python -m pip install tox && tox\n",
        "python -m pip install tox && tox -e table\n",
    ):
        assert command in texts


def test_the_picture_is_small() -> None:
    assert PICTURE.read_bytes().startswith(b"\x89PNG")
    assert PICTURE.stat().st_size < LARGEST


@pytest.mark.parametrize("page", ["README.md", "docs/reference/folders.md"])
def test_the_folders_and_files_exist(page: str) -> None:
    folders = re.findall(r"^\| `(\w+)/` \|", (ROOT / page).read_text("utf-8"), re.MULTILINE)
    assert {"parity", "scratch", "reference", "bench", "tests"} <= set(folders)
    for folder in folders:
        assert (ROOT / folder).is_dir()
    for file in ("CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", "constraints.txt", "tox.ini"):
        assert (ROOT / file).is_file()
