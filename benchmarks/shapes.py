"""How often the checker of shapes is right about real images, and about captions that are wrong in one part.

    python benchmarks/shapes.py [--count 1000] [--threads 1]

For each size and difficulty: the share of images of which everything, said or not, is seen as it was drawn; the same
blurred (weights 1, 2, 1), with noise (deviation 0.05 of black to white) and with colours 20 % paler; the share of
descriptions wrong in one part that are found wrong; images drawn and looked at per second.
"""

import argparse
import time
from collections.abc import Callable
from random import Random

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from fewstep.data.shapes import DIFFICULTIES, Difficulty, Meaning, Shapes, altered, verdict
from fewstep.data.shapes.compose import compose
from fewstep.data.shapes.render import render

SIZES = (16, 32, 64, 128, 256)


def blurred(x: Tensor) -> Tensor:
    kernel = torch.outer(*2 * [torch.tensor([0.25, 0.5, 0.25])]).expand(3, 1, 3, 3)
    return conv2d(pad(x, (1, 1, 1, 1), mode="replicate"), kernel, groups=3)


def noisy(x: Tensor) -> Tensor:
    return x + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))


SPOILT: dict[str, Callable[[Tensor], Tensor]] = {
    "clean": lambda x: x,
    "blurred": blurred,
    "noisy": noisy,
    "pale": lambda x: x.mean(1, keepdim=True).lerp(x, 0.8),
}


def row(size: int, kind: Difficulty, count: int) -> list[str]:
    """Measure one kind of images."""
    scenes = [compose(Random(seed), kind, size) for seed in range(count)]
    wanted = [Meaning(tuple(sorted(each.thing for each in scene.objects))) for scene in scenes]
    start = time.process_time()
    x = torch.cat([render(scenes[i : i + 256], size) for i in range(0, count, 256)])
    drawn, checker = time.process_time() - start, Shapes(size, kind.name).checker
    start = time.process_time()
    shares = [sum(each.right for each in checker.verdicts(spoil(x), wanted)) / count for spoil in SPOILT.values()]
    looked, seen = (time.process_time() - start) / len(SPOILT), checker.look(x)
    wrong = [
        bool(verdict(other, image).wrong)
        for meaning, image in zip(wanted, seen, strict=True)
        for _, other in altered(meaning, kind)
    ]
    shares.append(sum(wrong) / len(wrong))
    return [f"{share:.2%}" for share in shares] + [f"{count / drawn:,.0f}", f"{count / looked:,.0f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=1)
    wanted = parser.parse_args()
    torch.set_num_threads(wanted.threads)
    titles = ["size", "difficulty", *SPOILT, "false found", "drawn / s", "looked / s"]
    print("| " + " | ".join(titles) + " |\n|" + "---:|" * len(titles))
    for size in SIZES:
        for kind in DIFFICULTIES:
            if kind.smallest <= size:
                print(f"| {size} | {kind.name} | " + " | ".join(row(size, kind, wanted.count)) + " |", flush=True)


if __name__ == "__main__":
    main()
