"""Conditions may be tensors: models, health and files treat them as they treat labels."""

import pytest
import torch

import fewstep as fs
from fewstep.data import Notes
from fewstep.denoiser import Denoiser
from fewstep.errors import DataError
from fewstep.jobs.health import reference_of
from fewstep.model import Model
from fewstep.networks import build_network
from fewstep.process import EDM
from fewstep.sampling import FewStep
from fewstep.store import load_model, save_model
from fewstep.times import Karras

NETWORK = {"unet1d": {"channels": 80, "condition": [30], "widths": [8, 8]}}


@pytest.fixture(scope="module")
def model() -> Model:
    torch.manual_seed(0)
    net = build_network(NETWORK)
    for parameter in net.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    view = Denoiser(net, EDM(sigma_data=0.45))
    return Model(view, FewStep(Karras(), steps=(1, 2)), (80, 32), (), NETWORK, {"data": "notes"}, condition=(30,))


@pytest.fixture(scope="module")
def c() -> torch.Tensor:
    return Notes(count=72).batch(range(8)).c


def test_an_item_depends_on_its_seed_and_condition_alone(model: Model, c: torch.Tensor):
    whole = model.sample(range(8), c, steps=2)
    assert torch.allclose(model.sample([5], c[5:6], steps=2)[0], whole[5], atol=1e-5)
    assert torch.allclose(model.sample(range(8), c, steps=2, batch=3), whole, atol=1e-5)
    assert not torch.allclose(model.sample([5], c[4:5], steps=2)[0], whole[5], atol=1e-3)


def test_one_condition_serves_all_seeds_and_none_is_the_empty_one(model: Model, c: torch.Tensor):
    assert torch.equal(model.sample([1, 2], c[0]), model.sample([1, 2], c[[0, 0]]))
    assert torch.equal(model.sample([1, 2]), model.sample([1, 2], torch.zeros(2, 30)))


@pytest.mark.parametrize("given", ["A3", 3, [1, 2], torch.zeros(3, 30), torch.zeros(2, 29)])
def test_what_is_no_condition_is_refused(model: Model, given: object):
    with pytest.raises(DataError, match=r"2 seeds came with conditions .* takes a tensor of shape \(30,\)"):
        model.conditions(given, 2)


def test_the_shape_of_a_condition_survives_saving(model: Model, c: torch.Tensor, tmp_path):
    save_model(model, tmp_path)
    again = load_model(tmp_path)
    assert again.condition == (30,)
    assert torch.equal(again.sample([1], c[0]), model.sample([1], c[0]))


def test_reference_has_the_same_seeds_for_several_real_conditions(model: Model):
    reference, names = reference_of(Notes(count=144), model, Notes(count=144).batch(range(144)).c)
    assert names == [str(i) for i in range(16)]
    assert reference.shape == (16, 8, 80, 32)


def test_reference_of_the_data_has_near_conditions_together():
    data = Notes(count=1440)
    reference, batch = reference_of(data, None, None)[0], data.batch(range(1440))
    assert reference.shape == (16, 8, 80, 32)
    places = torch.cdist(reference.flatten(0, 1).flatten(1), batch.x0.flatten(1)).argmin(1)
    kinds = data.ear.kind(batch.c[places]).reshape(16, 8)
    assert (kinds == kinds[:, :1]).float().mean() > 0.8


def test_a_teacher_of_notes_is_judged(model: Model, cache):
    judge = fs.judge_for(Notes(count=216), cache=cache)
    (row,) = fs.measure(model, judge, name="model", steps=[1], samples=16)
    assert 0 <= row.accuracy <= 1
    assert row.loudness_error > 0
