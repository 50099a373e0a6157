"""What the commands do, as functions: fit a recipe, evaluate, compare, check, demonstrate."""

from fewstep.jobs.demo import demo
from fewstep.jobs.evaluate import evaluate, judge_for
from fewstep.jobs.fit import Options, distill, fit, train_teacher

__all__ = ["Options", "demo", "distill", "evaluate", "fit", "judge_for", "train_teacher"]
