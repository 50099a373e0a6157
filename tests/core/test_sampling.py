"""Few-step sampling keeps every marginal, and every item depends on its own seed only."""

from dataclasses import replace

import pytest
import torch

from fewstep.denoiser import Denoiser
from fewstep.draws import item_noise
from fewstep.errors import RecipeError
from fewstep.flowmap import FlowMap
from fewstep.guidance import CFG, NAG, Interval
from fewstep.networks import MLP
from fewstep.predict import V
from fewstep.process import EDM
from fewstep.sampling import FewStep, ManyStep, few_step, strategic
from fewstep.solvers import DDIM, DPMSolver, Heun
from fewstep.testing import PATHS, Classes, Counted, Gaussian, Jump
from fewstep.times import Explicit, Karras, Trailing
from fewstep.vp import VP

MEAN, STD = 0.7, 0.4


def world_on(path) -> Gaussian:
    return Gaussian(path, torch.tensor([MEAN], dtype=torch.float64), STD)


def moments(
    student: FlowMap, times: torch.Tensor, gamma: float, start: tuple[float, float], eta: float | None = None
) -> tuple[float, float]:
    """Return the mean and the deviation at the last time, exactly: the sampler is affine in x and in its noise.

    Item 0 starts at the mean and gets no noise; each further item has one source of randomness at one deviation.
    """
    sources = len(times) - 1
    x = torch.full((1 + sources, 1), start[0], dtype=torch.float64)
    x[1] += start[1]
    z = torch.zeros(sources - 1, 1 + sources, 1, dtype=torch.float64)
    for i in range(sources - 1):
        z[i, 2 + i] = 1
    walked = (
        few_step(student, x, times, gamma=gamma, z=z) if eta is None else strategic(student, x, times, eta=eta, z=z)
    )
    ends = walked[:, 0]
    return ends[0].item(), (ends[1:] - ends[0]).norm().item()


@pytest.mark.parametrize("gamma", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_exact_student_keeps_every_marginal(path, gamma):
    times = path.t_max * torch.tensor([0.97, 0.7, 0.31, 0.05, 0.0], dtype=torch.float64)
    world, one = world_on(path), torch.ones(1, dtype=torch.float64)
    at_start = (path.alpha(times[:1]).item() * MEAN, world.spread(times[:1]).item())
    for count in (1, 2, 3, 4):
        mean, spread = moments(FlowMap(Jump(world)), times[: count + 1], gamma, at_start)
        end = times[count] * one
        assert mean == pytest.approx(path.alpha(end).item() * MEAN, rel=1e-9)
        assert spread == pytest.approx(world.spread(end).item(), rel=1e-9)


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_exact_student_keeps_every_marginal_by_a_share_of_time(path, eta):
    times = path.t_max * torch.tensor([0.97, 0.7, 0.31, 0.05, 0.0], dtype=torch.float64)
    world = world_on(path)
    at_start = (path.alpha(times[:1]).item() * MEAN, world.spread(times[:1]).item())
    for count in (1, 2, 3, 4):
        mean, spread = moments(FlowMap(Jump(world)), times[: count + 1], 1.0, at_start, eta)
        end = path.earlier(times[count : count + 1], eta)
        assert mean == pytest.approx(path.alpha(end).item() * MEAN, rel=1e-9)
        assert spread == pytest.approx(world.spread(end).item(), rel=1e-9)


def test_share_of_time_of_a_table_is_one_of_its_indices():
    path = VP(tuple(0.999**i for i in range(1, 1001)), unit=True)
    times = torch.tensor([1.0, 0.75, 0.5, 0.001, 0.0], dtype=torch.float64)
    for eta, wanted in ((0.3, [699, 524, 349, 0, 0]), (0.0, [999, 749, 499, 0, 0]), (1.0, [0] * 5)):
        assert (path.earlier(times, eta) * 1000 - 1).round(decimals=6).tolist() == wanted


def test_sampler_goes_by_the_share_that_it_is_given():
    world, z = world_on(EDM()), torch.randn(3, 4, 1, dtype=torch.float64)
    sampler, x = FewStep(Karras(), (3,), 0.5), 80 * z[0]
    told = replace(sampler, eta=0.3).path(world, x, 3, None, z[1:])
    assert told.equal(strategic(FlowMap(world), x, sampler.schedule.steps(3), eta=0.3, z=z[1:]))
    assert not torch.allclose(told, sampler.path(world, x, 3, None, z[1:]))
    assert [replace(sampler, eta=eta).fresh(3) for eta in (0.0, 0.3, None)] == [0, 2, 2]
    with pytest.raises(RecipeError, match="2 batches of fresh noise"):
        strategic(FlowMap(world), x, sampler.schedule.steps(3), eta=0.3)
    with pytest.raises(RecipeError, match=r"eta is 1.5; accepted is 0 \(deterministic\) to 1"):
        FewStep(Karras(), eta=1.5)


def test_student_that_is_a_denoiser_loses_spread():
    """One DDIM step is no flow map: the check above can fail."""
    world, times = world_on(EDM()), torch.tensor([80.0, 1.0, 0.0], dtype=torch.float64)
    _, spread = moments(FlowMap(world), times, 1.0, (MEAN, world.spread(times[:1]).item()))
    assert spread < 0.9 * STD


def test_gamma_0_ignores_the_noise_and_walks_the_boundaries():
    path = EDM()
    world, times = world_on(path), torch.tensor([80.0, 2.0, 0.0], dtype=torch.float64)
    x = torch.linspace(-90, 90, 7, dtype=torch.float64)[:, None]
    t, s = (time.expand(7) for time in times[:2])
    by_hand = FlowMap(world)(FlowMap(world)(x, t, s), s, 0 * s)
    assert torch.equal(few_step(FlowMap(world), x, times, gamma=0.0), by_hand)


def test_gamma_1_is_the_sampler_of_consistency_models():
    """x <- f(x + t z, t), with fresh noise on the estimate of the data."""
    world, times = world_on(EDM()), torch.tensor([80.0, 2.0, 0.5, 0.0], dtype=torch.float64)
    x, *z = torch.randn(3, 7, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    by_hand = world(x, times[0].expand(7))
    for time, noise in zip(times[1:], z, strict=False):
        by_hand = world(by_hand + time * noise, time.expand(7))
    assert torch.allclose(few_step(FlowMap(world), x, times, z=torch.stack(z)), by_hand, rtol=1e-12)


@pytest.mark.parametrize("gamma", [0.3, 0.7])
@pytest.mark.parametrize("name", ["edm", "linear shifted", "trigflow", "vp scaled"])
def test_jump_goes_to_the_share_of_the_noise_level_that_gamma_leaves(name, gamma):
    """gamma-sampling of CTM: u with sigma_u / alpha_u = sqrt(1 - gamma^2) sigma_s / alpha_s."""
    path = PATHS[name]
    student, one = Counted(Jump(world_on(path))), torch.ones(1, 1, dtype=torch.float64)
    times = path.t_max * torch.tensor([0.9, 0.4, 0.0], dtype=torch.float64)
    few_step(FlowMap(student), one, times, gamma=gamma, z=one[None])
    (_, _, _, u), (_, t, _, end) = student.asked
    wanted = path.logsnr(times[1:2]) - torch.tensor(1 - gamma**2).log()
    assert torch.allclose(path.logsnr(u), wanted, rtol=1e-6)
    assert (t.item(), end.item()) == (times[1].item(), 0)


@pytest.mark.parametrize("gamma", [-0.1, 1.1, float("nan")])
def test_gamma_outside_0_to_1_is_refused(gamma):
    with pytest.raises(RecipeError, match="accepted is 0"):
        few_step(FlowMap(world_on(EDM())), torch.zeros(1, 1), torch.tensor([1.0, 0.0]), gamma=gamma)


def test_missing_noise_is_refused():
    with pytest.raises(RecipeError, match="1 batches of fresh noise 'z'"):
        few_step(FlowMap(world_on(EDM())), torch.zeros(1, 1), torch.tensor([2.0, 1.0, 0.0]).double(), gamma=0.5)


SAMPLERS = [
    FewStep(Karras()),
    FewStep(Karras(), gamma=0.5),
    FewStep(Explicit((80.0, 20.0, 2.0, 0.5)), gamma=0.0),
    ManyStep(Karras(), Heun()),
    ManyStep(Karras(), DPMSolver()),
    ManyStep(Karras(), DDIM()),
]
samplers = pytest.mark.parametrize("sampler", SAMPLERS, ids=str)


@samplers
def test_item_17_depends_on_its_own_seed_only(sampler):
    world = Classes(EDM(), torch.linspace(-1, 1, 4)[:, None, None].expand(4, 2, 3), STD)
    seeds, c = [1000 + i for i in range(32)], torch.arange(32) % 3
    batch = sampler.sample(world, seeds, (2, 3), c, 4)
    alone = sampler.sample(world, [1017], (2, 3), c[17:18], 4)
    others = sampler.sample(world, [7, 8, 1017], (2, 3), torch.tensor([0, 1, 17 % 3]), 4)
    assert batch.dtype == torch.float32
    assert torch.equal(batch[17], alone[0])
    assert torch.equal(batch[17], others[2])
    assert not torch.equal(batch[17], batch[20])


@samplers
def test_item_17_of_a_network_depends_on_its_own_seed_only(sampler):
    """A network's matrix products may round differently with the batch size: equal to six digits, not to the bit."""
    torch.manual_seed(0)
    view = Denoiser(MLP(2, width=16, depth=1), EDM(), V())
    batch, alone = (sampler.sample(view, seeds, (2,), None, 3) for seeds in (list(range(32)), [17]))
    assert torch.allclose(batch[17], alone[0], rtol=1e-4, atol=1e-4)


@samplers
@pytest.mark.parametrize("steps", [1, 2, 4])
def test_sampler_calls_the_network_as_often_as_it_says(sampler, steps):
    counted = Counted(world_on(EDM()))
    sampler.sample(counted, [1, 2], (1,), None, steps)
    assert counted.calls == sampler.calls(steps)


@pytest.mark.parametrize("path", ["vp linear", "edm"])
def test_sampler_starts_from_noise_of_the_first_time(path: str):
    counted = Counted(world_on(PATHS[path]))
    FewStep(Trailing(2.5)).sample(counted, [5], (1,), None, 1)
    x, t, _, _ = counted.asked[0]
    assert t.item() == 2.5
    torch.testing.assert_close(x, item_noise([5], (1,))[0] * counted.process.sigma(t).float())


def test_sampler_of_a_pipeline_starts_from_unit_noise_as_stock_ones_do():
    counted = Counted(world_on(VP.from_diffusers({}, unit=True)))
    FewStep(Trailing(0.6)).sample(counted, [5], (1,), None, 1)
    assert counted.asked[0][0].equal(item_noise([5], (1,))[0])


def test_default_steps_are_the_first_it_is_made_for():
    assert FewStep(Karras(), steps=(4, 1)).made_for == (4, 1)
    assert ManyStep(Karras(), steps=35).made_for == (35,)


def test_deterministic_sampler_wants_no_fresh_noise():
    assert [FewStep(Karras(), gamma=gamma).fresh(4) for gamma in (0.0, 0.5, 1.0)] == [0, 3, 3]


CLASSES = Classes(EDM(), torch.linspace(-1, 1, 4)[:, None].expand(4, 2), STD)


@pytest.mark.parametrize(("rules", "passes"), [((), 1), ((CFG(1.0),), 1), ((CFG(3.0),), 2)], ids=str)
@pytest.mark.parametrize("steps", [1, 2, 4])
@pytest.mark.parametrize("kind", [FewStep, ManyStep])
def test_guidance_is_among_the_calls(kind, steps, rules, passes):
    """Quality is stated per call of the network, and guidance doubles them."""
    sampler, counted = kind(Karras(), guidance=rules), Counted(CLASSES)
    sampler.sample(counted, [1, 2], (2,), torch.tensor([0, 1]), steps)
    assert counted.calls == sampler.calls(steps) == passes * kind(Karras()).calls(steps)
    assert sampler.jumps(steps) == kind(Karras()).calls(steps)


@pytest.mark.parametrize("sampler", [FewStep(Karras(), gamma=0.3), ManyStep(Karras())], ids=str)
def test_guidance_1_is_the_conditional_branch_and_0_the_unconditional_one(sampler):
    c = torch.tensor([0, 1, 2])

    def ends(c, *rules):
        return replace(sampler, guidance=rules).sample(CLASSES, [1, 2, 3], (2,), c, 4)

    assert torch.equal(ends(c, CFG(1.0)), ends(c))
    assert torch.allclose(ends(c, CFG(0.0)), ends(None), rtol=1e-5, atol=1e-6)
    assert not torch.allclose(ends(c, CFG(2.0)), ends(c), atol=1e-2)
    guided = Gaussian(EDM(), CLASSES.means[-1] + 2 * (CLASSES.means[c] - CLASSES.means[-1]), STD)
    assert torch.allclose(ends(c, CFG(2.0)), sampler.sample(guided, [1, 2, 3], (2,), c, 4), rtol=1e-5, atol=1e-5)


def test_rules_are_stacked_in_their_order():
    sampler = FewStep(Karras(), guidance=(CFG(3.0), Interval(1e3, 1e4)))
    c = torch.tensor([0, 1])
    assert torch.equal(
        sampler.sample(CLASSES, [1, 2], (2,), c, 2), FewStep(Karras()).sample(CLASSES, [1, 2], (2,), c, 2)
    )


@pytest.mark.parametrize("sampler", [FewStep(Karras()), ManyStep(Karras())], ids=str)
@pytest.mark.parametrize("rule", [CFG(2.0), NAG(4.0)], ids=str)
def test_a_negative_condition_counts_where_a_step_is_in_the_interval(sampler, rule):
    """The first of two steps is at noise level 80; an interval below a rule does not limit it."""
    high, low = Interval(10.0, 100.0), Interval(1.0, 2.0)
    for interval, steps, counts in ((high, 2, True), (low, 2, False), (low, 8, True)):
        assert replace(sampler, guidance=(rule, interval)).takes_negative(CLASSES, steps) == counts
        assert replace(sampler, guidance=(interval, rule)).takes_negative(CLASSES, steps)
    assert not replace(sampler, guidance=(high,)).takes_negative(CLASSES, 8)


@pytest.mark.parametrize("sampler", [FewStep(Karras(), scale=2.5), ManyStep(Karras(), scale=2.5)], ids=str)
def test_scale_is_told_the_network_at_every_call(sampler):
    torch.manual_seed(0)
    net = MLP(2, width=16, depth=1, scale=True)
    torch.nn.init.normal_(net.context.scale.layers[2].weight)
    view = Denoiser(net, EDM())
    told = view.told({"scale": torch.full((3,), 2.5, dtype=torch.float64)})
    seeds, silent = [1, 2, 3], replace(sampler, scale=None)
    assert torch.equal(sampler.sample(view, seeds, (2,), None, 2), silent.sample(told, seeds, (2,), None, 2))
    assert not torch.equal(sampler.sample(view, seeds, (2,), None, 2), silent.sample(view, seeds, (2,), None, 2))


def test_scale_for_a_network_that_takes_none_is_refused():
    with pytest.raises(RecipeError, match="build it with scale: true"):
        FewStep(Karras(), scale=2.0).sample(Denoiser(MLP(2, width=16), EDM()), [1], (2,), None, 1)
    with pytest.raises(RecipeError, match="only the view of a network can be told"):
        FewStep(Karras(), scale=2.0).sample(CLASSES, [1], (2,), None, 1)
