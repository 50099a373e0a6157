"""Rules inside of the attention: the arithmetic, and how they stand among rules on answers."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from fewstep import Denoiser, RecipeError
from fewstep.guidance import CFG, NAG, NASA, Away, Guidance, Interval
from fewstep.predict import X0
from fewstep.process import Linear
from fewstep.recipes import Builder, Document, spell

RULES = [NAG(4.0), NAG(9.0, tau=1.0, alpha=1.0), NASA(0.2), NASA(1.0)]


def tokens(seed: int, kind: torch.dtype = torch.float64) -> Tensor:
    """Tokens of very different lengths."""
    made = torch.randn(3, 7, 10, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (made * torch.logspace(-3, 3, 7, dtype=torch.float64)[:, None]).to(kind)


@pytest.mark.parametrize("kind", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("rule", [NAG(0.0), NAG(0.0, tau=1.0, alpha=1.0), NAG(5.0, alpha=0.0), NASA(0.0)], ids=str)
def test_scale_0_is_the_positive_output_to_the_last_bit(rule: Away, kind: torch.dtype) -> None:
    assert rule.silent
    assert rule.mix(tokens(1, kind), tokens(2, kind)).equal(tokens(1, kind))


@pytest.mark.parametrize("kind", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rule", [NAG(4.0), NAG(50.0, tau=1.0, alpha=1.0), NAG(1.0, alpha=0.3)], ids=str)
def test_nag_of_equal_prompts_is_the_prompt_to_the_last_bit(rule: NAG, kind: torch.dtype) -> None:
    assert rule.mix(tokens(1, kind), tokens(1, kind)).equal(tokens(1, kind))


def test_nasa_of_equal_prompts_is_shorter() -> None:
    torch.testing.assert_close(NASA(0.2).mix(tokens(1), tokens(1)), 0.8 * tokens(1))


def test_unbounded_nag_is_a_rescaled_nasa() -> None:
    nag = NAG(4.0, tau=float("inf"), alpha=1.0).mix(tokens(1), tokens(2))
    torch.testing.assert_close(nag, 5 * NASA(0.8).mix(tokens(1), tokens(2)))


@pytest.mark.parametrize("tau", [1.0, 1.5, 2.5])
def test_nag_is_never_longer_than_tau(tau: float) -> None:
    positive, mixed = tokens(1), NAG(8.0, tau, alpha=1.0).mix(tokens(1), tokens(2))
    bound = tau * positive.abs().sum(-1)
    assert (mixed.abs().sum(-1) <= bound * (1 + 1e-12)).all()
    far = (positive + 8 * (positive - tokens(2))).abs().sum(-1)
    assert (far > bound).any()
    torch.testing.assert_close(mixed.abs().sum(-1), far.minimum(bound))


def test_nag_by_hand() -> None:
    """Z+ = (1, 1), Z- = (0, 2), s = 3: E = (4, -2) of length 6; at most 2 * 2, so B = (8/3, -4/3)."""
    mixed = NAG(3.0, tau=2.0, alpha=0.25).mix(torch.tensor([[[1.0, 1.0]]]), torch.tensor([[[0.0, 2.0]]]))
    torch.testing.assert_close(mixed, torch.tensor([[[1 + 0.25 * 5 / 3, 1 - 0.25 * 7 / 3]]]))


def test_alpha_blends_linearly() -> None:
    ends = [NAG(4.0, alpha=alpha).mix(tokens(1), tokens(2)) for alpha in (0.0, 0.4, 1.0)]
    torch.testing.assert_close(ends[1], 0.6 * ends[0] + 0.4 * ends[2])


def test_a_token_of_zeros_is_no_division_by_zero() -> None:
    none, some = torch.zeros(1, 2, 4), torch.ones(1, 2, 4)
    assert NAG(4.0).mix(none, none).equal(none)
    assert NAG(4.0).mix(none, some).equal(none)
    assert NAG(1.0, alpha=1.0).mix(some, 2 * some).equal(none)


def test_half_precision_does_not_overflow() -> None:
    many = torch.full((1, 1, 4096), 30.0, dtype=torch.float16)
    assert NAG(4.0, alpha=1.0).mix(many, 0.5 * many).isfinite().all()


@pytest.mark.parametrize("numbers", [{"tau": 0.9}, {"alpha": -0.1}, {"alpha": 1.1}, {"tau": float("nan")}])
def test_nag_refuses_numbers_that_make_no_sense(numbers: Mapping[str, float]) -> None:
    with pytest.raises(RecipeError, match="accepted are a tau of 1 or more and an alpha from 0 to 1"):
        NAG(**numbers)


@pytest.mark.parametrize("kind", [NAG, NASA])
def test_a_scale_below_0_is_refused(kind: type[Away]) -> None:
    with pytest.raises(RecipeError, match=f"{kind.__name__} has the scale -1.0; accepted is 0 or more"):
        kind(-1.0)


def test_rules_are_written_in_recipes() -> None:
    words = [{"nag": 4}, {"nag": {"scale": 2.0, "tau": 3.0}}, {"nasa": 0.5}]
    built = [Builder(Document("", {})).build(Guidance, each, "") for each in words]
    assert built == [NAG(4.0), NAG(2.0, tau=3.0), NASA(0.5)]
    assert [Builder(Document("", {})).build(Guidance, spell(each), "") for each in built] == built


# --- among other rules


class Reads(nn.Module):
    """A network that is its condition; under a rule, what the rule makes of it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[bool] = []

    def forward(self, x: Tensor, label: Tensor, c: Tensor, away: Away | None = None) -> Tensor:
        self.asked.append(away is not None)
        c = c.expand_as(x)
        return c if away is None or away.negative is None else away.mix(c, away.negative.expand_as(x))


def question() -> tuple[Denoiser, Tensor, Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    x, c, negative = (torch.randn(4, 3, 5, generator=draw, dtype=torch.float64) for _ in range(3))
    return Denoiser(Reads(), Linear(), X0()), x, torch.linspace(0.1, 0.9, 4, dtype=torch.float64), c, negative


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_the_network_is_asked_once_and_told_of_the_rule(rule: Away) -> None:
    view, x, t, c, negative = question()
    assert rule.passes == 1
    assert rule.against(negative)(view)(x, t, c).equal(rule.mix(c, negative))
    assert view.net.asked == [True]


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_without_a_negative_condition_the_network_is_not_told(rule: Away) -> None:
    view, x, t, c, _ = question()
    assert rule(view)(x, t, c).equal(c)
    assert view.net.asked == [False]


def test_a_silent_rule_has_no_use_for_a_negative_condition() -> None:
    _, _, _, _, negative = question()
    for rule in (NAG(0.0), NAG(3.0, alpha=0.0), NASA(0.0)):
        assert rule.against(negative) is rule


def test_outside_of_an_interval_the_network_is_not_told() -> None:
    view, x, t, c, negative = question()
    rule = NAG(4.0).against(negative)
    answer = Interval(0.5, 2.0)(rule(view))(x, t, c)
    level = t / (1 - t)
    inside = ((level > 0.5) & (level <= 2))[:, None, None]
    assert inside.any()
    assert not inside.all()
    assert answer.equal(rule.mix(c, negative).where(inside, c))


@pytest.mark.parametrize("innermost", [True, False])
def test_guidance_on_answers_sees_the_changed_network(innermost: bool) -> None:
    """The reference of CFG is the negative condition, for which NAG is the identity."""
    view, x, t, c, negative = question()
    nag, cfg = NAG(4.0).against(negative), CFG(3.0).against(negative)
    guided = cfg(nag(view)) if innermost else nag(cfg(view))
    wanted = negative + 3 * (nag.mix(c, negative) - negative)
    torch.testing.assert_close(guided(x, t, c), wanted)
    assert view.net.asked == [True, True]


def test_two_rules_in_one_attention_are_refused() -> None:
    view, x, t, c, negative = question()
    guided = NASA(0.1).against(negative)(NAG(4.0).against(negative)(view))
    with pytest.raises(RecipeError, match="NASA is the second rule in the same attention; accepted is one"):
        guided(x, t, c)


def test_a_network_that_lets_nobody_in_is_refused() -> None:
    _, x, t, c, negative = question()
    deaf = Denoiser(nn.Identity(), Linear(), X0())
    with pytest.raises(RecipeError, match=r"NAG works in .* but the network, a Identity, lets nobody"):
        NAG(4.0).against(negative)(deaf)(x, t, c)
