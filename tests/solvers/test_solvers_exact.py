"""Each solver in the exact worlds: its order, its calls, its noise."""

import math
from dataclasses import dataclass

import pytest
import torch

from fewstep import solvers
from fewstep.draws import Draws
from fewstep.errors import RecipeError
from fewstep.process import EDM, TrigFlow, over
from fewstep.solvers import DDIM, DPMSolver, Euler, Heun, Solver, Stochastic
from fewstep.testing import PATHS, ConformanceError, Gaussian, Given, check_solver
from fewstep.times import Karras, Uniform

ROWS = [
    # A table makes the clock a broken line, which rules that take derivatives on it feel; the cosine is smooth.
    *((DDIM(), name) for name in ("edm", "linear shifted", "trigflow", "vp scaled", "vp zero snr")),
    *((DPMSolver(), name) for name in ("edm", "linear", "trigflow", "vp scaled", "vp zero snr")),
    *((Euler(), name) for name in ("edm", "linear shifted", "trigflow", "vp cosine")),
    *((Heun(), name) for name in ("edm", "linear shifted", "trigflow", "vp cosine")),
    *((Stochastic(), name) for name in ("edm", "linear shifted", "vp scaled")),
    (Stochastic(eta=0.5), "trigflow"),
]


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(("solver", "name"), ROWS, ids=lambda each: each if isinstance(each, str) else str(each))
def test_solver_has_the_claimed_order_and_calls(solver: Solver, name: str):
    check_solver(solver, PATHS[name])


def test_every_solver_has_a_row():
    kinds = {vars(solvers)[name] for name in solvers.__all__ if isinstance(vars(solvers)[name], type)}
    assert {type(solver) for solver, _ in ROWS} == kinds - {Solver}


@dataclass(frozen=True)
class Claims(Solver):
    """DDIM or a half-broken Heun under a claim that is not theirs."""

    order: int = 2
    inner: Solver = DDIM()  # noqa: RUF009

    def __call__(self, denoiser, x, times, c=None, draws=None):
        return self.inner(denoiser, x, times, c, draws)

    def calls(self, steps):
        return steps


def test_conformance_finds_a_wrong_order_and_wrong_calls():
    with pytest.raises(ConformanceError, match="order 2 on a Gaussian"):
        check_solver(Claims(2, DDIM()), EDM())
    with pytest.raises(ConformanceError, match="no more than order 1"):
        check_solver(Claims(1, DPMSolver()), EDM())
    with pytest.raises(ConformanceError, match="calls in 2 steps"):
        check_solver(Claims(2, Heun()), EDM())


def test_euler_and_ddim_agree_where_the_path_is_straight():
    for name in ("edm", "linear"):
        path = PATHS[name]
        world = Gaussian(path, column(0.3, -1.0), 0.7)
        x = torch.randn(5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * path.t_max
        times = Uniform(0.1 * path.t_max, path.t_max).steps(4)
        assert torch.allclose(Euler()(world, x, times), DDIM()(world, x, times), rtol=1e-10, atol=1e-12)


def test_euler_and_ddim_differ_where_the_path_is_bent():
    world, x = Gaussian(TrigFlow(), column(0.3), 0.7), column(0.4)[:, None]
    times = Uniform(0.2, 1.5).steps(3)
    assert (Euler()(world, x, times) - DDIM()(world, x, times)).abs().max() > 1e-3


def test_ddim_on_a_gaussian_is_the_product_of_its_slopes():
    """kappa(t, s) = sigma_s / sigma_t + (alpha_s - alpha_t sigma_s / sigma_t) alpha_t std^2 / v_t^2."""
    for path in PATHS.values():
        world, times = Gaussian(path, column(0.0), 0.7), Uniform(0.1 * path.t_max, 0.95 * path.t_max).steps(6)
        alpha, sigma = path.alpha(times).tolist(), path.sigma(times).tolist()
        product = 1.0
        for i in range(6):
            keep = sigma[i + 1] / sigma[i]
            pull = alpha[i] * 0.49 / (alpha[i] ** 2 * 0.49 + sigma[i] ** 2)
            product *= keep + (alpha[i + 1] - alpha[i] * keep) * pull
        assert DDIM()(world, column(1.0)[:, None], times).item() == pytest.approx(product, rel=1e-12)


def test_eta_0_is_ddim_to_the_last_bit():
    for path in PATHS.values():
        world = Gaussian(path, column(0.3, -1.0), 0.7)
        x = torch.randn(5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        times = Uniform(0.1 * path.t_max, 0.95 * path.t_max).steps(5)
        assert torch.equal(Stochastic(eta=0.0)(world, x, times), DDIM()(world, x, times))


def spread_after(eta: float, steps: int, world: Gaussian) -> float:
    """Return the deviation at the end, exactly: each step is affine, so variances follow a recursion."""
    times = world.process.t_max * torch.linspace(0.95, 0.05, steps + 1, dtype=torch.float64)
    variance = world.spread(times[:1]).item() ** 2
    probes, noises = column(0.0, 1.0, 0.0)[:, None], column(0.0, 0.0, 1.0)[:, None]
    for i in range(steps):
        base, slope, noise = Stochastic(eta)(world, probes, times[i : i + 2], draws=Given([noises]))[:, 0].tolist()
        variance = (slope - base) ** 2 * variance + (noise - base) ** 2
    return math.sqrt(variance)


@pytest.mark.parametrize("eta", [0.3, 1.0])
@pytest.mark.parametrize("name", ["linear", "trigflow", "vp scaled"])
def test_noise_keeps_the_marginal_in_the_limit_of_fine_steps(name: str, eta: float):
    world = Gaussian(PATHS[name], column(0.0), 0.7)
    exact = world.spread(0.05 * world.process.t_max * column(1.0)).item()
    coarse, fine = (spread_after(eta, steps, world) / exact - 1 for steps in (50, 100))
    assert abs(fine) < 0.04
    assert coarse / fine == pytest.approx(2, abs=0.3)


def test_eta_1_is_the_ancestral_step_of_ddpm():
    """With a = abar_t / abar_s: the posterior of DDPM, arXiv 2006.11239, eq. 7."""
    path = PATHS["vp linear"]
    world, x = Gaussian(path, column(0.2), 0.7), column(-0.8, 1.1)[:, None]
    abar_s, abar_t = path.alphas_cumprod[498], path.alphas_cumprod[499]
    a, x0 = abar_t / abar_s, world(x, column(500.0, 500.0))
    mean = (math.sqrt(abar_s) * (1 - a) * x0 + math.sqrt(a) * (1 - abar_s) * x) / (1 - abar_t)
    deviation = math.sqrt((1 - a) * (1 - abar_s) / (1 - abar_t))
    z = column(1.3, -0.4)[:, None]
    step = Stochastic()(world, x, column(500.0, 499.0), draws=Given([z]))
    assert torch.allclose(step, mean + deviation * z, rtol=1e-9)


def test_noise_without_a_source_is_refused():
    with pytest.raises(RecipeError, match="needs 'draws'"):
        Stochastic()(Gaussian(EDM(), column(0.0)), column(1.0)[:, None], column(1.0, 0.5))


def test_no_noise_is_left_at_time_0():
    world, x, times = Gaussian(EDM(), column(0.0), 0.5), column(1.0)[:, None], column(1.0, 0.0)
    assert torch.equal(Stochastic()(world, x, times, draws=Draws(0, x.device)), world(x, times[:1]))


@pytest.mark.parametrize("solver", [DDIM(), Euler(), Heun(), DPMSolver()], ids=str)
def test_fine_steps_end_on_the_flow(solver: Solver):
    world = Gaussian(EDM(), column(0.3, -1.0), 0.5)
    x = 80 * torch.randn(6, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    end = solver(world, x, Karras().steps(80))
    exact = world.flow(x, column(80.0).expand(6), column(0.0).expand(6))
    assert torch.allclose(end, exact, atol=0.06 if solver.order == 1 else 3e-3)


@pytest.mark.parametrize("solver", [DDIM(), Euler(), Heun(), DPMSolver(), Stochastic()], ids=str)
def test_solver_accepts_a_batch_of_images_in_single_precision(solver: Solver):
    world = Gaussian(EDM(), torch.zeros(3, 4, 4), 0.5)
    x = 80 * torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    end = solver(world, x, Karras().steps(3), None, Draws(0, x.device))
    assert (end.shape, end.dtype) == (x.shape, torch.float32)


@pytest.mark.parametrize("solver", [DDIM(), DPMSolver()], ids=str)
def test_solver_starts_from_pure_noise(solver: Solver):
    """Where alpha is 0 the logarithm of the signal-to-noise ratio is infinite, and the path still finite."""
    for name in ("linear", "trigflow", "vp zero snr"):
        path = PATHS[name]
        world = Gaussian(path, column(0.3), 0.5)
        times = path.t_max * torch.linspace(1, 0, 41, dtype=torch.float64)
        x = column(-1.0, 0.0, 2.0)[:, None] * over(path.sigma(times[:1]), torch.ones(1, 1))
        exact = world.flow(x, times[0].expand(3), times[-1].expand(3))
        assert torch.allclose(solver(world, x, times), exact, atol=0.05)
