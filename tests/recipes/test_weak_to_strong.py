"""A learner begins with a weaker teacher: another resolution, stretched positions, pooled keys."""

from pathlib import Path

import torch

from fewstep.batch import Batch
from fewstep.denoiser import Denoiser
from fewstep.model import Model
from fewstep.networks import build_network
from fewstep.process import EDM
from fewstep.recipes import assemble, load_recipe
from fewstep.sampling import ManyStep
from fewstep.times import Karras

RECIPE = """\
title: T
source: arXiv 2403.04692
purpose: p
learners:
  student:
    from: teacher
    network: {interp: 2.0, kv_stride: 2}
    objective: [denoise: {}]
    optimiser: {adam: {lr: 1e-3}}
sampler: {many_step: {schedule: karras}}
steps: 4
"""


def test_learner_goes_on_at_twice_the_resolution_with_all_weights_of_its_teacher(tmp_path: Path):
    (tmp_path / "strong.yaml").write_text(RECIPE)
    words = {"dit": {"channels": 1, "width": 32, "depth": 2}}
    weak = Model(Denoiser(build_network(words), EDM(sigma_data=0.5)), ManyStep(Karras()), (1, 8, 8), network=words)
    built = assemble(load_recipe(str(tmp_path / "strong.yaml")), Batch(torch.randn(4, 1, 16, 16)), 0, weak, 0)
    own, theirs = built.student.net.state_dict(), weak.view.net.state_dict()
    assert all(torch.equal(value, own[name]) for name, value in theirs.items())
    assert own.keys() - theirs.keys() == {"pools.1.conv.weight", "pools.1.conv.bias"}
    assert built.network == {"dit": {**words["dit"], "interp": 2, "kv_stride": 2}}
