"""Does a negative prompt take away what it names, in one pass, and leave what was asked for?

    python benchmarks/negative.py MODEL [--steps 1] [--rule '{nag: 4}' ...] [--questions 24] [--each 16] [--kinds]

MODEL is a student of a pipeline that learned the shapes (a run folder), or such a pipeline.  It is asked under the rule
alone, without the guidance that its own sampler may have.  Each question is a prompt
that leaves something open and a negative prompt that names one way it can turn out: the tone of the background ("a red
circle", away from "... on a dark background"), the size of an object, its colour ("a square", away from "... red ...")
or its shape.  Negative prompts are worded "bare", of an object that is not described further, and "whole", the prompt
with the unwanted attribute in it.  Per rule, wording and kind, with the same seeds: how often images show what is
unwanted, and are right in all that was asked for, first without and then with the negative prompt.  To be reached at
one step: the first share falls by half at least, the second by at most 5 points.  CFG, two passes, is there to compare.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from random import Random

import torch
from torch import Tensor

from fewstep.data.shapes import HELD_OUT, Difficulty, Seen, Shapes, Thing, parse, shows, verdict
from fewstep.guidance import Guidance
from fewstep.interop import Pipe
from fewstep.jobs.measure import FIRST_SEED
from fewstep.jobs.models import model_at, pipe_of
from fewstep.model import Model
from fewstep.recipes import Builder, Document

LEFT, LOST = 0.5, 0.05
RULES = (
    *("{cfg: 2.5}", "{nasa: 0.1}", "{nasa: 0.3}", "{nasa: 0.5}", "{nasa: 1}"),
    *("{nag: 2}", "{nag: 4}", "{nag: 10}", "{nag: {scale: 4, alpha: 0.25}}", "{nag: {scale: 4, alpha: 1}}"),
    *("{nag: {scale: 10, alpha: 0.25}}", "{nag: {scale: 10, alpha: 1}}", "{nag: {scale: 10, tau: 5, alpha: 1}}"),
)


@dataclass(frozen=True)
class Question:
    """A prompt, two wordings of a negative one, and what shows that this was of no use."""

    kind: str
    prompt: str
    bare: str
    whole: str
    unwanted: Callable[[Seen], bool]


def questions(difficulty: Difficulty) -> Iterator[Question]:
    """Yield all questions about images of this difficulty, those that the corpus can answer either way."""
    seen = [pair for pair in difficulty.combinations if pair not in HELD_OUT]
    for (colour, shape), tone in product(seen, ("light", "dark")):
        ground, prompt = f" on a {tone} background", an(f"{colour} {shape}")
        yield Question("tone", prompt, "an object" + ground, prompt + ground, lambda seen, tone=tone: seen.tone == tone)
    for (colour, shape), size in product(seen, ("small", "large") if difficulty.sized else ()):
        whole = an(f"{size} {colour} {shape}")
        yield Question("size", an(f"{colour} {shape}"), an(f"{size} object"), whole, showing(size=size))
    for colour, shape in seen:
        whole, one, other = an(f"{colour} {shape}"), an(f"{colour} object"), an(shape)
        yield Question("colour", other, one, whole, showing(colour=colour))
        yield Question("shape", one, other, whole, showing(shape=shape))


def an(noun: str) -> str:
    """Return a noun with its article."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def showing(**attributes: str) -> Callable[[Seen], bool]:
    """Return whether an image shows an object of these attributes."""
    return lambda seen: shows(seen, Thing(**attributes))


def rule_of(words: str) -> Guidance:
    """Build a rule as a recipe does."""
    document = Document("--rule", {}).with_settings([f"rule={words}"])
    return Builder(document).build(Guidance, document.values["rule"], "rule")


@dataclass(frozen=True)
class Sheet:
    """Questions, each asked ``each`` times, and the pipeline that reads and draws."""

    asked: Sequence[Question]
    each: int
    pipe: Pipe
    steps: int
    data: Shapes

    def texts(self, wording: str) -> Tensor:
        """Return the conditions of one wording of every question, one row per image."""
        texts = [str(vars(question)[wording]) for question in self.asked]
        known = list(dict.fromkeys(texts))
        rows = self.pipe.prompts(known)
        return rows[[known.index(text) for text in texts]].repeat_interleave(self.each, 0)

    def shares(self, model: Model, wording: str | None) -> tuple[Tensor, Tensor]:
        """Return for each question how often its images show what is unwanted, and are right otherwise."""
        seeds = range(FIRST_SEED, FIRST_SEED + len(self.asked) * self.each)
        negative = None if wording is None else self.texts(wording)
        x = self.pipe.decode(model.sample(seeds, self.texts("prompt"), self.steps, negative=negative).float())
        every = [question for question in self.asked for _ in range(self.each)]
        looks = list(zip(every, self.data.checker.look(x.cpu()), strict=True))
        shown = torch.tensor([float(question.unwanted(seen)) for question, seen in looks])
        right = torch.tensor([float(verdict(parse(question.prompt), seen).right) for question, seen in looks])
        return shown.reshape(-1, self.each).mean(1), right.reshape(-1, self.each).mean(1)


def lines(sheet: Sheet, before: tuple[Tensor, Tensor], after: tuple[Tensor, Tensor], name: str) -> Iterator[str]:
    """Yield a line for each kind of question, and one for all."""
    kinds = [question.kind for question in sheet.asked]
    for kind in [*dict.fromkeys(kinds), "all"]:
        mine = torch.tensor([kind in ("all", each) for each in kinds])
        (shown, right), (left, kept) = ([part[mine].mean().item() for part in pair] for pair in (before, after))
        good = left <= LEFT * shown and right - kept <= LOST
        numbers = f"{shown:8.1%} {left:8.1%} {right:8.1%} {kept:8.1%}"
        yield f"{name:46} {kind:7} {numbers}  {'reached' if good else ''}".rstrip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--rule", action="append", help=f"as in a recipe; default: {', '.join(RULES)}")
    parser.add_argument("--questions", type=int, default=24, help="of each kind at most")
    parser.add_argument("--each", type=int, default=16, help="images of each question")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--kinds", action="store_true", help="show the kinds of questions one by one")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    model = model_at(chosen.model)
    model, pipe = replace(model, sampler=replace(model.sampler, guidance=())), pipe_of(model)
    data = Shapes(pipe.size[0], count=1)
    every, random = list(questions(data.checker.difficulty)), Random(0)
    kinds = {kind: [each for each in every if each.kind == kind] for kind in dict.fromkeys(each.kind for each in every)}
    asked = [each for some in kinds.values() for each in random.sample(some, min(len(some), chosen.questions))]
    sheet = Sheet(asked, chosen.each, pipe, chosen.steps, data)
    before = sheet.shares(model, None)
    print(f"{len(asked)} questions, {chosen.each} images each, {chosen.steps} steps")
    print(f"{'rule':38} {'wording':7} {'about':7} {'unwanted':>8} {'then':>8} {'right':>8} {'then':>8}")
    for words, wording in product(chosen.rule or RULES, ("bare", "whole")):
        after = sheet.shares(model.under(rule_of(words)), wording)
        for line in list(lines(sheet, before, after, f"{words:38} {wording}"))[0 if chosen.kinds else -1 :]:
            print(line, flush=True)


if __name__ == "__main__":
    main()
