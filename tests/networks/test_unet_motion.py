"""The U-Net on clips: the image network frame by frame, and layers over the frames that start silent."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from fewstep.errors import RecipeError
from fewstep.networks import UNet, complete


def made(channels: int = 1, **more: bool) -> UNet:
    torch.manual_seed(0)
    return UNet(channels=channels, classes=4, widths=(8, 16), **more)


def awake(net: nn.Module) -> nn.Module:
    """Give the parts that start at zero some weight, so that everything reaches the output."""
    generator = torch.Generator().manual_seed(1)
    for parameter in net.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return net


def clips(frames: int = 4, channels: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    x = torch.randn(3, frames * channels, 8, 8, generator=torch.Generator().manual_seed(2))
    return x, torch.linspace(-1, 1, 3), torch.arange(3)


@pytest.mark.parametrize("channels", [1, 3])
def test_without_motion_a_clip_is_its_frames(channels: int):
    net, (x, label, c) = awake(made(channels)), clips(channels=channels)
    frames = x.reshape(12, channels, 8, 8)
    image = net(frames, label.repeat_interleave(4), c.repeat_interleave(4))
    assert torch.equal(net(x, label, c).reshape(12, channels, 8, 8), image)


def test_fresh_motion_changes_nothing():
    image, (x, label, c) = awake(made()), clips()
    moving = made(motion=True)
    missing = moving.load_state_dict(image.state_dict(), strict=False).missing_keys
    assert missing
    assert all(name.startswith("motion.") for name in missing)
    assert torch.equal(moving(x, label, c), image(x, label, c))


def test_motion_leaves_the_other_first_weights_as_they_were():
    image, moving = made().state_dict(), made(motion=True).state_dict()
    assert all(torch.equal(weight, moving[name]) for name, weight in image.items())


def test_motion_that_has_learned_lets_frames_know_of_each_other_but_not_clips():
    net, (x, label, c) = awake(made(motion=True)), clips()
    other = x.clone()
    other[0, 3] += 1
    change = (net(other, label, c) - net(x, label, c)).abs().amax((2, 3))
    assert (change[0] > 1e-4).all()
    assert (change[1:] < 1e-6).all()


def test_motion_tells_the_order_of_frames():
    net, (x, label, c) = awake(made(motion=True)), clips()
    assert not torch.allclose(net(x.flip(1), label, c).flip(1), net(x, label, c), atol=1e-3)


@pytest.mark.parametrize("frames", [1, 2, 7])
def test_clips_may_have_any_number_of_frames(frames: int):
    net, (x, label, c) = awake(made(motion=True)), clips(frames)
    assert net(x, label, c).shape == x.shape


@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")  # torch's own, when jvp first loads
def test_forward_mode_derivative_of_motion_is_the_finite_difference():
    net, (x, label, c) = awake(made(motion=True)).double(), clips()
    x, label, step = x.double(), label.double(), 1e-6
    direction = torch.randn_like(x)
    with sdpa_kernel(SDPBackend.MATH):  # the fused kernel of the image network has no forward mode
        _, derivative = torch.func.jvp(lambda y, at: net(y, at, c), (x, label), (direction, torch.ones_like(label)))
        ahead, behind = (net(x + h * direction, label + h, c) for h in (step, -step))
    assert torch.allclose(derivative, (ahead - behind) / (2 * step), atol=1e-6)


def test_a_recipe_may_state_the_channels_of_a_frame():
    words = complete({"unet": {"channels": 1, "motion": True}}, (4, 8, 8), 10)
    assert words == {"unet": {"channels": 1, "classes": 10, "motion": True}}


def test_clips_of_broken_frames_are_refused():
    with pytest.raises(RecipeError, match="4 channels are no whole frames of 3"):
        made(3)(torch.zeros(1, 4, 8, 8), torch.zeros(1))
