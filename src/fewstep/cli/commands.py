"""What can be typed.  The commands import what they need when they run, so that this file stays light."""

from pathlib import Path
from typing import Annotated

import typer

from fewstep.cli import options as told
from fewstep.cli.app import app
from fewstep.cli.words import answered, cache_folder

__all__ = ["app"]


@app.command()
@answered
def train(
    data: told.Data,
    out: told.Out,
    recipe: told.RecipeOption = "edm",
    family: told.Family = None,
    size: told.Size = None,
    channels: told.Channels = None,
    seed: told.Seed = 0,
    settings: told.Settings = None,
    tensorboard: told.Tensorboard = False,
    quiet: told.Quiet = False,
) -> None:
    """Train a teacher from data."""
    from fewstep.cli import pocketing, training

    order = training.Order(recipe, out, seed, settings or (), quiet, tensorboard)
    if family is None:
        training.train(order, data, size, channels)
    else:
        pocketing.train_family(order, family, data, size, channels)


@app.command()
@answered
def distill(
    teacher: told.Teacher,
    out: told.Out,
    data: told.OtherData = None,
    steps: told.Dial = None,
    recipe: told.DistilRecipe = None,
    lora: told.Rank = None,
    size: told.Side = None,
    style: told.Style = None,
    guidance: told.Scale = None,
    start: told.Start = None,
    like: told.Like = None,
    config: told.Config = None,
    dtype: told.Dtype = None,
    variant: told.Variant = None,
    revision: told.Revision = None,
    seed: told.Seed = 0,
    settings: told.Settings = None,
    tensorboard: told.Tensorboard = False,
    quiet: told.Quiet = False,
) -> None:
    """Distil a teacher into a few-step student."""
    from fewstep.cli import training

    asked = training.Asked(teacher, size, tuple(style or ()), guidance, start, like, config, dtype, variant, revision)
    order = training.Order(recipe or training.best_for(teacher), out, seed, settings or (), quiet, tensorboard)
    training.distill(order, asked, data, steps, lora)


@app.command()
@answered
def plan(
    teacher: told.Teacher,
    steps: told.Dial = None,
    recipe: told.DistilRecipe = None,
    lora: told.Rank = None,
    resolution: told.Resolution = None,
    size: told.Side = None,
    style: told.Style = None,
    guidance: told.Scale = None,
    start: told.Start = None,
    like: told.Like = None,
    config: told.Config = None,
    variant: told.Variant = None,
    revision: told.Revision = None,
    devices: Annotated[int, typer.Option(min=1, metavar="N", help="How many train together.")] = 1,
    memory: told.Memory = None,
    settings: told.Settings = None,
) -> None:
    """Say what a distillation will take: memory, calls, hours."""
    from fewstep.cli import planning, training

    asked = training.Asked(teacher, size, tuple(style or ()), guidance, start, like, config, None, variant, revision)
    order = training.Order(recipe or training.best_for(teacher), Path(), 0, settings or (), quiet=False)
    target, machine = planning.Target(steps, resolution, lora), planning.Machine(devices, memory)
    planning.print_plan(order, asked, target, machine)


@app.command()
@answered
def watch(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Folders of runs.", show_default=False)],
    once: Annotated[bool, typer.Option("--once", help="Show how it is now, and end.")] = False,
    every: Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="How often to look.")] = 2.0,
) -> None:
    """Show how runs go, live."""
    from fewstep.cli import watching

    watching.watch(runs, once, every)


@app.command()
@answered
def sample(
    model: told.Folder,
    steps: told.Steps = None,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Of the first image; the next ones count up.")] = 0,
    count: Annotated[int, typer.Option(min=1, metavar="N", help="Images; several become a grid.")] = 1,
    label: Annotated[
        str | None, typer.Option(metavar="CLASS", help="Name, number or caption; default: all in turn.")
    ] = None,
    negative: Annotated[str | None, typer.Option(metavar="CLASS", help="Likewise, to stay away from.")] = None,
    nag: Annotated[
        float | None, typer.Option(min=0, metavar="SCALE", help="How far away, in the attention of a pipeline, say 4.")
    ] = None,
    first: told.First = None,
    until: told.Until = None,
    guidance: told.Guidance = None,
    control: told.Control = None,
    mask: told.Mask = None,
    source: told.Source = None,
    variant: told.Variant = None,
    revision: told.Revision = None,
    scale: Annotated[int | None, typer.Option(min=1, metavar="N", help="Enlarge pixels so many times.")] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A .png, or .wav for sounds; default: out.png, out.wav.")
    ] = None,
) -> None:
    """Draw images from a model."""
    from fewstep.cli import sampling
    from fewstep.interop.which import Which

    given = {"control": control, "mask": mask, "source": source}
    images, which = {name: path for name, path in given.items() if path is not None}, Which(variant, revision)
    request = sampling.Request(seed, count, label, steps, negative, nag, first, until, guidance, images, which)
    sampling.sample(model, request, out, scale)


@app.command()
@answered
def evaluate(
    model: told.Folder,
    against: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Another model to judge beside it.")] = None,
    data: told.OtherData = None,
    steps: told.Counts = None,
    samples: told.Samples = None,
    guidance: told.Guidance = None,
    features: Annotated[str | None, typer.Option(metavar="MODULE:ATTR", help="Your own feature network.")] = None,
    variant: told.Variant = None,
    revision: told.Revision = None,
    quiet: told.Quiet = False,
) -> None:
    """Judge a model against real data."""
    from fewstep.cli import measuring

    how = measuring.comparison(data, samples, not quiet, guidance, variant, revision)
    measuring.evaluate_model(model, against, steps or (), how, features)


@app.command()
@answered
def compare(
    models: Annotated[list[Path], typer.Argument(metavar="MODELS", help="Folders of models.", show_default=False)],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where table and pictures go.")] = Path("compare"),
    data: told.OtherData = None,
    samples: told.Samples = None,
    guidance: told.Guidance = None,
    quiet: told.Quiet = False,
) -> None:
    """Set models side by side in a table and a picture."""
    from fewstep.cli import measuring

    measuring.compare_models(models, out, measuring.comparison(data, samples, not quiet, guidance))


@app.command()
@answered
def merge(
    first: Annotated[Path, typer.Argument(metavar="FIRST", help="Folder of a model.", show_default=False)],
    second: Annotated[Path, typer.Argument(metavar="SECOND", help="Folder of another one.", show_default=False)],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the model goes.")],
    weight: Annotated[float, typer.Option(metavar="W", help="Share of the second one: 0 to 1.")] = 0.5,
) -> None:
    """Make one model of two by weighing their weights."""
    from fewstep.cli import merging

    merging.merge_models(first, second, weight, out)


@app.command()
@answered
def export(
    run: told.Folder,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Where the export goes.", show_default=False)],
    form: Annotated[str, typer.Option(metavar="FORM", help="lora, folder (a whole pipeline) or kohya.")] = "lora",
    steps: told.Counts = None,
    prompt: told.Prompts = None,
    proven: Annotated[bool, typer.Option("--verify/--no-verify", help="Prove it with stock diffusers.")] = True,
) -> None:
    """Write a pipeline's student as files that other tools load."""
    from fewstep.cli import exporting

    exporting.export_run(run, out, form, steps or (), prompt or (), proven)


@app.command()
@answered
def verify(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What fewstep export wrote.", show_default=False)],
    base: Annotated[str | None, typer.Option(metavar="PLACE", help="Of a LoRA's base, if it was moved.")] = None,
) -> None:
    """Prove an export again: stock diffusers draws what the student drew."""
    from fewstep.cli import exporting

    exporting.verify_folder(folder, base)


@app.command()
@answered
def recipes(
    family: Annotated[str, typer.Option(metavar="FAMILY", help="Only these; default: all of them.")] = "",
) -> None:
    """List the recipes, with what each one reached."""
    from fewstep.cli import knowing

    knowing.print_recipes(family)


@app.command()
@answered
def bench(
    data: Annotated[str, typer.Argument(metavar="DATA", help="What to train on: digits.", show_default=False)],
    recipes: Annotated[str, typer.Option(metavar="NAMES", help="all, or names with commas between.")] = "all",
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the runs go.")] = Path("runs/bench"),
    seeds: Annotated[int, typer.Option(metavar="N", help="Runs of each recipe, with seeds from 0 on.")] = 3,
    docs: told.Docs = None,
    quick: Annotated[bool, typer.Option("--quick", help="A few updates only, to see that it works.")] = False,
    quiet: told.Quiet = False,
) -> None:
    """Run and measure the recipes; write the results."""
    from fewstep.cli import measuring
    from fewstep.cli.words import typed
    from fewstep.jobs.bench import Bench

    names = tuple(name.strip() for name in recipes.split(",") if name.strip())
    place = docs or (out / "docs" if quick else Path("docs"))
    measuring.bench_recipes(Bench(data, names, out, seeds, place, quick, not quiet, cache_folder(), typed()))


@app.command()
@answered
def cite(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="Name, or path of a .yaml file.", show_default=False)],
) -> None:
    """Print the BibTeX of all that a recipe uses."""
    from fewstep.cli import knowing

    knowing.print_sources(recipe)


@app.command()
@answered
def check(
    what: Annotated[str, typer.Argument(metavar="RECIPE|DATA|RUN", help="What to look at.", show_default=False)],
    size: told.Size = None,
    channels: told.Channels = None,
) -> None:
    """Say what a recipe, data or a run amount to."""
    from fewstep.cli import knowing

    knowing.print_check(what, size, channels)


@app.command()
@answered
def demo(
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where everything goes.")] = Path("runs/demo"),
    quick: Annotated[bool, typer.Option("--quick", help="A few updates only, to see that it works.")] = False,
) -> None:
    """Do it all on digits: train, distil, judge, report."""
    from rich.console import Console

    from fewstep.evaluate import rich_table
    from fewstep.jobs.demo import demo as run

    Console(highlight=False).print(rich_table(run(out, quick)))
    typer.echo(f"\nThe report is {out / 'report.html'}.")
