"""Exact worlds, and the checks that a new piece must pass to work with all the others.

A world is data whose denoiser and flow map are known in closed form.  A check raises ``ConformanceError`` with the
rule that a piece breaks; its test is one line: ``check_solver(MySolver(), EDM())``.
"""

from fewstep.testing.check_guidance import check_guidance
from fewstep.testing.check_solver import check_solver, measured_order
from fewstep.testing.check_term import check_term, small_views
from fewstep.testing.error import ConformanceError
from fewstep.testing.network import Affine, as_network, time_of
from fewstep.testing.numbers import Counted, Given, normal_points
from fewstep.testing.paths import PATHS, check_prediction, check_process
from fewstep.testing.worlds import Classes, Gaussian, Jump, Mixture, World

__all__ = [
    "PATHS",
    "Affine",
    "Classes",
    "ConformanceError",
    "Counted",
    "Gaussian",
    "Given",
    "Jump",
    "Mixture",
    "World",
    "as_network",
    "check_guidance",
    "check_prediction",
    "check_process",
    "check_solver",
    "check_term",
    "measured_order",
    "normal_points",
    "small_views",
    "time_of",
]
