"""What is heard can be read back, and the page needs nothing else."""

import re
import wave
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch

from fewstep.data import Notes
from fewstep.errors import DataError, UnhealthyTraining
from fewstep.evaluate import Heard, Listening, Report, Row, heard_words, wav, write_report, write_wav


def test_a_file_can_be_read_back(tmp_path: Path):
    sound = torch.rand(1, 800, generator=torch.Generator().manual_seed(0)) * 2 - 1
    write_wav(sound, tmp_path / "a" / "out.wav", 16_000)
    with wave.open(str(tmp_path / "a" / "out.wav")) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate(), file.getnframes()) == (1, 2, 16_000, 800)
        read = np.frombuffer(file.readframes(800), "<i2") / 32767
    assert np.abs(read - sound[0].numpy()).max() < 1 / 32767


def test_sounds_come_one_after_the_other_with_a_pause():
    with wave.open(BytesIO(wav(torch.ones(3, 100), 1000))) as file:
        assert file.getnframes() == 3 * 100 + 2 * 100
        read = np.frombuffer(file.readframes(500), "<i2")
    assert read[[0, 99, 100, 199, 200, 499]].tolist() == [32767, 32767, 0, 0, 32767, 32767]


def test_what_is_no_sound_is_refused():
    with pytest.raises(DataError, match="n at least 1"):
        wav(torch.zeros(0, 100), 1000)
    with pytest.raises(UnhealthyTraining, match="not finite"):
        wav(torch.full((1, 10), torch.nan), 1000)


def test_words_say_pitch_loudness_and_speed(rows: list[Row]):
    row = Row("student", 1, 1, 0.1, None, None, None, None, 0.975, 0.01, 100, loudness_error=0.256)
    assert heard_words(row, seconds=0.512).split("\n") == [
        "pitch right 97.5%",
        "loudness 0.26 dB off",
        "51 x real time",
    ]
    assert heard_words(rows[0], seconds=1.0) == "pitch right 99.8%"


def test_the_page_is_complete(rows: list[Row], tmp_path: Path):
    batch, ear = Notes(count=72).batch(range(3)), Notes(count=72).ear
    assert ear is not None
    heard = [Heard(name, "good", torch.zeros(3, 8192), ear.seen(batch.x0)) for name in ("real", "teacher", "student")]
    listening = Listening(ear.rate, ear.words(batch.c), heard)
    curve = b"\x89PNG"
    write_report(tmp_path / "r.html", Report("Notes", None, rows, curve, None, {}, [], {}, listening=listening))
    page = (tmp_path / "r.html").read_text()
    assert page.count("<audio") == page.count("data:audio/wav;base64,") == 9
    assert page.count("data:image/png;base64,") == 9 + 1
    assert all(said in page for said in listening.asked)
    links = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert all(link.startswith("data:") for link in links)
    assert "<script" not in page
    assert 'class="strip"' not in page
