"""Commands on sounds: a player instead of a picture."""

import json
import wave
from importlib import import_module

import pytest
import torch

from fewstep.data import Data, open_data
from fewstep.denoiser import Denoiser
from fewstep.model import Model
from fewstep.networks import build_network
from fewstep.process import EDM
from fewstep.sampling import FewStep
from fewstep.store import save_model
from fewstep.times import Karras

NETWORK = {"unet1d": {"channels": 80, "condition": [30], "widths": [8, 8]}}


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory):
    """The folder of a model that makes notes, or rather noise."""
    torch.manual_seed(0)
    view = Denoiser(build_network(NETWORK), EDM(sigma_data=0.45))
    facts = {"data": "notes", "recipe": "none"}
    model = Model(view, FewStep(Karras(), steps=(1, 2)), (80, 32), (), NETWORK, facts, condition=(30,))
    folder = tmp_path_factory.mktemp("made") / "notes"
    save_model(model, folder)
    return folder


@pytest.fixture(scope="module")
def notes() -> Data:
    return open_data("notes")


def test_several_sounds_are_one_file(fewstep, untrained, notes, tmp_path):
    answer = fewstep("sample", untrained, "--count", 3, "--seed", 7, "--out", tmp_path / "a.wav")
    assert answer.code == 0, answer.err
    assert notes.ear.words(notes.batch([7]).c)[0] in answer.out
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert file.getnframes() == 3 * 8192 + 2 * 1600


def test_a_sound_of_another_condition(fewstep, untrained, notes, tmp_path):
    answer = fewstep("sample", untrained, "--label", 100, "--out", tmp_path / "a.wav")
    assert notes.ear.words(notes.batch([100]).c)[0] in answer.out


def test_what_cannot_be_sampled_is_refused(fewstep, untrained, tmp_path, check_refusal):
    check_refusal(fewstep("sample", untrained, "--out", tmp_path / "a.png"), "a.png", ".wav")
    check_refusal(fewstep("sample", untrained, "--out", tmp_path / "a.mp3"), "a.mp3", ".png or .wav")
    check_refusal(fewstep("sample", untrained, "--label", "C4"), "C4", "0 to 2879")


def test_data_of_another_condition_are_refused(fewstep, untrained, check_refusal):
    answer = fewstep("evaluate", untrained, "--data", "notes-wave", "--quiet")
    check_refusal(answer, "items of 80x32, each with a condition of 30", "1x8192")


def test_notes_are_checked(fewstep):
    answer = fewstep("check", "notes-wave")
    assert "2,880 waveforms" in answer.out


def test_models_of_notes_are_compared_by_ear(fewstep, untrained, tmp_path, monkeypatch):
    monkeypatch.setattr(import_module("fewstep.jobs.measure"), "MOST", 216)  # notes that are judged
    assert fewstep("evaluate", untrained, "--samples", 16, "--quiet").code == 0
    rows = json.loads((untrained / "evaluation.json").read_text())
    assert rows[0]["accuracy"] > 0.999
    assert rows[0]["loudness_error"] < 0.05
    answer = fewstep("compare", untrained, "--out", tmp_path / "c", "--quiet")
    assert answer.code == 0, answer.err
    page = (tmp_path / "c" / "report.html").read_text()
    assert page.count("<audio") == 3 * 5
    assert "pitch right" in page
    assert not (tmp_path / "c" / "strip.png").exists()
