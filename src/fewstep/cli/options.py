"""What commands can be told, by type: arguments and options that several of them share or that are long to say."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "Channels",
    "Config",
    "Control",
    "Counts",
    "Data",
    "Dial",
    "DistilRecipe",
    "Docs",
    "Dtype",
    "Family",
    "First",
    "Folder",
    "Guidance",
    "Like",
    "Mask",
    "Memory",
    "OtherData",
    "Out",
    "Prompts",
    "Quiet",
    "Rank",
    "RecipeOption",
    "Resolution",
    "Revision",
    "Samples",
    "Scale",
    "Seed",
    "Settings",
    "Side",
    "Size",
    "Source",
    "Start",
    "Steps",
    "Style",
    "Teacher",
    "Tensorboard",
    "Until",
    "Variant",
]

Folder = Annotated[Path, typer.Argument(metavar="MODEL", help="Folder of a trained model.", show_default=False)]
Out = Annotated[Path, typer.Option(metavar="FOLDER", help="A folder; given again, the run continues.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Change a value of the recipe; may be repeated."),
]
Seed = Annotated[int, typer.Option(min=0, metavar="N", help="Seed of weights, data order and noise.")]
Tensorboard = Annotated[bool, typer.Option("--tensorboard", help="Write the numbers for TensorBoard too.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress bars.")]
Size = Annotated[int | None, typer.Option(min=1, metavar="N", help="Side of the images; default: the most common one.")]
Channels = Annotated[int | None, typer.Option(min=1, max=3, metavar="N", help="1 grey, 3 colour; for folders: 3.")]
Steps = Annotated[int | None, typer.Option(min=1, metavar="N", help="Steps per image; default: the first made for.")]
Counts = Annotated[
    list[int] | None, typer.Option("--steps", min=1, metavar="N", help="May be repeated; default: all it is made for.")
]
Dial = Annotated[int | None, typer.Option(min=1, metavar="N", help="Most steps; default: the recipe's.")]
RecipeOption = Annotated[str, typer.Option(metavar="RECIPE", help="Name, or path of a .yaml file.")]
OtherData = Annotated[
    str | None, typer.Option("--data", metavar="DATA", help="As for train; default: the data it learned from.")
]
Samples = Annotated[int | None, typer.Option(min=8, metavar="N", help="Images per row; default: as many as real ones.")]
Teacher = Annotated[
    str, typer.Argument(metavar="TEACHER", help="Folder of a teacher, or a diffusers pipeline.", show_default=False)
]
DistilRecipe = Annotated[
    str | None,
    typer.Option(metavar="RECIPE", help="Name, or path of a .yaml; default: dmd2-no-gan, for pipelines dmd2-text."),
]
Family = Annotated[
    str | None,
    typer.Option(metavar="FAMILY", help="A small diffusers pipeline of captioned shapes: sd, pixart, sd3, flux."),
]
Rank = Annotated[int | None, typer.Option(min=1, metavar="RANK", help="Learn an adapter of this rank only.")]
Side = Annotated[int | None, typer.Option(min=1, metavar="N", help="Pixels a side, for a pipeline.")]
Style = Annotated[
    list[Path] | None, typer.Option(metavar="LORA[:WEIGHT]", help="A LoRA on top, weight 1; may be repeated.")
]
Variant = Annotated[str | None, typer.Option(metavar="NAME", help="Of the pipeline's weights, such as fp16.")]
Revision = Annotated[str | None, typer.Option(metavar="NAME", help="On the hub: a branch, tag or commit.")]
Config = Annotated[Path | None, typer.Option(metavar="FOLDER", help="Configurations for a checkpoint in one file.")]
Scale = Annotated[float | None, typer.Option(min=0, metavar="W", help="Its guidance scale; default: its own.")]
Guidance = Annotated[
    float | None, typer.Option(min=0, metavar="W", help="Guidance scale, where one is taken; default: the model's own.")
]
Start = Annotated[Path | None, typer.Option(metavar="LORA[:WEIGHT]", help="A few-step LoRA to begin with.")]
Dtype = Annotated[str | None, typer.Option(metavar="TYPE", help="Of encoders: float32, bfloat16, float16.")]
First = Annotated[str | None, typer.Option(metavar="CLASS", help="As --label, but asked for alone in the first steps.")]
Until = Annotated[
    float | None, typer.Option(min=0, max=1, metavar="SHARE", help="Of the steps, for --first; default: 0.25.")
]
Control = Annotated[Path | None, typer.Option(metavar="FILE", help="The image that a ControlNet is shown.")]
Mask = Annotated[Path | None, typer.Option(metavar="FILE", help="White where something is to be filled in.")]
Source = Annotated[Path | None, typer.Option(metavar="FILE", help="The image that is to be edited or filled in.")]
Like = Annotated[str | None, typer.Option(metavar="NAME", help="Whose --start is, such as lcm, tcd, dmd2.")]
Prompts = Annotated[
    list[str] | None, typer.Option("--prompt", metavar="TEXT", help="To draw as proof; may be repeated.")
]
Data = Annotated[
    str, typer.Option("--data", metavar="DATA", help="digits, shapes, notes, or another name or a folder of images.")
]
Resolution = Annotated[str | None, typer.Option(metavar="WxH", help="Pixels of an image; default: the teacher's.")]
Memory = Annotated[float | None, typer.Option(min=0, metavar="GB", help="Of a device; default: what this one has.")]
Docs = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="Where results go; default: docs, with --quick OUT/docs.")
]
