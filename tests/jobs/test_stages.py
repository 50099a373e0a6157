"""What a recipe gets wrong is said before its pairs are made and the recipe that it begins with is run."""

from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
import torch

import fewstep as fs
from fewstep.guidance import Override
from fewstep.jobs.stages import foresee
from fewstep.recipes import load_recipe
from young import young_teacher

SMALL = "begins.learners.student.network.routed.body.unet.widths=[8]"


@pytest.fixture(scope="module")
def young() -> fs.Model:
    return young_teacher()


@pytest.fixture
def nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no pair be made and no batch be trained on."""

    def never(*given, **settings):
        raise AssertionError("this costs a user hours")

    for name in ("pairs_for", "train", "_loop"):
        monkeypatch.setattr(import_module("fewstep.jobs.fit"), name, never)


WRONG = {
    "critic": ("nitrofusion", ["learners.student.objective.0.adversarial.critic=critc"], "did you mean 'critic'"),
    "heads": ("nitrofusion", ["learners.critic.heads.taps=[down.1, midle, up.0]"], "no part 'midle'"),
    "first stage": ("nitrofusion", ["begins.learners.student.averages.slow.decay=0.9", "begins.keep=slwo"], "'slow'"),
    "target": ("hipa", ["learners.student.lora.targets=[atention]"], "atention"),
    "adapters": ("dmd2-lora", ["learners.fake_score.lora.targets=[atention]"], "atention"),
    "adapter file": ("hipa", ["learners.student.lora.file=nowhere.safetensors"], r"nowhere\.safetensors"),
    "class": ("sfd", ["frozen.teacher.guidance=[{override: {forgotten: 10, to: 1}}]"], r"names the class 10 .*0 to 9"),
    "name": ("sfd", ["unjudged=[teh five]"], r"'teh five' is no class of the data"),
    "name, first stage": (
        "msd",
        ["begins.learners.student.network.routed.parts=[[zero],[one]]"],
        r"'zero' is no class",
    ),
    "part": ("msd", [SMALL, "begins.learners.student.network.routed.parts=[[0,1,2,3,4,5,6,7,8,9],[]]"], "1 is empty"),
    "origin": ("msd", [SMALL, "learners.fake_score.heads=midle"], "no part 'midle'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_it_is_refused_before_anything_runs(case: str, young, tmp_path: Path, nothing_runs):
    recipe, settings, message = WRONG[case]
    options = fs.Options(tmp_path, settings=settings, show=False, cache=tmp_path)
    with pytest.raises(fs.FewstepError, match=message):
        fs.distill(young, fs.Digits(), options, recipe)
    assert list(tmp_path.iterdir()) in ([], [tmp_path / "plan.json"])


@pytest.mark.parametrize(("recipe", "settings"), [("nitrofusion", []), ("msd", [SMALL]), ("dmd2-lora", [])])
def test_what_fits_is_foreseen_and_nothing_is_drawn_or_changed(recipe: str, settings: list[str], young):
    state, before = torch.random.get_rng_state(), [p.clone() for p in young.view.net.parameters()]
    student = foresee(load_recipe(recipe, settings), fs.Digits(), settings, young)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(before, young.view.net.parameters(), strict=True))
    assert student.sample([0], "3").isfinite().all()


def test_a_first_stage_that_is_done_is_not_looked_at_again(young):
    begun = foresee(load_recipe("dmd2-no-gan"), fs.Digits(), [], young)
    begun = replace(begun, facts={"recipe": "dmd2-no-gan"})
    wrong = ["begins.learners.nobody=3"]
    foresee(load_recipe("nitrofusion"), fs.Digits(), wrong, begun)
    with pytest.raises(fs.RecipeError, match="nobody"):
        foresee(load_recipe("nitrofusion"), fs.Digits(), wrong, young)


def test_a_run_knows_classes_by_number_that_its_recipe_knows_by_name(young, tmp_path: Path, monkeypatch):
    data, seen = fs.Digits(), []
    monkeypatch.setattr(data, "classes", tuple(f"digit {name}" for name in data.classes), raising=False)

    def stop(recipe, *given):
        seen.append(recipe)
        raise fs.RecipeError("enough")

    monkeypatch.setattr(import_module("fewstep.jobs.fit"), "_prepare", stop)
    settings = ["frozen.teacher.guidance=[{override: {forgotten: digit 3, to: digit 7}}]", "shares={digit 3: 0.2}"]
    with pytest.raises(fs.RecipeError, match="enough"):
        fs.distill(young, data, fs.Options(tmp_path, settings=settings, show=False), "sfd")
    assert seen[0].frozen["teacher"].guidance == (Override((3,), 7),)
    assert seen[0].shares == {3: 0.2}
