"""The judge hears notes: pitch and loudness by ear, the rest as features of a network for signals."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from fewstep.data import Batch, Notes, NotesWave
from fewstep.data.score import KINDS
from fewstep.errors import DataError
from fewstep.evaluate import Judge, Row, cached_classifier, features, markdown, train_classifier
from fewstep.jobs.measure import judge_for

COUNT = 6 * KINDS


@pytest.fixture(scope="module")
def notes() -> Batch:
    return Notes(seed=0, count=COUNT).batch(range(COUNT))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the network is kept, apart from the brief ones of other tests."""
    return tmp_path_factory.mktemp("judges")


@pytest.fixture(scope="module")
def judge(folder: Path, trained_to_the_end) -> Judge:
    with trained_to_the_end():
        return judge_for(Notes(seed=0, count=COUNT), cache=folder)


def judged(judge: Judge, items: Tensor, c: Tensor) -> Row:
    return judge.judge(items, c, model="student", steps=1, calls=1)


def test_real_notes_are_right_and_near_each_other(judge: Judge):
    floor = judge.floor()
    assert floor.accuracy > 0.999
    assert floor.loudness_error < 0.05
    assert abs(floor.kernel) < 0.02  # of 216 items: the Frechet distance is biased, this one is not
    assert min(floor.precision, floor.recall) > 0.9
    assert floor.diversity > 0


def test_held_out_notes_are_as_good_as_the_floor(judge: Judge):
    other = Notes(seed=1, count=COUNT).batch(range(COUNT))
    row = judged(judge, other.x0, other.c)
    assert row.accuracy > 0.999
    assert row.frechet < 2 * judge.floor().frechet


def test_notes_that_were_not_asked_for_lose_accuracy_alone(judge: Judge, notes: Batch):
    row = judged(judge, notes.x0, notes.c.roll(1, 0))
    assert row.accuracy < 0.1
    assert row.loudness_error > 3
    assert row.frechet == pytest.approx(0, abs=1e-6)


def test_noise_is_further_away(judge: Judge, notes: Batch):
    noise = torch.randn(notes.x0.shape, generator=torch.Generator().manual_seed(0))
    rows = [judged(judge, notes.x0 + scale * noise, notes.c) for scale in (0.1, 0.3)]
    assert rows[0].frechet < rows[1].frechet
    assert rows[0].loudness_error < rows[1].loudness_error


def test_notes_without_a_condition_do_not_count(judge: Judge, notes: Batch):
    assert judged(judge, notes.x0[:50], torch.zeros_like(notes.c[:50])).accuracy is None
    c = notes.c[:50].clone()
    c[10:] = 0
    assert judged(judge, notes.x0[:50], c).accuracy == 1


def test_waveforms_are_judged_by_the_network_of_their_spectra(judge: Judge, folder: Path, monkeypatch):
    """Both are trained on the same spectra and kinds, so that nothing is left to train."""
    monkeypatch.setattr(features, "train_classifier", None)
    waves = NotesWave(seed=0, count=COUNT)
    judge, batch = judge_for(waves, cache=folder), waves.batch(range(COUNT))
    assert judge.floor().accuracy > 0.999
    assert judged(judge, batch.x0, batch.c).frechet == pytest.approx(0, abs=1e-6)


def test_a_classifier_of_signals_is_the_same_from_the_same_seed(notes: Batch, tmp_path, monkeypatch):
    monkeypatch.setattr(features, "STEPS", 10)  # enough to tell two trainings apart
    x, kinds = notes.x0[:72, 10:18, :8], torch.arange(72) % 4
    first, again = train_classifier(x, kinds, 4), cached_classifier(x, kinds, 4, tmp_path)
    assert torch.equal(first(x), again(x))
    assert first.features(x).square().mean() == pytest.approx(1, abs=1e-3)


def test_signals_without_labels_are_refused(notes: Batch):
    with pytest.raises(DataError, match="signals with labels only"):
        train_classifier(notes.x0, None, 0)


def test_the_loudness_error_is_a_column_of_its_own(judge: Judge, notes: Batch):
    text = markdown([judge.floor(), judged(judge, notes.x0, notes.c)])
    assert "loudness error" in text
