"""What the style tests measure: sizes, names and imports of the files in src/fewstep, read from their syntax trees.

To change a rule, edit the constants; to see what a rule says, read tests/test_style.py.
"""

import ast
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SRC = ROOT / "src" / "fewstep"
TESTS = ROOT / "tests"

ORDER = (
    # A module imports only from its own line and the lines above it.  What is on no line may import anything, but
    # nothing on a line up to "training" may import it.
    "errors types spectra sharing",
    "files labels versions",
    "scalars draws condition batch",
    "couplings points",
    "process vp",
    "predict",
    "times",
    "levels",
    "pairs endpoints",
    "denoiser",
    "flowmap critic",
    "tapped",
    "turn",
    "solvers",
    "guidance",
    "sampling",
    "terms",
    "training",
    "networks data evaluate",
    "model",
    "recipes",
    "store",
    "interop",
    "export",
    "jobs",
    "cli",
)
CORE_ENDS, ORDER_ENDS = "terms", "training"
CORE_MAY_IMPORT = {"torch", "jaxtyping"}

ONLY_IN = {
    # The libraries that only these parts of fewstep may import; nobody may import one without a part.
    "accelerate": "training jobs",
    "diffusers": "interop export",
    "transformers": "interop export",
    "peft": "networks export",
    "pydantic": "recipes",
    "scipy": "training data",
    "sklearn": "data evaluate",
    "matplotlib": "data evaluate",
    "PIL": "data evaluate",
    "jinja2": "data evaluate export",
    "tensorboard": "",
    "torchmetrics": "",
}

BANNED_WORDS = {"util", "utils", "helper", "helpers", "manager", "managers", "handler", "handlers", "engine", "engines"}
CONTRACTS = {"terms": "Term", "solvers": "Solver", "guidance": "Guidance"}  # package -> what its pieces derive from

AT_LEAST = {"modules": 60, "core": 30, "functions": 300, "tests": 5}  # fewer, and the walk does not see the package

MANY_PARAMETERS = {  # dotted name of a function with more than 6 parameters -> why; may only shrink
    "fewstep.cli.commands.train": "each option of a command is a parameter",
    "fewstep.cli.commands.distill": "each option of a command is a parameter",
    "fewstep.cli.commands.plan": "each option of a command is a parameter",
    "fewstep.cli.commands.sample": "each option of a command is a parameter",
    "fewstep.cli.commands.evaluate": "each option of a command is a parameter",
    "fewstep.cli.commands.bench": "each option of a command is a parameter",
    "fewstep.interop.bridge.Bridge.__init__": "each setting of a network is a parameter, as run.json names it",
    "fewstep.networks.dit.DiT.__init__": "each setting of a network is a parameter, as recipes and run.json name it",
    "fewstep.networks.unet.UNet.__init__": "each setting of a network is a parameter, as recipes and run.json name it",
}


@dataclass(frozen=True)
class Module:
    """One file of the package; ``name`` is dotted and starts with fewstep."""

    path: Path
    name: str
    tree: ast.Module
    lines: int

    @property
    def part(self) -> str:
        """The top-level module or package that it belongs to; empty for fewstep itself."""
        return [*self.name.split("."), ""][1]

    @property
    def package(self) -> list[str]:
        """The names that a relative import starts from."""
        parts = self.name.split(".")
        return parts if self.path.name == "__init__.py" else parts[:-1]

    def at(self, node: ast.AST, what: str = "") -> str:
        """Say where ``node`` is."""
        return f"{self.path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)} {what}".rstrip()


@dataclass(frozen=True)
class Function:
    """One function or method; ``body`` counts its lines without the docstring, 0 where there is nothing else."""

    name: str
    body: int
    parameters: int


@lru_cache
def modules() -> tuple[Module, ...]:
    """Every module of the package."""
    return tuple(_module(path) for path in sorted(SRC.rglob("*.py")))


def _module(path: Path) -> Module:
    parts = path.relative_to(SRC.parent).with_suffix("").parts
    text = path.read_text(encoding="utf-8")
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    return Module(path, name, ast.parse(text, str(path)), len(text.splitlines()))


def parts_up_to(last: str) -> set[str]:
    """The parts of fewstep on the lines of ``ORDER`` up to the one with ``last``."""
    return {part for line in ORDER[: place(last) + 1] for part in line.split()}


def place(part: str) -> int:
    """The line of ``ORDER`` that a part is on; past the last one when it is on none."""
    return next((i for i, line in enumerate(ORDER) if part in line.split()), len(ORDER))


# --- functions and classes


def functions(module: Module) -> Iterator[Function]:
    """Every function and method of a module, nested ones too."""
    yield from _functions(module.tree, module.name, in_class=False)


def _functions(node: ast.AST, prefix: str, in_class: bool) -> Iterator[Function]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            name = f"{prefix}.{child.name}"
            yield Function(name, body_lines(child), parameters(child, in_class))
            yield from _functions(child, name, in_class=False)
        elif isinstance(child, ast.ClassDef):
            yield from _functions(child, f"{prefix}.{child.name}", in_class=True)
        else:
            yield from _functions(child, prefix, in_class)


def body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from the first statement after the docstring to the last one; 0 for a stub."""
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    if not body or all(map(_is_stub, body)):
        return 0
    decorators = [d.lineno for d in getattr(body[0], "decorator_list", [])]
    return (node.end_lineno or 0) - min([body[0].lineno, *decorators]) + 1


def _is_stub(node: ast.stmt) -> bool:
    if isinstance(node, ast.Raise):
        return node.exc is not None and "NotImplementedError" in ast.unparse(node.exc)
    return isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))


def parameters(node: ast.FunctionDef | ast.AsyncFunctionDef, in_class: bool) -> int:
    """How many parameters a caller sees: not self or cls, each star one."""
    given = node.args
    named = [*given.posonlyargs, *given.args, *given.kwonlyargs]
    static = any(ast.unparse(d) == "staticmethod" for d in node.decorator_list)
    return len([*named, *filter(None, [given.vararg, given.kwarg])]) - (in_class and not static)


def classes(package: str) -> Iterator[tuple[Module, ast.ClassDef]]:
    """Every class at the top of a module in that package, with its module."""
    for module in modules():
        if module.part == package:
            yield from ((module, node) for node in module.tree.body if isinstance(node, ast.ClassDef))


def concrete(package: str) -> list[tuple[Module, ast.ClassDef]]:
    """The public classes of a package that derive from its contract, directly or not, and leave nothing abstract."""
    family, found = {CONTRACTS[package]}, list(classes(package))
    while more := {node.name for _, node in found if family & set(map(_base, node.bases))} - family:
        family |= more
    family.remove(CONTRACTS[package])
    return [(m, n) for m, n in found if n.name in family and not n.name.startswith("_") and not is_abstract(n)]


def _base(node: ast.expr) -> str:
    return ast.unparse(node).split("[")[0].split(".")[-1]


def is_abstract(node: ast.ClassDef) -> bool:
    """Whether it says itself that something is missing."""
    return any("abstractmethod" in ast.unparse(d) for f in node.body for d in getattr(f, "decorator_list", []))


def class_lines(node: ast.ClassDef) -> int:
    """Lines of a class with its decorators and docstring."""
    return (node.end_lineno or 0) - min([node.lineno, *(d.lineno for d in node.decorator_list)]) + 1


def assigned(body: Iterable[ast.stmt], name: str) -> ast.expr | None:
    """What a body assigns to that name, if it does."""
    for node in body:
        if isinstance(node, ast.Assign) and name in map(ast.unparse, node.targets):
            return node.value
        if isinstance(node, ast.AnnAssign) and name == ast.unparse(node.target):
            return node.value
    return None


def gives(body: Iterable[ast.stmt], name: str) -> bool:
    """Whether a body assigns something other than nothing to that name."""
    value = assigned(body, name)
    return value is not None and not (isinstance(value, ast.Constant) and not value.value)


def calls(module: Module, *names: str) -> list[str]:
    """Where a module calls one of these names."""
    found = (n for n in ast.walk(module.tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name))
    return [module.at(n, ast.unparse(n.func)) for n in found if ast.unparse(n.func) in names]


# --- imports


@cache
def imports(module: Module) -> tuple[tuple[ast.AST, str], ...]:
    """Each import that runs, wherever it stands: (where, dotted name); one for the type checker does not count."""
    return tuple(_imports(module))


def _imports(module: Module) -> Iterator[tuple[ast.AST, str]]:
    todo: list[ast.AST] = [module.tree]
    while todo:
        node = todo.pop()
        checker_only = isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        todo.extend(node.orelse if isinstance(node, ast.If) and checker_only else ast.iter_child_nodes(node))
        yield from ((node, name) for name in _imported(node, module))


def _imported(node: ast.AST, module: Module) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        package = module.package[: len(module.package) + 1 - node.level] if node.level else []
        source = ".".join([*package, *filter(None, [node.module])])
        return [f"{source}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
        return [str(a.value) for a in node.args[:1] if isinstance(a, ast.Constant)]
    return []


def inner_imports(module: Module) -> Iterator[tuple[ast.AST, str]]:
    """The parts of fewstep that a module imports; empty for a name of the package itself."""
    for node, name in imports(module):
        first, _, rest = name.partition(".")
        part = rest.split(".")[0]
        if first == "fewstep":
            yield node, part if (SRC / part).is_dir() or (SRC / f"{part}.py").exists() else ""


def outer_imports(module: Module) -> Iterator[tuple[ast.AST, str]]:
    """The libraries that a module imports, without the standard library."""
    for node, name in imports(module):
        library = name.split(".")[0]
        if library != "fewstep" and library not in sys.stdlib_module_names:
            yield node, library


# --- tests


@cache
def tests_in(path: Path) -> list[ast.FunctionDef]:
    """The test functions of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name.startswith("test_")]


def claims_something(test: ast.FunctionDef) -> bool:
    """Whether a test can fail: an assertion on something, an expected error, or a call to a check."""
    return any(map(_claims, ast.walk(test)))


def _claims(node: ast.AST) -> bool:
    if isinstance(node, ast.Assert):
        return not isinstance(node.test, ast.Constant)
    name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
    return name in ("pytest.raises", "pytest.warns") or name.split(".")[-1].startswith(("check_", "assert_"))
