"""A latent text model of one's own, told plain text states, learns what the same weights learn through the bridge."""

from dataclasses import replace
from pathlib import Path
from runpy import run_path

import pytest
from torch import Tensor, nn

import fewstep as fs
from fewstep.denoiser import Denoiser
from fewstep.interop import Encoded, open_pipe
from fewstep.jobs.machine import this_machine
from fewstep.jobs.suited import computed
from fewstep.recipes import assemble
from fewstep.solvers import DDIM
from fewstep.times import Trailing
from fewstep.training import Training

Own = run_path(str(Path(__file__).parents[2] / "benchmarks" / "interfaces.py"))["Own"]  # what the benchmark trains
BRIEF = ("steps=3", "batch=4", "learners.student.lora.rank=2")


def own_teacher(data: Encoded) -> fs.Model:
    """The same U-Net, opened once more, as README says of one's own network."""
    pipe = open_pipe(data.pipe.place)
    sampler = fs.ManyStep(Trailing(1.0), DDIM(), 2, (fs.CFG(2.0),))
    process = fs.VP.from_diffusers(pipe.pipeline.scheduler.config, unit=True)
    empty = pipe.nothing()["states"][0]
    view = fs.Denoiser(Own(pipe.backbone, empty), process, fs.predict.Eps())
    return fs.Model(view, sampler, pipe.shape, condition=tuple(empty.shape))


def own_data(data: Encoded) -> fs.Tensors:
    batch = data.batch(range(len(data)))
    return fs.Tensors(batch.x0, data.pipe.packing.unpack(batch.c)["states"])


def trained(name: str, settings: list[str], teacher: fs.Model, data: fs.Data) -> tuple[Training, Denoiser]:
    """All learners of a recipe, and the view of the student, after a few updates."""
    recipe = fs.load_recipe(name, settings)
    assembly = assemble(recipe, data.batch(range(8)), 0, teacher, 1)
    assembly.training.prepare(this_machine())
    list(fs.train(assembly.training, fs.batches(data, recipe.batch, seed=1), this_machine()))
    return assembly.training, assembly.student


def weights(net: nn.Module) -> list[Tensor]:
    return [parameter.detach() for parameter in net.parameters()]


JUDGED = {"dmd2-text": ["learners.fake_score.heads=[unet.mid_block]"], "lcm-lora": []}  # as one names one's own part


@pytest.mark.parametrize("name", ["dmd2-text", pytest.param("lcm-lora", marks=pytest.mark.slow)])
def test_own_network_learns_the_same_as_the_bridge_to_the_last_bit(name: str, data: Encoded) -> None:
    teachers = data.pipe.model(2, 2.0), own_teacher(data)
    here = [*BRIEF, *computed(name, [], teachers[0])]
    there = [*BRIEF, *computed(name, [], teachers[1]), *JUDGED[name]]
    assert {*there} == {setting.replace("backbone", "unet") for setting in here} > {*BRIEF}
    told = zip((here, there), teachers, (data, own_data(data)), strict=True)
    (bridge, student), (own, other) = (trained(name, *each) for each in told)
    for key, learner in bridge.learners.items():
        ours, theirs = weights(learner.bare), weights(own.learners[key].bare)
        assert all(one.equal(other) for one, other in zip(ours, theirs, strict=True)), key
    packed = data.pipe.conditions(["a red disc", "a cube"])
    states = data.pipe.packing.unpack(packed)["states"]
    taught = [replace(each, view=view) for each, view in zip(teachers, (student, other), strict=True)]
    first, second = (each.sample([1, 2], c) for each, c in zip(taught, (packed, states), strict=True))
    assert first.equal(second)
    assert not first.equal(teachers[0].sample([1, 2], packed))
    assert taught[0].sample([3]).equal(taught[1].sample([3]))
