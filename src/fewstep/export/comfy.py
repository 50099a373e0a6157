"""How a student is sampled in ComfyUI, whose names for samplers and grids of time steps are its own."""

import math
from collections.abc import Mapping
from typing import Any

__all__ = ["comfy"]

SAMPLERS = {"LCMScheduler": "lcm", "DDIMScheduler": "ddim", "EulerDiscreteScheduler": "euler"}
SAMPLINGS = {"v_prediction": "v_prediction", "sample": "x0"}  # of ModelSamplingDiscrete, by what is predicted
NO_DATA = 0.99999  # share of noise; without zero terminal SNR it is 0.998
NO_ADAPTERS = ("pixart",)  # families whose pipelines in diffusers read no LoRA files, so that none is written
NAMELESS = ("sana",)  # families of which comfy/lora.py maps no layers


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
    if form == "lora" and family in NAMELESS:
        return "ComfyUI's readers of LoRAs know no layer of this family, and drop them all: draw with diffusers."
    if form == "folder":
        adapter = "" if family in NO_ADAPTERS else "export a LoRA, or "
        load = f"ComfyUI reads single files, not whole folders: {adapter}load the folder with a diffusers node."
    else:
        load = f"Load the base, then `{few['weight_name']}` with the node `LoraLoaderModelOnly` at strength 1."
    if few["scheduler"] == "TCDScheduler":
        return f"{load} None of its own samplers does what TCDScheduler does with eta {few['eta']:g}."
    sampler = "lcm" if few["stochastic"] else SAMPLERS.get(few["scheduler"], "euler")
    if not _even(few):
        listed = "; ".join(f"{count}: {', '.join(map(_short, steps))}" for count, steps in few["timesteps"].items())
        told = f"Sampler `{sampler}` with your own list of time steps (of 1000): {listed}."
        return f"{load} {told}{_scale(few)}{_predicts(few)}"
    cfg = few["guidance"]["scale"] if few["guidance"]["mode"] == "cfg" else 1.0
    steps = ", ".join(map(str, few["num_steps"]))
    settings = f"sampler `{sampler}`, scheduler `simple`, steps {steps}, cfg {cfg:g}"
    return f"{load} KSampler: {settings}.{_shift(few)}{_scale(few)}{_predicts(few)}"


def _shift(few: Mapping[str, Any]) -> str:
    """Say how the shift s of the times is set, empty where there is none.

    ``ModelSamplingFlux`` takes its logarithm: it shifts by e^mu, with mu between ``base_shift`` for small images and
    ``max_shift`` for large ones.
    """
    shift = few["shift"]
    if not shift:
        return ""
    if few["family"] == "flux":
        mu = f"{math.log(shift):.4g}"
        return f" Set `max_shift` and `base_shift` both to {mu} (ln {shift:g}) in the node `ModelSamplingFlux`."
    return f" Set the shift {shift:g} with the node `ModelSamplingSD3`."


def _scale(few: Mapping[str, Any]) -> str:
    """Say how a guidance scale is told that is an input of the network, empty where it is none."""
    guidance = few["guidance"]
    if guidance["mode"] != "embedded":
        return ""
    if few["family"] == "flux":
        return f" Tell it the guidance scale {guidance['scale']:g} with the node `FluxGuidance`."
    return " No node of its own tells a U-Net the guidance scale that this student takes: draw with diffusers."


def _predicts(few: Mapping[str, Any]) -> str:
    """Say what the network predicts where ComfyUI, which sees the weights alone, takes it for the noise.

    Zero terminal SNR, of which there is no trace in them either, is where the noisiest step has no data left.
    """
    if few["prediction_type"] not in SAMPLINGS:
        return ""
    zero = any(max(sigmas) > NO_DATA for sigmas in few["sigmas"].values())
    sampling = SAMPLINGS[few["prediction_type"]]
    return f" Set sampling `{sampling}` and zsnr `{str(zero).lower()}` in the node `ModelSamplingDiscrete`."


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
