import dataclasses

import pytest
import torch
from toy import PROCESS, batches, check_equal, network, prepared, student_training, teacher_training, weights

from fewstep.denoiser import Denoiser
from fewstep.errors import RecipeError
from fewstep.scalars import Piecewise
from fewstep.terms import Denoise, DistributionMatching
from fewstep.training import Adam, Ema, Learner, OneStep, Training, restore, save_training, train


def run(training: Training, items: int = 8) -> Training:
    accelerator = prepared(training)
    for _ in train(training, batches(items, training.step), accelerator):
        pass
    return training


@pytest.mark.parametrize("make", [teacher_training, student_training])
def test_same_seed_gives_the_same_weights(make):
    check_equal(weights(run(make())), weights(run(make())))


@pytest.mark.parametrize("make", [teacher_training, student_training])
@pytest.mark.parametrize("stop", [1, 7, 12])
def test_resume_is_bit_equal(make, stop, tmp_path):
    whole = run(make())
    first = make()
    accelerator = prepared(first)
    for _ in train(first, batches(8), accelerator):
        if first.step == stop:
            break
    save_training(first, tmp_path, {"note": 1})
    second = make()
    accelerator = prepared(second)
    assert restore(second, tmp_path / f"step-{stop:08d}") == {"note": 1}
    for _ in train(second, batches(8, second.step), accelerator):
        pass
    check_equal(weights(whole), weights(second))


def test_accumulation_equals_the_whole_batch():
    whole, pieces = weights(run(teacher_training())), weights(run(teacher_training(accumulate=4)))
    for name, value in whole.items():
        torch.testing.assert_close(pieces[name], value, atol=2e-5, rtol=1e-4)


def test_a_batch_that_pieces_do_not_divide_is_refused():
    with pytest.raises(RecipeError, match="batch of 8 cannot be cut into 3 equal pieces"):
        run(teacher_training(accumulate=3))


def test_learners_keep_their_pace():
    training = run(student_training(steps=9))
    assert {name: learner.updates for name, learner in training.learners.items()} == {"student": 5, "fake_score": 9}
    assert {name: learner.total for name, learner in training.learners.items()} == {"student": 5, "fake_score": 9}


def test_a_learner_that_starts_later_waits():
    training = student_training(steps=9)
    training.learners["student"].after = 4
    assert [training.due(step) for step in (0, 3, 4, 5, 6)] == [
        ["fake_score"],
        ["fake_score"],
        ["student", "fake_score"],
        ["fake_score"],
        ["student", "fake_score"],
    ]


class Curriculum(OneStep):
    """A rollout that keeps how far it was told the training is."""

    def at(self, progress):
        TOLD.append(progress.fraction)
        return self


TOLD: list[float] = []


def test_the_rollout_of_a_late_learner_is_as_far_as_the_training():
    """Both turns of a step are told the same, and so is a resumed training."""
    TOLD.clear()
    training = student_training(steps=4)
    training.rollout, training.learners["fake_score"].after = Curriculum(2.0), 2
    run(training)
    assert TOLD == [0.0, 0.5, 0.5, 0.75]
    training = student_training(steps=4)
    training.rollout, training.step = Curriculum(2.0), 3
    run(training)
    assert TOLD[4:] == [0.75]


def test_only_the_learner_whose_turn_it_is_changes():
    training = student_training(steps=1)
    training.learners["fake_score"].after = 5
    teacher = training.frozen["teacher"].net
    before, frozen = weights(training), {k: v.clone() for k, v in teacher.state_dict().items()}
    after = weights(run(training))
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"student"}
    assert all(torch.equal(v, frozen[k]) for k, v in teacher.state_dict().items())
    assert all(p.grad is None for p in training.learners["fake_score"].bare.parameters())


def test_no_gradient_is_left_behind_between_turns():
    training = run(student_training(steps=4))
    for learner in training.learners.values():
        assert all(parameter.grad is None for parameter in learner.bare.parameters())
        assert not any(parameter.requires_grad for parameter in learner.bare.parameters())


def test_average_follows_with_its_decay():
    training = teacher_training(steps=1)
    learner = training.learners["student"]
    start = {name: value.clone() for name, value in learner.followers["ema"].net.state_dict().items()}
    run(training)
    decay = learner.averages["ema"].at(dataclasses.replace(learner.progress, update=0))
    assert decay == pytest.approx(0.1)  # (1 + 0) / (10 + 0): the warm start
    for name, value in learner.followers["ema"].net.state_dict().items():
        expected = decay * start[name] + (1 - decay) * learner.bare.state_dict()[name]
        torch.testing.assert_close(value, expected)


def test_rate_schedule_reaches_the_optimiser():
    learner = Learner(Denoiser(network(), PROCESS), Denoise(), Adam(Piecewise(((0.0, 1.0), (1.0, 0.0)))))
    training = Training({"student": learner}, OneStep(2.0), steps=4)
    accelerator, rates = prepared(training), []
    for _ in train(training, batches(4), accelerator):
        rates.append(learner.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([1.0, 0.75, 0.5, 0.25])


def test_clipping_bounds_the_update():
    step = {}
    for clip in (1e9, 1e-3):
        learner = Learner(Denoiser(network(), PROCESS), Denoise(), SGD(), clip=clip)
        training = Training({"student": learner}, OneStep(2.0), steps=1)
        before = weights(training)
        after = weights(run(training))
        step[clip] = torch.cat([(after[k] - before[k]).flatten() for k in before]).norm().item()
    assert step[1e-3] == pytest.approx(1e-3, rel=1e-2)
    assert step[1e9] > 1e-2


class SGD(Adam):
    """Plain gradient descent with rate 1, whose step is the gradient."""

    def __init__(self) -> None:
        super().__init__(1.0)

    def __call__(self, parameters):
        return torch.optim.SGD(parameters, lr=1.0)


def test_a_turn_without_a_finite_gradient_changes_nothing():
    training = teacher_training(steps=1)
    accelerator, before = prepared(training), weights(training)
    poisoned = (dataclasses.replace(batch, x0=batch.x0 * float("nan")) for batch in batches(8))
    reports = list(train(training, poisoned, accelerator))
    assert not reports[0].norm.isfinite()
    check_equal(before, weights(training))


def test_probe_reports_the_gradient_of_each_term():
    training = student_training(steps=6)
    reports = [r for r in train(training, batches(8), prepared(training)) if r.gradients]
    assert {r.learner for r in reports} == {"student", "fake_score"}
    assert {name for r in reports for name in r.gradients} == {
        "DistributionMatching",
        "Adversarial",
        "Denoise",
        "Discriminate",
    }
    assert all(value is not None and value >= 0 for r in reports for value in r.gradients.values())


def test_a_term_that_names_an_unknown_network_is_refused():
    learner = Learner(Denoiser(network(), PROCESS), DistributionMatching(fake="fake_scroe"), Adam(1e-3))
    frozen = {"teacher": Denoiser(network(), PROCESS), "fake_score": Denoiser(network(), PROCESS)}
    with pytest.raises(RecipeError, match=r"'fake_scroe'; did you mean 'fake_score'\?"):
        Training({"student": learner}, OneStep(2.0), frozen)


@pytest.mark.parametrize("setting", [{"every": 0}, {"accumulate": 0}, {"after": -1}, {"clip": 0.0}])
def test_impossible_paces_are_refused(setting):
    with pytest.raises(RecipeError, match="accepted are every >= 1"):
        Learner(Denoiser(network(), PROCESS), Denoise(), Adam(1e-3), **setting)


def chosen_training(steps: int = 12) -> Training:
    """Only the middle of the network learns, and an average follows it."""
    learner = Learner(
        Denoiser(network(), PROCESS), Denoise(), Adam(1e-2), averages={"ema": Ema(0.9)}, only=["^middle", "^last.bias$"]
    )
    return Training({"student": learner}, OneStep(2.0), steps=steps, seed=5)


def test_only_the_chosen_parameters_change():
    training = chosen_training()
    before, after = weights(training), weights(run(training))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    wanted = {name for name in before if "middle." in name or name.endswith("last.bias")}
    assert changed == wanted
    assert set(training.learners["student"].parameters) == {
        name.removeprefix("student.") for name in wanted if not name.startswith("student.ema")
    }


def test_resume_of_chosen_parameters_is_bit_equal(tmp_path):
    whole, first = run(chosen_training()), chosen_training()
    for _ in train(first, batches(8), prepared(first)):
        if first.step == 5:
            break
    save_training(first, tmp_path, {})
    second = chosen_training()
    accelerator = prepared(second)
    restore(second, tmp_path / "step-00000005")
    for _ in train(second, batches(8, second.step), accelerator):
        pass
    check_equal(weights(whole), weights(second))


def test_parameters_that_nothing_matches_are_refused():
    with pytest.raises(RecipeError, match=r"no parameter of the network matches \['midle'\]; did you mean"):
        Learner(Denoiser(network(), PROCESS), Denoise(), Adam(1e-3), only=["midle"])


def test_chosen_parameters_ask_for_gradients_before_the_first_turn():
    """What wraps a network for several processes looks at this once, when it wraps."""
    learner = chosen_training().learners["student"]
    asking = {name for name, parameter in learner.bare.named_parameters() if parameter.requires_grad}
    assert asking == set(learner.parameters)
