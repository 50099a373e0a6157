"""Costs that add up, and turns that share their draws."""

from dataclasses import dataclass, replace

import pytest
import torch

from fewstep.batch import Batch
from fewstep.errors import RecipeError
from fewstep.process import EDM
from fewstep.scalars import Balance, Cosine, Piecewise, Progress
from fewstep.terms import Adversarial, Denoise, DistributionMatching, Objective, Plain, Term
from fewstep.testing import Counted, Gaussian, Given, small_views
from fewstep.times import LogNormal
from fewstep.training.rollouts import OneStep
from fewstep.turn import Turn


@dataclass(frozen=True)
class Always(Term):
    """A term of one value."""

    value: float
    SOURCE = "none"

    def __call__(self, turn):
        return torch.full((3,), self.value)


@dataclass(frozen=True)
class Other(Always):
    """The same under another name."""


def costs_of(objective: Objective) -> dict[str, torch.Tensor]:
    return {name: term(None).mean() for name, term in objective.items()}


def total(objective: Objective, progress: Progress = Progress()) -> float:  # noqa: B008
    return objective.total(costs_of(objective), progress).item()


def test_objective_is_the_weighted_sum():
    objective = Always(2.0) + 0.5 * Always(3.0) + 0.25 * Other(4.0)
    assert total(objective) == pytest.approx(2 + 1.5 + 1)
    assert total(1.0 * Always(2.0)) == 2
    assert total((Always(1.0) + Other(2.0)) + (2.0 * Always(3.0) + Other(4.0))) == pytest.approx(1 + 2 + 6 + 4)


def test_terms_of_one_kind_are_numbered():
    objective = Always(1.0) + Other(1.0) + Always(2.0) + Always(3.0)
    assert [name for name, _ in objective.items()] == ["Always", "Other", "Always2", "Always3"]
    assert costs_of(objective)["Always3"] == 3


def test_sum_keeps_the_order_and_the_weights():
    objective = 2.0 * Always(1.0) + 3.0 * Other(1.0)
    assert objective.parts == ((2.0, Always(1.0)), (3.0, Other(1.0)))


def test_weight_may_be_a_schedule():
    objective = Always(1.0) + Piecewise(((0.0, 0.0), (0.5, 4.0))) * Other(1.0)
    assert [total(objective, Progress(update, 100)) for update in (0, 25, 50, 100)] == [1, 3, 5, 5]
    assert total(Cosine(2.0) * Always(3.0), Progress(1, 2)) == pytest.approx(3)


def test_weight_0_gives_no_gradient_and_a_weight_multiplies_it():
    leaf = torch.ones((), requires_grad=True)
    grads = []
    for weight in (0.0, 1.0, 3.0):
        objective = weight * Always(1.0)
        grads.append(torch.autograd.grad(objective.total({"Always": 5 * leaf}, Progress()), leaf)[0].item())
    assert grads == [0, 5, 15]


def test_objective_without_terms_is_refused():
    with pytest.raises(RecipeError, match="at least one"):
        Objective(()).total({}, Progress())


# --- weights that balance


def gradients(weight, factor: float = 1.0) -> tuple[float, float]:
    """Return the gradient norms of both weighted parts at a layer, for costs whose own are 4 and ``factor``."""
    leaf = torch.tensor([3.0, 4.0], requires_grad=True)
    first, second = 0.8 * leaf.square().sum() / 2, factor * leaf.square().sum() / 10
    objective = Always(1.0) + weight * Other(1.0)
    costs = {"Always": first, "Other": second}
    whole = objective.total(costs, Progress(), {"last.weight": leaf})
    alone = torch.autograd.grad(first, leaf, retain_graph=True)[0]
    return alone.norm().item(), (torch.autograd.grad(whole, leaf)[0] - alone).norm().item()


@pytest.mark.parametrize("size", [1e-3, 1.0, 50.0])
@pytest.mark.parametrize("factor", [0.5, 1.0])
def test_balance_makes_the_gradients_equal_times_its_factor(size: float, factor: float):
    """CTM: whatever the scale of a cost, its pull at the last layer is that of the first one, times a number."""
    first, second = gradients(Balance("last.weight", factor), size)
    assert first == pytest.approx(4)
    assert second == pytest.approx(factor * first, rel=1e-5)


def test_balance_is_held_between_its_ends():
    own = 5 / 5  # of the second cost, unweighted
    assert gradients(Balance("last.weight", high=2.0))[1] == pytest.approx(2 * own)
    assert gradients(Balance("last.weight", low=8.0, high=10.0))[1] == pytest.approx(8 * own)


def test_balance_passes_no_gradient_through_the_ratio():
    leaf = torch.tensor([2.0], requires_grad=True)
    objective = Always(1.0) + Balance("w") * Other(1.0)
    whole = objective.total({"Always": leaf.pow(3).sum(), "Other": leaf.square().sum()}, Progress(), {"w": leaf})
    assert torch.autograd.grad(whole, leaf)[0].item() == pytest.approx(12 + 3 * 4)  # 12 + (12 / 4) 4


def test_factor_of_a_balance_may_be_a_schedule_and_0_is_off():
    objective = Always(1.0) + Balance("w", Piecewise(((0.0, 0.0), (0.5, 0.0), (0.5, 2.0)))) * Other(1.0)
    assert list(objective.active(Progress(1, 10))) == ["Always"]
    assert list(objective.active(Progress(6, 10))) == ["Always", "Other"]


def test_balance_refuses_what_it_cannot_measure():
    leaf = torch.tensor([2.0], requires_grad=True)
    with pytest.raises(RecipeError, match="first term of an objective cannot be balanced against itself"):
        (Balance("w") * Always(1.0)).total({"Always": leaf.sum()}, Progress(), {"w": leaf})
    costs = {"Always": leaf.sum(), "Other": leaf.sum()}
    with pytest.raises(RecipeError, match=r"looks at the parameter 'last.wieght'; did you mean 'last.weight'"):
        (Always(1.0) + Balance("last.wieght") * Other(1.0)).total(costs, Progress(), {"last.weight": leaf})


# --- turns


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def turn_with(**views) -> Turn:
    world = Gaussian(EDM(), column(0.2), 0.5)
    x0, *z = torch.randn(5, 4, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    known = {"student": world, "teacher": world, "fake_score": world, **views}
    return Turn("student", known, Batch(x0), Given(z, [column(0.3), column(0.6), column(0.9)]), OneStep(80.0))


def test_terms_that_name_the_same_stream_see_the_same_noised_items():
    first, second = (Counted(Gaussian(EDM(), column(mean), 0.5)) for mean in (1.0, -1.0))
    turn = turn_with(teacher=first, second=second)
    matching = DistributionMatching(normaliser=Plain())
    for term in (matching, replace(matching, real="second")):
        term(turn)
    assert first.asked[0][0] is second.asked[0][0]
    assert first.asked[0][1] is second.asked[0][1]


def test_terms_of_different_streams_or_laws_draw_anew():
    student = Counted(Gaussian(EDM(), column(0.2), 0.5))
    turn = turn_with(student=student)
    Denoise()(turn)
    Denoise(times=LogNormal(0.0, 1.0))(turn)
    (x, t, _, _), (other_x, other_t, _, _) = student.asked
    assert not torch.equal(t, other_t)
    assert not torch.equal(x, other_x)


def test_samples_are_made_once_in_a_turn():
    student = Counted(Gaussian(EDM(), column(0.2), 0.5))
    turn = turn_with(student=student)
    assert turn.samples is turn.samples
    assert turn.clean("samples") is turn.samples.x0
    assert student.calls == 1
    assert turn.clean("data") is turn.batch.x0
    assert turn.made_at("data") is None


def test_noised_items_are_on_the_path():
    turn = turn_with()
    noised = turn.noised("data", LogNormal(), "any")
    assert torch.equal(noised.x, EDM().noise(turn.batch.x0, noised.z, noised.t))
    assert noised.x0 is turn.batch.x0


def test_unknown_network_is_an_error_with_the_nearest_name():
    with pytest.raises(RecipeError, match="did you mean 'teacher'"):
        turn_with().denoiser("techer")


def test_names_that_a_term_asks_for_are_stated():
    assert DistributionMatching(real="a", fake="b").networks() == ("a", "b")
    assert Adversarial("judge").networks() == ("judge",)
    assert Denoise().networks() == ()
    assert Denoise(on="samples").networks() == ("student",)


def test_averages_are_addressed_by_the_learners_name():
    views = small_views(EDM())
    turn = replace(turn_with(), views=views)
    assert turn.denoiser("student.target") is views["student.target"]
    assert turn.denoiser() is views["student"]
