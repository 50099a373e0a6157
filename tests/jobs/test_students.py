"""Several small students in one network (MSD): from a large teacher by way of a small one, into one folder."""

import copy
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

import fewstep as fs
from fewstep.batch import Batch
from fewstep.denoiser import Denoiser
from fewstep.errors import RecipeError
from fewstep.networks import MLP, Routed, UNet
from fewstep.process import EDM
from fewstep.recipes import assemble, load_recipe
from fewstep.terms import Denoise, DistributionMatching
from fewstep.times import Karras
from fewstep.training import Adam, Learner, OneStep, Training, train

pytestmark = pytest.mark.usefixtures("brief_looks")

QUICK = ("steps=4", "batch=8", "looks=1", "judged=16")
SMALL = "begins.learners.student.network.routed.body.unet.widths=[8]"
PAIRS = ("pairs.count=16", "pairs.steps=2", "learners.student.averages.ema.decay=0.5")


@pytest.fixture(scope="module")
def teacher() -> fs.Model:
    torch.manual_seed(0)
    settings = {"channels": 1, "classes": 10, "widths": [16, 16], "depth": 1}
    view = Denoiser(UNet(**settings).requires_grad_(False).eval(), EDM(sigma_data=0.7))
    return fs.Model(view, fs.ManyStep(Karras()), (1, 8, 8), fs.Digits().classes, {"unet": settings})


@pytest.fixture(scope="module")
def run(teacher: fs.Model, tmp_path_factory) -> tuple[fs.Model, Path]:
    out = tmp_path_factory.mktemp("msd")
    settings = (*QUICK, *PAIRS, SMALL, *(f"begins.{each}" for each in QUICK), "begins.sampler.many_step.steps=2")
    options = fs.Options(out / "run", settings=settings, show=False, cache=out, pairs=out / "pairs")
    return fs.distill(teacher, fs.Digits(), options, "msd"), out


def test_one_folder_holds_all_students_and_samples_like_one_model(run):
    model, out = run
    again = fs.load_model(out / "run")
    labels = list(range(10))
    assert torch.equal(again.sample(range(10), labels), model.sample(range(10), labels))
    assert list(again.network) == ["routed"]
    bodies = again.view.net.bodies
    assert len(bodies) == 2
    moved = copy.deepcopy(again)
    with torch.no_grad():
        moved.view.net.bodies[1].last[2].bias.add_(1.0)
    same = [
        torch.equal(a, b) for a, b in zip(moved.sample(range(10), labels), again.sample(range(10), labels), strict=True)
    ]
    assert same == [True] * 5 + [False] * 5


def test_each_student_comes_from_its_own_half_of_the_stage_before(run):
    model, out = run
    begun = fs.load_model(out / "run" / "begin")
    assert begun.network == model.network
    assert isinstance(begun.sampler, fs.ManyStep)
    for one, two in zip(begun.view.net.bodies, model.view.net.bodies, strict=True):
        assert not torch.equal(one.first.weight, two.first.weight)
    first, second = begun.view.net.bodies
    assert not torch.equal(first.first.weight, second.first.weight)


def assembled(teacher: fs.Model, origin: fs.Model | None, *settings: str):
    x0 = torch.randn(8, 1, 8, 8)
    batch = Batch(x0, torch.arange(8), torch.randn(8, 1, 8, 8))
    return assemble(load_recipe("msd", settings), batch, 10, teacher, 0, origin).training


def test_the_fake_score_and_the_real_one_are_the_large_teacher(teacher: fs.Model, run):
    begun = fs.load_model(run[1] / "run" / "begin")
    training = assembled(begun, teacher)
    fake, real = training.learners["fake_score"].bare, training.frozen["teacher"].net
    for name, value in teacher.view.net.state_dict().items():
        assert torch.equal(fake.state_dict()[name], value)
        assert torch.equal(real.state_dict()[name], value)
    assert not {p.data_ptr() for p in fake.parameters()} & {p.data_ptr() for p in teacher.view.net.parameters()}
    assert isinstance(training.learners["student"].bare, Routed)


def test_pairs_of_the_origin_are_made_by_it(teacher: fs.Model, run):
    """The stored ends are the large teacher's: a run on the large one alone finds them made already."""
    _, out = run
    kept = [path.name for path in (out / "pairs").iterdir()]
    options = fs.Options(out / "plain", settings=(*QUICK, *PAIRS), show=False, cache=out, pairs=out / "pairs")
    fs.distill(teacher, fs.Digits(), options, "dmd")
    assert [path.name for path in (out / "pairs").iterdir()] == kept


def test_without_the_large_teacher_it_is_refused(run, tmp_path: Path):
    _, out = run
    begun = fs.load_model(out / "run" / "begin")
    options = fs.Options(tmp_path, settings=(*QUICK, *PAIRS), show=False, cache=out, pairs=out / "pairs")
    with pytest.raises(RecipeError, match="only the result of msd-tsm is known"):
        fs.distill(begun, fs.Digits(), options, "msd")


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("learners.fake_score.from=nobody", r"learners.fake_score.from.*'nobody'; accepted are 'teacher' and 'origin'"),
        ("pairs.from=nobody", r"pairs.from.*'nobody'; accepted are 'teacher' and 'origin'"),
        ("learners.fake_score.lora={rank: 2}", "sits on the frozen teacher, but this learner is 'from: origin'"),
    ],
)
def test_a_place_that_is_none_is_refused(setting: str, said: str):
    with pytest.raises(RecipeError, match=said):
        load_recipe("msd", [setting])


def trained(parts: int | None) -> dict[str, torch.Tensor]:
    """Return the weights after distribution matching with a plain student, or with one of so many parts."""
    torch.manual_seed(3)
    body, process = MLP(2, classes=3, width=16, depth=1), EDM(sigma_data=1.0)
    fake, real = copy.deepcopy(body), copy.deepcopy(body).requires_grad_(False)
    student = body if parts is None else Routed(body, parts, 3)
    objective = DistributionMatching() + 0.1 * Denoise()
    learners = {
        "student": Learner(Denoiser(student, process), objective, Adam(1e-2), every=2),
        "fake_score": Learner(Denoiser(fake, process), Denoise(on="samples"), Adam(1e-2)),
    }
    training = Training(learners, OneStep(2.0), {"teacher": Denoiser(real, process)}, steps=8, seed=5, probe=5)
    accelerator, generator = Accelerator(cpu=True), torch.Generator().manual_seed(1)
    training.prepare(accelerator)
    data = [
        Batch(torch.randn(6, 2, generator=generator), torch.randint(-1, 3, (6,), generator=generator)) for _ in range(8)
    ]
    list(train(training, data, accelerator))
    prefix = "" if parts is None else "bodies.0."
    return {name.removeprefix(prefix): value for name, value in student.state_dict().items()}


def test_one_part_learns_what_the_base_method_learns_bit_for_bit():
    plain, routed = trained(None), trained(1)
    assert plain.keys() == routed.keys()
    assert all(torch.equal(value, routed[name]) for name, value in plain.items())
    two = trained(3)
    assert not all(torch.equal(value, two[name]) for name, value in plain.items() if name in two)
