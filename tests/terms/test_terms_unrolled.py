"""A sampler that is fine-tuned as a whole: the card of PeriodWave-Turbo, in the Gaussian world."""

import pytest
import torch
from torch import Tensor, nn

from fewstep.batch import Batch
from fewstep.denoiser import Denoiser
from fewstep.draws import item_noise
from fewstep.flowmap import FlowMap
from fewstep.predict import Velocity
from fewstep.process import EDM, Linear
from fewstep.sampling import FewStep, few_step
from fewstep.terms import Reconstruct
from fewstep.testing import Gaussian, Given, normal_points, small_views
from fewstep.times import Karras, Trailing
from fewstep.training.rollouts import Unrolled
from fewstep.turn import Turn

PATH, GRID, STEPS = Linear(), Trailing(1.0), 4
MEAN, STD = 0.7, 0.5


def test_a_sample_of_the_training_is_the_sampler_s_bit_by_bit():
    schedule, seeds = Karras(0.03, 1.0), [3, 1, 4, 1]
    view = Denoiser(small_views(EDM())["teacher"].net.float(), EDM())
    z = item_noise(seeds, (2,))[0]
    rolled = Unrolled(schedule, STEPS)(FlowMap(view), torch.zeros(4, 2), None, Given([z]))
    sampled = FewStep(schedule, (STEPS,), gamma=0.0).sample(view, seeds, (2,), None, STEPS)
    assert torch.equal(rolled.x0, sampled)
    assert rolled.t.tolist() == [schedule.points(STEPS)[-1].item()] * 4
    fewer = Unrolled(schedule, 3)(FlowMap(view), torch.zeros(4, 2), None, Given([z]))
    assert not torch.equal(rolled.x0, fewer.x0)


class Steps(nn.Module):
    """A velocity ``a x + b`` with numbers of its own for every step of the grid, as linear as the exact one."""

    def __init__(self) -> None:
        super().__init__()
        times = GRID.points(STEPS)
        away = (1 - times) * MEAN
        rate = (times - STD**2 * (1 - times)) / ((1 - times) ** 2 * STD**2 + times**2)  # d ln(spread) / dt
        self.times = times
        self.slope, self.offset = nn.Parameter(rate.clone()), nn.Parameter(-MEAN - rate * away)

    def forward(self, x: Tensor, label: Tensor, c: Tensor | None = None) -> Tensor:
        place = (self.times - label[:, None]).abs().argmin(1)
        return self.slope[place, None] * x + self.offset[place, None]


def turn_of(net: nn.Module, z: Tensor, x0: Tensor) -> Turn:
    views = {"student": Denoiser(net, PATH, Velocity())}
    return Turn("student", views, Batch(x0), Given([z]), Unrolled(GRID, STEPS))


def line_of(net: nn.Module) -> tuple[float, float]:
    """The unrolled generator is offset + slope z."""
    ends = few_step(
        FlowMap(Denoiser(net, PATH, Velocity())), torch.tensor([[0.0], [1.0]]).double(), GRID.steps(STEPS), gamma=0.0
    )
    return ends[0].item(), (ends[1] - ends[0]).item()


def fine_tuned(z: Tensor, x0: Tensor, weights: Tensor) -> tuple[nn.Module, float]:
    """Minimise the expected reconstruction cost from the exact velocities on."""
    net = Steps()
    optimiser = torch.optim.LBFGS(net.parameters(), max_iter=300, line_search_fn="strong_wolfe", tolerance_change=1e-16)

    def closure() -> Tensor:
        optimiser.zero_grad()
        cost = weights @ Reconstruct()(turn_of(net, z, x0))
        cost.backward()
        return cost

    optimiser.step(closure)
    return net, closure().item()


def test_four_euler_steps_along_the_exact_field_are_too_narrow():
    exact = few_step(
        FlowMap(Gaussian(PATH, torch.tensor([MEAN], dtype=torch.float64), STD)),
        torch.tensor([[0.0], [1.0]]).double(),
        GRID.steps(STEPS),
        gamma=0.0,
    )
    offset, slope = line_of(Steps())
    assert (exact[1] - exact[0]).item() == pytest.approx(0.341, abs=1e-3)
    assert (offset, slope) == pytest.approx((exact[0].item(), (exact[1] - exact[0]).item()), abs=1e-12)


def test_paired_noise_leads_to_the_full_width_and_no_cost():
    z, weights = normal_points(4)
    net, cost = fine_tuned(z, MEAN + STD * z, weights)
    assert cost == pytest.approx(0, abs=1e-12)
    assert line_of(net) == pytest.approx((MEAN, STD), abs=1e-5)


def test_independent_noise_collapses_to_the_mean():
    points, weights = normal_points(4, 2)
    net, cost = fine_tuned(points[:, :1], MEAN + STD * points[:, 1:], weights)
    assert line_of(net) == pytest.approx((MEAN, 0), abs=1e-5)
    assert cost == pytest.approx(STD**2, abs=1e-9)


def test_the_gradient_reaches_the_first_step():
    net, (z, _) = Steps(), normal_points(4)
    Reconstruct()(turn_of(net, z, MEAN + STD * z)).mean().backward()
    assert (net.slope.grad.abs() > 1e-3).all()
