"""The house style, as far as it can be measured; the rules are explained in CONTRIBUTING.md."""

import ast
import doctest
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from inspect import ismodule
from pathlib import Path
from statistics import median
from textwrap import dedent

import pytest

import style
from fewstep.recipes import Recipe, load_recipe
from style import ROOT, SRC, TESTS, Function, Module, modules, place

PAPERS = sorted((SRC / "recipes" / "papers").glob("*.yaml"))
PACKAGES = [".".join(path.parent.relative_to(SRC.parent).parts) for path in sorted(SRC.rglob("__init__.py"))]
TEST_FILES = [
    path for path in sorted(TESTS.rglob("*.py")) if path.name not in ("style.py", "conftest.py", "__init__.py")
]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@cache
def core() -> list[Module]:
    """The modules of the mathematics."""
    return [module for module in modules() if module.part in style.parts_up_to(style.CORE_ENDS)]


@cache
def functions() -> list[Function]:
    """Every function of the package."""
    return [function for module in modules() for function in style.functions(module)]


def check_none(found: list[str]) -> None:
    """Fail with every finding on a line of its own."""
    assert not found, "\n" + "\n".join(sorted(set(found)))


# --- the walk itself


def test_walk_sees_the_whole_package():
    measured = {"modules": len(modules()), "core": len(core()), "functions": len(functions()), "tests": len(TEST_FILES)}
    assert {name: count for name, count in measured.items() if count < style.AT_LEAST[name]} == {}


@pytest.mark.parametrize("package", style.CONTRACTS)
def test_walk_sees_the_pieces_of(package: str):
    files = [path for path in (SRC / package).glob("*.py") if path.stem not in ("__init__", "base")]
    if not files:
        pytest.skip(f"{package} is not written yet")
    assert len(style.concrete(package)) >= 3, f"hardly a class of {package} derives from {style.CONTRACTS[package]}"


def test_every_folder_of_code_is_a_package():
    folders = {path.parent for path in SRC.rglob("*.py")}
    check_none([str(folder) for folder in folders if not (folder / "__init__.py").exists()])


# --- size


def test_no_file_is_longer_than_300_lines():
    check_none([f"{module.at(module.tree)} {module.lines}" for module in modules() if module.lines > 300])


def test_no_function_body_is_longer_than_50_lines():
    check_none([f"{function.name} {function.body}" for function in functions() if function.body > 50])


def test_nine_in_ten_function_bodies_are_under_25_lines():
    bodies = [function.body for function in functions() if function.body]
    assert sum(body < 25 for body in bodies) >= 0.9 * len(bodies)


def test_median_function_body_is_at_most_10_lines():
    assert median(function.body for function in functions() if function.body) <= 10


def test_no_function_has_more_than_6_parameters():
    many = [function for function in functions() if function.parameters > 6]
    check_none([f"{f.name} {f.parameters}" for f in many if f.name not in style.MANY_PARAMETERS])


def test_every_exception_for_parameters_is_still_needed():
    assert set(style.MANY_PARAMETERS) <= {function.name for function in functions() if function.parameters > 6}


def test_no_term_is_longer_than_60_lines():
    sizes = [(module.at(node, node.name), style.class_lines(node)) for module, node in style.concrete("terms")]
    check_none([f"{where} {lines}" for where, lines in sizes if lines > 60])


def test_no_recipe_is_longer_than_40_lines():
    sizes = [(path.name, len(path.read_text(encoding="utf-8").splitlines())) for path in PAPERS]
    check_none([f"{name} {lines}" for name, lines in sizes if lines > 40])


def test_no_example_is_longer_than_60_lines():
    sizes = [(p.name, len(p.read_text(encoding="utf-8").splitlines())) for p in (ROOT / "examples").glob("*.py")]
    check_none([f"{name} {lines}" for name, lines in sizes if lines > 60])


# --- names and words


def test_no_file_is_named_by_what_it_is_not():
    roots = [SRC, TESTS, ROOT / "examples", ROOT / "benchmarks"]
    paths = [path for root in roots for path in root.rglob("*") if path.suffix == ".py" or path.is_dir()]
    check_none(
        [str(path.relative_to(ROOT)) for path in paths if style.BANNED_WORDS & set(path.stem.lower().split("_"))]
    )


def test_everything_exported_has_a_docstring():
    lists = [style.assigned(module.tree.body, "__all__") for module in modules()]
    exported = {name for given in lists if given is not None for name in ast.literal_eval(given)}
    bare = [
        module.at(node, node.name)
        for module in modules()
        for node in module.tree.body
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name in exported and not ast.get_docstring(node)
    ]
    assert exported
    check_none(bare)


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_of_a_package_equal_its_all(package: str):
    names = vars(import_module(package))
    promised = names.get("__all__", [])
    public = {n for n, value in names.items() if not n.startswith("_") and (n in promised or not ismodule(value))}
    assert set(promised) == public


@pytest.mark.parametrize("package", style.CONTRACTS)
def test_every_piece_names_its_source(package: str):
    silent = [
        module.at(node, node.name)
        for module, node in style.concrete(package)
        if not any(style.gives(body, "SOURCE") for body in (node.body, module.tree.body))
    ]
    check_none(silent)


# --- what code may not do


def test_no_assert_in_the_package():
    nodes = [(module, node) for module in modules() for node in ast.walk(module.tree)]
    check_none([module.at(node) for module, node in nodes if isinstance(node, ast.Assert)])


def test_only_the_command_line_prints():
    check_none([where for module in modules() if module.part != "cli" for where in style.calls(module, "print")])


def test_core_asks_no_object_what_it_has():
    check_none([where for module in core() for where in style.calls(module, "hasattr", "getattr")])


def test_core_does_not_log():
    found = [(module, node, name) for module in core() for node, name in style.imports(module)]
    check_none([module.at(node, name) for module, node, name in found if name.split(".")[0] == "logging"])


# --- imports


def test_nothing_imports_from_below_itself():
    strict = place(style.ORDER_ENDS)
    below = [
        module.at(node, f"imports {part or 'the package itself'}, which is below it")
        for module in modules()
        for node, part in style.inner_imports(module)
        if place(part) > (here := place(module.part)) and (here <= strict or place(part) < len(style.ORDER))
    ]
    check_none(below)


def test_core_imports_only_torch():
    found = [(module, node, name) for module in core() for node, name in style.outer_imports(module)]
    assert "torch" in {name for _, _, name in found}
    check_none([module.at(node, name) for module, node, name in found if name not in style.CORE_MAY_IMPORT])


@pytest.mark.parametrize("library", style.ONLY_IN)
def test_library_is_imported_only_in_its_place(library: str):
    allowed = style.ONLY_IN[library].split()
    found = [(module, node) for module in modules() for node, name in style.outer_imports(module) if name == library]
    check_none([module.at(node, library) for module, node in found if module.part not in allowed])


# --- tests


def test_every_test_file_has_a_test():
    named = [path for path in TEST_FILES if path.name.startswith("test_")]
    check_none([str(path.relative_to(ROOT)) for path in named if not style.tests_in(path)])


def test_every_test_claims_something():
    tests = [(path, test) for path in TEST_FILES for test in style.tests_in(path)]
    check_none([f"{path.relative_to(ROOT)}::{t.name}" for path, t in tests if not style.claims_something(t)])


# --- documents


@dataclass(frozen=True)
class Block:
    """One fenced block of Python in a Markdown file; ``line`` is the one of its fence."""

    path: Path
    line: int
    code: str
    slow: bool

    def run(self, namespace: dict[str, object]) -> None:
        """Execute it; a traceback names the line in the Markdown file."""
        exec(compile("\n" * self.line + self.code, str(self.path), "exec"), namespace)


def blocks(path: Path) -> list[Block]:
    """The blocks of Python in a Markdown file, but for those under ``<!-- no-run -->``."""
    found, above, opened, language = [], "", -1, ""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for number, line in enumerate(map(str.strip, lines)):
        if opened < 0 and line.startswith("```"):
            opened, language = number, line.removeprefix("```").split(" ")[0]
        elif opened >= 0 and line == "```":
            if language == "python" and above != "<!-- no-run -->":
                code = dedent("\n".join(lines[opened + 1 : number]))
                found.append(Block(path, opened + 1, code, above == "<!-- slow -->"))
            opened, above = -1, ""
        elif opened < 0 and line:
            above = line
    return found


def runs():
    """Each document once with its fast blocks, and once more, as a slow test, with all if some are slow."""
    for path in DOCUMENTS:
        name, paces = str(path.relative_to(ROOT)), {block.slow for block in blocks(path)}
        if False in paces or path.name == "README.md":
            yield pytest.param(path, False, id=name)
        if True in paces:
            yield pytest.param(path, True, id=f"{name}-slow", marks=pytest.mark.slow)


BRIEF = ("steps=8", "batch=8", "looks=1", "judged=16")
BRIEF_PAIRS = ("pairs.count=32", "pairs.steps=3")


def at_toy_size(name: str, settings: Sequence[str]) -> Recipe:
    """Load a recipe that takes a moment, whatever the settings: a small network, or few updates on few pairs."""
    recipe, small = load_recipe(name, settings), "learners.student.network.unet.widths=[8, 8]"
    if not recipe.needs_teacher:
        return load_recipe(name, [*settings, small, "batch=16", *BRIEF[2:]])
    return load_recipe(name, [*settings, *BRIEF, *(BRIEF_PAIRS if recipe.pairs else ())])


@pytest.mark.usefixtures("brief_looks")
@pytest.mark.parametrize(("path", "slow"), list(runs()))
def test_code_in_documents_runs(path: Path, slow: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    if not path.exists():
        pytest.skip(f"{path.name} is not written yet")
    monkeypatch.chdir(tmp_path)
    if not slow:
        monkeypatch.setattr(import_module("fewstep.jobs.fit"), "load_recipe", at_toy_size)
    namespace: dict[str, object] = {"__name__": "__main__"}
    chosen = [block for block in blocks(path) if slow or not block.slow]
    for block in chosen:
        block.run(namespace)
    assert chosen, f"{path.name} shows no Python that runs"


def test_examples_in_docstrings_hold():
    names = [module.name for module in modules() if ">>> " in module.path.read_text(encoding="utf-8")]
    assert {name: doctest.testmod(import_module(name)).failed for name in names} == dict.fromkeys(names, 0)
