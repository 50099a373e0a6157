"""Types and shapes are checked while tests run, in the package and by the decorator."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch
from beartype import beartype
from jaxtyping import Float, TypeCheckError
from torch import Tensor

import fewstep as fs
from checked import checked


def typed(given):
    return checked(given, typechecker=beartype)


@typed
def product(x: Float[Tensor, "a b"], y: Float[Tensor, "b c"]) -> Float[Tensor, "a c"]:
    return x @ y


@typed
def halved(x: Float[Tensor, " a"]) -> Float[Tensor, " a"]:
    return x[: len(x) // 2]


@typed
def cut(x: Float[Tensor, " a"], size: int) -> Float[Tensor, " a"]:
    return x[:size]


@typed
def numbers(count: int) -> Iterator[int]:
    yield from range(count)


@typed
@dataclass(frozen=True)
class Pair:
    one: Float[Tensor, " a"]
    other: Float[Tensor, " a"]


def test_the_package_is_checked():
    process, x, t = fs.EDM(sigma_data=0.5), torch.zeros(3, 2), torch.ones(3, dtype=torch.float64)
    assert process.noise(x, x, t).shape == (3, 2)
    for wrong in (t[:2], t.float(), 1.0):
        with pytest.raises(TypeCheckError):
            process.noise(x, x, wrong)
    with pytest.raises(TypeCheckError):
        fs.EDM(sigma_data="0.5")


def test_a_name_means_one_number_within_a_call_and_another_one_in_the_next():
    for size in (2, 3):
        assert product(torch.zeros(1, size), torch.zeros(size, 4)).shape == (1, 4)
    with pytest.raises(TypeCheckError):
        product(torch.zeros(1, 2), torch.zeros(3, 4))


def test_what_is_returned_is_checked():
    with pytest.raises(TypeCheckError):
        halved(torch.zeros(4))


def test_what_was_right_once_is_judged_again_where_it_differs():
    x = torch.zeros(3)
    for _ in range(2):
        assert cut(x, 3).equal(x)
        assert cut(size=5, x=x).equal(x)
        for wrong in ((x, 2), (x, 3.0), (x.int(), 3), (x[None], 3), (None, 3)):
            with pytest.raises(TypeCheckError):
                cut(*wrong)


def test_what_a_signature_does_not_take_is_refused_as_without_checks():
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        cut(torch.zeros(3))


def test_a_dataclass_is_checked_when_it_is_made():
    assert Pair(torch.zeros(2), torch.zeros(2)).one.shape == (2,)
    with pytest.raises(TypeCheckError):
        Pair(torch.zeros(2), torch.zeros(3))


def test_a_generator_is_checked():
    assert list(numbers(2)) == [0, 1]
    with pytest.raises(TypeCheckError):
        numbers("2")
