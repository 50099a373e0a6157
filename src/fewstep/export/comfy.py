"""How a student is sampled in ComfyUI, whose names for samplers and grids of time steps are its own."""

from collections.abc import Mapping
from typing import Any

__all__ = ["comfy"]

SAMPLERS = {"LCMScheduler": "lcm", "DDIMScheduler": "ddim", "EulerDiscreteScheduler": "euler"}
FLOW = "FlowMatchEulerDiscreteScheduler"
NODES = {"sd3": "ModelSamplingSD3", "flux": "ModelSamplingFlux", "sana": "ModelSamplingSD3"}


def comfy(few: Mapping[str, Any]) -> str:
    """Return a paragraph, empty for families that it does not draw with.

    ``simple`` takes every so-manieth of 1000 even times, the noisiest first.  U-Nets want kohya's names: of files with
    diffusers' names it leaves out the attention layers.
    """
    family, form = few["family"], few["form"]
    if family in ("unconditional", "dit"):
        return ""
    if form == "lora" and few["component"] == "unet":
        return "ComfyUI reads the LoRA of a U-Net by kohya's names: export it with `--form kohya`."
    if form == "folder":
        load = "ComfyUI reads single files, not whole folders: export a LoRA, or load the folder with a diffusers node."
    else:
        load = f"Load the base, then `{few['weight_name']}` with the node `LoraLoaderModelOnly` at strength 1."
    sampler = "lcm" if few["stochastic"] else SAMPLERS.get(few["scheduler"], "euler")
    if not _even(few):
        listed = "; ".join(f"{count}: {', '.join(map(_short, steps))}" for count, steps in few["timesteps"].items())
        return f"{load} Sampler `{sampler}` with your own list of time steps (of 1000): {listed}."
    shift = few["shift"]
    node = f" Set the shift {shift:g} with the node `{NODES[family]}`." if shift and family in NODES else ""
    cfg = few["guidance"]["scale"] if few["guidance"]["mode"] == "cfg" else 1.0
    steps = ", ".join(map(str, few["num_steps"]))
    return f"{load} KSampler: sampler `{sampler}`, scheduler `simple`, steps {steps}, cfg {cfg:g}.{node}"


def _even(few: Mapping[str, Any]) -> bool:
    """Say whether the times are even on the clock of the path, which is where ``simple`` takes them."""
    for count, steps in few["timesteps"].items():
        for i, step in enumerate(steps):
            time, shift = 1 - i / int(count), few["shift"]
            even = 1000 * time - 1 if shift is None else 1000 * shift * time / (1 + (shift - 1) * time)
            if abs(step - even) > 0.01:
                return False
    return True


def _short(step: float) -> str:
    return f"{step:g}"
