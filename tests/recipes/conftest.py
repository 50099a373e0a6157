"""A teacher of the digits' form that has learned nothing, for recipes that are put together but hardly run."""

import pytest
import torch

import fewstep as fs
from fewstep.batch import Batch
from fewstep.denoiser import Denoiser
from fewstep.networks import UNet
from fewstep.process import EDM
from fewstep.times import Karras


@pytest.fixture(scope="session")
def young() -> fs.Model:
    """A U-Net with parts of the names that recipes know; do not change it."""
    torch.manual_seed(0)
    settings = {"channels": 1, "classes": 10, "widths": [8, 8], "depth": 1}
    net = UNet(**settings)
    with torch.no_grad():
        for parameter in net.parameters():  # also where a new network is silent
            parameter.add_(0.05 * torch.randn_like(parameter))
    view = Denoiser(net.requires_grad_(False).eval(), EDM(sigma_data=0.7))
    return fs.Model(view, fs.ManyStep(Karras()), (1, 8, 8), fs.Digits().classes, {"unet": settings})


@pytest.fixture(scope="session")
def pairs() -> Batch:
    """Items with a class and the noise that they were made from."""
    generator = torch.Generator().manual_seed(0)
    x0, z = (torch.randn(8, 1, 8, 8, generator=generator) for _ in range(2))
    return Batch(x0, torch.arange(8), z)
