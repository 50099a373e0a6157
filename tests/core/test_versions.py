"""Which commit made a number."""

import subprocess

import pytest

from fewstep import versions


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A repository with a package in it, of which versions.py believes to be a part."""
    (tmp_path / "package" / "recipes").mkdir(parents=True)
    for name in ("versions.py", "recipes/measured.json"):
        (tmp_path / "package" / name).write_text("1")
    (tmp_path / "elsewhere.txt").write_text("1")
    monkeypatch.setattr(versions, "__file__", str(tmp_path / "package" / "versions.py"))
    return tmp_path


def commit_all(folder):
    who = ("-c", "user.name=n", "-c", "user.email=e@example.org")
    for words in (("init", "-q"), ("add", "."), (*who, "commit", "-q", "-m", "m")):
        subprocess.run(["git", *words], cwd=folder, check=True)


def test_commit_is_none_outside_of_a_repository(package, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(package.parent))
    assert versions.commit() is None


def test_commit_is_none_when_a_repository_does_not_hold_the_package(package):
    (package / ".gitignore").write_text("package")
    commit_all(package)
    assert versions.commit() is None


def test_commit_says_whether_the_package_was_changed(package):
    commit_all(package)
    clean = versions.commit()
    (package / "elsewhere.txt").write_text("2")
    (package / "package" / "recipes" / "measured.json").write_text("2")
    assert versions.commit() == clean
    assert "+" not in clean
    (package / "package" / "versions.py").write_text("2")
    assert versions.commit() == f"{clean}+"
