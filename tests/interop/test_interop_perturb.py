"""Text states that are perturbed while a backbone learns."""

import pytest
import torch
from tiny import built

from fewstep.errors import RecipeError
from fewstep.interop import Bridge, Pipe
from fewstep.interop.families import FAMILIES
from fewstep.recipes.assemble import _grown


def bridged(name: str, perturb: float) -> tuple[Pipe, Bridge]:
    """Return the tiny pipeline, and its backbone as a learner has it that begins with it."""
    stock = built(name)
    family = next(each for each in FAMILIES if type(stock).__name__ in each.PIPELINES)
    pipe = Pipe(stock, family, "tiny", (16, 16))
    model = pipe.model()
    words = {place: {**settings, "perturb": perturb} for place, settings in model.network.items()}
    return pipe, _grown(model.view.net, words)


@pytest.mark.parametrize("name", ["sd", "pixart"])
def test_prompts_are_perturbed_while_learning_and_nothing_else_is(name: str) -> None:
    pipe, net = bridged(name, 1.0)
    c = torch.cat([pipe.prompts(["a disc"]), torch.zeros(1, pipe.packing.width)])
    states, kept = net.train().told(c, 2)["states"], net.eval().told(c, 2)["states"]
    assert torch.equal(kept, pipe.packing.unpack(torch.cat([c[:1], net.empty[None]]))["states"])
    words = net.told(c, 2)["mask"][0] > 0 if name == "pixart" else torch.ones(kept.shape[1], dtype=torch.bool)
    delta = states - kept
    assert ((delta[0] != 0).all(1) == words).all()
    assert 0 < delta.abs().max() <= kept.shape[2] ** -0.5 + 1e-6
    assert not delta[1].any()
    assert words.all() == (name == "sd")


def test_backbone_of_a_learner_answers_as_before_in_eval_mode() -> None:
    pipe, net = bridged("sd", 1.0)
    c, x, label = pipe.prompts(["a red disc"]), torch.randn(1, *pipe.shape), torch.full((1,), 500.0)
    plain = pipe.model().view.net
    with torch.no_grad():
        assert torch.equal(net.eval()(x, label, c), plain(x, label, c))
        assert not torch.equal(net.train()(x, label, c), plain(x, label, c))


def test_backbones_that_read_no_text_refuse_it() -> None:
    with pytest.raises(RecipeError, match=r"perturb: 1.0 is for pipelines that read text; one of dit reads none"):
        bridged("dit", 1.0)
