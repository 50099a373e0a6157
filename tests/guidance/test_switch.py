"""One prompt first, the other afterwards: on Gaussians, where the end is known."""

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from fewstep.denoiser import Denoiser
from fewstep.errors import RecipeError
from fewstep.guidance import CFG, PromptSwitch
from fewstep.model import Model
from fewstep.process import EDM
from fewstep.sampling import FewStep, ManyStep
from fewstep.solvers import DDIM, Heun
from fewstep.testing import Classes, Counted, Jump
from fewstep.times import Explicit, Karras

PATH, STD = EDM(sigma_data=0.5), 0.5
MEANS = torch.tensor([[1.0, -2.0], [-0.5, 3.0], [0.0, 0.0]], dtype=torch.float64)
FIRST, THEN = torch.tensor(0), torch.ones(3, dtype=torch.int64)
SEEDS = range(3)
SAMPLERS = {
    "four steps": FewStep(Explicit((80.0, 5.0, 1.0, 0.3)), (4,), gamma=0.0),
    "four steps with noise": FewStep(Explicit((80.0, 5.0, 1.0, 0.3)), (4,), gamma=1.0),
    "heun": ManyStep(Karras(), Heun(), 12),
    "ddim under guidance": ManyStep(Karras(), DDIM(), 8, (CFG(2.0),)),
}
samplers = pytest.mark.parametrize("name", SAMPLERS)


@dataclass(frozen=True)
class Jumps:
    """The exact flow map of the class that is asked for."""

    process = PATH

    def __call__(self, x: Tensor, t: Tensor, c: Tensor | None = None, s: Tensor | None = None) -> Tensor:
        return Jump(Classes(PATH, MEANS, STD).law(c))(x, t, None, s)


def drawn(name: str, rule: PromptSwitch | None, c: Tensor = THEN) -> Tensor:
    sampler, rules = SAMPLERS[name], () if rule is None else (rule,)
    under = type(sampler)(**{**vars(sampler), "guidance": (*sampler.guidance, *rules)})
    return under.sample(Jumps(), SEEDS, (2,), c, under.made_for[0])


@samplers
def test_share_0_is_the_plain_prompt_and_share_1_the_first_one_to_the_last_bit(name: str):
    assert torch.equal(drawn(name, PromptSwitch(0.0, FIRST)), drawn(name, None))
    assert torch.equal(drawn(name, PromptSwitch(1.0, FIRST)), drawn(name, None, torch.zeros_like(THEN)))
    assert not torch.equal(drawn(name, PromptSwitch(0.5, FIRST)), drawn(name, None))


@samplers
@pytest.mark.parametrize("until", [0.25, 0.5, 1.0])
def test_equal_prompts_make_no_difference(name: str, until: float):
    assert torch.equal(drawn(name, PromptSwitch(until, THEN[0])), drawn(name, None))
    assert torch.equal(drawn(name, PromptSwitch(until)), drawn(name, None))


def test_mean_ends_at_the_stated_mix_of_both_monotone_in_the_share():
    """Exact jumps from noise of mean 0: k(a, b) is the ratio of the deviations of x there."""
    sampler, x = SAMPLERS["four steps"], torch.randn(3, 2, dtype=torch.float64)
    times, weights = sampler.schedule.steps(4), []
    deviation = (times**2 + STD**2).sqrt()
    for begun, share in enumerate((0.0, 0.25, 0.5, 0.75, 1.0)):
        end = sampler.path(PromptSwitch(share, FIRST).on(times)(Jumps()), x, 4, THEN, x[None])
        kept, keeps = deviation[-1] / deviation[begun], deviation[begun] / deviation[0]
        wanted = kept * (1 - keeps) * MEANS[0] + (1 - kept) * MEANS[1] + x * kept * keeps
        torch.testing.assert_close(end, wanted, atol=1e-9, rtol=0)
        weights.append(float(kept * (1 - keeps)))
    assert weights == sorted(weights)
    assert weights[0] == 0 < weights[1]


def test_switch_asks_the_network_once_where_the_plain_prompt_does():
    counted = Counted(Jumps())
    sampler = FewStep(Explicit((80.0, 5.0, 1.0, 0.3)), (4,), guidance=(PromptSwitch(0.5, FIRST),))
    sampler.sample(counted, SEEDS, (2,), THEN, 4)
    assert [int(c[0]) for _, _, c, _ in counted.asked] == [0, 0, 1, 1]
    assert sampler.calls(4) == 4


def test_items_at_both_sides_of_the_switch_are_asked_their_own_prompt():
    world = Counted(Classes(PATH, MEANS, STD))
    x, t = torch.zeros(2, 2, dtype=torch.float64), torch.tensor([0.5, 2.0], dtype=torch.float64)
    PromptSwitch(0.5, FIRST, above=1.0)(world)(x, t, THEN[:2])
    assert [c.tolist() for _, _, c, _ in world.asked] == [[1, 0]]


@pytest.mark.parametrize(
    ("until", "count", "begun"),
    [(0.25, 4, 1), (0.1, 4, 1), (0.5, 4, 2), (0.25, 2, 1), (0.9, 4, 3), (0.475, 40, 19), (0.0, 1, 0), (1.0, 1, 1)],
)
def test_share_is_rounded_to_whole_steps_of_both_kinds(until: float, count: int, begun: int):
    assert PromptSwitch(until).steps(count) == begun


def test_prompts_of_a_model_are_switched():
    class Net(nn.Module):
        def forward(self, x: Tensor, label: Tensor, c: Tensor | None = None) -> Tensor:
            return c.to(x.dtype)

    model = Model(Denoiser(Net(), PATH), FewStep(Explicit((80.0, 1.0)), (2,), 0.0), (2,), condition=(2,))
    first, then = torch.tensor([[3.0, 0.0]]), torch.tensor([0.0, 2.0])
    mixed = model.under(PromptSwitch(0.5, first)).sample(SEEDS, then)
    for other in (model.sample(SEEDS, first[0]), model.sample(SEEDS, then)):
        assert not torch.allclose(mixed, other)
    assert torch.equal(model.under(PromptSwitch(1.0, first)).sample(SEEDS, then), model.sample(SEEDS, first[0]))


@pytest.mark.parametrize("until", [-0.1, 1.1, math.nan])
def test_shares_out_of_range_are_refused(until: float):
    with pytest.raises(RecipeError, match="accepted is 0 to 1"):
        PromptSwitch(until)


def test_what_cannot_be_switched_is_refused():
    with pytest.raises(RecipeError, match=r"one step cannot be shared.*Take 2 steps or more"):
        PromptSwitch(0.25).steps(1)
    x, t = torch.zeros(3, 2, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    with pytest.raises(RecipeError, match="outside of a sampler"):
        PromptSwitch(0.25, FIRST)(Classes(PATH, MEANS, STD))(x, t, THEN)
