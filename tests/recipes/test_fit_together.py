"""Critics, guidance and what they rely on: what does not fit together is refused when a recipe is assembled."""

import pytest

from fewstep.errors import RecipeError
from fewstep.recipes import assemble, load_recipe

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
