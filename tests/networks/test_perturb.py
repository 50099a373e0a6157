"""Perturbed conditions: the right amount of noise, on what is given, and in training only."""

import pytest
import torch

from fewstep.errors import RecipeError
from fewstep.networks import ConditionEmbedding, DiT, Perturb, UNet

LAWS = pytest.mark.parametrize(("amount", "square"), [(0.7, 0.7**2 / 3), ({"gaussian": 0.7}, 0.7**2)], ids=str)
NETS = pytest.mark.parametrize(
    "net",
    [lambda **more: UNet(widths=(8,), **more), lambda **more: DiT(width=32, depth=1, **more)],
    ids=["unet", "dit"],
)


def drawn(amount, e: torch.Tensor) -> torch.Tensor:
    torch.manual_seed(0)
    return Perturb(amount)(e, torch.ones(e.shape[:-1], dtype=torch.bool))


@LAWS
@pytest.mark.parametrize("shape", [(40_000, 8), (5_000, 8, 16)], ids=["vectors", "tokens"])
def test_noise_of_each_vector_has_the_stated_square(amount, square: float, shape):
    delta = drawn(amount, torch.zeros(shape, dtype=torch.float64))
    assert delta.square().sum(-1).mean().item() == pytest.approx(square, rel=0.01)
    assert delta.mean().abs() < 5e-3


def test_uniform_noise_stays_within_its_range():
    delta = drawn(1.0, torch.zeros(10_000, 4, dtype=torch.float64))
    assert 0.499 < delta.abs().max() <= 0.5


@LAWS
def test_linear_coefficient_shrinks_as_stated(amount, square: float):
    """x = a . c + noise, c of unit variance: least squares on perturbed c find a / (1 + v), v = E|delta|^2 / d."""
    d, draw = 4, torch.Generator().manual_seed(1)
    a = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
    c = torch.randn(200_000, d, generator=draw, dtype=torch.float64)
    x = c @ a + 0.1 * torch.randn(len(c), generator=draw, dtype=torch.float64)
    found = torch.linalg.lstsq(drawn(amount, c), x[:, None]).solution[:, 0]
    torch.testing.assert_close(found, a / (1 + square / d), atol=8e-3, rtol=0)
    assert (found - a).abs().max() > 0.05


def test_every_item_and_token_is_perturbed_anew():
    delta = drawn(1.0, torch.zeros(3, 2, 4))
    assert len({tuple(row) for row in delta.flatten(0, 1).tolist()}) == 6


@LAWS
def test_eval_mode_and_no_noise_change_no_bit_and_draw_nothing(amount, square: float):
    e, given, state = torch.randn(5, 4), torch.ones(5, dtype=torch.bool), torch.get_rng_state()
    assert Perturb(amount).eval()(e, given) is e
    assert Perturb(0.0).train()(e, given) is e
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("kind", [{"classes": 3}, {"features": 2}], ids=str)
def test_only_given_conditions_are_perturbed(kind):
    embed = ConditionEmbedding(4, **kind, perturb=1.0)
    c = torch.tensor([0, -1, 2]) if "classes" in kind else torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 2.0]])
    like = torch.zeros(3, 4)
    moved = (embed.train()(c, like) != embed.eval()(c, like)).any(1)
    assert moved.tolist() == [True, False, True]
    assert torch.equal(embed.train()(None, like), embed.eval()(None, like))


@NETS
def test_networks_take_it_and_keep_their_weights(net):
    torch.manual_seed(0)
    plain, perturbed = net(classes=3), net(classes=3, perturb={"gaussian": 1.0})
    for parameter in plain.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    perturbed.load_state_dict(plain.state_dict())
    x, label, c = torch.randn(2, 3, 8, 8), torch.zeros(2), torch.tensor([0, 1])
    assert torch.equal(perturbed.eval()(x, label, c), plain.eval()(x, label, c))
    perturbed.train()
    assert not torch.equal(perturbed(x, label, c), perturbed(x, label, c))
    assert torch.equal(perturbed(x, label, None), perturbed(x, label, None))


@pytest.mark.parametrize(
    ("amount", "message"),
    [
        (-1.0, r"perturb is -1.0; accepted are numbers from 0 on"),
        ({"gausian": 1.0}, r"one law with its number.*did you mean 'gaussian'"),
        ({}, "one law with its number"),
        ({"uniform": 1.0, "gaussian": 1.0}, "one law with its number"),
    ],
    ids=str,
)
def test_other_amounts_are_refused(amount, message: str):
    with pytest.raises(RecipeError, match=message):
        Perturb(amount)
