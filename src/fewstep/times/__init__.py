"""When: the schedule that training, sampling and export share, and the laws that draw times for training."""

from fewstep.times.laws import Along, Law, LogitNormal, LogNormal, LogStudentT, Milestones, Next, Straight, normal_cdf
from fewstep.times.schedules import Explicit, Karras, Rectified, Schedule, Trailing, Uniform, between, grid

__all__ = [
    "Along",
    "Explicit",
    "Karras",
    "Law",
    "LogNormal",
    "LogStudentT",
    "LogitNormal",
    "Milestones",
    "Next",
    "Rectified",
    "Schedule",
    "Straight",
    "Trailing",
    "Uniform",
    "between",
    "grid",
    "normal_cdf",
]
