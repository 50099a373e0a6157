"""Critics on a frozen teacher: one body in memory, heads that learn, and a pool of them that changes."""

from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from test_share import batches, run, stored, teacher

from fewstep.errors import RecipeError
from fewstep.networks import Heads
from fewstep.recipes import assemble, load_recipe
from fewstep.training import checkpoints, restore, save_training

RECIPE = """\
title: T
source: arXiv 2403.12015
purpose: p
learners:
  student:
    from: teacher
    every: 2
    objective: [adversarial: {critic: critic, loss: hinge}]
    optimiser: {adam: {lr: 1e-2}}
  critic:
    from: teacher
    only: [^heads]
    heads: {taps: [first, middle.0], kinds: [global, local], condition: [told, hidden]}
    objective: [discriminate: {loss: hinge}]
    optimiser: {adam: {lr: 1e-2}}
rollout: {one_step: {start: 2.5}}
sampler: {few_step: {schedule: {explicit: [2.5]}, steps: [1]}}
steps: 20
"""
POOL = "{taps: [first, middle.0], kinds: [global, local], levels: [0.2, 1.0], drawn: 2, refresh: 0.2}"


@pytest.fixture
def mine(tmp_path):
    """Return the learners of the recipe with settings applied, on a given teacher."""

    def make(*settings: str, given=None):
        (tmp_path / "mine.yaml").write_text(RECIPE)
        recipe = load_recipe(str(tmp_path / "mine.yaml"), settings)
        return assemble(recipe, next(batches()), 3, given or teacher(), 0).training

    return make


def numbers(training) -> dict[str, torch.Tensor]:
    pairs = [(name, learner.bare.state_dict()) for name, learner in training.learners.items()]
    return {f"{name}.{key}": value.clone() for name, state in pairs for key, value in state.items()}


def check_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    assert [key for key in a if not torch.equal(a[key], b[key])] == []


def test_the_body_is_the_teachers_own_and_stays_as_it_is(mine):
    given = teacher()
    before = {key: value.clone() for key, value in given.view.net.state_dict().items()}
    training = mine(given=given)
    critic, student = training.learners["critic"], training.learners["student"]
    assert all(a is b for a, b in zip(critic.bare.body.parameters(), given.view.net.parameters(), strict=True))
    own = sum(p.numel() for each in (critic, student) for p in each.parameters.values())
    base = sum(p.numel() for p in given.view.net.parameters())
    assert stored([given.view.net, critic.bare, student.bare]) == 4 * (base + own)
    assert all(key.startswith("heads.") for key in critic.parameters)
    start = numbers(training)
    run(training, 6)
    check_same(dict(given.view.net.state_dict()), before)
    moved = {key.split(".")[0] for key, value in numbers(training).items() if not torch.equal(value, start[key])}
    assert moved == {"student", "critic"}


def test_the_student_learns_through_frozen_features_and_each_player_alone_in_its_turn(mine):
    """Frozen features are not detached features."""
    given, found = teacher(), {}
    for name in ("student", "critic"):
        training = mine(
            *[f"learners.{other}.after=10" for other in ("student", "critic") if other != name], given=given
        )
        before = numbers(training)
        reports = run(training, 1)
        after = numbers(training)
        found[name] = {key.split(".")[0] for key in after if not torch.equal(after[key], before[key])}
        assert reports[0].norm > 0
        assert all(p.grad is None and not p.requires_grad for p in given.view.net.parameters())
    assert found == {"student": {"student"}, "critic": {"critic"}}


def test_what_is_to_learn_of_the_body_is_a_copy(mine):
    given = teacher()
    before = {key: value.clone() for key, value in given.view.net.state_dict().items()}
    training = mine("learners.critic.only=[^heads, ^body.first]", given=given)
    critic = training.learners["critic"]
    own = dict(given.view.net.named_parameters())
    same = {key for key, p in critic.bare.body.named_parameters() if p is own[key]}
    assert {key for key in own if key not in same} == {"first.weight", "first.bias"}
    run(training, 4)
    assert not torch.equal(critic.bare.body.first.weight, before["first.weight"])
    check_same(dict(given.view.net.state_dict()), before)


def test_a_body_in_few_bits_serves_frozen_and_is_refused_where_it_is_to_learn(mine):
    run(mine("base=int8"), 2)
    with pytest.raises(RecipeError, match=r"is to learn in a critic on a teacher that is kept in int8"):
        mine("base=int8", "learners.critic.only=[^heads, ^body.first]")


@pytest.mark.parametrize("pool", [False, True])
def test_checkpoints_hold_heads_only_and_resume_exactly(mine, tmp_path, pool: bool):
    settings = [f"learners.critic.heads={POOL}"] if pool else []
    straight, stopped = mine(*settings), mine(*settings)
    run(straight, 9)
    run(stopped, 5)
    save_training(stopped, tmp_path / "c", {})
    path = checkpoints(tmp_path / "c")[-1]
    assert all(key.startswith("heads.") for key in load_file(path / "critic.safetensors"))
    again = mine(*settings)
    again.prepare(Accelerator(cpu=True))
    restore(again, path)
    run(again, 9, prepare=False)
    check_same(numbers(straight), numbers(again))


def test_a_pool_of_which_all_speak_and_none_is_refreshed_is_the_static_critic(mine):
    static = mine()
    pool = mine("learners.critic.heads.drawn=8", "learners.critic.heads.refresh=0")
    other = mine("learners.critic.heads.refresh=0.2")
    for training in (static, pool, other):
        run(training, 5)
    check_same(numbers(static), numbers(pool))
    assert any(not torch.equal(value, numbers(other)[key]) for key, value in numbers(static).items())


def test_a_renewed_head_has_no_past_in_its_optimiser(mine):
    learner = (training := mine("learners.critic.heads.refresh=0.5")).learners["critic"]
    run(training, 3)
    kept = [learner.optimizer.state[p]["step"] for p in learner.parameters.values() if p in learner.optimizer.state]
    gone = [p for p in learner.parameters.values() if p not in learner.optimizer.state]
    assert gone
    assert {int(step) for step in kept} <= {1, 2, 3}
    per_head = [{p in learner.optimizer.state for p in head.parameters()} for head in learner.bare.heads]
    assert all(len(each) == 1 for each in per_head)
    run(training, 4, prepare=False)
    fresh = [int(learner.optimizer.state[p]["step"]) for p in gone if p in learner.optimizer.state]
    assert set(fresh) <= {1}


def test_a_share_of_time_is_the_learners_or_else_the_teachers(mine):
    def shares(training) -> list[float]:
        return [learner.view.time_share for learner in training.learners.values()]

    told = "learners.student.time_share=0.25"
    assert shares(mine()) == [1.0, 1.0]
    assert shares(mine(told)) == [0.25, 1.0]
    given = teacher()
    given = replace(given, view=replace(given.view, time_share=0.5))
    assert shares(mine(given=given)) == [0.5, 0.5]
    assert shares(mine(told, given=given)) == [0.25, 0.5]
    heads = [mine(f"learners.critic.heads={POOL}", given=each).learners["critic"] for each in (given, teacher())]
    shared, whole = (critic.bare.levels for critic in heads)
    path = given.view.process
    assert shared.tolist() == path.label(torch.tensor([0.1, 0.5], dtype=torch.float64)).tolist()
    assert whole.tolist() == path.label(torch.tensor([0.2, 1.0], dtype=torch.float64)).tolist()
    with pytest.raises(RecipeError, match=r"a share of 2\.0 of every time; accepted are shares above 0"):
        mine("learners.student.time_share=2.0")


def test_heads_are_written_in_a_recipe_as_one_name_a_list_or_in_full(tmp_path):
    for written, heads in (
        ("middle.0", Heads(("middle.0",))),
        ("[first, middle.0]", Heads(("first", "middle.0"))),
        ("{taps: first, kinds: local, drawn: 1}", Heads(("first",), ("local",), drawn=1)),
    ):
        (tmp_path / "mine.yaml").write_text(RECIPE)
        recipe = load_recipe(str(tmp_path / "mine.yaml"), [f"learners.critic.heads={written}"])
        assert recipe.learners["critic"].heads == heads
    with pytest.raises(RecipeError, match=r"heads\.kinds\.0 .*is 'globl'; accepted is"):
        load_recipe(str(tmp_path / "mine.yaml"), ["learners.critic.heads={taps: first, kinds: globl}"])
    with pytest.raises(RecipeError, match=r"learners\.critic\.heads .*of 1 heads"):
        load_recipe(str(tmp_path / "mine.yaml"), ["learners.critic.heads={taps: first, drawn: 3}"])
