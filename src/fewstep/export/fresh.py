"""Reload an export with stock diffusers and nothing of fewstep; run as a script, in a process of its own.

    python -I fresh.py ANSWER FOLDER [BASE]

writes the images that the stock pipeline makes of the stored prompts and seeds, and what was seen on the way, into the
file ANSWER.  This file imports nothing of the package that it belongs to, and fails when anything did; how readers are
listened to it takes from a file that stands alone, by its path.  Only safetensors are read.
"""

import hashlib
import json
import sys
from pathlib import Path
from runpy import run_path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

__all__ = ["GIVEN", "PROOF", "digest", "reproduce"]

PROOF = "proof/proof.safetensors"
GIVEN = "given."  # what names of images begin with that the pipeline is shown
LORA = "pytorch_lora_weights.safetensors"
HEARING = run_path(str(Path(__file__).parents[1] / "interop" / "listening.py"))


def digest(net: torch.nn.Module) -> str:
    """Return 16 hexadecimal digits that change with any weight of a network."""
    whole = hashlib.sha256()
    for name, tensor in sorted(net.state_dict().items()):
        whole.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        whole.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return whole.hexdigest()[:16]


@torch.no_grad()
def reproduce(folder: Path, base: str | None = None) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return the images (n, h, w, 3) in [0, 1] per number of steps, and a report of what was loaded and walked."""
    few = json.loads((folder / "few_step.json").read_text(encoding="utf-8"))
    with safe_open(folder / PROOF, "pt") as opened:
        asked = json.loads(opened.metadata()["proof"])
        images = {name: opened.get_tensor(name) for name in opened.keys() if name.startswith(GIVEN)}  # noqa: SIM118
    given = {name.removeprefix(GIVEN): image.float() / 255 for name, image in images.items()}
    report: dict[str, Any] = {"said": [], "layers": [], "timesteps": {}, "scheduler": "", "base": ""}
    pipe = _folder(folder, report) if few["form"] == "folder" else _adapted(folder, asked, few, base, report)
    backbone = pipe.components[few["component"]]
    names = [name for name, _ in backbone.named_parameters() if ".lora_A." in name]
    report["layers"] = sorted({name.split(".lora_A.")[0] for name in names})
    report["scheduler"] = type(pipe.scheduler).__name__
    if report["said"]:
        return {}, report  # some weights are not there
    pipe.set_progress_bar_config(disable=True)
    pipe.to(asked["device"])
    _as_asked(pipe, asked)
    if "safety_checker" in pipe.components:
        pipe.register_modules(safety_checker=None)  # what it hides is no difference
    if "watermark" in vars(pipe):
        pipe.watermark = None
    shown, images = _shown(pipe, few, given), {}
    for count, call in few["call"].items():
        torch.manual_seed(asked["seed"])
        generators = [torch.Generator().manual_seed(seed) for seed in asked["seeds"]]
        made = pipe(**asked["inputs"], **shown, **call, generator=generators, output_type="np").images
        images[count] = torch.from_numpy(made).float().contiguous()
        report["timesteps"][count] = [float(step) for step in pipe.scheduler.timesteps]
    return images, report


def _shown(pipe: Any, few: dict[str, Any], given: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Return the arguments of the stock call for images (n, c, h, w) in [0, 1], by the names that the student has.

    Where the stock pipeline draws the latents of what a mask leaves from the encoder's law, it is told the law's mode.
    """
    told: dict[str, Any] = {word: given[name] for name, word in few.get("extra_inputs", {}).items()}
    if "mask" in given:
        hidden = pipe.mask_processor.preprocess(given["mask"]) >= 0.5
        seen = pipe.image_processor.preprocess(given["source"]).masked_fill(hidden, 0)
        law = pipe.vae.encode(seen.to(pipe.vae.device, pipe.vae.dtype)).latent_dist
        told["masked_image_latents"] = law.mode() * pipe.vae.config.scaling_factor
    return told


def _folder(folder: Path, report: dict[str, Any]) -> Any:
    """Open a whole pipeline; what a reader says of weights counts."""
    from diffusers import DiffusionPipeline

    with HEARING["listening"]() as said:
        pipe = DiffusionPipeline.from_pretrained(folder, use_safetensors=True, trust_remote_code=False)
    report["said"] += [each for each in said if any(word in each.lower() for word in HEARING["KEYED"])]
    return pipe


def _adapted(folder: Path, asked: dict[str, Any], few: dict[str, Any], base: str | None, report: dict[str, Any]) -> Any:
    """Open the base, and put adapter and scheduler into it; every word that a reader says of the adapter counts."""
    import diffusers

    place, names = base or few["base_model"], ("variant", "revision")
    which = {name: few[f"base_{name}"] for name in names if few.get(f"base_{name}")}
    pipe = diffusers.DiffusionPipeline.from_pretrained(place, use_safetensors=True, trust_remote_code=False, **which)
    if few["component"] not in pipe.components:
        raise ValueError(f"the base {place} is a {type(pipe).__name__}, which has no {few['component']}")
    _as_asked(pipe, asked)
    merged = few["base_style"] or []
    for style in map(Path, [merged] if isinstance(merged, str) else merged):  # a path alone in older exports
        style = style / LORA if style.is_dir() else style
        pipe.load_lora_weights(style.parent, weight_name=_safe(style.name), use_safetensors=True)
        pipe.fuse_lora()
        pipe.unload_lora_weights()
    report["base"] = digest(pipe.components[few["component"]])
    name = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())["_class_name"]
    pipe.scheduler = getattr(diffusers, name).from_pretrained(folder, subfolder="scheduler")
    with HEARING["listening"]() as said:
        pipe.load_lora_weights(folder, weight_name=_safe(few["weight_name"]), use_safetensors=True)
    untrained = [f"prefix='{name}'" for name in pipe.components if name != few["component"]]
    report["said"] += [each for each in said if not any(name in each for name in untrained)]
    return pipe


def _safe(name: str) -> str:
    """Return the name of a file of weights; raise for one that might be a pickle."""
    if not name.endswith(".safetensors"):
        raise ValueError(f"{name} is no .safetensors file, and no other kind is read")
    return name


def _as_asked(pipe: Any, asked: dict[str, Any]) -> None:
    """Bring a pipeline to the precision of the one that was in memory, if any of it was opened in another one."""
    dtype = getattr(torch, asked["dtype"])
    if any(part.dtype != dtype for part in pipe.components.values() if isinstance(part, torch.nn.Module)):
        pipe.to(dtype)


def main(answer: str, folder: str, base: str | None = None) -> None:
    """Write the answer for one folder."""
    images, report = reproduce(Path(folder), base)
    if "fewstep" in sys.modules:
        raise SystemExit("This process has imported fewstep, so that it proves nothing.")
    save_file(images, answer, {"report": json.dumps(report)})


if __name__ == "__main__":
    main(*sys.argv[1:])
