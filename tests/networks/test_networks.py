"""What every network for the demonstrations holds."""

import pytest
import torch
from torch import nn

from fewstep.critic import Critic
from fewstep.denoiser import Denoiser
from fewstep.errors import RecipeError
from fewstep.networks import MLP, DiT, Headed, UNet, build_network, complete
from fewstep.predict import EDM, V
from fewstep.process import EDM as Path

NETS = {
    "unet": (lambda **more: UNet(channels=3, classes=4, widths=(8, 16), **more), (3, 8, 8), "middle"),
    "dit": (lambda **more: DiT(channels=3, classes=4, width=32, depth=2, **more), (3, 8, 8), "layers.1"),
    "mlp": (lambda **more: MLP(features=3, classes=4, width=16, depth=2, **more), (3,), "middle.1"),
}
nets = pytest.mark.parametrize("name", NETS)


def seeded(build, **more) -> nn.Module:
    torch.manual_seed(0)
    return build(**more)


def awake(net: nn.Module) -> nn.Module:
    """Give the parts that start at zero some weight, so that everything reaches the output."""
    generator = torch.Generator().manual_seed(1)
    for parameter in net.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return net


def inputs(shape: tuple[int, ...], items: int = 5):
    x = torch.randn(items, *shape, generator=torch.Generator().manual_seed(2))
    return x, torch.linspace(-1, 1, items), torch.arange(items) % 4


@pytest.mark.parametrize("size", [8, 16, 32])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", [UNet, DiT], ids=["unet", "dit"])
def test_image_networks_keep_the_shape(kind, channels: int, size: int):
    small = {"widths": (8, 16, 16), "depth": 2} if kind is UNet else {"width": 32, "depth": 1, "patch": 4}
    x, label, _ = inputs((channels, size, size), 2)
    assert kind(channels=channels, **small)(x, label).shape == x.shape


def test_image_networks_take_images_that_are_not_square():
    x, label, _ = inputs((3, 8, 16), 2)
    assert UNet(widths=(8, 16))(x, label).shape == x.shape
    assert DiT(width=32, depth=1)(x, label).shape == x.shape


@pytest.mark.parametrize("features", [1, 2, 7])
def test_point_network_keeps_the_shape(features: int):
    x, label, _ = inputs((features,))
    assert MLP(features)(x, label).shape == x.shape


@nets
def test_class_minus_1_is_no_condition(name: str):
    build, shape, _ = NETS[name]
    net, (x, label, c) = awake(seeded(build)), inputs(shape)
    assert torch.equal(net(x, label, torch.full_like(c, -1)), net(x, label, None))
    for each in range(4):
        assert not torch.allclose(net(x, label, torch.full_like(c, each)), net(x, label, None), atol=1e-4)


@nets
def test_classes_are_told_apart_item_by_item(name: str):
    build, shape, _ = NETS[name]
    net, (x, label, c) = awake(seeded(build)), inputs(shape)
    mixed = net(x, label, c)
    assert torch.allclose(mixed[2], net(x[2:3], label[2:3], c[2:3])[0], atol=1e-5)
    assert not torch.allclose(mixed[2], net(x[2:3], label[2:3], (c[2:3] + 1) % 4)[0], atol=1e-4)


@nets
def test_time_reaches_the_output(name: str):
    build, shape, _ = NETS[name]
    net, (x, label, c) = awake(seeded(build)), inputs(shape)
    assert not torch.allclose(net(x, label, c), net(x, label + 0.3, c))


@nets
def test_second_time_starts_silent_and_can_learn_to_speak(name: str):
    build, shape, _ = NETS[name]
    net, (x, label, c) = awake(seeded(build)), inputs(shape)
    wider = seeded(build, second_time=True)
    missing = wider.load_state_dict(net.state_dict(), strict=False).missing_keys
    assert all(key.startswith("context.until") for key in missing)
    assert torch.equal(wider(x, label, c, label - 1), net(x, label, c))
    awake(wider.context.until)
    assert not torch.allclose(wider(x, label, c, label - 1), wider(x, label, c, label - 2))


@nets
def test_network_without_a_second_time_ignores_it(name: str):
    build, shape, _ = NETS[name]
    net, (x, label, c) = awake(seeded(build)), inputs(shape)
    assert torch.equal(net(x, label, c, label - 1), net(x, label, c))


@nets
def test_state_goes_round(name: str):
    build, shape, _ = NETS[name]
    net, (x, label, c) = awake(seeded(build)), inputs(shape)
    other = build()
    other.load_state_dict(net.state_dict())
    assert torch.equal(other(x, label, c), net(x, label, c))


@nets
def test_every_parameter_learns_once_the_silent_ones_speak(name: str):
    """Layers that start at zero hold back those behind them, so the gradient is taken after three updates."""
    build, shape, _ = NETS[name]
    net, (x, label, c) = seeded(build, second_time=True), inputs(shape, 8)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.3)
    for _ in range(4):
        optimizer.zero_grad()
        (net(x, label, torch.where(c == 0, -1, c), label - 1) - x.roll(1, 0)).square().mean().backward()
        optimizer.step()
    without = {key for key, parameter in net.named_parameters() if parameter.grad is None or not parameter.grad.any()}
    assert without == set()


@pytest.mark.parametrize("name", ["unet", "dit"])
def test_image_networks_start_from_0(name: str):
    build, shape, _ = NETS[name]
    x, label, c = inputs(shape)
    assert seeded(build)(x, label, c).detach().std() < 0.2


@nets
def test_head_gives_one_logit_per_item_and_leaves_the_body_alone(name: str):
    build, shape, tap = NETS[name]
    net, (x, label, c) = awake(seeded(build)), inputs(shape)
    before = net(x, label, c)
    headed = Headed(net, tap, (x[:2], label[:2], c[:2]))
    (logits,) = headed(x, label, c, judge=1)
    assert logits.shape == (5, 1)
    assert torch.equal(headed(x, label, c), before)
    assert torch.allclose(logits[:2], headed(x[:2], label[:2], c[:2], judge=1)[0], atol=1e-5)


@nets
def test_logit_teaches_the_body_as_well_as_the_head(name: str):
    build, shape, tap = NETS[name]
    net, (x, label, c) = awake(seeded(build)), inputs(shape)
    headed = Headed(net, tap, (x, label, c))
    headed(x, label, c, judge=1)[0].sum().backward()
    assert headed.heads[0].hidden[0].weight.grad.any()
    assert net.first.weight.grad.any()
    assert net.last is not headed.heads[0]


@nets
def test_critic_is_a_view_of_the_heads(name: str):
    build, shape, tap = NETS[name]
    net, (x, _, c) = awake(seeded(build)), inputs(shape)
    path, t = Path(), torch.linspace(0.1, 3, 5, dtype=torch.float64)
    headed = Headed(net, tap, (x, t.float(), c))
    for prediction in (V(), EDM()):
        view = Denoiser(headed, path, prediction)
        label = path.label(t).float()
        direct = headed(prediction.input(path, x, t), label, c, judge=1)[0]
        assert torch.equal(Critic(view)(x, t, c), direct[:, 0])


def test_unknown_tap_is_an_error_with_the_nearest_name():
    x, label, c = inputs((3,))
    with pytest.raises(RecipeError, match=r"'midle'.*did you mean 'middle'"):
        Headed(MLP(3, classes=4), "midle", (x, label, c))


def test_head_leaves_no_hook_behind():
    x, label, c = inputs((3,))
    headed = Headed(MLP(3, classes=4), "middle.0", (x, label, c))
    headed(x, label, c, judge=1)
    assert not headed.body.middle[0]._forward_hooks


@pytest.mark.parametrize("widths", [(), (12,), (8, 20)], ids=str)
def test_unet_refuses_widths_that_8_does_not_divide(widths):
    with pytest.raises(RecipeError, match="multiples of 8"):
        UNet(widths=widths)


def test_dit_refuses_a_width_that_32_does_not_divide():
    with pytest.raises(RecipeError, match="multiples of 32"):
        DiT(width=48)


def test_dit_refuses_images_that_its_patches_do_not_divide():
    with pytest.raises(RecipeError, match="9 x 8 px do not divide"):
        DiT(width=32, patch=2)(torch.zeros(1, 3, 9, 8), torch.zeros(1))


# --- by name


def test_networks_are_built_by_name():
    assert isinstance(build_network({"unet": {"channels": 1, "widths": [8]}}), UNet)
    assert isinstance(build_network({"MLP": None}), MLP)


def test_dotted_path_leads_to_any_module():
    assert isinstance(build_network({"torch.nn.Identity": {}}), nn.Identity)


def test_data_fill_in_channels_and_classes():
    assert complete({"unet": {"depth": 2}}, (1, 8, 8), 10) == {"unet": {"channels": 1, "classes": 10, "depth": 2}}
    vectors = {"unet": {"channels": 3, "classes": 0, "condition": [74]}}
    assert complete({"unet": {}}, (3, 8, 8), 0, (74,)) == vectors
    assert complete({"mlp": None}, (2,), 0) == {"mlp": {"features": 2, "classes": 0}}
    assert complete({"unet": {"channels": 4}}, (1, 8, 8), 0)["unet"]["channels"] == 4


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"unett": {}}, "did you mean 'unet'"),
        ({"unet": {"chanels": 1}}, "did you mean 'channels'"),
        ({"headed": {}}, "there is no network 'headed'"),
        ({"torch.nn.Nothing": {}}, "cannot be imported"),
        ({"nowhere.Net": {}}, "cannot be imported"),
        ({"torch.zeros": {}}, r"no torch\.nn\.Module class"),
        ({"unet": {}, "dit": {}}, "one name with its settings"),
        ({"mlp": {"width": "wide"}}, "cannot be built"),
        ({"unet": {"widths": [10]}}, "multiples of 8"),
    ],
    ids=str,
)
def test_network_that_cannot_be_built_is_an_error(spec, message: str):
    with pytest.raises(RecipeError, match=message):
        build_network(spec)


@pytest.mark.parametrize("kind", [UNet, DiT], ids=["unet", "dit"])
def test_image_networks_take_vectors_as_conditions(kind):
    small = {"widths": (8,)} if kind is UNet else {"width": 32, "depth": 1}
    net, c, (x, label, _) = awake(kind(condition=(6,), **small)), torch.eye(5, 6), inputs((3, 8, 8))
    assert not torch.allclose(net(x, label, c), net(x, label, c.roll(1, 0)), atol=1e-3)
    assert torch.equal(net(x, label, torch.zeros_like(c)), net(x, label, None))
    with pytest.raises(RecipeError, match=r"\[3, 4\]; accepted are \[\] for labels or none, and \[features\]"):
        kind(condition=(3, 4), **small)
