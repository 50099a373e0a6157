"""Concepts that the data never show together: how often a pipeline draws both, and whether a prompt switch helps.

    python benchmarks/clashes.py PIPELINE [--steps N] [--guidance W] [--each 32] [--until 0.25 --until 0.5]

PIPELINE is a diffusers folder that learned the shapes, or a student of one (a run folder).  The clashing pairs are the
combinations of colour and shape that the corpus holds out: each colour and each shape is seen in training, but never
on each other.  For each pair, with the same seeds, the share of images of which the checker says that they are "a green
circle" in all parts: asked so throughout ("plain"), and with one of the two concepts alone ("a circle", or "a green
object") for a share of the steps before.  The last row but one is the mean of the pairs, with twice the standard error
of a share; the last is as many combinations that the data do show, asked plainly.
"""

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from fewstep.data.shapes import HELD_OUT, Shapes, parse
from fewstep.guidance import CFG, PromptSwitch
from fewstep.interop import Pipe
from fewstep.jobs.measure import FIRST_SEED
from fewstep.jobs.models import model_at, pipe_of
from fewstep.model import Model

UNTIL = (0.1, 0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Asked:
    """A model that is asked for ``each`` images of a prompt in ``steps`` steps, and what looks at them."""

    model: Model
    pipe: Pipe
    data: Shapes
    steps: int
    each: int

    def share(self, prompt: str, rule: PromptSwitch | None = None) -> float:
        """Return how often images of a prompt are right in all parts."""
        model = self.model if rule is None else self.model.under(rule)
        seeds = range(FIRST_SEED, FIRST_SEED + self.each)
        c = self.pipe.prompts([prompt]).expand(self.each, -1)
        images = self.pipe.decode(model.sample(seeds, c, self.steps).float()).cpu()
        return sum(each.right for each in self.data.checker.verdicts(images, [parse(prompt)] * self.each)) / self.each

    def row(self, pair: tuple[str, str], shares: Sequence[float]) -> list[float]:
        """Return the shares of a pair: plain, then for each share of the steps the shape first and the colour first."""
        colour, shape = pair
        prompt, found = an(f"{colour} {shape}"), []
        firsts = [self.pipe.prompts([an(shape)]), self.pipe.prompts([an(f"{colour} object")])]
        for first in firsts if shares else []:
            found += [self.share(prompt, PromptSwitch(until, first)) for until in shares]
        return [self.share(prompt), *found]


def an(noun: str) -> str:
    """Return a noun with its article."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def line(name: str, numbers: Iterable[float], error: float | None = None) -> str:
    """Return a row of the table, in percent."""
    spread = "" if error is None else f" +- {100 * error:.1f}"
    return f"| {name} | " + " | ".join(f"{100 * number:.1f}{spread}" for number in numbers) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pipeline", type=Path)
    parser.add_argument("--steps", type=int, help="default: those that it is made for")
    parser.add_argument("--guidance", type=float, help="guidance scale; default: its own")
    parser.add_argument("--each", type=int, default=32, help="images of each prompt")
    parser.add_argument("--until", type=float, action="append", help=f"default: {', '.join(map(str, UNTIL))}")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    model = model_at(given.pipeline)
    if given.guidance is not None:
        model = replace(model, sampler=replace(model.sampler, guidance=(CFG(given.guidance),)))
    pipe, shares = pipe_of(model), given.until or UNTIL
    data, steps = Shapes(pipe.size[0], count=1), given.steps or model.steps
    asked = Asked(model, pipe, data, steps, given.each)
    known = data.checker.difficulty.combinations
    clashes = [pair for pair in known if pair in HELD_OUT]
    seen = [pair for pair in known if pair not in HELD_OUT][:: max((len(known) - len(clashes)) // len(clashes), 1)]
    titles = [f"{what} first, {begun:g}" for what in ("shape", "colour") for begun in shares]
    print(f"{given.each} images of each prompt, {steps} steps, percent right in all parts\n")
    print("| pair | plain | " + " | ".join(titles) + " |\n|---|" + "---:|" * (1 + len(titles)))
    rows = []
    for pair in clashes:
        rows.append(asked.row(pair, shares))
        print(line(" ".join(pair), rows[-1]), flush=True)
    mean = torch.tensor(rows).mean(0).tolist()
    error = 2 * (0.25 / (len(rows) * given.each)) ** 0.5
    print(line("all of them", mean, error))
    control = [asked.row(pair, ())[0] for pair in seen[: len(clashes)]]
    print(line("seen in training", [sum(control) / len(control)], error))


if __name__ == "__main__":
    main()
