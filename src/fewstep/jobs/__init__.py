"""What the commands do, as functions: fit a recipe, evaluate, compare, check, merge, demonstrate."""

from fewstep.jobs.demo import demo
from fewstep.jobs.fit import Options, distill, fit, train_teacher
from fewstep.jobs.measure import judge_for, measure
from fewstep.jobs.merge import merge

__all__ = ["Options", "demo", "distill", "fit", "judge_for", "measure", "merge", "train_teacher"]
