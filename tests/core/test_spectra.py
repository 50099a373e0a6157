"""Mel bands measure what they say."""

from math import pi

import pytest
import torch
from torch import Tensor

from fewstep.spectra import Mel, multi_scale_log_mel

MEL = Mel(bands=80, window=1024, hop=256, low=100.0)


def sine(hertz: float, samples: int = 8192) -> Tensor:
    return (2 * pi * hertz * torch.arange(samples, dtype=torch.float64) / 16_000).sin().float()[None]


def test_bands_share_every_frequency_between_the_first_and_the_last_peak():
    total = MEL.filters().sum(0)
    bins = torch.linspace(0, 8000, 513)
    inside = (bins > 140) & (bins < 7700)
    assert torch.allclose(total[inside], torch.ones(int(inside.sum())), atol=1e-6)
    assert total.max() <= 1 + 1e-6
    assert total[bins < 100].sum() == 0


@pytest.mark.parametrize("hertz", [220.0, 440.0, 1000.0, 3000.0, 7000.0])
def test_a_sine_is_loudest_in_the_band_around_it(hertz: float):
    band = int(MEL.gathered(MEL.spectrum(sine(hertz)))[0, :, 16].argmax())
    bins = torch.linspace(0, 8000, 513)
    triangle = MEL.filters()[band]
    assert bins[triangle > 0].min() - 16 <= hertz <= bins[triangle > 0].max() + 16


def test_a_sine_has_its_amplitude_as_magnitude():
    spectrum = MEL.spectrum(0.3 * sine(1000.0))
    assert spectrum[0, :, 10:20].amax(0) == pytest.approx([0.3] * 10, rel=1e-3)


@pytest.mark.parametrize("window", [32, 256, 2048])
def test_frames_are_as_many_as_hops(window: int):
    assert Mel(5, window=window, hop=window // 4).log(sine(440.0)).shape == (1, 5, 8192 // (window // 4))


def test_scales_are_those_of_the_paper():
    scales = multi_scale_log_mel(sine(440.0))
    assert [scale.shape[1] for scale in scales] == [5, 10, 20, 40, 80, 160, 320]
    assert [scale.shape[2] for scale in scales] == [8192 // hop for hop in (8, 16, 32, 64, 128, 256, 512)]


def test_silence_is_the_floor_at_every_scale():
    assert all((scale == -5).all() for scale in multi_scale_log_mel(torch.zeros(1, 8192)))


def test_louder_by_a_factor_is_a_shift_of_the_logarithm():
    noise = torch.randn(1, 4096, generator=torch.Generator().manual_seed(0))
    for quiet, loud in zip(multi_scale_log_mel(noise), multi_scale_log_mel(10 * noise), strict=True):
        heard = quiet > -4.99  # not an empty band
        assert torch.allclose(loud[heard], quiet[heard] + 1, atol=1e-3)


def test_gradient_reaches_the_waveform_and_is_finite_at_silence():
    for x in (torch.zeros(1, 2048), sine(440.0, 2048)):
        x = x.clone().requires_grad_()
        torch.autograd.backward(sum(scale.mean() for scale in multi_scale_log_mel(x)))
        assert x.grad is not None
        assert x.grad.isfinite().all()
    assert x.grad.abs().sum() > 0
