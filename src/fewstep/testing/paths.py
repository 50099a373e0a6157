"""One process of every kind, and what every process must hold."""

import torch
from torch import Tensor

from fewstep.predict import Prediction
from fewstep.process import EDM, Linear, Process, TrigFlow
from fewstep.testing.error import require
from fewstep.types import T
from fewstep.vp import VP

__all__ = ["PATHS", "check_prediction", "check_process"]

PATHS: dict[str, Process] = {
    "edm": EDM(),
    "linear": Linear(),
    "linear shifted": Linear(shift=3.0),
    "trigflow": TrigFlow(),
    "vp linear": VP.from_diffusers({"beta_schedule": "linear"}),
    "vp scaled": VP.from_diffusers({"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}),
    "vp cosine": VP.from_diffusers({"beta_schedule": "squaredcos_cap_v2"}),
    "vp zero snr": VP.from_diffusers({"beta_schedule": "scaled_linear", "rescale_betas_zero_snr": True}),
}
"""A process of every kind by name, for parametrised tests."""

PLACES = (0.0137, 0.1071, 0.2113, 0.4359, 0.6293, 0.8517, 0.9781)  # off the entries of any usual table


def check_process(process: Process) -> None:
    """Raise ``ConformanceError`` unless the process keeps the rules that everything else relies on."""
    t = process.t_max * torch.tensor(PLACES, dtype=torch.float64)
    zero = torch.zeros(1, dtype=torch.float64)
    require(process.alpha(zero).item() == 1, "alpha(0) is 1")
    require(process.sigma(zero).item() == 0, "sigma(0) is 0")
    require(bool((process.logsnr(t).diff() < 0).all()), "the signal-to-noise ratio falls with t")
    require(bool((process.label(t).diff() > 0).all()), "the label rises with t")
    _near(process.time(process.logsnr(t)) / t, torch.ones_like(t), "time is the inverse of logsnr")
    _near(process.time(zero + torch.inf), zero, "an infinite signal-to-noise ratio stands at time 0")
    _check_rates(process, t)
    _check_steps(process, t)
    _check_renoise(process, t)


def _check_rates(process: Process, t: T) -> None:
    h = 1e-6 * process.t_max
    for name, curve, rate in zip(("alpha", "sigma"), (process.alpha, process.sigma), process.rates(t), strict=True):
        slope = (curve(t + h) - curve(t - h)) / (2 * h)
        _near(rate * process.t_max, slope * process.t_max, f"the rate of {name} is its derivative", 1e-6)


def _check_steps(process: Process, t: T) -> None:
    x, x0 = torch.linspace(-2, 3, 2 * len(t), dtype=torch.float64).reshape(2, -1, 1)
    require(torch.equal(process.step(x, x0, t, t), x), "a step from t to t changes nothing, to the last bit")
    require(
        torch.equal(process.step(x, x0, t, torch.zeros_like(t)), x0), "a step to time 0 ends on x0, to the last bit"
    )
    z = process.eps(x, x0, t)
    _near(process.noise(x0, z, t), x, "eps is the inverse of noise")
    _near(process.step(x, x0, t, t / 2), process.noise(x0, z, t / 2), "a step keeps x0 and the noise")
    h = 1e-6 * t
    slope = (process.step(x, x0, t, t - h) - x) / -h[:, None]
    _near(process.velocity(x, x0, t) * t[:, None], slope * t[:, None], "the velocity is the limit of small steps", 1e-4)


def _check_renoise(process: Process, t: T) -> None:
    one, none = torch.ones(len(t), 1, dtype=torch.float64), torch.zeros(len(t), 1, dtype=torch.float64)
    s = t * 0.6
    keep, fresh = process.renoise(one, none, s, t)[:, 0], process.renoise(none, one, s, t)[:, 0]
    _near(keep * process.alpha(s), process.alpha(t), "renoise keeps the share of the data")
    _near(keep**2 * process.sigma(s) ** 2 + fresh**2, process.sigma(t) ** 2, "renoise keeps the variance of the noise")
    _near(process.renoise(one, one, t, t), one, "renoise from t to t changes nothing", 1e-6)


def check_prediction(prediction: Prediction, process: Process) -> None:
    """Raise ``ConformanceError`` unless the two conversions of the prediction are inverses and affine."""
    t = process.t_max * torch.tensor(PLACES, dtype=torch.float64)
    x, x0, output = torch.randn(3, len(t), 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    there = prediction.output(process, x0, x, t)
    _near(prediction.x0(process, there, x, t), x0, "x0 is the inverse of output", 1e-9)
    here = prediction.x0(process, output, x, t)
    _near(prediction.output(process, here, x, t), output, "output is the inverse of x0", 1e-9)
    middle = prediction.x0(process, (there + output) / 2, x, t)
    _near(middle, (x0 + here) / 2, "x0 is a straight line in the output", 1e-9)
    fed = prediction.input(process, x, t)
    _near(prediction.input(process, 2 * x, t), 2 * fed, "the input is a multiple of x")


def _near(found: Tensor, wanted: Tensor, rule: str, tolerance: float = 1e-10) -> None:
    gap = ((found - wanted).abs() / (1 + wanted.abs())).max().item()
    require(gap <= tolerance, f"{rule} (off by {gap:.3g})")
