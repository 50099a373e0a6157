"""The autoencoder of a pocket pipeline: from images to a few smooth numbers and back."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import l1_loss, mse_loss

from fewstep.data import Data, Shapes
from fewstep.draws import Draws, seed_for
from fewstep.interop.pipe import Pipe
from fewstep.interop.pocket.optimise import Progress, optimise

__all__ = ["learn_to_code", "share_coded", "standardise"]

BATCH, RATE = 32, 3e-3  # ours
ABSOLUTE = 0.1  # share of the absolute error beside the squared one: sharp edges
SMOOTH = 1e-4  # of the divergence from a unit normal law, per number: enough to keep the code in one piece


def learn_to_code(coder: Any, data: Data, updates: int, seed: int, progress: Progress) -> None:
    """Train an ``AutoencoderKL`` on images, in place, and scale its latents to unit deviation.

    ``E (x - D(z))^2 + 0.1 |x - D(z)| + 1e-4 KL(q(z | x), N(0, 1))``, z drawn from q.
    Source: Kingma and Welling 2013, arXiv 1312.6114, eq. 10; the weights of the parts are *ours*.
    """
    device = coder.device
    order = torch.randint(len(data), (updates, BATCH), generator=torch.Generator().manual_seed(seed_for(seed, "code")))
    coder.to(memory_format=torch.channels_last).train().requires_grad_(True)  # as a CPU convolves fastest

    def cost(update: int) -> Tensor:
        x = data.batch(order[update].tolist()).x0.to(device)
        law = coder.encode(x).latent_dist
        mean, spread = law.mean.float(), law.logvar.float()
        z = mean + (spread / 2).exp() * Draws(seed_for(seed, "code", update), device).normal(mean)
        found = coder.decode(z).sample.float()
        apart = (mean.square() + spread.exp() - 1 - spread).mean() / 2
        loss: Tensor = mse_loss(found, x) + ABSOLUTE * l1_loss(found, x) + SMOOTH * apart
        return loss

    for done in optimise([coder], RATE, updates, cost):
        progress(done, updates, "")
    coder.eval().requires_grad_(False)
    standardise(coder, data)


@torch.no_grad()
def standardise(coder: Any, data: Data, count: int = 2000) -> None:
    """Write scale and, where there is one, shift into the configuration, so that latents have deviation 1 (and mean 0).

    By the first ``count`` images.
    """
    images = data.batch(range(min(count, len(data)))).x0
    modes = [coder.encode(part.to(coder.device)).latent_dist.mode() for part in torch.split(images, 64)]
    latents = torch.cat(modes)
    shift = 0.0 if coder.config.shift_factor is None else float(latents.mean())
    coder.register_to_config(scaling_factor=float((latents - shift).square().mean().rsqrt()))
    if coder.config.shift_factor is not None:
        coder.register_to_config(shift_factor=shift)


def share_coded(pipe: Pipe, data: Shapes, count: int) -> float:
    """Return the share of the first ``count`` images of which everything is still seen right after the autoencoder."""
    items = range(min(count, len(data)))
    images = pipe.decode(pipe.encode(data.batch(items).x0)).cpu()
    return sum(each.right for each in data.checker.verdicts(images, data.meanings(items))) / len(items)
