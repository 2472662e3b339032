"""What is done at many seeds is kept, and not done again while the code is the same."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests import seeds


def process_of(seed: int) -> list[int]:
    return [seed, os.getpid()]


def test_an_interrupted_run_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seeds, "ROOT", tmp_path)
    monkeypatch.setattr(seeds, "code", lambda: "one")
    file = tmp_path / ".tried.json"
    file.write_text(json.dumps({"code": "one", "seeds": {"1": "there already", "7": "beyond"}}))
    found = seeds.over(3, 1, process_of, "tried")
    assert found["1"] == "there already"
    assert [found[seed][0] for seed in ("0", "2")] == [0, 2]
    assert found["0"][1] != os.getpid()
    assert found.keys() == {"0", "1", "2"}
    assert seeds.kept(file)["seeds"].keys() == {"0", "1", "2", "7"}

    monkeypatch.setattr(seeds, "code", lambda: "another")
    assert seeds.kept(file) == {"code": "another", "seeds": {}}
    file.write_text("{")
    assert seeds.kept(file)["seeds"] == {}
