"""A discriminator of waveforms that looks at every second, third, fifth ... sample."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import leaky_relu, pad

from fewstep.errors import RecipeError

__all__ = ["MultiPeriod"]


class Period(nn.Module):
    """Reads a waveform as an image with ``period`` columns, with convolutions down the columns only."""

    def __init__(self, channels: int, period: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.period = period
        pairs = zip((channels, *widths), widths, strict=False)
        self.layers = nn.ModuleList(nn.Conv2d(a, b, (5, 1), (3, 1), padding=(2, 0)) for a, b in pairs)
        self.last = nn.Conv2d(widths[-1], 1, (3, 1), padding=(1, 0))

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, channels, samples) to one logit per place, (b, places)."""
        h = pad(x, (0, -x.shape[2] % self.period))
        h = h.reshape(*h.shape[:2], -1, self.period)
        for layer in self.layers:
            h = leaky_relu(layer(h), 0.1)
        return self.last(h).flatten(1)  # type: ignore[no-any-return]


class MultiPeriod(nn.Module):
    """``net(x, label, c, judge=1)``: for each period a head's logits of waveforms x (b, channels, samples).

    It knows no time.  Features are tapped at ``period2.layers.1`` and the like, before their activation.
    Raises ``RecipeError`` when it is asked for anything but a judgement.
    Source: HiFi-GAN, Kong et al., NeurIPS 2020, section 2.3; periods of PeriodWave-Turbo, arXiv 2408.08019.  *Ours*:
    narrower (32 to 1024 channels there), no weight normalisation.
    """

    def __init__(
        self, channels: int = 1, periods: Sequence[int] = (2, 3, 5, 7, 11), widths: Sequence[int] = (8, 16, 32, 32)
    ) -> None:
        super().__init__()
        self.names = [f"period{period}" for period in periods]
        for name, period in zip(self.names, periods, strict=True):
            self.add_module(name, Period(channels, period, widths))

    def forward(
        self, x: Tensor, label: Tensor | None = None, c: Tensor | None = None, *, judge: int = 0
    ) -> list[Tensor]:
        """Return logits (b, places) for each period: a cost is one of each place, not of their mean."""
        if not judge:
            raise RecipeError(
                "a multi-period discriminator was asked to denoise, but it only judges; make it the critic of an "
                "adversarial term, and give the learner no term that denoises."
            )
        return [self.get_submodule(name)(x) for name in self.names]
