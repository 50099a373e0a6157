"""``fewstep sample``: what is in the picture."""

import numpy as np
import pytest
from PIL import Image

from fewstep import load_model


def pixels(path) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(int)


def test_one_image_is_the_model_s_own(fewstep, student, tmp_path):
    out = tmp_path / "new" / "folder" / "out.png"
    answer = fewstep("sample", student, "--steps", 1, "--seed", 7, "--label", 3, "--out", out)
    assert answer.code == 0, answer.err
    assert "1 (1 network calls per image)" in answer.out
    image = load_model(student).sample([7], labels="3", steps=1)[0, 0].clamp(-1, 1)
    wanted = ((image + 1) * 127.5).round().numpy().repeat(8, 0).repeat(8, 1)
    assert pixels(out).shape[:2] == (64, 64)
    assert np.array_equal(pixels(out)[..., 0], wanted)


def test_several_images_are_a_grid_of_the_same_images(fewstep, student, tmp_path):
    assert fewstep("sample", student, "--count", 16, "--seed", 5, "--out", tmp_path / "grid.png").code == 0
    assert fewstep("sample", student, "--seed", 6, "--out", tmp_path / "one.png").code == 0
    grid, one = pixels(tmp_path / "grid.png"), pixels(tmp_path / "one.png")
    assert grid.shape[:2] == (4 * 64 + 3 * 4,) * 2
    assert np.abs(grid[:64, 68:132] - one).max() <= 1


@pytest.mark.parametrize(("scale", "side"), [(1, 8), (3, 24)])
def test_scale_enlarges_pixels(fewstep, student, tmp_path, scale, side):
    assert fewstep("sample", student, "--scale", scale, "--out", tmp_path / "a.png").code == 0
    assert pixels(tmp_path / "a.png").shape[:2] == (side, side)


def test_other_steps_give_another_image(fewstep, student, tmp_path):
    for steps in (1, 2):
        answer = fewstep("sample", student, "--steps", steps, "--label", "3", "--out", tmp_path / f"{steps}.png")
        assert answer.code == 0, answer.err
    assert not np.array_equal(pixels(tmp_path / "1.png"), pixels(tmp_path / "2.png"))


def test_teacher_can_be_sampled(fewstep, teacher, tmp_path):
    answer = fewstep("sample", teacher, "--out", tmp_path / "t.png")
    assert "6 (11 network calls per image)" in answer.out
    assert (tmp_path / "t.png").exists()


def test_a_negative_class_that_nothing_takes_is_refused(fewstep, student, tmp_path):
    answer = fewstep("sample", student, "--negative", 8, "--out", tmp_path / "a.png")
    assert answer.code != 0
    assert "a negative condition was given, but nothing here takes one" in " ".join(answer.err.split())
    assert not (tmp_path / "a.png").exists()


def test_a_rule_for_the_attention_needs_a_negative_prompt_and_a_pipeline(fewstep, student, tmp_path):
    answer = fewstep("sample", student, "--nag", 4, "--out", tmp_path / "a.png")
    assert answer.code != 0
    assert "give that with --negative" in " ".join(answer.err.split())
    answer = fewstep("sample", student, "--nag", 4, "--negative", 8, "--out", tmp_path / "a.png")
    assert answer.code != 0
    assert "NAG works in a network's attention to a prompt, but the network, a UNet, lets" in " ".join(
        answer.err.split()
    )
    assert not (tmp_path / "a.png").exists()


def test_another_class_can_come_first(fewstep, student, tmp_path):
    plain = ("sample", student, "--steps", 2, "--label", 3)
    answer = fewstep(*plain, "--first", 8, "--until", 0.5, "--out", tmp_path / "both.png")
    assert answer.code == 0, answer.err
    assert "8, for 1 of 2 steps" in answer.out
    assert fewstep(*plain, "--out", tmp_path / "plain.png").code == 0
    assert not np.array_equal(pixels(tmp_path / "both.png"), pixels(tmp_path / "plain.png"))
    assert fewstep(*plain, "--first", 8, "--until", 0, "--out", tmp_path / "same.png").code == 0
    assert np.array_equal(pixels(tmp_path / "same.png"), pixels(tmp_path / "plain.png"))


def test_what_comes_first_needs_what_comes_then_and_a_second_step(fewstep, student, tmp_path, check_refusal):
    out = ("--out", tmp_path / "a.png")
    check_refusal(fewstep("sample", student, "--first", 8, *out), "--first is '8'", "give that with --label")
    check_refusal(fewstep("sample", student, "--until", 0.5, *out), "--until says", "give that with --first")
    one = fewstep("sample", student, "--label", 3, "--first", 8, "--steps", 1, *out)
    check_refusal(one, "one step cannot be shared", "2 steps or more")
    assert not (tmp_path / "a.png").exists()
