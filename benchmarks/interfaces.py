"""Students of a pipeline through the bridge, and of an ordinary `nn.Module` with the same weights: do they agree?

    python benchmarks/interfaces.py DIR [--seeds 3] [--steps 1000] [--asked 300] [--threads 1] [--out runs/interfaces]

DIR is a Stable Diffusion folder that learned the shapes.  "bridge": `fewstep distill DIR --data shapes --steps 4`.
"own": the same U-Net in a class that knows nothing of pipelines (`Own` below), told plain text states, wrapped as
README says of one's own network, and distilled on the same latents with the same recipe and an adapter of the same rank
on the same layers.  Printed are the shares of captions of which the checker finds everything right at four calls (see
text.py), seed by seed, and the largest difference of a weight of both students; then means +- standard deviations, and
the difference in units of these.  A run that is finished is not repeated.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

import fewstep as fs
from fewstep.cli.training import Given, Order, open_given
from fewstep.data import Checker
from fewstep.data.shapes import Shapes, ShapesChecker
from fewstep.files import CACHE
from fewstep.interop import Encoded, Pipe
from fewstep.jobs.pipelines import Asked
from fewstep.jobs.pocket import share_right
from fewstep.types import X

RECIPE, CALLS = "dmd2-text", 4


class Own(nn.Module):
    """A latent text model of one's own: a U-Net that reads the states of a text, c (b, tokens, width).

    States of zeros are no text: then it reads those of the empty one.
    """

    empty: Tensor

    def __init__(self, unet: nn.Module, empty: Tensor) -> None:
        super().__init__()
        self.unet = unet
        self.register_buffer("empty", empty)

    def forward(self, x: Tensor, label: Tensor, c: Tensor) -> Tensor:
        some = (c != 0).flatten(1).any(1)[:, None, None]
        output: Tensor = self.unet(x, label, torch.where(some, c, self.empty), return_dict=False)[0]
        return output


@dataclass(frozen=True)
class Plain:
    """Reads and paints with the encoders of a pipeline, so that nothing but the interface differs."""

    pipe: Pipe

    def conditions(self, texts: Sequence[str]) -> Tensor:
        return self.states(self.pipe.conditions(texts))

    def decode(self, latents: Tensor) -> Tensor:
        return self.pipe.decode(latents)

    def states(self, rows: Tensor) -> Tensor:
        """Return the states in packed prompts."""
        return self.pipe.packing.unpack(rows)["states"]


class Told(Checker):
    """Checks latents whose conditions are the states of captions, which are looked up in a table."""

    kinds, bounded = ShapesChecker.kinds, False

    def __init__(self, inner: ShapesChecker, paint: Plain, table: Mapping[bytes, str]) -> None:
        self.inner, self.paint, self.table = inner, paint, table

    def seen(self, x: X) -> Tensor:
        return self.paint.decode(x).cpu()

    def kind(self, c: Tensor) -> Tensor:
        return self.inner.kind(self.inner.asked(self.words(c)))

    def right(self, x: X, c: Tensor) -> Tensor:
        return self.inner.right(self.seen(x), self.inner.asked(self.words(c)))

    def words(self, c: Tensor) -> list[str]:
        return [self.table[row.contiguous().numpy().tobytes()] for row in c]


def own_teacher(folder: Path, given: Given, paint: Plain) -> fs.Model:
    """Return the teacher with the same U-Net, path and sampler, without a bridge."""
    view, sampler = given.teacher.view, given.teacher.sampler
    empty = paint.conditions([""])[0]
    net = Own(UNet2DConditionModel.from_pretrained(folder / "unet"), empty)
    own = fs.Denoiser(net, view.process, view.prediction)
    return fs.Model(own, sampler, given.teacher.shape, condition=tuple(empty.shape))


def own_data(encoded: Encoded, paint: Plain, inner: ShapesChecker) -> fs.Tensors:
    """Return the latents, with the states of their captions from a table."""
    texts, of_item = encoded.prompts
    batch = encoded.batch(range(len(encoded)))
    item = {number: i for i, number in enumerate(of_item)}  # one that has this prompt
    states = paint.states(encoded.conditions([item[number] for number in range(len(texts))]))
    table = {row.numpy().tobytes(): text for row, text in zip(states, texts, strict=True)}
    return fs.Tensors(batch.x0, states[torch.tensor(of_item)], checker=Told(inner, paint, table))


def distance(bridge: fs.Model, own: fs.Model) -> float:
    """Return the largest difference of a weight."""
    theirs = dict(own.view.net.unet.named_parameters())  # type: ignore[union-attr]
    ours = bridge.view.net.backbone.named_parameters()  # type: ignore[union-attr,operator]
    return max(float((weight - theirs[name]).abs().max()) for name, weight in ours)


def said(name: str, shares: Sequence[Mapping[str, float]]) -> str:
    """Return a row of the table: of one seed, or the mean of several with the standard deviation."""
    columns = [[each[kind] for each in shares] for kind in shares[0]]
    spreads = [f" +- {100 * stdev(column):.1f}" if len(column) > 1 else "" for column in columns]
    cells = [f"{100 * mean(column):.1f}{spread}" for column, spread in zip(columns, spreads, strict=True)]
    return f"| {name} | " + " | ".join(cells) + " |"


def apart(bridge: Sequence[Mapping[str, float]], own: Sequence[Mapping[str, float]]) -> str:
    """Return the row of differences of the means, in standard deviations of both (root of the mean variance)."""
    cells = []
    for kind in bridge[0]:
        one, other = ([each[kind] for each in shares] for shares in (bridge, own))
        gap, spread = mean(other) - mean(one), ((stdev(one) ** 2 + stdev(other) ** 2) / 2) ** 0.5
        cells.append(
            "0.00" if gap == 0 else f"{gap / spread:+.2f}" if spread else f"{100 * gap:+.1f} points, no spread"
        )
    return "| difference, in deviations | " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pipeline", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1000, help="updates")
    parser.add_argument("--asked", type=int, default=300, help="captions of each kind")
    parser.add_argument("--items", type=int, default=20_000, help="of the data")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/interfaces"))
    wanted = parser.parse_args()
    torch.set_num_threads(wanted.threads)
    order = Order(RECIPE, wanted.out, 0, [f"steps={wanted.steps}"], quiet=True)
    given = open_given(order, Asked(str(wanted.pipeline)), CALLS, None)
    pipe = given.pipe
    if pipe is None:
        parser.error(f"{wanted.pipeline} is no diffusers folder")
    shapes, paint = Shapes(pipe.size[0], count=wanted.items), Plain(pipe)
    encoded = Encoded(shapes, pipe, CACHE)
    own, plain = own_teacher(wanted.pipeline, given, paint), own_data(encoded, paint, shapes.checker)
    settings = given.order.settings
    named = [setting.replace("backbone.", "unet.") for setting in settings]  # the parts of the network of one's own
    ways = {"bridge": (given.teacher, encoded, pipe, settings), "own": (own, plain, paint, named)}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for seed in range(wanted.seeds):
        students = {}
        for name, (teacher, data, painter, how) in ways.items():
            options = fs.Options(wanted.out / f"{name}-{seed}", seed, False, how)
            student = students[name] = fs.distill(teacher, data, options, RECIPE)
            at = replace(student, sampler=replace(student.sampler, steps=(CALLS,)))  # type: ignore[call-arg]
            found[name].append(share_right(painter, at, shapes, wanted.asked))
            if name == "bridge" and seed == 0:
                kinds = list(found[name][0])
                print(f"| percent right | {' | '.join(kinds)} |\n|---|" + "---:|" * len(kinds))
            print(said(f"{name}, seed {seed}", found[name][-1:]), flush=True)
        print(f"| largest difference of a weight: {distance(**students):.3g} |" + " |" * len(kinds), flush=True)
    for name, shares in found.items():
        print(said(name, shares))
    if wanted.seeds > 1:
        print(apart(*found.values()))


if __name__ == "__main__":
    main()
