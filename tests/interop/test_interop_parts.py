"""What recipes name in a U-Net of ours is found in every backbone, and says features of one form."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from diffusers import UNet2DConditionModel
from tiny import built

import fewstep as fs
from fewstep.critic import Critic
from fewstep.denoiser import Denoiser
from fewstep.interop import Pipe, bridge_of
from fewstep.interop.bridge import family_named
from fewstep.jobs.suited import computed
from fewstep.model import Model
from fewstep.networks import DiT, Headed, Heads, SecondTime
from fewstep.tapped import changing, standing, tapped

OURS = ("down.0", "down.1", "middle", "up.0", "up.1")
SD, SDXL = ([[f"{way}{i}" for i in range(levels)] for way in ("d", "m", "u")] for levels in (4, 3))
SD[1], SDXL[1] = ["m"], ["m"]
WIDTHS = {"sd": (8, 16, 16, 16, 8), "sdxl": (8, 16, 16, 16, 8), "unconditional": (8, 16, 16, 16, 8)}
WIDTHS |= dict.fromkeys(("sd3", "flux", "pixart", "dit"), (16,) * 5) | {"sana": (8,) * 5}


@cache
def opened(family: str) -> tuple[Pipe, Model]:
    pipe = Pipe(built(family), family_named(family), family, (16, 16))
    return pipe, pipe.model(2)


def asked(family: str) -> tuple[Denoiser, torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """A view and what it is asked, for two items."""
    pipe, model = opened(family)
    texts = None if family in ("dit", "unconditional") else pipe.prompts(["a disc", "a ring"])
    c = torch.tensor([0, 1]) if family == "dit" else texts
    x = torch.randn(2, *model.shape, generator=torch.Generator().manual_seed(1))
    return model.view, x, torch.full((2,), 0.5, dtype=torch.float64), c


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (SD, ["d1", "d3", "m", "u1", "u3"]),
        (SDXL, ["d1", "d2", "m", "u1", "u2"]),
        ([[f"b{i}" for i in range(24)]], ["b4", "b9", "b14", "b19", "b23"]),
        ([["only"]], ["only"] * 5),
    ],
)
def test_parts_stand_at_the_same_share_of_the_way(lines: list[list[str]], found: list[str]) -> None:
    assert [standing(name, lines) for name in OURS] == found


@pytest.mark.parametrize("name", ["down", "up.x", "middle.attention", "d1", "backbone.up_blocks.0"])
def test_other_names_stay(name: str) -> None:
    assert standing(name, SD) == name


def test_levels_beyond_ours_are_those_of_a_deeper_network() -> None:
    assert [standing(f"down.{i}", SD) for i in range(4)] == ["d1", "d3", "d3", "d3"]


@pytest.mark.parametrize("family", WIDTHS)
def test_parts_of_every_family_say_channels_at_places(family: str) -> None:
    view, x, t, c = asked(family)
    with torch.no_grad():
        for name, width in zip(OURS, WIDTHS[family], strict=True):
            (found,) = tapped(view, [name], x, t, c)
            assert found.shape[:2] == (2, width), name
            assert found.ndim == (4 if "unet" in family_named(family).BACKBONE else 3)


@pytest.mark.parametrize("family", ["sd", "sd3", "flux"])
def test_a_change_of_a_part_reaches_the_output(family: str) -> None:
    """Of a block of two streams it is that of the image; what comes beside it stays."""
    view, x, t, c = asked(family)
    with torch.no_grad():
        plain = view(x, t, c)
        with changing(view.net, {"middle": lambda h: h.clone()}):
            assert view(x, t, c).equal(plain)
        with changing(view.net, {"middle": lambda h: h.flip(1)}):
            assert not torch.allclose(view(x, t, c), plain, atol=1e-4)


def test_parts_of_our_own_transformer_are_found() -> None:
    net = DiT(channels=3, width=32, depth=5)
    view = Denoiser(net, fs.EDM())
    (found,) = tapped(view, ["middle"], torch.randn(2, 3, 8, 8), torch.ones(2, dtype=torch.float64))
    assert found.shape == (2, 32, 16)
    assert net.part("middle") == "layers.2"


def test_parts_are_found_behind_a_second_time() -> None:
    view, x, t, c = asked("sd")
    around = Denoiser(SecondTime(view.net, 4), view.process, view.prediction, second_time=True)
    with torch.no_grad():
        for tap in ("middle", "backbone.mid_block", "body.backbone.mid_block"):
            assert tapped(around, [tap], x, t, c)[0].equal(tapped(view, ["middle"], x, t, c)[0])
    assert bridge_of(around.net) is view.net


def test_parts_that_are_not_there_are_refused() -> None:
    view, x, t, c = asked("sd")
    with pytest.raises(fs.RecipeError, match=r"no part 'bottom' to listen to"):
        tapped(view, ["bottom"], x, t, c)


@pytest.mark.parametrize("family", ["sd", "sd3"])
def test_heads_that_are_told_a_prompt_are_told_its_states_and_not_its_number(family: str) -> None:
    view, x, t, c = asked(family)
    assert c is not None
    net = Headed(view.net, Heads(("middle",), kinds=("local",), condition=("told",)), (x, t.float(), c))
    critic = Critic(Denoiser(net, view.process, view.prediction))
    states = view.net.states  # type: ignore[union-attr]
    assert net.heads[0].told[0].linear.in_features == states[1]
    renumbered = torch.cat([c[:, :1] + 500, c[:, 1:]], 1)
    torch.testing.assert_close(critic(x, t, renumbered), critic(x, t, c))
    assert not torch.allclose(critic(x, t, c.flip(0)), critic(x, t, c), atol=1e-6)


def test_parts_are_settings_that_the_run_says() -> None:
    _, model = opened("sd")
    parts = "[backbone.down_blocks.1, backbone.mid_block, backbone.up_blocks.0]"
    place = "learners.student.objective.1.regress.space.features.taps"
    assert f"{place}={parts}" in computed("instaflow", [], model)
    assert f"learners.critic.heads.taps={parts}" in computed("nitrofusion", [], model)
    assert "learners.fake_score.heads=[backbone.mid_block]" in computed("dmd2", [], model)
    assert not [each for each in computed("dmd2", ["learners.fake_score.heads=middle"], model) if "heads" in each]
    assert not [each for each in computed("slimflow", [], model) if "taps" in each or "heads" in each]


def test_parts_of_a_student_that_is_distilled_further_are_the_pipelines() -> None:
    _, model = opened("sd")
    student = replace(model, view=replace(model.view, net=SecondTime(model.view.net, 4), second_time=True))
    assert "learners.fake_score.heads=[backbone.mid_block]" in computed("dmd2", [], student)


def test_guidance_is_for_one_teacher_where_another_is_bare_on_purpose() -> None:
    _, model = opened("sd")
    assert not [each for each in computed("diversity-rewarded", [], model) if "guidance" in each]


def test_unet_of_four_levels_has_its_parts_in_order() -> None:
    net = UNet2DConditionModel(
        sample_size=8, block_out_channels=(8,) * 4, norm_num_groups=4, layers_per_block=1, attention_head_dim=4,
        cross_attention_dim=16,
    )  # fmt: skip
    bridge = fs.interop.Bridge("sd", net.config, {"states": (12, 16)})
    assert [bridge.part(name) for name in OURS] == [
        "backbone.down_blocks.1", "backbone.down_blocks.3", "backbone.mid_block", "backbone.up_blocks.1",
        "backbone.up_blocks.3",
    ]  # fmt: skip
