"""How often a pipeline, or a student of one, draws what captions of shapes say, by the number of objects.

    python benchmarks/text.py MODEL [--steps 4 2 1] [--asked 300] [--guidance W] [--threads 1]

MODEL is a run folder of a pipeline's student, or a diffusers folder that learned the shapes.  The captions are of
another seed of the corpus; those "held out" say a colour of a shape that no image has shown.  An image is right when
the checker finds everything right that its caption says.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch

import fewstep as fs
from fewstep.interop import is_pipeline, open_pipe
from fewstep.jobs.models import model_at, pipe_of
from fewstep.jobs.pocket import share_right
from fewstep.sampling import FewStep


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--steps", type=int, nargs="+")
    parser.add_argument("--asked", type=int, default=300, help="captions of each kind")
    parser.add_argument("--guidance", type=float, help="of a pipeline")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    pipeline = is_pipeline(given.model)
    model = open_pipe(given.model).model(None, given.guidance) if pipeline else model_at(given.model)
    pipe, data = pipe_of(model), fs.open_data("shapes", model.facts["size"][0])
    for steps in given.steps or model.sampler.made_for:
        few = isinstance(model.sampler, FewStep)
        asked = replace(model, sampler=replace(model.sampler, steps=(steps,) if few else steps))
        shares = share_right(pipe, asked, data, given.asked)
        said = ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
        print(f"{steps} steps, {asked.calls()} calls: {said}", flush=True)


if __name__ == "__main__":
    main()
