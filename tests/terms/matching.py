"""The testbeds of distribution matching: laws of teacher and student for which every gradient is known.

G1: teacher N(1, .5^2), student -.3 + 1.2 z, at alpha .8 and sigma .6.  G1b: student .6 + .4 z.  G2: a teacher of two
heaps, student .5 + z, at alpha 1 and sigma .7.  G3: two correlated coordinates.
"""

from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

from fewstep.batch import Batch
from fewstep.denoiser import Denoiser
from fewstep.predict import X0
from fewstep.process import EDM, Process
from fewstep.terms import DensityRatio, Term
from fewstep.testing import Affine, Gaussian, Given, Mixture, World, as_network, normal_points
from fewstep.times import Along, Uniform
from fewstep.training.rollouts import OneStep
from fewstep.turn import Rolled, Rollout, Turn
from fewstep.vp import VP

EXACT = DensityRatio("critic", limit=inf, low=0.0, high=inf, bins=0, balance=False)


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def at(time: float) -> Along:
    """The law that always draws this time."""
    return Along(Uniform(time, time), 0.0, 1.0)


G1 = VP((0.64, 0.0))  # alpha .8, sigma .6 at time 1; pure noise at time 2
ALPHA, SIGMA, TEACHER, G1A, G1B = 0.8, 0.6, (1.0, 0.5), (-0.3, 1.2), (0.6, 0.4)


def normal(path: Process, mean: float, std: float) -> Gaussian:
    return Gaussian(path, column(mean), std)


def costs(term: Term, net: Affine, views: dict, points: Tensor) -> Tensor:
    """Return the cost of each point, the columns of which are the noise of the samples and that of x_t."""
    path, dims = views["teacher"].process, len(net.offset)
    student = Denoiser(net, path, X0())
    draws = Given([points[:, :dims], points[:, dims:]], [column(0.5)] * 2)
    like = torch.zeros(len(points), dims, dtype=torch.float64)
    return term(Turn("student", {"student": student, **views}, Batch(like), draws, OneStep(path.t_max)))


def gradients(term: Term, net: Affine, views: dict, nodes: int) -> list[Tensor]:
    """Return d/d offset and d/d matrix of the expected cost times the dimensions, by quadrature over both noises."""
    dims = len(net.offset)
    points, weights = normal_points(nodes, 2 * dims)
    cost = weights @ costs(term, net, views, points)
    return list(torch.autograd.grad(dims * cost, (net.offset, net.matrix)))


@dataclass(frozen=True, eq=False)
class Fixed(Rollout):
    """Samples that were made before."""

    x0: Tensor

    def __call__(self, student, like, c, draws):
        return Rolled(self.x0, torch.ones(len(like), dtype=torch.float64))


def judged(real: World, fake: World) -> dict:
    """Teacher, the fake score of an exact student, and the best critic of one against the other."""
    return {"teacher": real, "fake_score": fake, "critic": Denoiser(as_network(real, X0(), fake), real.process, X0())}


def on_g1(term: Term, student: tuple[float, float] = G1A, nodes: int = 4, views: dict | None = None) -> list[float]:
    """Return d/da and d/db of the cost for the student a + b z at time 1, with an exact fake score unless given."""
    net = Affine(column(student[0]), column(student[1])[None])
    views = views or judged(normal(G1, *TEACHER), normal(G1, *student))
    return [g.item() for g in gradients(term, net, views, nodes)]


HEAPS = EDM(sigma_max=80.0)
G2 = Mixture(HEAPS, column(0.3, 0.7), column(-2.0, 1.5)[:, None], column(0.5, 0.4))


def on_g2(term: Term, nodes: int = 80) -> list[float]:
    """Return d/da and d/db at the student .5 + z of time .7; the noise of the rollout has deviation 80."""
    net = Affine(column(0.5), column(1 / 80.0)[None])
    da, db = gradients(term, net, judged(G2, normal(HEAPS, 0.5, 1.0)), nodes)
    return [da.item(), db.item() / 80]


@dataclass(frozen=True, eq=False)
class Correlated:
    """A Gaussian with a covariance: ``D = m + alpha S V^-1 (x - alpha m)``."""

    process: VP
    mean: Tensor
    covariance: Tensor

    def __call__(self, x, t, c=None, s=None):
        alpha, law = self.process.alpha(t)[0], self._law(t)
        gain = alpha * self.covariance @ torch.linalg.inv(law.covariance_matrix)
        return self.mean + (x - alpha * self.mean) @ gain.T

    def log_density(self, x, t):
        return self._law(t).log_prob(x)

    def flow(self, x, t, s):
        raise NotImplementedError  # a world has one; nobody asks for it here

    def _law(self, t):
        alpha, sigma = self.process.alpha(t)[0], self.process.sigma(t)[0]
        spread = alpha**2 * self.covariance + sigma**2 * torch.eye(2, dtype=torch.float64)
        return torch.distributions.MultivariateNormal(alpha * self.mean, spread)


PLANE = VP((0.49, 0.0))
G3 = Correlated(PLANE, column(1.0, -0.5), torch.stack([column(1.0, 0.6), column(0.6, 0.5)]))


def on_g3(term: Term, nodes: int = 3) -> list[float]:
    """Return d/da and d/dB, six numbers, at the student (0, .2) + [[.8, 0], [.3, .6]] z of time 1."""
    offset, matrix = column(0.0, 0.2), torch.stack([column(0.8, 0.0), column(0.3, 0.6)])
    views = judged(G3, Correlated(PLANE, offset, matrix @ matrix.T))
    return torch.cat([g.flatten() for g in gradients(term, Affine(offset, matrix), views, nodes)]).tolist()


def alike(count: int, slope: float, sigma: float) -> Tensor:
    """Return ``2 count`` points (2 count, 2), alike in weight, that stand for two independent normal numbers.

    They are fine along ``slope z + sigma eps``, the direction of x_t, and exact across for what is linear there.
    """
    along = torch.special.ndtri((torch.arange(count, dtype=torch.float64) + 0.5) / count).repeat(2)
    across = torch.ones(2 * count, dtype=torch.float64)
    across[count:] = -1
    length = (slope**2 + sigma**2) ** 0.5
    return torch.stack([slope * along + sigma * across, sigma * along - slope * across], 1) / length
