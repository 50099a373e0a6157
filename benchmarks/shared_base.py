"""What learners on one frozen base cost beside three whole networks: memory and time, as ratios within one run.

    python benchmarks/shared_base.py [--width 512] [--depth 8] [--rank 16] [--rounds 3] [--steps 2] [--average]

Distribution matching with a DiT: teacher, student and fake score.  Each variant runs in a fresh process, in changing
order; what is printed are medians.  Weights count every storage once; the peak is that of the process less that of one
which has only imported and built the teacher (on a GPU: of what torch has allocated); a step is a turn of both
learners, in seconds of the processor (on a GPU: of the clock).  Target: at most 1.25 times the weights of one network.
"""

import argparse
import gc
import json
import resource
import statistics
import subprocess
import sys
import time

import peft  # noqa: F401 - in every process, so that its import is no part of a difference
import torch
from accelerate import Accelerator
from torch import nn

from fewstep import EDM, Denoiser, ManyStep, Model, load_recipe, train
from fewstep.batch import Batch
from fewstep.networks import DiT
from fewstep.recipes import assemble
from fewstep.times import Karras

SHAPE, CLASSES = (3, 16, 16), 10
PLAIN = ("learners.student.lora=null", "learners.fake_score.lora=null")
VARIANTS = {
    "teacher only": None,
    "three networks": PLAIN,
    "shared base": (),
    "shared base, bfloat16": ("base=bfloat16",),
    "shared base, int8": ("base=int8",),
}
CUDA = torch.cuda.is_available()


def teacher(width: int, depth: int) -> Model:
    torch.manual_seed(0)
    settings = {"channels": SHAPE[0], "classes": CLASSES, "width": width, "depth": depth}
    view = Denoiser(DiT(**settings).requires_grad_(False).eval(), EDM(sigma_data=0.5))
    return Model(view, ManyStep(Karras()), SHAPE, tuple(map(str, range(CLASSES))), {"dit": settings})


def stored(nets: list[nn.Module]) -> int:
    """Return the bytes of all parameters, each storage once."""
    parts = [p.untyped_storage() for net in nets for p in net.parameters()]
    return sum({part.data_ptr(): part.nbytes() for part in parts}.values())


def peak() -> int:
    return torch.cuda.max_memory_allocated() if CUDA else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def clock() -> float:
    if CUDA:
        torch.cuda.synchronize()
    return time.perf_counter() if CUDA else time.process_time()


def measure(variant: str, given: argparse.Namespace) -> dict[str, float]:
    """Train for a few steps; return bytes and seconds."""
    model = teacher(given.width, given.depth)
    one, batch = stored([model.view.net]), Batch(torch.randn(given.batch, *SHAPE), torch.arange(given.batch) % CLASSES)
    chosen = VARIANTS[variant]
    if chosen is None:
        return {"weights": one, "one": one, "peak": peak(), "seconds": 0.0}
    rank = (
        ()
        if chosen is PLAIN
        else tuple(f"learners.{name}.lora.rank={given.rank}" for name in ("student", "fake_score"))
    )
    short = ("learners.student.objective=[{distribution_matching: {}}]", "learners.student.every=1", "pairs=null")
    ema = () if given.average else ("learners.student.averages={}", "keep=''")
    recipe = load_recipe("dmd2-lora", [*short, *ema, "learners.fake_score.after=0", f"steps={10**6}", *rank, *chosen])
    assembly = assemble(recipe, batch, CLASSES, model, 0)
    training, beside = assembly.training, list(assembly.beside)
    del model, assembly  # a teacher in fewer bits is all that stays
    gc.collect()
    accelerator = Accelerator(cpu=not CUDA)
    for net in beside:
        net.to(accelerator.device)
    training.prepare(accelerator)
    nets = [
        net for each in training.learners.values() for net in (each.bare, *(f.net for f in each.followers.values()))
    ]
    seconds: list[float] = []
    began = clock()
    for report in train(training, iter(lambda: batch, None), accelerator):
        if report.learner == "fake_score":
            seconds.append(clock() - began)
            began = clock()
            if len(seconds) > given.steps:
                break
    return {"weights": stored([*beside, *nets]), "one": one, "peak": peak(), "seconds": statistics.median(seconds[1:])}


def apart(variant: str) -> dict[str, float]:
    """Measure a variant in a fresh process, told what this one was told."""
    command = [sys.executable, __file__, *sys.argv[1:], "--only", variant]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {
        "width": 512,
        "depth": 8,
        "rank": 16,
        "batch": 4,
        "steps": 2,
        "rounds": 3,
        "threads": 2,
    }.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--average", action="store_true", help="with an average of the student")
    parser.add_argument("--only", choices=VARIANTS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.only:
        print(json.dumps(measure(given.only, given)))
        return
    found: dict[str, list[dict[str, float]]] = {variant: [] for variant in VARIANTS}
    for number in range(given.rounds):
        for variant in list(VARIANTS)[:: 1 if number % 2 else -1]:
            found[variant].append(apart(variant))
    value = {(v, key): statistics.median(each[key] for each in runs) for v, runs in found.items() for key in runs[0]}
    one, floor = value["teacher only", "one"], value["teacher only", "peak"]
    whole = {key: value["three networks", key] - (floor if key == "peak" else 0) for key in ("peak", "seconds")}
    print(
        f"one network: {one / 4e6:.1f} million weights, {one / 2**20:.0f} MiB; rank {given.rank}, batch {given.batch}"
    )
    print(f"{'':24}{'weights / one':>14}{'peak beyond the teacher':>26}{'step':>20}")
    for variant in list(VARIANTS)[1:]:
        more, seconds = value[variant, "peak"] - floor, value[variant, "seconds"]
        beyond, pace = f"{more / 2**20:.0f} MiB ({more / whole['peak']:.2f})", seconds / whole["seconds"]
        weights = value[variant, "weights"] / one
        print(f"{variant:24}{weights:14.3f}{beyond:>26}{f'{seconds:.2f} s ({pace:.2f})':>20}")


if __name__ == "__main__":
    main()
