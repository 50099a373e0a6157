"""The pulse: what it takes for illness, and what it forgives."""

import pytest
import torch

from fewstep.denoiser import Denoiser
from fewstep.errors import UnhealthyTraining
from fewstep.jobs import pulse as job
from fewstep.jobs.pulse import EVERY, PATIENCE, Pulse, beat_size
from fewstep.model import Model
from fewstep.networks import UNet
from fewstep.process import EDM
from fewstep.sampling import FewStep
from fewstep.times import Explicit
from fewstep.training import Collapse


@pytest.fixture
def reference() -> torch.Tensor:
    """Five conditions, eight seeds, three channels; every condition is something of its own."""
    draw = torch.Generator().manual_seed(0)
    return torch.randn(5, 1, 3, 4, 4, generator=draw) + 0.5 * torch.randn(5, 8, 3, 4, 4, generator=draw)


@pytest.fixture
def pulse(reference: torch.Tensor) -> Pulse:
    return Pulse(Collapse.against(reference, list("abcde")))


def one_alike(x: torch.Tensor) -> torch.Tensor:
    x = x.clone()
    x[2] = x[2, :1]
    return x


ILL = {
    "flat": lambda x: 0.3 * x,
    "exploding": lambda x: 4 * x,
    "all the same": lambda x: x[:1, :1].expand_as(x),
    "seeds alike": lambda x: x[:, :1].expand_as(x),
    "seeds of one condition alike": one_alike,
    "colours drift": lambda x: x + torch.tensor([0.0, 0.8, 0.0])[:, None, None],
}


def test_it_beats_often_enough():
    assert EVERY * PATIENCE <= 50


@pytest.mark.parametrize("name", ILL)
def test_illness_after_health_is_named(pulse, reference, name):
    pulse.feel(reference, 1, list("abcde"))
    assert pulse.calm
    pulse.feel(ILL[name](reference), 2, list("abcde"))
    assert not pulse.calm
    with pytest.raises(UnhealthyTraining, match=rf"step 3 .* healthy before \({name}\)"):
        pulse.feel(ILL[name](reference), 3, list("abcde"))


@pytest.mark.parametrize("name", ILL)
def test_who_was_never_healthy_may_look_so(pulse, reference, name):
    for step in range(5):
        pulse.feel(ILL[name](reference), step)
    assert pulse.calm


@pytest.mark.parametrize("name", ILL)
def test_one_hiccup_is_forgiven(pulse, reference, name):
    for step in range(6):
        pulse.feel(reference if step % 2 == 0 else ILL[name](reference), step, list("abcde"))
    assert pulse.felt == 0  # only whoever beats counts updates


def test_infinite_samples_are_never_forgiven(pulse, reference):
    with pytest.raises(UnhealthyTraining, match="not finite"):
        pulse.feel(reference * float("inf"), 1)


def test_diagnosis_names_the_condition_and_the_channel(pulse, reference):
    names = list("abcde")
    pulse.feel(reference, 1, names)
    pulse.feel(one_alike(reference), 2, names)
    with pytest.raises(UnhealthyTraining, match=r"0\.00 times the reference's in condition 'c'"):
        pulse.feel(one_alike(reference), 3, names)
    pulse.feel(reference, 4, names)
    pulse.feel(ILL["colours drift"](reference), 5, names)
    with pytest.raises(UnhealthyTraining, match="channel 1 has the mean"):
        pulse.feel(ILL["colours drift"](reference), 6, names)


def test_lost_diversity_is_measured_for_each_condition(reference):
    seen = Collapse.against(reference, list("abcde")).look(one_alike(reference), 9, names=list("abcde"))
    assert seen["distance between seeds of c"] == 0
    assert seen["distance between seeds of a"] == pytest.approx(1)
    assert seen["least distance between seeds"] == 0
    assert 0.8 < seen["distance between seeds"] < 1


def test_a_condition_without_reference_is_compared_with_all(reference):
    seen = Collapse.against(reference[:, :4].flatten(0, 1)[None], ["all"]).looks(reference, list("abcde"))
    assert set(seen.seeds) == set("abcde")
    assert max(seen.seeds.values()) < 0.6  # one condition varies less than all of them together


def test_saturated_colours_are_a_drift(reference):
    collapse = Collapse.against(reference)
    seen = collapse.looks(reference.sign() * reference.abs().max())
    assert seen.drift > 1
    assert abs(seen.mean - seen.was) < 0.5


@pytest.mark.parametrize(("items", "size"), [(0.5, 6), (7.2, 9), (100.0, 15)])
def test_a_beat_samples_as_many_items_as_a_plan_counts(reference, monkeypatch, items: float, size: int):
    """Two conditions at least, all five at most, three seeds of each."""
    sampled, sample = [], job.same_seeds
    monkeypatch.setattr(job, "same_seeds", lambda *given: sampled.append(sample(*given)) or sampled[-1])
    view = Denoiser(UNet(3, 5, widths=(8, 8)).eval(), EDM())
    model = Model(view, FewStep(Explicit((1.0,)), steps=(1,)), (3, 4, 4), tuple("abcde"))
    Pulse.of(reference, list("abcde"), None, items).beat(model, 1)
    assert sampled[0].shape[:2].numel() == beat_size(5, items) == size


def test_means_that_differ_from_item_to_item_may_differ_by_chance():
    generator = torch.Generator().manual_seed(0)
    reference, others = (
        torch.randn(8, 2, 4, 1, 1, generator=generator) + 0.5 * torch.randn(8, 2, 4, 8, 8, generator=generator)
        for _ in range(2)
    )
    assert Collapse.against(reference).looks(others).drift < 0.25
    assert Collapse.against(reference).looks(others + 2).drift > 1
