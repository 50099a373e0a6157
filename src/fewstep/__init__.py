"""fewstep: turn any slow multi-step generator into one that needs 1 to 8 network calls."""

from fewstep import predict
from fewstep.data import Batch, Data, Digits, ImageFolder, Tensors, batches, open_data
from fewstep.denoiser import Denoiser, Denoises
from fewstep.errors import DataError, FewstepError, MissingExtra, RecipeError, UnhealthyTraining, WeightsError
from fewstep.flowmap import FlowMap
from fewstep.guidance import CFG, Interval, Rescale
from fewstep.jobs import Options, distill, fit, judge_for, measure, merge, train_teacher
from fewstep.model import Model
from fewstep.process import EDM, Linear, Process, TrigFlow
from fewstep.recipes import cite, load_recipe
from fewstep.sampling import FewStep, ManyStep
from fewstep.store import load_adapter, load_lora, load_model, save_model
from fewstep.training import Learner, Training, train
from fewstep.vp import VP

__all__ = [
    "CFG",
    "EDM",
    "VP",
    "Batch",
    "Data",
    "DataError",
    "Denoiser",
    "Denoises",
    "Digits",
    "FewStep",
    "FewstepError",
    "FlowMap",
    "ImageFolder",
    "Interval",
    "Learner",
    "Linear",
    "ManyStep",
    "MissingExtra",
    "Model",
    "Options",
    "Process",
    "RecipeError",
    "Rescale",
    "Tensors",
    "Training",
    "TrigFlow",
    "UnhealthyTraining",
    "WeightsError",
    "batches",
    "cite",
    "distill",
    "fit",
    "judge_for",
    "load_adapter",
    "load_lora",
    "load_model",
    "load_recipe",
    "measure",
    "merge",
    "open_data",
    "predict",
    "save_model",
    "train",
    "train_teacher",
]
