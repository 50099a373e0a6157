import pytest
import torch
from torch import nn
from toy import batches, prepared, student_training, teacher_training, weights

from fewstep import files
from fewstep.errors import WeightsError
from fewstep.networks import MLP
from fewstep.training import checkpoints, load_weights, restore, save_training, save_weights, train


def test_only_the_newest_checkpoints_are_kept(tmp_path):
    training = teacher_training()
    for step in (1, 2, 3):
        training.step = step
        save_training(training, tmp_path, {})
    assert [path.name for path in checkpoints(tmp_path)] == ["step-00000002", "step-00000003"]


def test_a_full_disk_loses_nothing(tmp_path, monkeypatch):
    training = teacher_training()
    save_training(training, tmp_path, {})
    training.step = 1

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "replace", full)
    with pytest.raises(WeightsError, match=r"No space left on device.*What was saved before is untouched.*Make room"):
        save_training(training, tmp_path, {})
    monkeypatch.undo()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000000"]
    restore(teacher_training(), tmp_path / "step-00000000")


def test_leftovers_of_a_killed_writer_are_ignored_and_removed(tmp_path):
    training = teacher_training()
    leftover = tmp_path / ".step-00000000.999.part"
    leftover.mkdir()
    (leftover / "student.safetensors").write_bytes(b"half")
    assert checkpoints(tmp_path) == []
    save_training(training, tmp_path, {})
    assert not leftover.exists()


def test_weights_of_another_network_are_refused_in_a_sentence(tmp_path):
    save_weights(MLP(2, width=16), tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match=r"holds the weights of another network: \d+ of \d+ tensors differ, first"):
        load_weights(MLP(2, width=32), tmp_path / "a.safetensors")


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    save_weights(MLP(2, width=16), path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(WeightsError, match=r"cannot be read .*use another checkpoint"):
        load_weights(MLP(2, width=16), path)


def test_a_checkpoint_of_another_method_is_refused(tmp_path):
    path = save_training(teacher_training(), tmp_path, {})
    with pytest.raises(WeightsError, match=r"belongs to another method.*\['student'\].*\['fake_score', 'student'\]"):
        restore(student_training(), path)


def test_optimiser_tensors_keep_the_layout_of_their_parameters(tmp_path):
    training = teacher_training(steps=2)
    accelerator = prepared(training)
    for _ in train(training, batches(4), accelerator):
        pass
    save_training(training, tmp_path, {})
    again = teacher_training(steps=2)
    prepared(again)
    restore(again, checkpoints(tmp_path)[-1])
    learner = again.learners["student"]
    state = learner.optimizer.state_dict()["state"]
    for i, parameter in enumerate(learner.bare.parameters()):
        assert state[i]["exp_avg"].stride() == parameter.stride()
    assert all(torch.equal(v, weights(training)[k]) for k, v in weights(again).items())


def test_weights_under_two_names_are_written_twice(tmp_path):
    tied = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    tied[1].weight = tied[0].weight
    save_weights(tied, tmp_path / "tied.safetensors")
    again = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    load_weights(again, tmp_path / "tied.safetensors")
    assert torch.equal(again[0].weight, tied[0].weight)
    assert torch.equal(again[1].weight, tied[0].weight)
