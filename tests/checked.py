"""What checks types and shapes while tests run: beartype, and the names of dimensions within one call of a function.

``jaxtyping.jaxtyped``, which jaxtyping's import hook puts on every function, binds the arguments of each call to the
signature and has each of them checked twice, for longer messages. That took longer than most of the mathematics here,
so ``tests/conftest.py`` puts this decorator in its place. It checks the same annotations once; what it makes of them
waits for the first call, and forms (precisions and shapes) that a function has taken before are not judged again.
"""

from collections.abc import Callable
from dataclasses import is_dataclass
from functools import partial, wraps
from inspect import iscoroutinefunction, isgeneratorfunction, signature
from types import FunctionType, NoneType, SimpleNamespace, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from beartype import BeartypeConf, beartype
from beartype.door import die_if_unbearable
from jaxtyping import AbstractArray, TypeCheckError, jaxtyped
from torch import Tensor

SHAPES = jaxtyped("context")  # within it, a name of a dimension means one number
CONF = BeartypeConf(violation_type=TypeCheckError)  # a TypeError
CHECK = beartype(conf=CONF)


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


def _called(function: FunctionType) -> Callable[..., Any]:
    inner: Callable[..., Any] | None = None

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        nonlocal inner
        if inner is None:
            inner = _judged(function)
        return inner(*args, **kwargs)

    return call


def _judged(function: FunctionType) -> Callable[..., Any]:
    known = {name: _known(hint, function.__globals__) for name, hint in function.__annotations__.items()}
    whole = CHECK(_with(function, known))
    shaped = {name for name, hint in known.items() if _speaks_of_shapes(hint)}
    if not shaped:
        return whole
    if not all(_is_told_by_forms(known[name]) for name in shaped):
        return _within_one_call(whole)
    loose = CHECK(_with(function, {name: Any if name in shaped else hint for name, hint in known.items()}))
    return _once_per_form(whole, loose, known)


def _with(function: FunctionType, hints: dict[str, Any]) -> FunctionType:
    """Return the function with these annotations, and leave the one that was given."""
    made = FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    made.__kwdefaults__, made.__annotations__ = function.__kwdefaults__, hints
    made.__qualname__, made.__module__ = function.__qualname__, function.__module__
    return made


def _within_one_call(whole: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        with SHAPES:
            return whole(*args, **kwargs)

    return call


def _once_per_form(whole: Callable[..., Any], loose: Callable[..., Any], known: dict[str, Any]) -> Callable[..., Any]:
    """Let ``whole`` judge arguments of a new form; then ``loose``, which does not look at tensors, is as strict."""
    returned: dict[Any, set[Any]] = {}  # what was accepted: the forms of results by those of the arguments

    def call(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        given = _form((*args, *kwargs.values())), *kwargs
        accepted = returned.get(given)
        if accepted is None:
            with SHAPES:
                result = whole(*args, **kwargs)
            returned[given] = {_form(result)}
            return result
        result = loose(*args, **kwargs)
        form = _form(result)
        if form not in accepted:
            named = signature(whole).bind(*args, **kwargs).arguments
            with SHAPES:
                for name, value in (*named.items(), ("return", result)):
                    die_if_unbearable(value, known.get(name, Any), conf=CONF)
            accepted.add(form)
        return result

    return call


def _form(value: Any) -> Any:
    """What a check of shapes looks at: precision and shape of a tensor, and of all in a tuple; else the type."""
    if isinstance(value, Tensor):
        return value.dtype, value.shape
    if isinstance(value, tuple):
        return type(value), *map(_form, value)
    return type(value)


def _known(hint: Any, names: dict[str, Any]) -> Any:
    """Return an annotation without strings; anything goes where it names what is not there."""
    if isinstance(hint, type):
        return hint
    try:
        return get_type_hints(SimpleNamespace(__annotations__={"given": hint}), names, include_extras=True)["given"]
    except NameError:
        return Any


def _speaks_of_shapes(hint: Any) -> bool:
    """Say whether an annotation names dimensions."""
    return issubclass(hint, AbstractArray) if isinstance(hint, type) else any(map(_speaks_of_shapes, get_args(hint)))


def _is_told_by_forms(hint: Any) -> bool:
    """Say whether values of one form are all right or all wrong: tensors, None, and unions or tuples of these."""
    if get_origin(hint) in (Union, UnionType, tuple):
        return all(map(_is_told_by_forms, get_args(hint)))
    return hint in (Tensor, NoneType) or (isinstance(hint, type) and issubclass(hint, AbstractArray))
