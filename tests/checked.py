"""What checks types and shapes while tests run: beartype, and the names of dimensions within one call of a function.

``jaxtyping.jaxtyped``, which jaxtyping's import hook puts on every function, binds the arguments of each call to the
signature and has each of them checked twice, for longer messages. That took longer than most of the mathematics here,
so ``tests/conftest.py`` puts this decorator in its place: the same annotations, checked once.
"""

from collections.abc import Callable
from dataclasses import is_dataclass
from functools import partial, wraps
from inspect import iscoroutinefunction, isgeneratorfunction
from typing import Any, get_args

from jaxtyping import AbstractArray, jaxtyped

SHAPES = jaxtyped("context")  # within it, a name of a dimension means one number
Checker = Callable[[Any], Any]


def checked(given: Any = None, *, typechecker: Checker) -> Any:
    """Check every call of a function, or every making of a dataclass; the decorator in place of ``jaxtyped``."""
    if given is None:
        return partial(checked, typechecker=typechecker)
    if isgeneratorfunction(given) or iscoroutinefunction(given):  # run after they return: theirs is the longer way
        return jaxtyped(given, typechecker=typechecker)
    if not isinstance(given, type):
        return _called(given, typechecker)
    if is_dataclass(given) and "__init__" in vars(given) and not hasattr(given.__init__, "__wrapped__"):
        given.__init__ = _called(given.__init__, typechecker)
    return given


def _called(function: Callable[..., Any], typechecker: Checker) -> Callable[..., Any]:
    inner = typechecker(function)
    if not any(map(_speaks_of_shapes, function.__annotations__.values())):
        return inner

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        with SHAPES:
            return inner(*args, **kwargs)

    return call


def _speaks_of_shapes(hint: Any) -> bool:
    """Say whether an annotation names a dimension; one that is still a string may."""
    if isinstance(hint, type):
        return issubclass(hint, AbstractArray)
    return isinstance(hint, str) or any(map(_speaks_of_shapes, get_args(hint)))
