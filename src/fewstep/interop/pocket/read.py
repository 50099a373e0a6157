"""Text encoders that learn to read before anything is drawn, as those of large pipelines have."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from fewstep.data.shapes import Shapes
from fewstep.data.shapes.meaning import FEATURES, condition
from fewstep.draws import dropout_from, seed_for
from fewstep.interop.pipe import Pipe
from fewstep.interop.pocket.optimise import Progress, optimise
from fewstep.interop.quiet import quiet

__all__ = ["encoders", "learn_to_read", "share_read"]

BATCH, RATE = 128, 2e-3  # ours


def learn_to_read(pipe: Pipe, data: Shapes, updates: int, seed: int, progress: Progress) -> nn.Linear:
    """Train the text encoders of a pipeline, in place: what a caption says is to be read off their states.

    One linear layer tells from what the backbone is told of a prompt which of the things that captions can say it
    says; it is returned, and nobody needs it afterwards.  *Ours*, in place of the pictures that CLIP has learned from:
    as there, the encoders then stay as they are while the backbone learns.
    The captions follow the law of ``data`` and belong to other items.
    """
    corpus = Shapes(data.shape[-1], data.difficulty.name, seed_for(seed, "read"), BATCH * updates)
    readers = encoders(pipe.pipeline)
    with dropout_from(seed_for(seed, "reading head"), pipe.pipeline.device):
        head = nn.Linear(_features(pipe, [""]).shape[1], FEATURES).to(pipe.pipeline.device)
    for reader in readers:
        reader.train().requires_grad_(True)

    def cost(update: int) -> Tensor:
        items = range(update * BATCH, (update + 1) * BATCH)
        said = condition(corpus.meanings(items)).to(head.weight.device)
        return binary_cross_entropy_with_logits(head(_features(pipe, corpus.captions_of(items))).float(), said)

    with quiet():
        for done in optimise([head, *readers], RATE, updates, cost):
            progress(done, updates, "")
    for reader in readers:
        reader.eval().requires_grad_(False)
    return head


@torch.no_grad()
def share_read(pipe: Pipe, head: nn.Linear, data: Shapes, count: int) -> float:
    """Return the share of the first ``count`` captions of which everything is read right."""
    items = range(min(count, len(data)))
    found = head(_features(pipe, data.captions_of(items))).cpu() > 0
    return float((found == condition(data.meanings(items)).bool()).all(1).float().mean())


def encoders(pipeline: Any) -> list[Any]:
    """Return the text encoders of a pipeline."""
    return [part for name, part in pipeline.components.items() if name.startswith("text_encoder") and part is not None]


def _features(pipe: Pipe, prompts: list[str]) -> Tensor:
    """Return one row per prompt of what the backbone is told: the mean state, of words where there is a mask, and the
    pooled state."""
    told: Mapping[str, Tensor] = pipe.family.told(pipe.pipeline, prompts, pipe.size)
    states, mask = told["states"], told.get("mask")
    weight = torch.ones_like(states[..., 0]) if mask is None else mask.to(states)
    mean = torch.einsum("bn,bnd->bd", weight, states) / weight.sum(1, keepdim=True)
    return torch.cat([mean, *(told[name] for name in ("pooled",) if name in told)], 1)
