"""How a learner's weights move: torch's optimisers as plain numbers, with a rate that may change while training."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from fewstep.scalars import Scalar

__all__ = ["Adam", "AdamW", "Optimiser", "RAdam"]


class Optimiser(ABC):
    """A recipe for a torch optimiser; called with parameters it makes one."""

    lr: Scalar
    """The learning rate, set anew before every update."""

    @abstractmethod
    def __call__(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Return an optimiser of these parameters."""


@dataclass(frozen=True)
class Adam(Optimiser):
    """Adam.  Source: arXiv 1412.6980."""

    lr: Scalar
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8

    def __call__(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Return a fused Adam."""
        return torch.optim.Adam(parameters, betas=self.betas, eps=self.eps, fused=True)


@dataclass(frozen=True)
class AdamW(Optimiser):
    """Adam with decoupled weight decay.  Source: arXiv 1711.05101."""

    lr: Scalar
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.01
    eps: float = 1e-8

    def __call__(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Return a fused AdamW."""
        return torch.optim.AdamW(parameters, betas=self.betas, eps=self.eps, weight_decay=self.weight_decay, fused=True)


@dataclass(frozen=True)
class RAdam(Optimiser):
    """Rectified Adam, which the consistency papers use.  Source: arXiv 1908.03265."""

    lr: Scalar
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8

    def __call__(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Return a RAdam over all tensors at once."""
        return torch.optim.RAdam(parameters, betas=self.betas, eps=self.eps, foreach=True)
