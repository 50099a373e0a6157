"""Distil an exact teacher: 25 points of a mixture, a closed-form denoiser, and a one-call student.

    python examples/points.py [updates]

The teacher is mathematics, not a network, so everything that is wrong is the student's: with few updates it is a blur,
with 1,500 it finds the modes.  The training loop stands here in full; nothing is hidden.
"""

import sys

import torch
from accelerate import Accelerator

from fewstep import EDM, Denoiser, Learner, Training, train
from fewstep.batch import Batch
from fewstep.networks import MLP
from fewstep.sampling import FewStep
from fewstep.terms import Denoise, DistributionMatching
from fewstep.testing import Mixture
from fewstep.times import Explicit
from fewstep.training import Adam, OneStep

SPACING, SPREAD, START = 2.0, 0.25, 6.0


def main(updates: int = 1500) -> float:
    torch.manual_seed(0)
    grid = SPACING * (torch.arange(5) - 2.0)
    centres = torch.cartesian_prod(grid, grid)
    process = EDM(sigma_data=2.8)
    teacher = Mixture(process, torch.full((25,), 1 / 25), centres, torch.full((25,), SPREAD))

    student = Denoiser(MLP(2, width=128), process)
    fake = Denoiser(MLP(2, width=128), process)
    training = Training(
        learners={
            "student": Learner(student, DistributionMatching(), Adam(5e-4, betas=(0.0, 0.99)), every=3),
            "fake_score": Learner(fake, Denoise(on="samples"), Adam(1e-3, betas=(0.0, 0.99))),
        },
        rollout=OneStep(START),
        frozen={"teacher": teacher},
        steps=3 * updates,
    )
    accelerator = Accelerator(cpu=True)
    training.prepare(accelerator)
    batches = (Batch(torch.zeros(256, 2)) for _ in range(training.steps))  # the method needs no data, only shapes
    for report in train(training, batches, accelerator):
        if report.step % 900 == 0 and report.learner == "fake_score":
            print(f"step {report.step:5}  fake score's cost {report.costs['Denoise']:.3f}")

    points = FewStep(Explicit((START,))).sample(student, range(2000), (2,), None, 1)
    near = torch.cdist(points, centres).min(1)
    reached = len(near.indices[near.values < 3 * SPREAD].unique())
    print(f"{reached} of 25 modes reached; {(near.values < 3 * SPREAD).float().mean():.0%} of the samples lie on one")
    return reached


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
