import json
import random
import time
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch

import fewstep as fs
from fewstep.jobs import pairs
from fewstep.jobs.record import read_log
from fewstep.training import checkpoints

pytestmark = pytest.mark.usefixtures("brief_looks")

STUDENT = ("steps=8", "batch=8", "looks=2", "judged=16")
PAIRS = ("pairs.count=32", "pairs.steps=3", "pairs.shard=16")


def options(folder: Path, cache: Path, settings=STUDENT, seed: int = 0) -> fs.Options:
    return fs.Options(folder, seed=seed, settings=settings, show=False, cache=cache)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where that student lies; do not write into it."""
    return tmp_path_factory.mktemp("students") / "s"


@pytest.fixture(scope="module")
def student(teacher: fs.Model, folder: Path, cache: Path) -> fs.Model:
    """Made in a moment by dmd2."""
    return fs.distill(teacher, fs.Digits(), options(folder, cache), "dmd2")


@pytest.mark.parametrize(
    "recipe", ["dmd2-no-gan", "ect", *(pytest.param(name, marks=pytest.mark.slow) for name in ("cd", "dmd2", "kd"))]
)
def test_every_recipe_distils(recipe, teacher, tmp_path, cache):
    settings = (*STUDENT, *PAIRS) if recipe in ("kd", "dmd2-no-gan") else STUDENT
    student = fs.distill(teacher, fs.Digits(), options(tmp_path, cache, settings), recipe)
    images = student.sample(range(4), labels="3")
    assert images.shape == (4, 1, 8, 8)
    assert images.isfinite().all()
    assert student.facts["recipe"] == recipe
    before = dict(teacher.view.net.named_parameters())
    moved = [n for n, p in student.view.net.named_parameters() if n in before and not torch.equal(p, before[n])]
    assert len(moved) > len(before) / 2


def test_runs_share_pairs_that_are_the_same_and_no_others(teacher, tmp_path, cache, monkeypatch):
    """The second seed and another recipe find what the first run made; other pairs get a folder of their own."""
    made, home = [], tmp_path / "pairs"
    draw = pairs.item_noise
    monkeypatch.setattr(pairs, "item_noise", lambda seeds, shape: made.append(seeds) or draw(seeds, shape))

    def shards_made(name: str, seed: int, *settings: str) -> int:
        plan = replace(options(tmp_path / f"{name}-{seed}", cache, (*STUDENT, *PAIRS, *settings), seed), pairs=home)
        made.clear()
        fs.distill(teacher, fs.Digits(), plan, name)
        return len(made)

    assert shards_made("kd", 0) == 2
    assert shards_made("kd", 1) == 0
    assert shards_made("kd", 2, "pairs.seed=1") == 2
    assert len(list(home.iterdir())) == 2
    seconds = [fs.load_model(tmp_path / f"kd-{seed}").facts["pair seconds"] for seed in range(2)]
    assert seconds[0] == seconds[1] >= 0
    assert not (tmp_path / "kd-0" / "pairs").exists()


def test_a_recipe_without_a_teacher_trains(tmp_path, cache):
    small = (*STUDENT, "learners.student.network.unet.widths=[8, 8]")
    assert fs.train_teacher(fs.Digits(), options(tmp_path, cache, small), "ict").steps == 1


def test_a_run_says_in_words_what_it_is(teacher, student, folder):
    words = json.loads((folder / "run.json").read_text())
    assert words["network"] == teacher.network
    assert words["facts"]["versions"]["torch"] == torch.__version__
    assert json.loads((folder / "plan.json").read_text())["teacher"] == teacher.facts["weights"]
    assert {"step", "student: DistributionMatching", "student: gradient norm"} <= set(read_log(folder)[0])


def test_loading_gives_the_same_images(student, folder):
    again = fs.load_model(folder)
    assert torch.equal(student.sample(range(6), "2", 4), again.sample(range(6), "2", 4))


def test_item_17_does_not_depend_on_the_batch(tmp_path, cache):
    """With weights so young that three steps do not enlarge the order of sums."""
    young = ("steps=12", "batch=8", "looks=1", "judged=16", "learners.student.network.unet.widths=[8, 8]")
    teacher = fs.train_teacher(fs.Digits(), options(tmp_path, cache, young))
    whole = teacher.sample(range(32), labels=[i % 10 for i in range(32)], steps=3)
    alone = teacher.sample([17], labels=[7], steps=3)
    torch.testing.assert_close(whole[17:18], alone, atol=1e-5, rtol=1e-5)  # up to the order of float32 sums


def test_a_finished_run_is_loaded_and_another_one_refused(teacher, student, folder, cache):
    began = time.perf_counter()
    again = fs.distill(teacher, fs.Digits(), options(folder, cache), "dmd2")
    assert time.perf_counter() - began < 2
    assert student.facts == again.facts
    with pytest.raises(fs.RecipeError, match=r"holds another run: seed is 0 there and 1 here"):
        fs.distill(teacher, fs.Digits(), options(folder, cache, seed=1), "dmd2")


def test_a_recipe_that_needs_a_teacher_says_so(tmp_path, cache):
    with pytest.raises(fs.RecipeError, match="none was given; train one first"):
        fs.train_teacher(fs.Digits(), options(tmp_path, cache), "cd")


def test_a_student_without_the_boundary_is_refused_before_training(teacher, tmp_path, cache):
    raw = (*STUDENT, "learners.student.prediction=x0")
    with pytest.raises(fs.RecipeError, match=r"f\(x, t\) = x .*Use the prediction edm"):
        fs.distill(teacher, fs.Digits(), options(tmp_path, cache, raw), "cd")


def test_a_network_of_ones_own_distils(tmp_path, cache):
    class Own(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(65, 64)

        def forward(self, x, label, c):
            return self.layer(torch.cat([x.flatten(1), label[:, None]], 1)).reshape(x.shape)

    data, view = fs.Digits(), fs.Denoiser(Own(), fs.EDM(sigma_data=0.75))
    own = fs.Model(view, fs.ManyStep(fs.load_recipe("edm").sampler.schedule), data.shape, data.classes)
    student = fs.distill(own, data, options(tmp_path, cache, (*STUDENT, *PAIRS)), "dmd2-no-gan")
    assert student.sample(range(2), "1", 2).isfinite().all()
    with pytest.raises(fs.WeightsError, match=r"Load it with load_model\(folder, net=...\)"):
        fs.load_model(tmp_path)
    again = fs.load_model(tmp_path, net=Own())
    assert torch.equal(again.sample(range(2), "1"), student.sample(range(2), "1"))


def test_a_sick_run_stops_with_a_diagnosis_and_keeps_what_was_healthy(teacher, tmp_path, cache):
    hot = ("steps=40", "batch=8", "looks=20", "judged=16", "learners.student.optimiser.adam.lr=1.0e8")
    with pytest.raises(fs.UnhealthyTraining, match=r"At step \d+ .*not finite.*(weights|saved yet)"):
        fs.distill(teacher, fs.Digits(), options(tmp_path, cache, hot), "dmd2")
    assert not (tmp_path / "run.json").exists()


LONG = ("steps=16", "batch=8", "looks=8", "judged=16")


def distil(folder: Path, out: Path, cache: Path) -> None:
    fs.distill(fs.load_model(folder), fs.Digits(), options(out, cache, LONG), "dmd2")


def kill(folder: Path, out: Path, cache: Path) -> None:
    """Run a distillation in a copy of this process and kill it at a random moment after its first checkpoint."""
    before = checkpoints(out / "checkpoints")
    running = get_context("fork").Process(target=distil, args=(folder, out, cache))
    running.start()
    while checkpoints(out / "checkpoints") == before and running.is_alive():
        time.sleep(0.01)
    time.sleep(random.random() / 4)
    running.kill()
    running.join()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # Python 3.12, of forks
def test_sigkill_at_a_random_moment_and_resume_end_in_equal_weights(teacher, tmp_path, cache):
    """Twice; neither process nor number of kills shows in what comes out."""
    folder = tmp_path / "teacher"
    fs.save_model(teacher, folder)
    for _ in range(2):
        kill(folder, tmp_path / "killed", cache)
    for run in ("killed", "whole"):
        distil(folder, tmp_path / run, cache)
    same = [(tmp_path / run / "model.safetensors").read_bytes() for run in ("whole", "killed")]
    assert same[0] == same[1]
    logs = [read_log(tmp_path / run) for run in ("whole", "killed")]
    assert logs[0] == logs[1]
