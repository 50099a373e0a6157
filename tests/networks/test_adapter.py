"""The adapter: silent at first, never two items mixed, and the network inside stays what it was."""

import pytest
import torch
from torch import nn

from fewstep.denoiser import Denoiser
from fewstep.errors import RecipeError
from fewstep.networks import MLP, Adapted, DiT, SecondTime, UNet, build_network, described
from fewstep.process import EDM
from fewstep.terms import Denoise
from fewstep.training import Adam, Learner

BODIES = {
    "unet": (lambda **more: UNet(channels=3, classes=4, widths=(8, 16), **more), (3, 8, 8), {"middle": 16, "up.0": 16}),
    "dit": (lambda **more: DiT(channels=3, classes=4, width=32, depth=2, **more), (3, 8, 8), {"layers.0": 32}),
    "mlp": (lambda **more: MLP(features=3, classes=4, width=16, depth=2, **more), (3,), {"middle.1": 16}),
}
bodies = pytest.mark.parametrize("name", BODIES)


def awake(net: nn.Module) -> nn.Module:
    """Give every parameter some weight, so that everything reaches the output."""
    generator = torch.Generator().manual_seed(1)
    for parameter in net.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return net


def built(name: str, **more) -> Adapted:
    torch.manual_seed(0)
    body, _, taps = BODIES[name]
    return Adapted(awake(body(**more)), taps, classes=4, tokens=3, width=16)


def inputs(name: str, items: int = 5):
    x = torch.randn(items, *BODIES[name][1], generator=torch.Generator().manual_seed(2))
    return x, torch.linspace(-1, 1, items), torch.arange(items) % 4


@bodies
def test_answer_is_the_body_s_to_the_last_bit_before_the_first_update(name: str):
    net, (x, label, c) = built(name), inputs(name)
    assert torch.equal(net(x, label, c), net.body(x, label, c))
    assert torch.equal(net(x, label, c, negative=(c + 1) % 4), net.body(x, label, c))
    assert torch.equal(net(x, label), net.body(x, label))


@bodies
def test_equal_weights_and_equal_tokens_cancel(name: str):
    net, (x, label, c) = built(name), inputs(name)
    awake(net.adapter)
    for offset in net.adapter.offsets:
        offset.negative.load_state_dict(offset.positive.state_dict())
    assert torch.equal(net(x, label, c, negative=c), net.body(x, label, c))
    assert not torch.allclose(net(x, label, c, negative=(c + 1) % 4), net.body(x, label, c), atol=1e-3)


@bodies
def test_no_negative_condition_is_the_empty_one_and_others_differ(name: str):
    net, (x, label, c) = built(name), inputs(name)
    awake(net.adapter)
    assert torch.equal(net(x, label, c), net(x, label, c, negative=torch.full_like(c, -1)))
    for each in range(4):
        assert not torch.allclose(net(x, label, c, negative=torch.full_like(c, each)), net(x, label, c), atol=1e-4)


@bodies
def test_an_item_does_not_depend_on_its_batch(name: str):
    """The released norm is that of the whole batch."""
    net, (x, label, c) = built(name), inputs(name)
    awake(net.adapter)
    alone = net(x[2:3], label[2:3], c[2:3], negative=c[4:])
    louder = torch.cat([100 * x[:2], x[2:]])
    assert torch.allclose(net(louder, label, c, negative=c[4:].expand(5))[2], alone[0], atol=1e-5)


@bodies
def test_second_time_and_scale_pass_through(name: str):
    net, (x, label, c) = built(name, second_time=True, scale=True), inputs(name)
    told = net(x, label, c, label - 1, scale=label + 2)
    assert torch.equal(told, net.body(x, label, c, label - 1, scale=label + 2))
    assert not torch.allclose(told, net(x, label, c), atol=1e-3)


def test_branches_have_the_norm_of_what_they_are_added_to():
    net, h = built("unet"), torch.randn(3, 16, 4, 4) * torch.tensor([0.1, 1.0, 30.0]).reshape(3, 1, 1, 1)
    branch, q = net.adapter.offsets[0].positive, torch.randn(3, 16, 16)
    size = h.square().mean((1, 2, 3)).sqrt().reshape(3, 1, 1)
    assert torch.allclose(branch(q, torch.randn(3, 3, 16), size).flatten(1).norm(dim=1), h.flatten(1).norm(dim=1))


def test_branches_of_zeros_stay_zeros_and_have_finite_gradients():
    net, (x, label, c) = built("unet"), inputs("unet")
    for offset in net.adapter.offsets:
        for branch in (offset.positive, offset.negative):
            nn.init.zeros_(branch.out.weight)
            nn.init.zeros_(branch.out.bias)
    out = net(0 * x, label, c, negative=c.flip(0))
    out.sum().backward()
    assert torch.equal(out, net.body(0 * x, label, c))
    assert all(p.grad.isfinite().all() for p in net.parameters() if p.grad is not None)


@bodies
def test_the_adapter_learns_alone(name: str):
    """Every parameter of it gets a gradient once the branches differ; the body gets none and does not change."""
    net, (x, label, c) = built(name), inputs(name, 8)
    before = {key: value.clone() for key, value in net.body.state_dict().items()}
    learner = Learner(Denoiser(net, EDM()), Denoise(), Adam(1e-2), only=("^adapter",))
    assert set(learner.parameters) == {f"adapter.{key}" for key, _ in net.adapter.named_parameters()}
    learner.learn(True)
    for _ in range(3):
        (net(x, label, c, negative=torch.where(c == 1, -1, c.flip(0))) - x.roll(1, 0)).square().mean().backward()
        gradients = {key: p.grad.clone() for key, p in net.named_parameters() if p.grad is not None}
        learner.update()
    silent = {key for key in learner.parameters if not gradients[key].any()}
    assert {key for key in silent if not key.endswith("keys.bias")} == set()  # a softmax does not see what all share
    assert not any(key.startswith("body") for key in gradients)
    assert all(torch.equal(value, before[key]) for key, value in net.body.state_dict().items())


def test_no_hook_is_left_behind():
    net, (x, label, c) = built("unet"), inputs("unet")
    net(x, label, c)
    assert not any(module._forward_hooks for module in net.modules())


def test_vectors_are_conditions_too():
    body = SecondTime(nn.Identity(), 3)
    assert "body.until.layers.0.weight" in dict(Adapted(body, {"body": 3}, condition=[6]).named_parameters())
    c = torch.randn(5, 6)
    tokens = awake(Adapted(body, {"body": 3}, condition=[6]).adapter)
    assert torch.equal(tokens.read(None, 5), tokens.read(torch.zeros(5, 6), 5))
    assert not torch.allclose(tokens.read(c, 5), tokens.read(None, 5))


@pytest.mark.parametrize("wrong", [{}, {"condition": (3, 4)}, {"classes": 2, "width": 20}], ids=str)
def test_an_adapter_without_conditions_is_refused(wrong):
    with pytest.raises(RecipeError, match=r"accepted are classes or vectors, \[features\]"):
        Adapted(MLP(), {"middle.0": 8}, **wrong)


def test_unknown_tap_is_an_error_with_the_nearest_name():
    with pytest.raises(RecipeError, match=r"'midle'.*did you mean 'middle'"):
        Adapted(MLP(3, classes=4), {"midle": 16}, classes=4)(torch.randn(1, 3), torch.zeros(1))


def test_words_build_the_network_inside_too():
    inside = {"unet": {"channels": 1, "classes": 4, "widths": [8]}}
    words = {
        "adapted": {"body": {"secondtime": {"body": inside, "channels": 1}}, "taps": {"body.middle": 8}, "classes": 4}
    }
    net = build_network(words)
    assert isinstance(net.body.body, UNet)
    assert described(words)


def test_a_network_of_ones_own_stands_where_the_words_are_empty():
    own, words = MLP(3, classes=4), {"adapted": {"body": {}, "taps": {"middle.0": 128}, "classes": 4}}
    assert build_network(words, own).body is own
    assert not described(words)
    assert not described({})
