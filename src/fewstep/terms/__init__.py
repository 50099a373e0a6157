"""Costs: a term is numbers and names of networks, and one method that returns a cost per item.

Terms add up: ``Consistency(...) + 0.4 * Adversarial("critic")``.
"""

from fewstep.terms.adversarial import Adversarial, Discriminate, GanLoss, Hinge, LeastSquares, Softplus
from fewstep.terms.base import Objective, Term
from fewstep.terms.bootstrap import Bootstrap
from fewstep.terms.bridges import Bridge, DataBridge, JumpBridge, StoredBridge, TeacherBridge
from fewstep.terms.consistency import Consistency
from fewstep.terms.denoise import Denoise
from fewstep.terms.distribution_matching import KL, DistributionMatching, Normaliser, Plain, Residual
from fewstep.terms.guides import Guide, Negatives, Scales, Unguided
from fewstep.terms.metrics import L1, L2, Cauchy, Huber, L2Norm, Metric, PseudoHuber
from fewstep.terms.regress import Reconstruct, Regress
from fewstep.terms.slopes import DataSlope, MixedSlope, Slope, TeacherSlope
from fewstep.terms.spaces import AtData, Estimate, Features, Here, LogMels, Space
from fewstep.terms.states import Diffused, OwnSamples, States, StoredPath, TeacherPath
from fewstep.terms.tangent import Adaptive, Square, Taming, Tangent, Unit
from fewstep.terms.targets import Averaged, Current, Split, Target
from fewstep.terms.weights import (
    DataShare,
    EDMWeight,
    Gap,
    MinSNR,
    One,
    SignalStep,
    SNRPlusOne,
    TruncatedSNR,
    VelocityWeight,
    Weight,
    Within,
)

__all__ = [
    "KL",
    "L1",
    "L2",
    "Adaptive",
    "Adversarial",
    "AtData",
    "Averaged",
    "Bootstrap",
    "Bridge",
    "Cauchy",
    "Consistency",
    "Current",
    "DataBridge",
    "DataShare",
    "DataSlope",
    "Denoise",
    "Diffused",
    "Discriminate",
    "DistributionMatching",
    "EDMWeight",
    "Estimate",
    "Features",
    "GanLoss",
    "Gap",
    "Guide",
    "Here",
    "Hinge",
    "Huber",
    "JumpBridge",
    "L2Norm",
    "LeastSquares",
    "LogMels",
    "Metric",
    "MinSNR",
    "MixedSlope",
    "Negatives",
    "Normaliser",
    "Objective",
    "One",
    "OwnSamples",
    "Plain",
    "PseudoHuber",
    "Reconstruct",
    "Regress",
    "Residual",
    "SNRPlusOne",
    "Scales",
    "SignalStep",
    "Slope",
    "Softplus",
    "Space",
    "Split",
    "Square",
    "States",
    "StoredBridge",
    "StoredPath",
    "Taming",
    "Tangent",
    "Target",
    "TeacherBridge",
    "TeacherPath",
    "TeacherSlope",
    "Term",
    "TruncatedSNR",
    "Unguided",
    "Unit",
    "VelocityWeight",
    "Weight",
    "Within",
]
