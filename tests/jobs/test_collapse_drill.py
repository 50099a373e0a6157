"""The collapse drill: an illness is put into a real training; it must be named within 50 updates, and what was healthy
before must be kept."""

import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
import torch

import fewstep as fs
from fewstep.batch import Batch
from fewstep.critic import Critic
from fewstep.jobs.origin import illness_of
from fewstep.recipes import assemble, load_recipe
from fewstep.training import Learner, Training, checkpoints, restore

STUDENT = ("batch=24", "judged=16")  # so large that a beat may sample all ten classes
PAIRS = ("pairs.count=64", "pairs.steps=3", "pairs.shard=64")
WITHIN = 50  # updates of the student between the illness and its name
HEALTHY = 50  # updates before it: between two beats of the pulse, the second of which is at a look
LOOKS = 9  # at a sick critic: one of them, at batch 55, is when it is ill and not yet named

Illness = Callable[[torch.Tensor, torch.Tensor, int], torch.Tensor]
PROTOTYPES = fs.Digits().batch(range(10)).x0  # the first ten digits are one of each class


def nearly(x0: torch.Tensor, collapsed: torch.Tensor) -> torch.Tensor:
    """Keep a rest of what was there, and so a gradient."""
    return collapsed + 0.02 * (x0 - collapsed)


COLLAPSES: dict[str, Illness] = {  # what becomes of the student's estimates, so many updates after they fell ill
    "seeds alike": lambda x0, c, age: nearly(x0, PROTOTYPES[c]),
    "seeds of one condition alike": lambda x0, c, age: torch.where(
        (c == 3)[:, None, None, None], nearly(x0, PROTOTYPES[c]), x0
    ),
    "all the same": lambda x0, c, age: nearly(x0, PROTOTYPES[:1]),
    "colours drift": lambda x0, c, age: x0 + 0.05 * age,
    "flat": lambda x0, c, age: 0.1 * x0,
    "exploding": lambda x0, c, age: (1 + age) * x0,
}

FAST = ("seeds of one condition alike", "colours drift")  # tests/jobs/test_pulse.py names all of them, untrained
TEACHER = ("steps=120", "batch=32", "looks=1", "judged=16", "learners.student.network.unet.widths=[8, 8]")


@pytest.fixture(scope="module")
def teacher(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> fs.Model:
    """A better one than the other tests of jobs have: of those of six steps some illnesses look like others."""
    out = tmp_path_factory.mktemp("drill") / "teacher"
    return fs.train_teacher(fs.Digits(), fs.Options(out, settings=TEACHER, show=False, cache=cache))


@pytest.fixture
def student(monkeypatch: pytest.MonkeyPatch) -> list[Learner]:
    """The learner of the student, as soon as its training begins."""
    found: list[Learner] = []
    job = import_module("fewstep.jobs.fit")  # the name fewstep.jobs.fit is that of the function
    train = job.train

    def watched(training: Training, *rest):
        found.append(training.learners["student"])
        return train(training, *rest)

    monkeypatch.setattr(job, "train", watched)
    return found


def settings(recipe: str, looks: int = 5) -> list[str]:
    """So many looks, in a training that is twice as long as it is healthy, whose student never waits for its turn."""
    length = (f"steps={2 * HEALTHY}", f"looks={looks}", "learners.student.every=1")
    return [*STUDENT, *(PAIRS if load_recipe(recipe).pairs else ()), *length]


def diagnosis(recipe: str, teacher: fs.Model, out: Path, cache: Path, looks: int = 5) -> str:
    """Distil until a monitor stops the run, and say what it said."""
    options = fs.Options(out, settings=settings(recipe, looks), show=False, cache=cache)
    with pytest.raises(fs.UnhealthyTraining) as stopped:
        fs.distill(teacher, fs.Digits(), options, recipe)
    return str(stopped.value)


@pytest.mark.parametrize(
    ("recipe", "name"),
    [
        *(pytest.param("kd", name, marks=() if name in FAST else pytest.mark.slow) for name in COLLAPSES),
        pytest.param("dmd2", "seeds alike", marks=pytest.mark.slow),
        pytest.param("pcm", "colours drift", marks=pytest.mark.slow),
        pytest.param("meanflow", "flat", marks=pytest.mark.slow),
    ],
)
def test_collapse_is_named_in_time(recipe, name, teacher, cache, student, tmp_path, monkeypatch):
    estimate = fs.Denoiser.__call__

    def ill(view: fs.Denoiser, x, t, c=None, s=None):
        x0 = estimate(view, x, t, c, s)
        age = student[0].updates - HEALTHY if student and view.net is student[0].bare else -1
        return x0 if age < 0 else COLLAPSES[name](x0, c, age)

    monkeypatch.setattr(fs.Denoiser, "__call__", ill)
    said = diagnosis(recipe, teacher, tmp_path, cache)
    assert f"({name})" in said
    assert HEALTHY < student[0].updates <= HEALTHY + WITHIN
    check_healthy_checkpoint(recipe, teacher, tmp_path, said)


def test_exploding_critic_is_named_in_time(teacher, cache, student, tmp_path, monkeypatch):
    """Its logits are suddenly huge, whatever it learns: the loss runs away, and the student's gradient with it."""
    heads = Critic.heads

    def ill(critic: Critic, x, t, c=None):
        sick = student and student[0].updates >= HEALTHY
        return [logits * (1e4 if sick else 1) for logits in heads(critic, x, t, c)]

    monkeypatch.setattr(Critic, "heads", ill)
    said = diagnosis("dmd2", teacher, tmp_path, cache, LOOKS)
    assert re.search(r"the critic 'fake_score' is exploding: its logits are \d+", said)
    assert HEALTHY < student[0].updates <= HEALTHY + WITHIN
    check_healthy_checkpoint("dmd2", teacher, tmp_path, said)


def check_healthy_checkpoint(recipe: str, teacher: fs.Model, out: Path, said: str) -> None:
    """The newest checkpoint is from before the illness, can be loaded, and makes samples; the folder knows why."""
    assert illness_of(out) == said
    assert f"The last healthy checkpoint is in {out / 'checkpoints'}" in said
    data = fs.Digits()
    loaded = load_recipe(recipe, settings(recipe))
    example = data.batch(range(8))
    example = Batch(example.x0, example.c, torch.randn_like(example.x0))
    training = assemble(loaded, example, 10, teacher, 0).training
    restore(training, checkpoints(out / "checkpoints")[-1])
    assert 0 < training.learners["student"].updates <= HEALTHY
    assert training.learners["student"].bare(example.x0, torch.zeros(8), example.c).isfinite().all()
