"""The training loop in the open: two learners, one generator, and your own logging and stopping around it.

    python examples/own_loop.py [updates]

What ``fewstep distill`` does with a recipe stands here in Python: a teacher under guidance, a student, a fake score.
"""

import copy
import sys

from accelerate import Accelerator

from fewstep import CFG, EDM, Denoiser, Digits, FewStep, Learner, Training, batches, train
from fewstep.networks import UNet
from fewstep.terms import Denoise, DistributionMatching
from fewstep.times import Explicit
from fewstep.training import Adam, Ema, OneStep

START = 2.5  # the noise level of the one call


def main(updates: int = 1000) -> None:
    data, process, accelerator = Digits(), EDM(sigma_data=0.75), Accelerator()

    net = UNet(channels=1, classes=10, widths=(32, 48))
    teacher_run = Training(
        {"student": Learner(Denoiser(net, process), Denoise(drop=0.1), Adam(2e-3))}, OneStep(START), steps=updates
    )
    teacher_run.prepare(accelerator)
    for report in train(teacher_run, batches(data, 128, seed=0), accelerator):
        if report.step % 100 == 0:
            print(f"teacher, step {report.step}: {report.costs['Denoise']:.3f}")

    teacher = Denoiser(net.requires_grad_(False), process)
    student, fake = (Denoiser(copy.deepcopy(net), process) for _ in range(2))
    run = Training(
        learners={
            "student": Learner(
                student, DistributionMatching(), Adam(2e-4, betas=(0.0, 0.99)), every=2, averages={"ema": Ema(0.995)}
            ),
            "fake_score": Learner(fake, Denoise(on="samples"), Adam(5e-4, betas=(0.0, 0.99))),
        },
        rollout=OneStep(START),
        frozen={"teacher": CFG(1.5)(teacher)},
        steps=2 * updates,
    )
    run.prepare(accelerator)
    for report in train(run, batches(data, 64, seed=1), accelerator):
        if report.learner == "student" and report.step % 200 == 0:
            print(f"student, step {report.step}: gradient norm {report.norm:.3f}")

    average = Denoiser(run.learners["student"].followers["ema"].net, process)
    images = FewStep(Explicit((START,))).sample(average, seeds=range(8), shape=data.shape, c=None, steps=1)
    print(f"{len(images)} images in one call each, values from {images.min():.2f} to {images.max():.2f}")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
