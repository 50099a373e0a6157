"""A teacher of the digits' form that has learned nothing, for recipes that are put together but hardly run."""

import torch

import fewstep as fs
from fewstep.networks import UNet
from fewstep.times import Karras


def young_teacher() -> fs.Model:
    """Return a U-Net with parts of the names that recipes know, none of them silent."""
    torch.manual_seed(0)
    settings = {"channels": 1, "classes": 10, "widths": [8, 8], "depth": 1}
    net = UNet(**settings)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    view = fs.Denoiser(net.requires_grad_(False).eval(), fs.EDM(sigma_data=0.7))
    return fs.Model(view, fs.ManyStep(Karras()), (1, 8, 8), fs.Digits().classes, {"unet": settings})
