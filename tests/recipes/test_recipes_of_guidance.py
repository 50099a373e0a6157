"""Recipes that distil guidance, reward variety or teach high frequencies, on a small teacher."""

import pytest
import torch
from accelerate import Accelerator

import fewstep as fs
from fewstep.batch import Batch
from fewstep.denoiser import Denoiser
from fewstep.networks import UNet
from fewstep.process import EDM
from fewstep.recipes import assemble, cite, load_recipe
from fewstep.times import Karras
from fewstep.training import train

SETTINGS = {"channels": 1, "classes": 10, "widths": [8], "depth": 1}


def teacher() -> fs.Model:
    torch.manual_seed(0)
    net = UNet(**SETTINGS)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    view = Denoiser(net.requires_grad_(False).eval(), EDM(sigma_data=0.7))
    return fs.Model(view, fs.ManyStep(Karras()), (1, 8, 8), fs.Digits().classes, {"unet": SETTINGS})


def batch() -> Batch:
    generator = torch.Generator().manual_seed(1)
    x0, z = torch.randn(2, 6, 1, 8, 8, generator=generator)
    return Batch(x0, torch.tensor([0, 1, 2, 3, 4, -1]), z)


@pytest.mark.parametrize("name", ["hipa", "guidance-distill", "diversity-rewarded"])
def test_every_term_is_computed_and_the_student_learns(name: str):
    training = assemble(load_recipe(name, ["steps=2", "batch=6"]), batch(), 10, teacher(), 0).training
    accelerator, before = Accelerator(cpu=True), {}
    training.prepare(accelerator)
    student = training.learners["student"]
    before = {key: value.clone() for key, value in student.parameters.items()}
    reports = list(train(training, [batch(), batch()], accelerator))
    assert [set(report.costs) for report in reports] == [{key for key, _ in student.terms.items()}] * 2
    assert all(torch.isfinite(torch.tensor(list(report.costs.values()))).all() for report in reports)
    assert any(not torch.equal(value, before[key]) for key, value in student.parameters.items())


def test_an_adapter_that_has_not_learned_is_the_teacher_bit_for_bit():
    given = teacher()
    training = assemble(load_recipe("hipa"), batch(), 10, given, 0).training
    x, t = batch().x0, torch.full((6,), 2.5, dtype=torch.float64)
    wanted = given.view(x, t, batch().c)
    student = training.learners["student"]
    assert torch.equal(student.view(x, t, batch().c), wanted)
    with torch.no_grad():
        for parameter in student.parameters.values():
            parameter.fill_(0.3)
        assert any("lora_B" in name for name in student.parameters)
        assert not torch.equal(student.view(x, t, batch().c), wanted)
        for module in student.bare.modules():
            vars(module).get("scaling", {}).update(default=0.0)
    assert torch.equal(student.view(x, t, batch().c), wanted)


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("hipa", ["2311.18158", "2106.09685"]),
        ("guidance-distill", ["2210.03142"]),
        ("diversity-rewarded", ["2410.06084"]),
        ("msd", ["2410.23274"]),
    ],
)
def test_every_paper_has_an_entry(name: str, numbers: list[str]):
    entries = cite(load_recipe(name))
    assert all(f"{{{number}}}" in entries for number in numbers)
    assert "no entry" not in entries
