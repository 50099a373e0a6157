"""What the commands do, as functions: fit a recipe, evaluate, compare, check, demonstrate."""

from fewstep.jobs.demo import demo
from fewstep.jobs.fit import Options, distill, fit, train_teacher
from fewstep.jobs.measure import judge_for, measure

__all__ = ["Options", "demo", "distill", "fit", "judge_for", "measure", "train_teacher"]
