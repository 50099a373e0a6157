"""Networks for signals: shapes, conditions by vector and by map, and forward-mode derivatives."""

import math

import pytest
import torch
from torch import Tensor, nn

from fewstep.critic import Critic
from fewstep.denoiser import Denoiser
from fewstep.errors import RecipeError
from fewstep.networks import Headed, MultiPeriod, UNet1D, build_network, complete
from fewstep.predict import X0
from fewstep.process import Linear

FORMS = {
    "vector": ({"channels": 8, "condition": (5,), "widths": (16, 32)}, (8, 16), (5,)),
    "map": ({"channels": 1, "condition": (6, 4), "widths": (16, 16), "fold": 4}, (1, 64), (6, 4)),
}
forms = pytest.mark.parametrize("form", FORMS)


def made(form: str, **more: bool) -> nn.Module:
    """Build it, and give the parts that start at zero some weight."""
    torch.manual_seed(0)
    net, generator = UNet1D(**FORMS[form][0], **more), torch.Generator().manual_seed(1)
    for parameter in net.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return net


def inputs(form: str, items: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    x, c = (torch.randn(items, *shape, generator=generator) for shape in FORMS[form][1:])
    return x, torch.linspace(-1, 1, items), c


@forms
def test_signals_keep_their_shape(form: str):
    net, (x, label, c) = made(form), inputs(form)
    assert net(x, label, c).shape == x.shape
    assert net(x, label).shape == x.shape


@forms
def test_a_condition_of_zeros_is_no_condition(form: str):
    net, (x, label, c) = made(form), inputs(form)
    assert torch.allclose(net(x, label, torch.zeros_like(c)), net(x, label, None), atol=1e-6)
    assert not torch.allclose(net(x, label, c), net(x, label, None), atol=1e-3)


@forms
def test_conditions_are_told_apart_item_by_item(form: str):
    net, (x, label, c) = made(form), inputs(form)
    assert torch.allclose(net(x, label, c)[1], net(x[1:2], label[1:2], c[1:2])[0], atol=1e-5)


@forms
def test_a_second_time_starts_silent(form: str):
    torch.manual_seed(0)
    net, (x, label, c) = UNet1D(**FORMS[form][0], second_time=True), inputs(form)
    assert torch.equal(net(x, label, c, label + 1), net(x, label, c))
    awake = made(form, second_time=True)
    assert not torch.allclose(awake(x, label, c, label + 1), awake(x, label, c, label), atol=1e-4)


@forms
@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")  # torch's own, when jvp first loads
def test_forward_mode_derivative_is_the_finite_difference(form: str):
    net, (x, label, c) = made(form, second_time=True).double(), inputs(form)
    x, label, c = x.double(), label.double(), c.double()
    direction, step = torch.randn_like(x), 1e-6

    def f(x: Tensor, label: Tensor, until: Tensor) -> Tensor:
        return net(x, label, c, until)

    ones = torch.ones_like(label)
    _, derivative = torch.func.jvp(f, (x, label, label / 2), (direction, ones, -ones))
    ahead = f(x + step * direction, label + step, label / 2 - step)
    behind = f(x - step * direction, label - step, label / 2 + step)
    assert torch.allclose(derivative, (ahead - behind) / (2 * step), atol=1e-6)


def test_a_step_of_the_map_reaches_its_own_place_most():
    net, (x, label, c) = made("map"), inputs("map", 1)
    louder = c.clone()
    louder[:, :, 3] += 1
    change = (net(x, label, louder) - net(x, label, c)).abs()[0, 0].reshape(4, 16).sum(1)
    assert change.argmax() == 3


def test_data_fill_in_the_shape_of_a_condition():
    words = complete({"unet1d": {"widths": [16, 16]}}, (80, 32), 0, (30,))
    assert words == {"unet1d": {"channels": 80, "condition": [30], "widths": [16, 16]}}
    assert build_network(words)(torch.zeros(2, 80, 32), torch.zeros(2), torch.zeros(2, 30)).shape == (2, 80, 32)


def test_a_head_borrows_the_features_of_a_signal():
    x, label, c = inputs("vector")
    net = Headed(made("vector"), "middle", (x, label, c))
    assert net(x, label, c, judge=1)[0].shape == (3, 1)


@pytest.mark.parametrize(
    ("settings", "words"), [({"widths": (12,)}, "multiples of 8"), ({"condition": (1, 2, 3)}, "maps along the signal")]
)
def test_what_cannot_be_built_is_refused(settings: dict[str, tuple[int, ...]], words: str):
    with pytest.raises(RecipeError, match=words):
        UNet1D(**settings)


def test_class_labels_are_refused():
    with pytest.raises(RecipeError, match="class labels"):
        UNet1D(1, widths=(16, 16))(torch.zeros(2, 1, 64), torch.zeros(2), torch.arange(2))


def test_a_length_that_does_not_divide_is_refused():
    with pytest.raises(RecipeError, match="length 60 do not divide"):
        UNet1D(1, widths=(16, 16), fold=8)(torch.zeros(1, 1, 60), torch.zeros(1))


def test_a_multi_period_discriminator_judges_and_does_nothing_else():
    torch.manual_seed(0)
    net, x = MultiPeriod(), torch.randn(4, 1, 1000)
    rows = [math.ceil(1000 / period) for period in (2, 3, 5, 7, 11)]  # then four layers that leave out two of three
    places = [math.ceil(count / 3**4) * period for count, period in zip(rows, (2, 3, 5, 7, 11), strict=True)]
    assert [each.shape for each in net(x, torch.zeros(4), None, judge=1)] == [(4, count) for count in places]
    with pytest.raises(RecipeError, match="only judges"):
        net(x, torch.zeros(4))


def test_judgements_of_a_multi_period_discriminator_do_not_mix_items():
    torch.manual_seed(0)
    net, x = MultiPeriod(), torch.randn(4, 1, 1000)
    for together, alone in zip(net(x, judge=1), net(x[2:3], judge=1), strict=True):
        assert torch.allclose(together[2], alone[0], atol=1e-6)


def test_a_period_sees_every_so_many_samples_in_a_column():
    torch.manual_seed(0)
    net, x = MultiPeriod(periods=(5,), widths=(4,)), torch.randn(1, 1, 100, requires_grad=True)
    h = net.get_submodule("period5")(x)
    torch.autograd.backward(h.reshape(-1, 5)[:, 2].sum())
    touched = x.grad[0, 0].reshape(-1, 5).abs().sum(0) > 0
    assert touched.tolist() == [False, False, True, False, False]


def test_features_of_every_period_can_be_tapped():
    torch.manual_seed(0)
    net = MultiPeriod()
    names = {name for name, _ in net.named_modules()}
    assert {f"period{period}.layers.{layer}" for period in (2, 3, 5, 7, 11) for layer in range(4)} <= names


def test_a_multi_period_discriminator_is_a_critic():
    torch.manual_seed(0)
    critic = Critic(Denoiser(MultiPeriod(), Linear(), X0()))
    logit = critic(torch.randn(3, 1, 500), torch.full((3,), 0.5, dtype=torch.float64))
    assert logit.shape == (3,)
