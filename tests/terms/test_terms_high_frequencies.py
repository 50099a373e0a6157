"""What high-pass spaces let through, against Fourier's and Sobel's arithmetic."""

import pytest
import torch

from fewstep.batch import Batch
from fewstep.denoiser import Denoiser
from fewstep.errors import RecipeError
from fewstep.predict import X0
from fewstep.terms import Edges, Here, HighPass, Regress, Space
from fewstep.testing import PATHS, Affine, Given
from fewstep.training.rollouts import OneStep
from fewstep.turn import Turn

SPACES = [HighPass(), HighPass(0.0), Edges()]


def images(height: int = 8, width: int = 6) -> torch.Tensor:
    return torch.randn(3, 2, height, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def seen(space: Space, x: torch.Tensor) -> torch.Tensor:
    path = PATHS["edm"]
    view = Denoiser(Affine(torch.zeros(1), torch.zeros(1, 1)), path, X0())
    turn = Turn("student", {"student": view}, Batch(x), Given(), OneStep(path.t_max))
    return space(turn, x, torch.zeros(len(x), dtype=torch.float64))


def wave(down: int, along: int, height: int = 8, width: int = 6) -> torch.Tensor:
    """A wave of so many cycles per image."""
    i, j = torch.arange(height, dtype=torch.float64)[:, None], torch.arange(width, dtype=torch.float64)
    return torch.cos(2 * torch.pi * (down * i / height + along * j / width) + 0.3)[None, None]


@pytest.mark.parametrize("radius", [0.0, 1 / 6, 0.3])
@pytest.mark.parametrize("size", [(8, 6), (7, 5)])
def test_what_stays_and_what_goes_share_the_energy(radius: float, size: tuple[int, int]):
    x = images(*size)
    high = seen(HighPass(radius), x)
    low = x - high
    assert low.square().sum() + high.square().sum() == pytest.approx(x.square().sum().item(), rel=1e-12)
    assert torch.allclose(seen(HighPass(radius), high), high, atol=1e-12)
    assert seen(HighPass(radius), low).abs().max() < 1e-12
    assert 0 < high.square().sum() < x.square().sum()


@pytest.mark.parametrize(("down", "along", "stays"), [(1, 0, False), (2, 0, True), (0, 1, True), (1, 1, True)])
def test_a_wave_stays_whole_or_goes_whole(down: int, along: int, stays: bool):
    """1/8 cycles per pixel goes, 1/6 along the width is above .15, as is the diagonal."""
    x = wave(down, along)
    assert torch.allclose(seen(HighPass(0.15), x), x if stays else torch.zeros_like(x), atol=1e-12)


def test_squared_distance_is_that_of_orthonormal_coefficients():
    a, b = images(), images().flip(0)
    stays = torch.fft.fftfreq(8)[:, None].square() + torch.fft.fftfreq(6).square() > 1 / 36
    whole = (torch.fft.fft2(a - b, norm="ortho") * stays).abs().square().sum()
    found = (seen(HighPass(), a) - seen(HighPass(), b)).square().sum()
    assert found.item() == pytest.approx(whole.item(), rel=1e-12)


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_a_constant_more_is_not_seen(space: Space):
    assert torch.allclose(seen(space, images() + 0.7), seen(space, images()), atol=1e-12)


def test_the_edges_of_a_ramp_are_its_slopes_everywhere():
    down, along = torch.arange(8, dtype=torch.float64)[:, None], torch.arange(6, dtype=torch.float64)
    ramps = torch.stack([0.5 * along + 0 * down, 3.0 + 2 * along - 0.25 * down])[None]
    edges = seen(Edges(), ramps)
    assert edges.shape == (1, 4, 6, 4)
    for channel, slope in enumerate((0.5, 0.0, 2.0, -0.25)):
        assert torch.allclose(edges[0, channel], torch.full((6, 4), slope, dtype=torch.float64))


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_regression_on_high_frequencies_leaves_the_mean_free(space: Space):
    path, wanted, z = PATHS["edm"], images(), images().flip(0)

    class Moved(torch.nn.Module):
        def forward(self, x, label, c=None):
            return wanted + 0.4

    turn = Turn("student", {"student": Denoiser(Moved(), path, X0())}, Batch(wanted, None, z), Given(), OneStep(2.0))
    assert Regress(2.0, space=space)(turn).abs().max() < 1e-12
    assert Regress(2.0, space=Here())(turn).min() == pytest.approx(0.16)


@pytest.mark.parametrize("radius", [-0.1, 0.5])
def test_a_radius_that_leaves_all_or_nothing_is_refused(radius: float):
    with pytest.raises(RecipeError, match=r"accepted is 0 or more and below 0\.5"):
        HighPass(radius)


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_items_that_are_no_images_are_refused(space: Space):
    with pytest.raises(RecipeError, match=r"is for images .* items are of \[2\]"):
        seen(space, torch.zeros(3, 2, dtype=torch.float64))
