"""Heads on a borrowed network: what each looks at, which of them speak, which start anew."""

import pytest
import torch
from torch import nn

from fewstep.errors import RecipeError
from fewstep.networks import MLP, Headed, Heads, UNet


def asked(b: int = 6):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(b, 1, 8, 8, generator=generator)
    return x, torch.linspace(-1, 1, b), torch.arange(b) % 3


def made(heads: Heads | str, labels=(), classes: int = 3) -> Headed:
    torch.manual_seed(0)
    net = UNet(1, classes, (8, 16))
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.2)
    return Headed(net, heads, asked(), classes, labels)


def test_every_tap_kind_condition_and_copy_has_a_head_of_its_own():
    net = made(Heads(("down.0", "middle"), ("global", "local"), ("seen", "told"), copies=2))
    assert len(net.heads) == 16
    places = [logits.shape for logits in net(*asked(), judge=1)]
    assert places == [*[(6, 1)] * 4, *[(6, 64)] * 4, *[(6, 1)] * 4, *[(6, 16)] * 4]
    assert len({head.last.bias.item() for head in net.heads}) == 16


def test_a_local_head_looks_at_one_place_and_a_global_one_at_mean_and_deviation_of_all():
    net, (x, label, c) = made(Heads(("first",), ("global", "local"))), asked()
    features = net.body.first(x)
    one, each = net(x, label, c, judge=1)
    assert torch.allclose(each[:, 17], net.heads[1](features[:, None, :, 2, 1], label, c)[:, 0], atol=1e-6)
    summed = torch.cat([features.mean((2, 3)), (features.var((2, 3), correction=0) + 1e-6).sqrt()], 1)
    assert torch.allclose(one, net.heads[0](summed[:, None], label, c), atol=1e-5)


def test_who_knows_the_condition():
    net, (x, label, c) = made(Heads(("first", "middle"), condition=("seen", "told", "hidden"))), asked()
    here, there = net(x, label, c, judge=1), net(x, label, (c + 1) % 3, judge=1)
    changed = [not torch.equal(a, b) for a, b in zip(here, there, strict=True)]
    assert changed == [False, True, False, True, True, False]  # the first layer has not met the condition yet


def test_a_timed_head_knows_the_noise_level_whatever_the_features_say():
    for timed in (False, True):
        net, (x, label, c) = made(Heads(("first",), timed=timed)), asked()
        assert torch.equal(net(x, label, c, judge=1)[0], net(x, label + 1, c, judge=1)[0]) != timed


def test_an_item_is_judged_by_the_head_of_the_nearest_level():
    net, (x, label, c) = made(Heads(("middle",), ("local",), levels=(1.0, 2.0, 3.0)), labels=(-1.0, 0.1, 1.0)), asked()
    before = net(x, label, c, judge=1)[0]  # the labels are -1, -.6, -.2, .2, .6, 1
    with torch.no_grad():
        net.heads[1].last.bias += 1
    moved = net(x, label, c, judge=1)[0] - before
    assert torch.allclose(moved[:, 0], torch.tensor([0.0, 0, 1, 1, 0, 0]), atol=1e-5)
    assert torch.allclose(net(x[4:], label[4:], c[4:], judge=1)[0], before[4:], atol=1e-5)


def test_the_same_number_lets_the_same_heads_speak_and_each_as_often():
    net = made(Heads(("down.0", "middle"), ("global", "local"), copies=2, drawn=3))
    assert all(torch.equal(a, b) for a, b in zip(net(*asked(), judge=5), net(*asked(), judge=5), strict=True))
    counts = torch.zeros(8)
    for number in range(1, 401):
        counts[drawn := net._drawn(number)] += 1
        assert len(set(drawn)) == 3
    assert ((counts - 150).abs() < 40).all()


def test_some_heads_may_be_silent_where_some_are_drawn_or_serve_a_level():
    two = ("down.0", "middle")
    assert [made(Heads(two)).partial, made(Heads(two, levels=(1.0,)), labels=(0.0,)).partial] == [False, False]
    assert made(Heads(two, drawn=1)).partial
    assert made(Heads(two, levels=(1.0, 2.0)), labels=(-1.0, 1.0)).partial


def test_classes_are_told_apart_by_one_softmax_over_both_halves():
    net, (x, label, c) = made(Heads(("middle",), ("classes",), ("hidden",))), asked()
    logs = torch.stack([net(x, label, torch.full_like(c, k), judge=1)[0][:, 0] for k in range(3)])
    assert logs.shape == (3, 6, 2)
    assert torch.allclose(logs.exp().sum((0, 2)), torch.ones(6))


def test_ages_of_a_pool_are_geometric():
    """P(age >= k) = (1 - p)^k, mean (1 - p) / p."""
    p, net = 0.1, made(Heads(("first",), copies=100, refresh=0.1, width=1))
    home = {id(head.last.bias): i for i, head in enumerate(net.heads)}
    ages, found = torch.zeros(100), []
    torch.manual_seed(2)
    for turn in range(100):
        ages += 1
        ages[[home[id(parameter)] for parameter in net.renew() if id(parameter) in home]] = 0
        if turn >= 40:
            found.append(ages.clone())
    every = torch.cat(found)
    assert every.mean().item() == pytest.approx((1 - p) / p, rel=0.1)
    assert (every >= 7).double().mean().item() == pytest.approx((1 - p) ** 7, rel=0.1)


def test_a_renewed_head_is_another_one_in_the_same_parameters():
    net = made(Heads(("first",), copies=4, refresh=0.5))
    before = [parameter.clone() for parameter in net.heads.parameters()]
    torch.manual_seed(0)
    fresh = {id(parameter) for parameter in net.renew()}
    pairs = list(zip(net.heads.parameters(), before, strict=True))
    assert 0 < len(fresh) < len(pairs)
    assert all(torch.equal(now, was) == (id(now) not in fresh) for now, was in pairs)


def test_a_pool_without_refresh_draws_nothing():
    net, state = made(Heads(("first",), copies=4)), torch.get_rng_state()
    assert net.renew() == []
    assert torch.equal(torch.get_rng_state(), state)


def test_a_frozen_body_is_never_in_training_mode():
    net = made("middle")
    assert net.train().body.training
    net.body.requires_grad_(False)
    assert not net.train().body.training
    assert net.heads.training


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"taps": ()}, "of 0 heads"),
        ({"taps": ("a",), "drawn": 2}, r"of 1 heads .* 2 are drawn"),
        ({"taps": ("a",), "drawn": 0}, "0 are drawn"),
        ({"taps": ("a",), "refresh": 1.0}, "refresh from 0 to below 1"),
        ({"taps": ("a",), "kinds": ("global", "classes")}, "'condition: hidden'"),
        ({"taps": ("a",), "levels": (2.0, 1.0, 2.0)}, r"name 2\.0 more than once; accepted is each level once"),
    ],
)
def test_heads_that_cannot_be_are_refused(settings, message: str):
    with pytest.raises(RecipeError, match=message):
        Heads(**settings)


def test_classes_need_class_labels():
    like = (torch.zeros(2, 3), torch.zeros(2), None)
    with pytest.raises(RecipeError, match="need data with class labels"):
        Headed(MLP(3), Heads(("first",), ("classes",), ("hidden",)), like)
