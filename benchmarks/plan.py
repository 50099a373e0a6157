"""Whether `fewstep plan` is right: its memory and hours against short distillations, as ratios within one run.

    python benchmarks/plan.py [--rounds 3] [--threads 2] [--cases dmd2,cd] [--shared]

Each round plans a distillation and then runs it, both in fresh processes, one after the other, so that a machine whose
speed drifts does not matter.  Memory is the most that the process ever had (on an accelerator: that was allocated);
the median of the ratios of seconds is printed.  Target: both within 20 %.  With ``--shared``, for a machine that others
use too, the seconds are those of the processor, which only mean something with one thread.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

TEACHER = ("steps=20", "looks=1", "judged=64")  # how good it is makes no difference

BEFORE = ("begins.steps=4", "begins.looks=1", "begins.judged=64", "pairs.count=256", "pairs.shard=256")


@dataclass(frozen=True)
class Case:
    """A recipe with settings that make it short; a large batch shows the memory of updates, a small one the time."""

    recipe: str
    settings: tuple[str, ...]


CASES = {
    "dmd2": Case("dmd2", ("steps=60", "looks=2", "judged=128")),
    "cd": Case("cd", ("steps=60", "looks=2", "judged=128")),
    "kd": Case("kd", ("steps=60", "looks=2", "judged=128", "pairs.count=1024", "pairs.shard=512")),
    "cd-large": Case("cd", ("steps=16", "looks=1", "judged=64", "batch=512")),
    "f-distill-large": Case("f-distill", ("steps=4", "looks=1", "judged=64", "batch=256")),
    "nitrofusion-large": Case("nitrofusion", ("steps=4", "looks=1", "judged=64", "batch=256", *BEFORE)),
    "dmd2-large": Case("dmd2", ("steps=8", "looks=1", "judged=64", "batch=512")),
}

BEGIN = """
import json, resource, sys, time, torch
torch.set_num_threads(abs(int(sys.argv[1])))
if int(sys.argv[1]) < 0:
    time.perf_counter = time.process_time
import fewstep as fs
from fewstep.recipes import load_recipe
recipe, teacher, out, settings = sys.argv[2], fs.load_model(sys.argv[3]), sys.argv[4], sys.argv[5:]
data = fs.Digits()
"""
PLAN = """
from fewstep.jobs.ask import Ask, resized
from fewstep.jobs.plan import plan
loaded = load_recipe(recipe, settings)
example = resized(data.batch([i * len(data) // 64 for i in range(64)]), teacher.shape, loaded.pairs)
found = plan(Ask(loaded, teacher, example, len(data), fs.judge_for(data), seconds=20))
print(json.dumps({"bytes": found.memory.peak, "seconds": 3600 * found.pace.hours}))
"""
RUN = """
student = fs.distill(teacher, data, fs.Options(out, settings=settings, show=False), recipe)
cuda, most = torch.cuda.is_available(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
most = torch.cuda.max_memory_allocated() if cuda else most * (1 if sys.platform == "darwin" else 1024)
facts = student.facts
print(json.dumps({"bytes": most, "seconds": facts["training seconds"] + facts["pair seconds"]}))
"""


def fresh(code: str, *words: object) -> dict[str, float]:
    """Run code in a process of its own and return what it printed last."""
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + code, *map(str, words)], check=True, capture_output=True, text=True
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare(name: str, case: Case, teacher: Path, rounds: int, threads: int) -> None:
    """Print what was planned and what was, with the ratio."""
    memory, seconds = [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as out:
            words = (threads, case.recipe, teacher, Path(out) / "student", *case.settings)
            planned, real = fresh(PLAN, *words), fresh(RUN, *words)
        memory.append((planned["bytes"] / real["bytes"], planned["bytes"], real["bytes"]))
        seconds.append((planned["seconds"] / real["seconds"], planned["seconds"], real["seconds"]))
    ratio, there, was = statistics.median_low(memory)
    print(f"{name}: memory {ratio:.2f} of the real one ({there / 1e6:.0f} MB planned, {was / 1e6:.0f} MB real)")
    ratio, there, was = statistics.median_low(seconds)
    spread = f"{min(seconds)[0]:.2f} to {max(seconds)[0]:.2f}"
    print(f"{name}: time {ratio:.2f} of the real one ({there:.1f} s planned, {was:.1f} s real; {spread})", flush=True)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--cases", default=",".join(CASES))
    options.add_argument("--shared", action="store_true")
    chosen = options.parse_args()
    threads = -1 if chosen.shared else chosen.threads  # the sign tells the processes which clock is meant
    with tempfile.TemporaryDirectory() as folder:
        code = f"fs.train_teacher(data, fs.Options(out, settings={list(TEACHER)!r}, show=False))\nprint('{{}}')"
        begin = BEGIN.replace("fs.load_model(sys.argv[3])", "None")
        words = [sys.executable, "-c", begin + code, str(threads), "edm", "", str(Path(folder) / "teacher")]
        subprocess.run(words, check=True, capture_output=True)
        for name in chosen.cases.split(","):
            compare(name, CASES[name], Path(folder) / "teacher", chosen.rounds, threads)


if __name__ == "__main__":
    main()
