"""Critics, guidance and what they rely on: what does not fit together is refused when a recipe is assembled."""

import pytest
import torch

from fewstep.denoiser import Denoiser
from fewstep.errors import RecipeError
from fewstep.jobs.listing import check_parts
from fewstep.process import EDM
from fewstep.recipes import assemble, load_recipe, paper_names
from fewstep.recipes.fit_together import refuse_misfits
from fewstep.training import Learner

MATCHING = "learners.student.objective.{}.distribution_matching"


@pytest.mark.parametrize(
    ("recipe", "setting"),
    [
        ("f-distill", "learners.fake_score.heads=null"),
        ("dmd", f"{MATCHING.format(1)}.divergence=forward_kl"),
        ("dmd2", "learners.student.objective.1.adversarial.critic=teacher"),
        ("dmd2", "learners.fake_score.heads=null"),
    ],
)
def test_who_is_to_judge_without_heads_is_refused_and_told_how_to_get_them(recipe, setting, young, pairs):
    with pytest.raises(RecipeError, match=r"is asked to judge.*no heads.*`heads: middle` and the term `discriminate`"):
        assemble(load_recipe(recipe, [setting]), pairs, 10, young, 0)


def test_who_has_heads_is_named(young, pairs):
    recipe = load_recipe("dmd2", ["learners.student.objective.1.adversarial.critic=teacher"])
    with pytest.raises(RecipeError, match=r"'teacher' is asked.*those of 'fake_score' have some"):
        assemble(recipe, pairs, 10, young, 0)


@pytest.mark.parametrize(
    ("recipe", "settings", "message"),
    [
        (
            "dmd2",
            ["learners.fake_score.objective=[{denoise: {on: samples}}]"],
            r"asks the critic 'fake_score', whose heads nobody trains.*Give the learner 'fake_score' the term `discrim",
        ),
        (
            "adc-gan",
            ["learners.critic.objective=[{discriminate: {}}]"],
            r"whose heads of its kind \(classes\) nobody trains.*`discriminate: \{loss: classes\}`",
        ),
        (
            "ladd",
            ["learners.student.objective.1.adversarial.loss=logistic"],
            r"lets a divergence fall.*by the loss Hinge, are not\. Give its `discriminate` the loss softplus",
        ),
        (
            "f-distill",
            ["learners.fake_score.objective=[{denoise: {on: samples}}]", "learners.student.objective.2.weight=0"],
            r"asks the critic 'fake_score', whose heads nobody trains",
        ),
        (
            "f-distill",
            ["learners.fake_score.objective.1.discriminate.loss=hinge"],
            r"\(JensenShannon\), but its `discriminate` has the loss Hinge.*accepted are softplus and logistic",
        ),
        (
            "f-distill",
            ["learners.fake_score.objective.1.discriminate.times.log_normal.mean=-1.0"],
            r"at the times LogNormal\(mean=-0.6, .*learns at LogNormal\(mean=-1.0, .*Give `discriminate` the times",
        ),
        (
            "snoopi",
            ["learners.fake_score.objective.0.denoise.drop=0"],
            r"guides the learner 'fake_score', whose `denoise` never leaves the condition out.*`drop: 0\.1`",
        ),
    ],
)
def test_who_has_not_learned_what_it_is_asked_is_refused(recipe, settings, message: str, young, pairs):
    with pytest.raises(RecipeError, match=message):
        assemble(load_recipe(recipe, settings), pairs, 10, young, 0)


def test_a_ratio_from_heads_that_nobody_trains_is_refused(young, pairs):
    regress, matching = ("{regress: {start: 20}}", "{distribution_matching: {divergence: pearson}}")
    settings = [
        f"learners.student.objective=[{regress}, {matching}]",
        "learners.fake_score.objective=[{denoise: {on: samples}}]",
    ]
    with pytest.raises(RecipeError, match=r"the critic 'fake_score' knows \(Pearson\), but nobody trains its heads"):
        assemble(load_recipe("f-distill", settings), pairs, 10, young, 0)


@pytest.mark.parametrize(
    ("recipe", "setting"),
    [
        ("snoopi", f"{MATCHING.format(0)}.guide.hidden_scales={{low: 1.5, high: 1.5, over: [teacher]}}"),
        ("snoopi", f"{MATCHING.format(0)}.guide.hidden_scales={{low: 1, high: 1}}"),
    ],
)
def test_guidance_that_asks_nothing_of_the_learner_needs_no_empty_condition(recipe, setting, young, pairs):
    settings = [setting, "learners.fake_score.objective.0.denoise.drop=0"]
    training = assemble(load_recipe(recipe, settings), pairs, 10, young, 0).training
    assert training.learners["fake_score"].terms.parts[0][1].drop == 0


def test_whom_guidance_names_is_known_before_anything_is_built():
    recipe = load_recipe("snoopi", [f"{MATCHING.format(0)}.guide.hidden_scales.over=[teacher, fake_scor]"])
    with pytest.raises(RecipeError, match=r"asks for the network 'fake_scor'; did you mean 'fake_score'"):
        check_parts(recipe, "snoopi")


@pytest.mark.parametrize("name", [name for name in paper_names() if load_recipe(name).learners.keys() != {"student"}])
def test_the_learners_of_every_recipe_fit_together(name: str):
    """As their terms have it; the networks are put together in tests of their own."""
    view, specs = Denoiser(torch.nn.Linear(1, 1), EDM()), load_recipe(name).learners.items()
    assert refuse_misfits({each: Learner(view, spec.objective, spec.optimiser) for each, spec in specs}) is None
