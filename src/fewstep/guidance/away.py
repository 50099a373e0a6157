"""Guidance inside a network: its attention to a prompt turns away from a negative one, in the same call."""

from abc import abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fewstep.denoiser import Denoiser, Denoises
from fewstep.errors import RecipeError
from fewstep.guidance.base import Guidance
from fewstep.types import Cond, T, X

__all__ = ["NAG", "NASA", "Away"]


@dataclass(frozen=True)
class Away(Guidance):
    """A rule that mixes what a network's attention gives for two prompts; queries and all the rest are there once.

    It needs a network with an argument ``away``, which asks ``mix`` in each layer that attends to the prompt.  Without
    a negative condition it is the identity to the last bit.  Whatever its place among the rules it is innermost: the
    others see the network that it has changed, and ``Interval`` decides where.
    """

    scale: float
    """How far away, 0 for not at all."""

    def __post_init__(self) -> None:
        if not self.scale >= 0:
            raise RecipeError(
                f"{type(self).__name__} has the scale {self.scale}; accepted is 0 or more. Give another number."
            )

    @abstractmethod
    def mix(self, positive: Tensor, negative: Tensor) -> Tensor:
        """Return one attention output (b, tokens, features) for the two, before the output projection."""

    @property
    @abstractmethod
    def negative(self) -> Cond:
        """What to stay away from, one per item; given at run time with ``against``."""

    @property
    def silent(self) -> bool:
        """Whether ``mix`` returns the positive output, whatever the negative one is."""
        return self.scale == 0

    def against(self, negative: Cond) -> "Away":
        """Return the rule with this negative condition; itself where it plays no part."""
        return self if self.silent else replace(self, negative=negative)  # type: ignore[call-arg]

    def within(self, denoiser: Denoises) -> Denoises:
        """Return the view of the network that is told of this rule.

        Raises ``RecipeError`` when there is a negative condition and the network cannot turn away from it.
        """
        if self.negative is None or self.silent:
            return denoiser
        name = type(self).__name__
        if not isinstance(denoiser, Denoiser) or not denoiser.takes("away"):
            kind = type(denoiser.net if isinstance(denoiser, Denoiser) else denoiser).__name__
            raise RecipeError(
                f"{name} works in a network's attention to a prompt, but the network, a {kind}, lets nobody in there; "
                "accepted are the backbones of diffusers pipelines that read text. Leave the negative condition out."
            )
        if "away" in denoiser.inputs:
            raise RecipeError(f"{name} is the second rule in the same attention; accepted is one. Leave one out.")
        return denoiser.told({"away": self})

    def apply(self, guided: Denoises, plain: Denoises, x: X, t: T, c: Cond) -> X:
        """Return the answer of the network as it is: it is changed inside."""
        return guided(x, t, c)


@dataclass(frozen=True)
class NASA(Away):
    """Negative-away steer attention: ``Z = Z+ - a Z-`` with a = ``scale``.

    The weights add up to 1 - a, so that equal prompts give (1 - a) Z: outputs shrink, which U-Nets bear for small a
    (0.1 for SD 1.5, 0.2 for SD 2.1; 0.5 for PixArt-alpha, 1 for a student that was trained with it) and multimodal
    transformers do not; there take ``NAG``.  Exact: what an attention gives is linear in a, before and after the
    projection, whose bias enters once.
    Source: SNOOPI, arXiv 2412.02687, which writes cross-attention.  In joint attention Z+ and Z- are what the image's
    tokens get of the image and one of the prompts, the text's tokens being left alone: *ours*.
    """

    scale: float = 0.1  # the paper's for SD 1.5
    negative: Cond = None

    SOURCE = "arXiv 2412.02687"

    def mix(self, positive: Tensor, negative: Tensor) -> Tensor:
        """Return the difference."""
        return positive - self.scale * negative


@dataclass(frozen=True)
class NAG(Away):
    """Normalised attention guidance: extrapolate, bound the norm, blend, token by token.

    ``E = Z+ + s (Z+ - Z-)``, ``B = E min(1, tau |Z+| / |E|)`` with the sum of absolute values as the norm,
    ``Z = Z+ + alpha (B - Z+)``; s = ``scale``, which is the ``nag_scale`` of the official code less 1.
    Exact when the prompts are equal: Z+ to the last bit.  Never longer than ``tau |Z+|``.  With tau infinite and
    alpha 1 it is ``(1 + s) (Z+ - s / (1 + s) Z-)``, a rescaled ``NASA``.
    Source: arXiv 2505.21179; scale and tau are those of its code for Flux schnell at 4 steps.  alpha is ours, as in
    ComfyUI's node (the code has 0.25 there): docs/measured.md has what either takes away.
    Raises ``RecipeError`` for a tau below 1, which would shorten even what is not changed, for an alpha outside of
    [0, 1], and for a scale below 0.
    """

    scale: float = 4.0
    tau: float = 2.5
    alpha: float = 0.5
    negative: Cond = None

    SOURCE = "arXiv 2505.21179"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.tau >= 1 and 0 <= self.alpha <= 1):
            raise RecipeError(
                f"NAG has tau {self.tau} and alpha {self.alpha}; accepted are a tau of 1 or more and an alpha from 0 "
                "to 1. Give other numbers."
            )

    @property
    def silent(self) -> bool:
        """Whether nothing is extrapolated, or nothing of it blended in."""
        return self.scale == 0 or self.alpha == 0

    def mix(self, positive: Tensor, negative: Tensor) -> Tensor:
        """Return the extrapolated, bounded and blended output."""
        far = positive + self.scale * (positive - negative)
        bound = self.tau * length(positive) / length(far).clamp_min(torch.finfo(torch.float32).tiny)
        return positive + self.alpha * (far * bound.clamp_max(1).to(far.dtype) - positive)


def length(tokens: Tensor) -> Tensor:
    """Return the sum of absolute values of each token (..., 1), in single precision at least."""
    return tokens.abs().sum(-1, keepdim=True, dtype=torch.promote_types(tokens.dtype, torch.float32))
