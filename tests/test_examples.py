"""Every example runs, at toy size; what it promises at full size is left to who runs it."""

import importlib.util
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
TOY = {"points": 30, "own_loop": 2}


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_example_runs(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    example.main(TOY[path.stem])
    assert capsys.readouterr().out


def test_every_example_has_a_toy_size():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(TOY)
