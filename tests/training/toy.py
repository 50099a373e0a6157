"""A small training on points, made anew on demand, for the tests of the loop."""

from collections.abc import Iterator

import torch
from accelerate import Accelerator

from fewstep.batch import Batch
from fewstep.denoiser import Denoiser
from fewstep.networks import MLP, Headed, Heads, Lora, add_lora
from fewstep.process import EDM
from fewstep.sharing import copy_sharing
from fewstep.terms import Adversarial, Denoise, Discriminate, DistributionMatching, Hinge
from fewstep.training import Adam, Ema, Learner, OneStep, Training

PROCESS = EDM(sigma_data=1.0)


def network() -> MLP:
    torch.manual_seed(3)
    return MLP(2, classes=3, width=16, depth=1)


def batches(items: int, start: int = 0, rank: int = 0, world: int = 1) -> Iterator[Batch]:
    """Endless batches of points, a function of the step alone; a rank takes its share."""
    step = start
    while True:
        generator = torch.Generator().manual_seed(step)
        x0 = torch.randn(items * world, 2, generator=generator) + torch.tensor([1.0, -1.0])
        c = torch.randint(3, (items * world,), generator=generator)
        yield Batch(x0, c).cut(rank * items, (rank + 1) * items)
        step += 1


def teacher_training(steps: int = 20, accumulate: int = 1) -> Training:
    learner = Learner(
        Denoiser(network(), PROCESS), Denoise(drop=0.1), Adam(1e-2), accumulate=accumulate, averages={"ema": Ema(0.9)}
    )
    return Training({"student": learner}, OneStep(2.0), steps=steps, seed=5, probe=5)


def student_training(steps: int = 20) -> Training:
    """Distribution matching with a critic: three networks, two learners, two paces."""
    like = (torch.zeros(2, 2), torch.zeros(2), torch.zeros(2, dtype=torch.long))
    fake = Denoiser(Headed(network(), "middle.0", like), PROCESS)
    student = DistributionMatching() + 0.1 * Adversarial()
    return Training(
        {
            "student": Learner(Denoiser(network(), PROCESS), student, Adam(1e-2), every=2, averages={"ema": Ema(0.9)}),
            "fake_score": Learner(fake, Denoise(on="samples") + 0.1 * Discriminate(), Adam(1e-2)),
        },
        OneStep(2.0),
        {"teacher": Denoiser(network().requires_grad_(False), PROCESS)},
        steps=steps,
        seed=5,
        probe=5,
    )


def adapter_training(steps: int = 20) -> Training:
    """The same with adapters on one frozen base in the place of copies."""
    base = network().requires_grad_(False)
    student, fake = (add_lora(copy_sharing(base, base.parameters()), Lora(2), base) for _ in range(2))
    like = (torch.zeros(2, 2), torch.zeros(2), torch.zeros(2, dtype=torch.long))
    headed = Denoiser(Headed(fake, "middle.0", like), PROCESS)
    objective = DistributionMatching() + 0.1 * Adversarial()
    mine = Learner(Denoiser(student, PROCESS), objective, Adam(1e-2), every=2, averages={"ema": Ema(0.9)}, base=base)
    critic = Learner(headed, Denoise(on="samples") + 0.1 * Discriminate(), Adam(1e-2), base=base)
    learners = {"student": mine, "fake_score": critic}
    return Training(learners, OneStep(2.0), {"teacher": Denoiser(base, PROCESS)}, steps=steps, seed=5, probe=5)


def pool_training(steps: int = 20) -> Training:
    """A game against a pool of heads on frozen features: drawn, of levels, refreshed."""
    levels = (0.3, 3.0)
    heads = Heads(("middle.0",), ("global", "local"), ("seen", "hidden"), levels=levels, drawn=2, refresh=0.2)
    like = (torch.zeros(2, 2), torch.zeros(2), torch.zeros(2, dtype=torch.long))
    labels = PROCESS.label(torch.tensor(levels, dtype=torch.float64)).tolist()
    critic = Denoiser(Headed(network(), heads, like, 3, labels), PROCESS)
    student = Learner(Denoiser(network(), PROCESS), 1.0 * Adversarial("critic", loss=Hinge()), Adam(1e-2), every=2)
    learners = {"student": student, "critic": Learner(critic, Discriminate(loss=Hinge()), Adam(1e-2), only=["^heads"])}
    return Training(learners, OneStep(2.0), steps=steps, seed=5)


def prepared(training: Training) -> Accelerator:
    accelerator = Accelerator(cpu=True)
    training.prepare(accelerator)
    return accelerator


def weights(training: Training) -> dict[str, torch.Tensor]:
    """Return every number that a training consists of, by name."""
    found = {}
    for name, learner in training.learners.items():
        found |= {f"{name}.{k}": v.clone() for k, v in learner.bare.state_dict().items()}
        for average, follower in learner.followers.items():
            found |= {f"{name}.{average}.{k}": v.clone() for k, v in follower.net.state_dict().items()}
    return found


def check_equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []
