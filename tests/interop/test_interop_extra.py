"""Pipelines that are told images too: these are passed on untouched, guided as in the stock pipeline, distilled."""

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from PIL import Image
from tiny import built

import fewstep as fs
from fewstep.condition import drop, null
from fewstep.data.shapes import Shapes
from fewstep.draws import item_noise
from fewstep.guidance import NAG, EditCFG
from fewstep.interop import Bridge, Encoded, Pipe, encoded, open_pipe
from fewstep.interop.bridge import family_named
from fewstep.jobs.suited import computed

NAMES = [kind + size for kind in ("control", "inpaint", "edit") for size in ("", "-xl")]
FAST = {("control-xl", 3.0), ("inpaint", 1.0), ("inpaint-xl", 3.0), ("edit", 3.0)}  # each kind, size and way once
PROMPTS, STEPS, SIDE = ["a red disc", "two blue rings"], 2, 16


@lru_cache
def opened(name: str) -> Pipe:
    return Pipe(built(name), family_named("sdxl" if name.endswith("xl") else "sd"), "tiny", (SIDE, SIDE))


def drawn(pipe: Pipe) -> dict[str, torch.Tensor]:
    """What a pipeline is told of two shapes, another one for each."""
    assert pipe.extra is not None
    shapes = Shapes(SIDE)
    return {name: shapes.images_of(name, [0, 1]) for name in pipe.extra.IMAGES}


def files(images: torch.Tensor) -> list[Image.Image]:
    """Images as people have them."""
    bytes_ = ((images + 1) * 127.5).round().to(torch.uint8)
    return [Image.fromarray(each[0].numpy() if len(each) == 1 else each.permute(1, 2, 0).numpy()) for each in bytes_]


def stock(pipe: Pipe, x: torch.Tensor, scale: float, **more: Any) -> torch.Tensor:
    """Latents that the stock pipeline makes, which is shown files."""
    assert pipe.extra is not None
    theirs = copy.copy(pipe.pipeline)
    theirs.scheduler = DDIMScheduler.from_config(
        pipe.pipeline.scheduler.config, timestep_spacing="trailing", set_alpha_to_one=True, steps_offset=0
    )
    told: dict[str, Any] = {word: files(drawn(pipe)[name]) for name, word in pipe.extra.IMAGES.items()}
    sides = {} if type(theirs).__name__ == "StableDiffusionInstructPix2PixPipeline" else {"height": SIDE, "width": SIDE}
    told |= {**sides, "num_inference_steps": STEPS, "guidance_scale": scale, "latents": x, "output_type": "latent"}
    made: torch.Tensor = theirs(prompt=PROMPTS, **{**told, **pipe.call, **more}).images
    return made


def start(model: fs.Model) -> torch.Tensor:
    return item_noise([3, 4], model.shape)[0]


@pytest.fixture
def likeliest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the encoder's law have one outcome: the stock pipelines for inpainting draw from it."""
    monkeypatch.setattr(DiagonalGaussianDistribution, "sample", lambda law, generator=None: law.mode())


@pytest.mark.parametrize(
    ("name", "scale"),
    [
        pytest.param(name, scale, marks=() if (name, scale) in FAST else pytest.mark.slow)
        for name, scale in product(NAMES, (1.0, 3.0))
    ],
)
@pytest.mark.usefixtures("likeliest")
def test_teacher_equals_stock_pipeline(name: str, scale: float) -> None:
    pipe = opened(name)
    model, c = pipe.model(STEPS, scale), pipe.conditions(PROMPTS, images=drawn(pipe))
    ours = model.sample([3, 4], c)
    more = {"image_guidance_scale": 1.5} if name.startswith("edit") else {}
    theirs = stock(pipe, start(model), scale, **more)
    assert theirs.std() > 0.1
    torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=2e-4)
    other = pipe.conditions(PROMPTS, images={each: image.flip(0) for each, image in drawn(pipe).items()})
    assert (model.sample([3, 4], other) - ours).abs().max() > 1e-3  # the images matter


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in ("control", "inpaint-xl", "edit") else pytest.mark.slow) for n in NAMES]
)
@pytest.mark.usefixtures("likeliest")
def test_extra_condition_is_passed_through_untouched(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes into U-Net or ControlNet besides x is the same to the last bit, with a prompt and without."""
    pipe, heard = opened(name), list[torch.Tensor]()
    net = pipe.pipeline.controlnet if name.startswith("control") else pipe.backbone
    forward = net.forward

    def listen(sample: torch.Tensor, *args: Any, controlnet_cond: torch.Tensor | None = None, **more: Any) -> Any:
        heard.append(sample[:, 4:] if controlnet_cond is None else controlnet_cond)
        steer = {} if controlnet_cond is None else {"controlnet_cond": controlnet_cond}
        return forward(sample, *args, **steer, **more)

    monkeypatch.setattr(net, "forward", listen)
    model = pipe.model(STEPS, 1.0)
    stock(pipe, start(model), 1.0)
    theirs = heard[0]
    heard.clear()
    c = pipe.conditions(PROMPTS, images=drawn(pipe))
    model.sample([3, 4], c)
    x, t = start(model), torch.full((2,), 0.5, dtype=torch.float64)
    model.view(x, t, null(c))
    model.view(x, t, drop(c, torch.tensor([True, False])))
    assert len(heard) == STEPS + 2
    assert all(each.equal(theirs) for each in heard)
    assert theirs.std() > 0.1


def test_no_prompt_is_the_empty_prompt_with_the_images() -> None:
    pipe = opened("control")
    model, images = pipe.model(STEPS, 1.0), drawn(pipe)
    x, t, c = start(model), torch.full((2,), 0.5, dtype=torch.float64), pipe.conditions(PROMPTS, images=images)
    torch.testing.assert_close(model.view(x, t, null(c)), model.view(x, t, pipe.conditions(["", ""], images=images)))
    assert not torch.allclose(model.view(x, t, null(c)), model.view(x, t, c))


def test_negative_prompt_in_the_attention_leaves_the_control_image_alone() -> None:
    pipe = opened("control")
    images, model = drawn(pipe), pipe.model(STEPS, 1.0)
    c, n = pipe.conditions(PROMPTS, images=images), pipe.conditions(["a star"] * 2, images=images)
    near = model.under(NAG(4.0)).sample([1, 2], c, negative=c)
    torch.testing.assert_close(near, model.sample([1, 2], c), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(model.under(NAG(4.0)).sample([1, 2], c, negative=n), near)


def test_control_net_is_shared_frozen_and_steers_gradients() -> None:
    net = opened("control").model().view.net
    again = copy.deepcopy(net)
    assert isinstance(net, Bridge)
    assert isinstance(again, Bridge)
    assert net.control is again.control is not None
    assert not [name for name in again.state_dict() if "control" in name]
    pipe = opened("control")
    x = torch.randn(2, *pipe.shape, requires_grad=True)
    images = drawn(pipe)
    slopes = []
    for shown in (images["control"], -images["control"]):
        out = net(x, torch.full((2,), 500.0), pipe.conditions(PROMPTS, images={"control": shown}))
        slopes.append(torch.autograd.grad(out.square().sum(), x)[0])
    assert not torch.allclose(*slopes)


@pytest.mark.parametrize(
    ("images", "said"),
    [
        ({}, r"told more than a prompt, and was given no mask and no source.*--mask FILE --source FILE"),
        ({"mask": torch.zeros(1, SIDE, SIDE)}, "was given no source"),
        (
            {"mask": torch.zeros(1, 16, 16), "source": torch.zeros(3, 16, 16), "control": torch.zeros(3, 16, 16)},
            r"given the image 'control' \(--control\), but it takes mask, source",
        ),
        ({"mask": torch.zeros(3, 16, 16), "source": torch.zeros(3, 16, 16)}, r"'mask' has shape \[3, 16, 16\]"),
        ({"mask": torch.zeros(1, 8, 8), "source": torch.zeros(3, 16, 16)}, r"opened for \[1, 16, 16\]"),
        ({"mask": torch.zeros(3, 1, 16, 16), "source": torch.zeros(3, 16, 16)}, "2 prompts came with images 'mask'"),
    ],
)
def test_images_are_those_that_are_taken(images: dict[str, torch.Tensor], said: str) -> None:
    with pytest.raises(fs.DataError, match=said):
        opened("inpaint").conditions(PROMPTS, images=images)


def test_condition_without_its_images_is_refused() -> None:
    model = opened("edit").model(STEPS, 1.0)
    with pytest.raises(fs.DataError, match=r"came without its images.*beside \[4, 8, 8\]"):
        model.sample([1])


def test_text_to_image_takes_no_images(folder: Path) -> None:
    with pytest.raises(fs.DataError, match=r"given the image 'mask' \(--mask\), but it is told a prompt alone"):
        open_pipe(folder).conditions(["a"], images={"mask": torch.zeros(1, 16, 16)})


def test_guidance_of_an_edit_pipeline_has_two_scales() -> None:
    model = opened("edit").model()
    assert model.sampler.guidance == (EditCFG(7.5, 1.5),)
    assert computed("lcm-lora", [], model) == ["frozen.teacher.guidance=[{edit_cfg: {scale: 7.5, image: 1.5}}]"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    root = tmp_path_factory.mktemp("told")

    def place(name: str) -> Path:
        if not (root / name).exists():
            opened(name).pipeline.save_pretrained(root / name)
        return root / name

    return place


def test_four_channels_never_see_the_images(saved: Callable[[str], Path], tmp_path: Path) -> None:
    pipeline = copy.copy(opened("inpaint").pipeline)
    config = {**pipeline.unet.config, "in_channels": 4, "_use_default_values": []}
    pipeline.register_modules(unet=UNet2DConditionModel.from_config(config))
    pipeline.save_pretrained(tmp_path)
    with pytest.raises(fs.WeightsError, match=r"whose unet takes 4 channels; one that is told of its images takes 9"):
        open_pipe(tmp_path)


@pytest.mark.parametrize(
    "name",
    ["control", pytest.param("inpaint", marks=pytest.mark.slow), pytest.param("edit", marks=pytest.mark.slow)],
)
def test_student_learns_and_is_loaded(saved: Callable[[str], Path], name: str, tmp_path: Path, cache: Path) -> None:
    pipe = open_pipe(saved(name))
    data = Encoded(Shapes(16, count=20), pipe, tmp_path / "cache")
    c = data.batch([3, 1]).c
    assert pipe.extra is not None
    images = {each: data.source.images_of(each, [3, 1]) for each in pipe.extra.IMAGES}
    if name == "inpaint":
        images["source"] = data.source.batch([3, 1]).x0
    assert c is not None
    torch.testing.assert_close(c[:, 1:], pipe.conditions(data.source.captions_of([3, 1]), images=images)[:, 1:])
    brief = ("steps=3", "batch=4", "looks=1", "judged=16", "learners.student.lora.rank=2")
    teacher = pipe.model(2, 2.0)
    student = fs.distill(
        teacher, data, fs.Options(tmp_path / "run", settings=brief, show=False, cache=cache), "lcm-lora"
    )
    again = fs.load_model(tmp_path / "run")
    assert again.sample([1, 2], c).equal(student.sample([1, 2], c))
    assert not torch.allclose(again.sample([1, 2], c), replace(student, view=teacher.view).sample([1, 2], c))
    adapted = fs.load_lora(tmp_path / "run", teacher)
    torch.testing.assert_close(adapted.sample([1, 2], c), student.sample([1, 2], c), atol=1e-4, rtol=1e-4)


def test_images_that_fill_the_disk_are_encoded_for_each_batch(
    saved: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Encoded(Shapes(16, count=20), open_pipe(saved("edit")), tmp_path / "cache")
    before = data.conditions([3, 1, 3])
    monkeypatch.setattr(encoded, "MOST", 0)
    again = data.conditions([3, 1, 3])
    assert before is not None
    assert again is not None
    torch.testing.assert_close(again, before, atol=1e-5, rtol=1e-5)
    own = data.checker.asked(["a red disc"])
    assert own[0, -1] == before[0, -1]
    assert data.pipe.model(2, 1.0).sample([1], own).isfinite().all()


def test_data_without_such_images_are_refused_at_once(saved: Callable[[str], Path], tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("a red disc\n")
    with pytest.raises(fs.DataError, match="have no 'mask' images, which this pipeline is told besides the prompt"):
        Encoded(fs.open_data(str(tmp_path / "prompts.txt"), 16), open_pipe(saved("inpaint")), tmp_path / "cache")


def test_control_net_that_is_gone_is_said(saved: Callable[[str], Path], tmp_path: Path) -> None:
    teacher = open_pipe(saved("control")).model(STEPS, 1.0)
    words = dict(teacher.network["fewstep.interop.Bridge"]) | {"control": str(tmp_path)}
    lost = Bridge(**words)
    c = opened("control").conditions(PROMPTS, images=drawn(opened("control")))
    with pytest.raises(fs.WeightsError, match="ControlNet that this model is steered by cannot be read from"):
        lost(torch.zeros(2, *teacher.shape), torch.zeros(2), c)
