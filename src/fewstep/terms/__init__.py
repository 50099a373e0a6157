"""Costs: a term is numbers and names of networks, and one method that returns a cost per item.

Terms add up: ``Consistency(...) + 0.4 * Adversarial("critic")``.
"""

from fewstep.terms.adversarial import Adversarial, ApproximateR1, Discriminate
from fewstep.terms.backtracking import Backtracking
from fewstep.terms.base import Objective, Term
from fewstep.terms.bootstrap import Bootstrap
from fewstep.terms.bridges import Bridge, DataBridge, JumpBridge, StoredBridge, TeacherBridge
from fewstep.terms.by_class import ByClass
from fewstep.terms.consistency import Consistency
from fewstep.terms.denoise import Denoise
from fewstep.terms.distribution_matching import DistributionMatching
from fewstep.terms.divergences import (
    AlphaDivergence,
    Divergence,
    ForwardKL,
    Jeffreys,
    JensenShannon,
    Neyman,
    Pearson,
    ReverseKL,
    SoftenedReverseKL,
    SquaredHellinger,
)
from fewstep.terms.diversity import Diversity
from fewstep.terms.estimators import Detached, Estimator, Identity, Shortened
from fewstep.terms.gan_losses import Clamped, Classes, GanLoss, Hinge, LeastSquares, Logistic, Softplus
from fewstep.terms.guides import Guide, HiddenScales, Negatives, Scales, Unguided
from fewstep.terms.imitate import Imitate
from fewstep.terms.metrics import L1, L2, Cauchy, Huber, L2Norm, Metric, PseudoHuber
from fewstep.terms.normalisers import KL, AlphaSigma, NoisyResidual, Normaliser, Plain, Residual, Signal
from fewstep.terms.ratios import DensityRatio
from fewstep.terms.regress import Reconstruct, Regress
from fewstep.terms.slopes import DataSlope, MixedSlope, Slope, TeacherSlope
from fewstep.terms.spaces import AtData, Edges, Estimate, Features, Here, HighPass, LogMels, Space
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
    "AlphaDivergence",
    "AlphaSigma",
    "ApproximateR1",
    "AtData",
    "Averaged",
    "Backtracking",
    "Bootstrap",
    "Bridge",
    "ByClass",
    "Cauchy",
    "Clamped",
    "Classes",
    "Consistency",
    "Current",
    "DataBridge",
    "DataShare",
    "DataSlope",
    "Denoise",
    "DensityRatio",
    "Detached",
    "Diffused",
    "Discriminate",
    "DistributionMatching",
    "Divergence",
    "Diversity",
    "EDMWeight",
    "Edges",
    "Estimate",
    "Estimator",
    "Features",
    "ForwardKL",
    "GanLoss",
    "Gap",
    "Guide",
    "Here",
    "HiddenScales",
    "HighPass",
    "Hinge",
    "Huber",
    "Identity",
    "Imitate",
    "Jeffreys",
    "JensenShannon",
    "JumpBridge",
    "L2Norm",
    "LeastSquares",
    "LogMels",
    "Logistic",
    "Metric",
    "MinSNR",
    "MixedSlope",
    "Negatives",
    "Neyman",
    "NoisyResidual",
    "Normaliser",
    "Objective",
    "One",
    "OwnSamples",
    "Pearson",
    "Plain",
    "PseudoHuber",
    "Reconstruct",
    "Regress",
    "Residual",
    "ReverseKL",
    "SNRPlusOne",
    "Scales",
    "Shortened",
    "Signal",
    "SignalStep",
    "Slope",
    "SoftenedReverseKL",
    "Softplus",
    "Space",
    "Split",
    "Square",
    "SquaredHellinger",
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
