"""Notes are reproducible, as loud as asked for, and heard exactly."""

from dataclasses import replace

import pytest
import torch

from fewstep.data import NAMED, Batch, Notes, NotesWave, listen, open_data
from fewstep.data.score import FEATURES, KINDS, PITCHES, Score, condition, read_condition
from fewstep.data.synth import frequencies, play
from fewstep.errors import DataError

FEW = 2 * KINDS  # two notes of each kind


@pytest.fixture(scope="module")
def notes() -> Notes:
    """Held out: another seed than that of the corpus."""
    return Notes(seed=5, count=FEW)


@pytest.fixture(scope="module")
def waves() -> NotesWave:
    return NotesWave(seed=5, count=FEW)


@pytest.fixture(scope="module", params=["notes", "waves"])
def all_of_them(request: pytest.FixtureRequest) -> tuple[Notes | NotesWave, Batch]:
    data = request.getfixturevalue(request.param)
    return data, data.batch(range(FEW))


@pytest.mark.parametrize("kind", [Notes, NotesWave])
def test_the_same_seed_makes_the_same_notes(kind):
    again, first, other = kind(3, 72).batch(range(72)), kind(3, 72).batch(range(72)), kind(4, 72).batch(range(72))
    assert torch.equal(again.x0, first.x0)
    assert torch.equal(again.c, first.c)
    assert not torch.equal(other.x0, first.x0)
    assert kind(3, 72).fingerprint() == kind(3, 72).fingerprint() != kind(4, 72).fingerprint()


def test_notes_are_opened_by_name():
    assert {"notes", "notes-wave"} <= set(NAMED)
    assert [open_data(name).name for name in NAMED] == list(NAMED)
    with pytest.raises(DataError, match="sounds of one form"):
        open_data("notes", size=32)
    with pytest.raises(DataError, match="did you mean 'notes'"):
        open_data("note")


def test_items_and_conditions_have_the_shapes_that_the_data_state(all_of_them):
    data, batch = all_of_them
    assert batch.x0.shape[1:] == data.shape
    assert batch.c.shape[1:] == data.condition
    assert (batch.x0.dtype, batch.c.dtype) == (torch.float32, torch.float32)
    assert batch.x0.abs().max() <= 1
    assert "0.512 s" in data.describe()["items"]


def test_both_forms_are_of_the_same_notes(notes: Notes, waves: NotesWave):
    assert torch.equal(notes.batch(range(FEW)).x0, waves.batch(range(FEW)).c)


def test_a_condition_is_read_as_it_was_written():
    asked = Score.drawn(144, seed=0).asked
    c = condition(asked)
    assert c.shape == (144, FEATURES)
    assert c.abs().max() <= 1
    assert c.any(1).all()
    for written, read in zip(vars(asked).values(), vars(read_condition(c)).values(), strict=True):
        assert torch.allclose(written.float(), read.float(), rtol=1e-5)


def test_every_kind_is_equally_frequent():
    assert Score.drawn(4 * KINDS, seed=1).asked.kind.bincount().tolist() == [4] * KINDS


def test_pitches_are_two_octaves_of_semitones():
    hertz = frequencies(torch.arange(len(PITCHES)))
    assert PITCHES[::12] == ("A3", "A4")
    assert (PITCHES[2], PITCHES[3]) == ("B3", "C4")
    assert hertz[[0, 3, 12]].tolist() == pytest.approx([220, 261.626, 440], abs=1e-3)


def test_two_notes_of_one_condition_differ_by_chance():
    first, second = Score.drawn(72, seed=0), Score.drawn(72, seed=1)
    other = play(replace(second, asked=first.asked))
    assert (listen.log_mel(other) - listen.log_mel(play(first))).std() > 0.01


def test_held_out_notes_have_the_pitch_asked_for(all_of_them):
    data, batch = all_of_them
    assert data.ear.right(batch.x0, batch.c).float().mean() > 0.999


def test_held_out_notes_are_of_the_kind_asked_for(notes: Notes):
    batch = notes.batch(range(FEW))
    assert (listen.kind_of_mel(batch.x0) == notes.ear.kind(batch.c)).float().mean() > 0.99


def test_held_out_notes_are_as_loud_as_asked_for(all_of_them):
    data, batch = all_of_them
    assert data.ear.loudness_error(batch.x0, batch.c).max() < 0.1


def test_other_notes_have_another_pitch_and_loudness(all_of_them):
    data, batch = all_of_them
    kinds = data.ear.kind(batch.c) // 3
    other = batch.c.roll(1, 0)
    differ = kinds != kinds.roll(1)
    assert not data.ear.right(batch.x0[differ], other[differ]).any()
    assert data.ear.loudness_error(batch.x0, other).mean() > 3


def test_a_semitone_and_an_octave_are_told_apart(waves: NotesWave):
    batch = waves.batch(range(FEW))
    twice_as_fast = batch.x0[:, 0, ::2].repeat(1, 2)  # an octave up
    low = waves.ear.kind(batch.c) // 3 < 12
    pitch = listen.pitch_of_sound(twice_as_fast[low])
    assert (pitch == waves.ear.kind(batch.c)[low] // 3 + 12).float().mean() > 0.95


def test_a_condition_of_zeros_asks_for_nothing(all_of_them):
    data, batch = all_of_them
    assert (data.ear.kind(torch.zeros_like(batch.c)) == -1).all()
    assert (data.ear.kind(batch.c) >= 0).all()


def test_a_condition_in_words_names_its_pitch(all_of_them):
    data, batch = all_of_them
    said = data.ear.words(batch.c[:20])
    assert [word.split()[0] for word in said] == [PITCHES[kind // 3] for kind in data.ear.kind(batch.c[:20])]


def test_griffin_lim_keeps_pitch_and_loudness(notes: Notes):
    batch = notes.batch(range(0, FEW, 4))
    sound = notes.ear.sound(batch.x0)
    assert sound.shape == (36, 8192)
    pitch = notes.ear.kind(batch.c) // 3
    assert (listen.pitch_of_sound(sound) == pitch).float().mean() > 0.94
    assert (listen.loudness_of_sound(sound) - read_condition(batch.c).loudness).abs().mean() < 0.3
