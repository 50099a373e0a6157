"""Costs: a term is numbers and names of networks, and one method that returns a cost per item.

Terms add up: ``Consistency(...) + 0.4 * Adversarial("critic")``.
"""

from fewstep.terms.adversarial import Adversarial, Discriminate, GanLoss, Hinge, Softplus
from fewstep.terms.base import Objective, Term
from fewstep.terms.bridges import Bridge, DataBridge, TeacherBridge
from fewstep.terms.consistency import Consistency
from fewstep.terms.denoise import Denoise
from fewstep.terms.distribution_matching import KL, DistributionMatching, Normaliser, Plain, Residual
from fewstep.terms.metrics import L1, L2, L2Norm, Metric, PseudoHuber
from fewstep.terms.regress import Regress
from fewstep.terms.weights import EDMWeight, Gap, MinSNR, One, VelocityWeight, Weight

__all__ = [
    "KL",
    "L1",
    "L2",
    "Adversarial",
    "Bridge",
    "Consistency",
    "DataBridge",
    "Denoise",
    "Discriminate",
    "DistributionMatching",
    "EDMWeight",
    "GanLoss",
    "Gap",
    "Hinge",
    "L2Norm",
    "Metric",
    "MinSNR",
    "Normaliser",
    "Objective",
    "One",
    "Plain",
    "PseudoHuber",
    "Regress",
    "Residual",
    "Softplus",
    "TeacherBridge",
    "Term",
    "VelocityWeight",
    "Weight",
]
