"""What checks types and shapes while tests run: beartype, and the names of dimensions within one call of a function.

``jaxtyping.jaxtyped``, which jaxtyping's import hook puts on every function, binds the arguments of each call to the
signature and has each of them checked twice, for longer messages. That took longer than most of the mathematics here,
so ``tests/conftest.py`` puts this decorator in its place: the same annotations, checked once.
"""

from collections.abc import Callable
from dataclasses import is_dataclass
from functools import partial, wraps
from inspect import iscoroutinefunction, isgeneratorfunction
from types import SimpleNamespace
from typing import Any, get_args, get_type_hints

from beartype import BeartypeConf, beartype
from jaxtyping import AbstractArray, TypeCheckError, jaxtyped

SHAPES = jaxtyped("context")  # within it, a name of a dimension means one number
CHECK = beartype(conf=BeartypeConf(violation_type=TypeCheckError))  # a TypeError


def checked(given: Any = None, *, typechecker: Callable[[Any], Any]) -> Any:
    """Check every call of a function, or every making of a dataclass; the decorator in place of ``jaxtyped``."""
    if given is None:
        return partial(checked, typechecker=typechecker)
    if isgeneratorfunction(given) or iscoroutinefunction(given):  # run after they return: theirs is the longer way
        return jaxtyped(given, typechecker=typechecker)
    if not isinstance(given, type):
        return _called(given)
    if is_dataclass(given) and "__init__" in vars(given) and not hasattr(given.__init__, "__wrapped__"):
        given.__init__ = _called(given.__init__)
    return given


def _called(function: Callable[..., Any]) -> Callable[..., Any]:
    known = {name: _known(hint, function.__globals__) for name, hint in function.__annotations__.items()}
    function.__annotations__ = known
    inner = CHECK(function)
    if not any(map(_speaks_of_shapes, known.values())):
        return inner

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        with SHAPES:
            return inner(*args, **kwargs)

    return call


def _known(hint: Any, names: dict[str, Any]) -> Any:
    """Return an annotation without strings; anything goes where it names what is not there, or not yet."""
    if isinstance(hint, type):
        return hint
    try:
        return get_type_hints(SimpleNamespace(__annotations__={"given": hint}), names, include_extras=True)["given"]
    except NameError:
        return Any


def _speaks_of_shapes(hint: Any) -> bool:
    """Say whether an annotation names dimensions."""
    return issubclass(hint, AbstractArray) if isinstance(hint, type) else any(map(_speaks_of_shapes, get_args(hint)))
