"""A model between two others."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import fewstep as fs
from fewstep.cli import app
from fewstep.jobs.check import check
from fewstep.networks import UNet, merged
from fewstep.networks.lora import Lora, add_lora
from fewstep.sharing import copy_sharing
from fewstep.store import fingerprint
from fewstep.times import Explicit

WORDS = {"unet": {"channels": 1, "classes": 10, "widths": [8], "depth": 1}}


def model(seed: int, **changes) -> fs.Model:
    torch.manual_seed(seed)
    net = UNet(1, 10, widths=(8,))
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    view = fs.Denoiser(net.requires_grad_(False).eval(), fs.EDM(sigma_data=0.7))
    facts = {"recipe": f"r{seed}", "data": "digits", "seed": seed, "training seconds": 10.0 * seed}
    whole = fs.Model(view, fs.FewStep(Explicit((2.5,))), (1, 8, 8), fs.Digits().classes, WORDS, facts)
    return replace(whole, **changes)


@pytest.fixture(scope="module")
def pair() -> tuple[fs.Model, fs.Model]:
    return model(1), model(2)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_at_its_ends_it_is_a_parent_bit_for_bit(pair, weight: float):
    found = fs.merge(*pair, weight)
    assert fingerprint(found) == fingerprint(pair[int(weight)])
    assert torch.equal(found.sample(range(3), "3"), pair[int(weight)].sample(range(3), "3"))


def test_negative_zeros_survive_at_the_ends(pair):
    for number, weight in enumerate((0.0, 1.0)):
        signed = [model(1), model(2)]
        torch.nn.init.constant_(signed[number].view.net.first.bias, -0.0)
        assert fs.merge(*signed, weight).view.net.first.bias.signbit().all()


def test_between_it_is_on_the_straight_line_and_the_parents_stay(pair):
    before = [fingerprint(each) for each in pair]
    found = fs.merge(*pair, 0.3).view.net.state_dict()
    one, two = (each.view.net.state_dict() for each in pair)
    for name, value in found.items():
        assert torch.allclose(value, 0.7 * one[name] + 0.3 * two[name], atol=1e-6)
    swapped = fs.merge(pair[1], pair[0], 0.7).view.net.state_dict()
    assert all(torch.allclose(swapped[name], value, atol=1e-6) for name, value in found.items())
    assert [fingerprint(each) for each in pair] == before


def test_adapters_are_folded_before(pair):
    """The straight line is between the folded weights: leaving the adapter out would change the result."""
    base = pair[0].view.net
    net = add_lora(copy_sharing(base, base.parameters()), Lora(2), base)
    for name, parameter in net.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    student = replace(pair[0], view=replace(pair[0].view, net=net))
    folded = replace(student, view=replace(student.view, net=merged(net)))
    assert fingerprint(fs.merge(student, pair[1], 0.25)) == fingerprint(fs.merge(folded, pair[1], 0.25))
    assert fingerprint(fs.merge(student, pair[1], 0.25)) != fingerprint(fs.merge(*pair, 0.25))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"network": {"unet": {"widths": [16]}}},
            r"different networks .*\[8\].*\[16\].*one teacher by the same recipe",
        ),
        ({"sampler": fs.FewStep(Explicit((3.0,)))}, "different samplers"),
        ({"classes": ("a", "b")}, "different classes"),
        ({"shape": (1, 4, 4)}, "different shapes"),
        ({"view": replace(model(1).view, process=fs.EDM(sigma_data=0.6))}, "different processes"),
        ({"view": replace(model(1).view, prediction=fs.predict.X0())}, "different predictions"),
        ({"view": replace(model(1).view, time_share=0.5)}, "different shares of time"),
        ({"view": replace(model(1).view, net=UNet(1, 10, widths=(16,)))}, r"different tensors .*context"),
    ],
)
def test_models_that_are_not_alike_are_refused(pair, changes, said: str):
    with pytest.raises(fs.WeightsError, match=said):
        fs.merge(pair[0], replace(model(2), **changes))


def told(number: int, source: str, pairs: float) -> fs.Model:
    known = model(number)
    return replace(known, facts={**known.facts, "source": source, "pair seconds": pairs})


def test_sources_are_those_of_the_parents_and_of_the_merging():
    one, two = told(1, "arXiv 2410.06084", 0), told(2, "arXiv 2311.18828", 0)
    merged_once = fs.merge(one, two)
    assert merged_once.facts["source"] == "arXiv 2410.06084; arXiv 2311.18828; arXiv 2408.14176"
    assert fs.merge(one, one).facts["source"] == "arXiv 2410.06084; arXiv 2408.14176"
    assert fs.merge(merged_once, two).facts["source"] == merged_once.facts["source"]
    assert fs.merge(model(1), model(2)).facts["source"] == "arXiv 2408.14176"
    assert [each["source"] for each in merged_once.facts["merged"]] == ["arXiv 2410.06084", "arXiv 2311.18828"]


@pytest.mark.parametrize(("first", "second", "whole"), [(5.0, 5.0, 5.0), (5.0, 7.5, 12.5), (0.0, 5.0, 5.0), (0, 0, 0)])
def test_pairs_that_both_were_trained_on_count_once(first: float, second: float, whole: float):
    facts = fs.merge(told(1, "a", first), told(2, "b", second)).facts
    assert facts["pair seconds"] == whole
    assert facts["training seconds"] == 30


@pytest.mark.parametrize("weight", [-0.1, 1.5, float("nan")])
def test_a_weight_beyond_the_ends_is_refused(pair, weight: float):
    with pytest.raises(fs.WeightsError, match="accepted is 0"):
        fs.merge(*pair, weight)


def test_the_command_writes_a_model_that_says_what_it_is_made_of(pair, tmp_path: Path):
    for number, each in enumerate(pair):
        fs.save_model(each, tmp_path / str(number))
    folders = [str(tmp_path / "0"), str(tmp_path / "1")]
    command = ["merge", *folders, "--weight", "0.25", "--out", str(tmp_path / "m")]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    found = fs.load_model(tmp_path / "m")
    assert fingerprint(found) == fingerprint(fs.merge(*pair, 0.25))
    assert found.facts["recipe"] == "0.75 r1 + 0.25 r2"
    assert [each["weight"] for each in found.facts["merged"]] == [0.75, 0.25]
    assert [each["weights"] for each in found.facts["merged"]] == [fingerprint(each) for each in pair]
    assert (found.facts["data"], found.facts["training seconds"]) == ("digits", 30.0)
    assert check(str(tmp_path / "m"))["made of"] == "0.75 r1 + 0.25 r2"
    again = CliRunner().invoke(app, command)
    assert again.exit_code == 1
    assert "holds a model or a run already" in again.output
