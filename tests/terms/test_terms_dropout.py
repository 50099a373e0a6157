import torch

from fewstep.batch import Batch
from fewstep.denoiser import Denoiser
from fewstep.draws import Draws
from fewstep.pairs import Cells
from fewstep.predict import X0
from fewstep.process import EDM
from fewstep.terms import Consistency
from fewstep.times import Karras
from fewstep.training import OneStep
from fewstep.turn import Turn


class OnlyMasks(torch.nn.Module):
    """Answers with the mask that dropout drew, whatever it is asked."""

    def forward(self, x, label, c):
        return torch.nn.functional.dropout(torch.ones_like(x), 0.5, training=True)


def test_both_sides_of_consistency_see_the_same_dropout():
    torch.manual_seed(0)
    view = Denoiser(OnlyMasks(), EDM(), X0())
    batch = Batch(torch.zeros(64, 8))
    turn = Turn("student", {"student": view}, batch, Draws(0, torch.device("cpu")), OneStep(1.0))
    cost = Consistency(Cells(Karras()))(turn)
    assert cost.abs().max() == 0
    assert (OnlyMasks()(batch.x0, None, None) != OnlyMasks()(batch.x0, None, None)).any()
