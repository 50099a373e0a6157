"""Guidance rules on Gaussians, where what they should do is known."""

from dataclasses import dataclass
from inspect import isabstract

import pytest
import torch

from fewstep import guidance
from fewstep.condition import drop, null
from fewstep.guidance import CFG, NAG, NASA, EditCFG, Guidance, Interval, Override, PromptSwitch, Rescale
from fewstep.process import EDM
from fewstep.solvers import Heun
from fewstep.testing import PATHS, Classes, ConformanceError, Counted, Gaussian, check_guidance
from fewstep.times import Karras

RULES = [CFG(3.0), CFG(1.0), CFG(0.0), Interval(0.2, 2.0), Rescale(0.7), Rescale(1.0), Override((0,), 1)]
RULES += [NAG(4.0), NASA(0.2), PromptSwitch(0.25), EditCFG(3.0), EditCFG(3.0, 1.0)]
MEANS = torch.randn(4, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def classes(path=EDM()) -> Classes:  # noqa: B008
    return Classes(path, MEANS, 0.5)


def questions(path=EDM(), count: int = 9):  # noqa: B008
    t = path.t_max * torch.linspace(0.02, 0.95, count, dtype=torch.float64)
    x = torch.randn(count, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return x, t, torch.arange(count) % 3


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("name", ["edm", "linear shifted", "vp scaled"])
def test_rule_is_a_function_from_denoiser_to_denoiser(rule: Guidance, name: str):
    check_guidance(rule, PATHS[name])


def test_every_rule_has_a_row():
    kinds = {vars(guidance)[name] for name in guidance.__all__}
    rules = {kind for kind in kinds if issubclass(kind, Guidance) and not isabstract(kind)}
    assert {type(rule) for rule in RULES} == rules


def test_scale_1_is_the_plain_denoiser_to_the_last_bit_with_one_call():
    counted, (x, t, c) = Counted(classes()), questions()
    assert torch.equal(CFG(1.0)(counted)(x, t, c), classes()(x, t, c))
    assert counted.calls == 1


def test_scale_0_is_the_denoiser_without_a_condition_to_the_last_bit():
    x, t, c = questions()
    assert torch.equal(CFG(0.0)(classes())(x, t, c), classes()(x, t))


def test_without_a_condition_there_is_nothing_to_guide():
    counted, (x, t, _) = Counted(classes()), questions()
    assert torch.equal(CFG(5.0)(counted)(x, t), classes()(x, t))
    assert counted.calls == 1


@pytest.mark.parametrize("scale", [-0.5, 0.5, 2.0, 7.5])
def test_negative_condition_stands_where_the_empty_one_did(scale: float):
    counted, (x, t, c) = Counted(classes()), questions()
    negative = torch.tensor([-1, 0, 1, 2, 1, 0, -1, 2, 2])
    mean = MEANS[negative] + scale * (MEANS[c] - MEANS[negative])
    guided = CFG(scale).against(negative)(counted)(x, t, c)
    assert torch.allclose(guided, Gaussian(EDM(), mean, 0.5)(x, t), rtol=1e-10, atol=1e-11)
    assert counted.calls == 2
    empty = CFG(scale).against(null(c))(classes())(x, t, c)
    assert torch.equal(empty, CFG(scale)(classes())(x, t, c))


def test_scale_1_has_no_use_for_a_negative_condition():
    counted, (x, t, c) = Counted(classes()), questions()
    rule = CFG(1.0)
    assert rule.against(c) is rule
    assert torch.equal(CFG(1.0, negative=c.flip(0))(counted)(x, t, c), classes()(x, t, c))
    assert counted.calls == 1
    assert all(each.against(c) is each for each in (Interval(0.2, 2.0), Rescale(0.7)))


@pytest.mark.parametrize("scale", [-0.5, 0.5, 2.0, 7.5])
@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_guided_gaussian_is_the_gaussian_with_the_extrapolated_mean(path, scale: float):
    world, (x, t, c) = classes(path), questions(path)
    mean = MEANS[-1] + scale * (MEANS[c] - MEANS[-1])
    assert torch.allclose(CFG(scale)(world)(x, t, c), Gaussian(path, mean, 0.5)(x, t), rtol=1e-10, atol=1e-11)


def test_guided_path_ends_on_the_extrapolated_gaussian():
    """The mean moves and the spread does not shrink: x0 = m_w + (x - m_w) std / v_T."""
    world, (x, _, c) = classes(), questions()
    mean = MEANS[-1] + 3 * (MEANS[c] - MEANS[-1])
    end = Heun()(CFG(3.0)(world), 80 * x, Karras().steps(160), c)
    t = torch.full((len(x),), 80.0, dtype=torch.float64)
    assert torch.allclose(end, Gaussian(EDM(), mean, 0.5).flow(80 * x, t, 0 * t), atol=1e-3)


def test_two_scales_multiply():
    """CFG over CFG extrapolates the extrapolation; it needs the two answers once each, and the empty one of each."""
    x, t, c = questions()
    twice = CFG(2.0)(CFG(3.0)(classes()))(x, t, c)
    assert torch.allclose(twice, CFG(6.0)(classes())(x, t, c), rtol=1e-10, atol=1e-11)


def test_outside_the_interval_the_plain_denoiser_answers_with_one_call():
    counted, (x, t, c) = Counted(classes()), questions()
    for rule in (Interval(100.0, 200.0), Interval(0.0, 0.001)):
        counted.asked.clear()
        assert torch.equal(rule(CFG(4.0)(counted))(x, t, c), classes()(x, t, c))
        assert counted.calls == 1


def test_inside_the_interval_the_guided_denoiser_answers():
    counted, (x, t, c) = Counted(classes()), questions()
    assert torch.equal(Interval(0.0, 1000.0)(CFG(4.0)(counted))(x, t, c), CFG(4.0)(classes())(x, t, c))
    assert counted.calls == 2


def test_each_item_is_inside_or_outside_by_its_own_noise_level():
    counted, (x, t, c) = Counted(classes()), questions()
    mixed = Interval(20.0, 60.0)(CFG(4.0)(counted))(x, t, c)
    inside = (t > 20) & (t <= 60)
    assert 0 < inside.sum() < len(t)
    assert torch.equal(mixed[inside], CFG(4.0)(classes())(x, t, c)[inside])
    assert torch.equal(mixed[~inside], classes()(x, t, c)[~inside])
    assert counted.calls == 2


@pytest.mark.parametrize("name", ["linear", "vp scaled", "trigflow"])
def test_the_interval_is_one_of_noise_to_signal(name: str):
    path = PATHS[name]
    t = path.time(-2 * torch.tensor([0.24, 0.26, 1.9, 2.1], dtype=torch.float64).log())
    x, _, c = questions(count=4)
    guided = Interval(0.25, 2.0)(CFG(4.0)(classes(path)))(x, t, c)
    same = (guided == classes(path)(x, t, c)).all(1)
    assert same.tolist() == [True, False, False, True]


def test_full_rescale_has_the_deviation_of_the_plain_estimate():
    x, t, c = questions()
    plain, guided = classes()(x, t, c), Rescale(1.0)(CFG(5.0)(classes()))(x, t, c)
    assert torch.allclose(guided.std(1), plain.std(1), rtol=1e-10)
    assert not torch.allclose(CFG(5.0)(classes())(x, t, c).std(1), plain.std(1), rtol=0.1)


def test_partial_rescale_lies_between():
    x, t, c = questions()
    strong = CFG(5.0)(classes())(x, t, c)
    full, part = (Rescale(share)(CFG(5.0)(classes()))(x, t, c) for share in (1.0, 0.7))
    assert torch.allclose(part, 0.7 * full + 0.3 * strong, rtol=1e-10)


def test_rules_share_their_questions():
    """Rescale and Interval both want the plain answer that CFG has asked for: two calls for the three of them."""
    counted, (x, t, c) = Counted(classes()), questions()
    guided = Interval(20.0, 60.0)(Rescale(0.7)(CFG(4.0)(counted)))
    guided(x, t, c)
    assert counted.calls == 2
    guided(x.clone(), t, c)
    assert counted.calls == 4


def test_order_of_rules_is_that_of_their_application():
    x, t, c = questions()
    outer, inner = Rescale(1.0)(CFG(5.0)(classes())), CFG(5.0)(Rescale(1.0)(classes()))
    assert [type(rule) for rule in outer.rules] == [CFG, Rescale]
    assert torch.allclose(outer(x, t, c).std(1), classes()(x, t, c).std(1))
    assert torch.allclose(inner(x, t, c), CFG(5.0)(classes())(x, t, c))


def test_empty_conditions_are_minus_1_zeros_and_none():
    assert null(torch.tensor([3, 0])).tolist() == [-1, -1]
    assert null(torch.ones(2, 3)).tolist() == [[0] * 3] * 2
    assert null(None) is None


def test_drop_empties_the_masked_items_only():
    mask = torch.tensor([True, False])
    assert drop(torch.tensor([3, 4]), mask).tolist() == [-1, 4]
    assert drop(torch.ones(2, 2, 2), mask)[:, 0, 0].tolist() == [0, 1]
    assert drop(None, mask) is None


@dataclass(frozen=True)
class Faulty(Guidance):
    """Rules that break one promise each."""

    fault: str

    def apply(self, guided, plain, x, t, c):
        if self.fault == "identity":
            return 1.1 * guided(x, t, c)
        if self.fault == "others":
            return guided(x, t, c) - guided(x, t, null(c)).mean(0) + plain(x, t, c).mean(0)
        return guided(x, t, c) + 0 * plain(x.clone(), t, c)


@pytest.mark.parametrize(
    ("fault", "rule"), [("identity", "nothing changes"), ("others", "depend on the others"), ("twice", "once")]
)
def test_conformance_finds_the_broken_promise(fault: str, rule: str):
    with pytest.raises(ConformanceError, match=rule):
        check_guidance(Faulty(fault), EDM())
