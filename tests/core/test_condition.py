"""No prompt is no prompt: what a row keeps besides stays where it is, to the last bit."""

import torch

from fewstep.condition import KEEPS, bare, drop, keeps, null
from fewstep.guidance import CFG, EditCFG
from fewstep.process import EDM
from fewstep.types import Cond, T, X


def rows(count: int = 3, ends: float = KEEPS) -> torch.Tensor:
    c = torch.randn(count, 8, generator=torch.Generator().manual_seed(0))
    c[:, 0] = torch.arange(1, count + 1)
    c[:, -1] = ends
    return c


def test_row_that_keeps_something_loses_its_number_only() -> None:
    c = rows()
    empty = null(c)
    assert empty is not None
    assert empty[:, 0].eq(0).all()
    assert empty[:, 1:].equal(c[:, 1:])
    assert keeps(c).all()


def test_other_conditions_are_zeros_and_classes_minus_one() -> None:
    assert null(rows(ends=5.0)).equal(torch.zeros(3, 8))  # type: ignore[union-attr]
    assert null(torch.randn(2, 3, 4)).equal(torch.zeros(2, 3, 4))  # type: ignore[union-attr]
    assert null(torch.arange(3)).tolist() == [-1, -1, -1]  # type: ignore[union-attr]
    assert null(None) is None
    assert null(torch.zeros(2, 0)).shape == (2, 0)  # type: ignore[union-attr]


def test_rows_of_both_kinds_in_one_batch() -> None:
    both = torch.cat([rows(1), rows(1, ends=2.0)])
    empty = null(both)
    assert empty is not None
    assert empty[0, 1:].equal(both[0, 1:])
    assert empty[1].equal(torch.zeros(8))


def test_dropped_conditions_keep_what_they_keep() -> None:
    c, mask = rows(), torch.tensor([True, False, True])
    dropped = drop(c, mask)
    assert dropped is not None
    assert dropped[:, 0].tolist() == [0, 2, 0]
    assert dropped[:, 1:].equal(c[:, 1:])


def test_bare_condition_keeps_nothing_but_the_mark() -> None:
    c = rows()
    naked = bare(c)
    assert naked is not None
    assert naked[:, :-1].equal(torch.zeros(3, 7))
    assert keeps(naked).all()
    assert bare(torch.arange(3)).tolist() == [-1, -1, -1]  # type: ignore[union-attr]


class Reader:
    """A denoiser that answers with a known function of prompt and image."""

    process = EDM()

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, x: X, t: T, c: Cond = None, s: T | None = None) -> X:
        assert c is not None
        self.calls += 1
        prompt = torch.where(c[:, 0] == 0, 0.0, c[:, 1])
        return (10 * prompt + c[:, 2] ** 2)[:, None].to(x)


def test_edit_guidance_is_the_published_formula() -> None:
    c, x, t = rows(), torch.zeros(3, 1, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    reader = Reader()
    found = EditCFG(7.0, 1.5)(reader)(x, t, c)
    wanted = 1.5 * c[:, 2] ** 2 + 7.0 * 10 * c[:, 1]  # D(0, 0) = 0, D(0, i) = i^2, D(c, i) - D(0, i) = 10 c
    torch.testing.assert_close(found[:, 0], wanted.double(), rtol=1e-5, atol=1e-5)
    assert reader.calls == EditCFG(7.0, 1.5).passes == 3


def test_edit_guidance_without_an_image_scale_is_classifier_free_guidance() -> None:
    c, x, t = rows(), torch.zeros(3, 1, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    reader = Reader()
    assert EditCFG(7.0, 1.0)(reader)(x, t, c).equal(CFG(7.0)(Reader())(x, t, c))
    assert reader.calls == EditCFG(7.0, 1.0).passes == 2
