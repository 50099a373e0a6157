"""What a training holds, counted by hand, and what a few updates of it take."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import nn
from toy import batches, prepared, student_training, teacher_training

from fewstep.jobs.calibrate import Meter, counting, cycle, peak_of
from fewstep.networks import MLP
from fewstep.training import train
from fewstep.training.held import held_by, storage_bytes

FLOAT = 4  # bytes


def trained(training):
    accelerator = prepared(training)
    for _ in train(training, batches(4), accelerator):
        pass
    return accelerator


def test_what_is_held_is_counted_exactly():
    """Adam holds two numbers for each one that learns, and one for each tensor: its step."""
    training = student_training(steps=4)
    trained(training)
    teacher = training.frozen["teacher"].net
    for each in held_by(training, {"teacher": teacher}):
        net = teacher if each.name == "teacher" else training.learners[each.name].bare
        numbers, tensors = sum(p.numel() for p in net.parameters()), len(list(net.parameters()))
        learns = each.name != "teacher"
        assert each.parameters == numbers
        assert each.learning == learns * numbers
        assert each.gradients == learns * numbers * FLOAT
        assert each.optimiser == learns * (2 * numbers + tensors) * FLOAT
        buffers = sum(buffer.numel() for buffer in net.buffers())
        assert each.weights == (numbers + buffers) * FLOAT
        assert each.averages == ({"ema": each.weights} if each.name == "student" else {})
        assert each.total == each.weights * (2 if each.averages else 1) + each.gradients + each.optimiser


def test_only_what_learns_has_gradients_and_a_state():
    training = teacher_training(steps=2)
    learner = training.learners["student"]
    name, some = next(iter(learner.bare.named_parameters()))
    training.learners["student"], part = replace(learner, only=(f"^{name}$",)), some.numel()
    trained(training)
    (held,) = held_by(training, {})
    assert held.learning == part < held.parameters
    assert held.gradients == part * FLOAT


def test_weights_in_common_count_once():
    net = MLP(2, width=8)
    seen: set[int] = set()
    own = sum(p.nbytes for p in net.parameters())
    assert storage_bytes(net.parameters(), seen) == own
    assert storage_bytes([net.get_parameter(n) for n, _ in net.named_parameters()], seen) == 0


class Counted(nn.Module):
    """Counts the items it is asked about, by itself."""

    def __init__(self, net: nn.Module, asked: Counter[str], name: str) -> None:
        super().__init__()
        self.net, self.asked, self.name = net, asked, name

    def forward(self, x, label, c=None, *rest, **more):
        self.asked[self.name] += len(x)
        return self.net(x, label, c, *rest, **more)


def test_calls_are_those_that_counting_networks_see():
    training, asked = student_training(steps=2), Counter()
    for name, learner in training.learners.items():
        training.learners[name] = replace(
            learner, view=replace(learner.view, net=Counted(learner.bare, asked, name)), averages={}
        )
    teacher = Counted(training.frozen["teacher"].net, asked, "teacher")
    training.frozen = {"teacher": replace(training.frozen["teacher"], net=teacher)}
    accelerator = prepared(training)
    with counting(training, {"teacher": teacher}) as calls:
        for report in train(training, batches(4), accelerator):
            calls.turns[report.learner] += 1
    assert sum(calls.items.values(), Counter()) == asked
    assert calls.turns == {"student": 1, "fake_score": 2}
    found = calls.per_item(4)
    assert found["student"] == {"student": 1, "teacher": 1, "fake_score": 2}  # both denoisers, and the critic
    assert found["fake_score"] == {"student": 1, "fake_score": 3}  # denoise, and the critic on both kinds


def test_meter_counts_what_is_there_at_once():
    with Meter() as meter:
        a = torch.ones(1000)
        b = a * 2
        assert meter.now == 8000
        b.add_(1).view(10, 100)  # nothing new
        del a
        assert meter.now == 4000
        torch.ones(100)
    assert meter.peak == 8000
    assert meter.now == 4000


@pytest.mark.parametrize("make", [pytest.param(teacher_training, marks=pytest.mark.slow), student_training])
def test_memory_of_turns_grows_in_line_with_the_batch(make):
    training = make(steps=40)
    accelerator = trained(training)
    few, more, many = (peak_of(training, next(batches(n)), accelerator) for n in (64, 128, 512))
    assert few < more < many
    assert many == pytest.approx(few + (more - few) / 64 * (512 - 64), rel=0.03)


def test_turns_come_round():
    assert cycle(student_training()) == 2
