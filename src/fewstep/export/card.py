"""The model card of an export: front matter, pictures, how to load it, the measured table, and what was checked."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from fewstep.evaluate import Row, grid, markdown
from fewstep.export.comfy import comfy
from fewstep.export.proof import GLOBAL, Proof
from fewstep.files import write_whole

__all__ = ["Card", "front_matter_of"]

TAGS = {"sd": "stable-diffusion", "sdxl": "stable-diffusion-xl", "sd3": "sd3", "flux": "flux"}
TITLES = {"sd": "Stable Diffusion", "sdxl": "Stable Diffusion XL", "sd3": "Stable Diffusion 3", "flux": "Flux"}
TITLES |= {"pixart": "PixArt", "sana": "Sana", "dit": "DiT", "unconditional": "An unconditional diffusion model"}
LISTS = ("sigmas", "timesteps")
SHOWN = 4  # pictures
HUB = re.compile(r"[\w.-]+/[\w.-]+")  # an id of the Hub: owner/name


@dataclass(frozen=True, eq=False)
class Card:
    """What a card is written from: the export's name, its ``few_step.json``, its proof, measured rows."""

    name: str
    few: Mapping[str, Any]
    proof: Proof
    rows: Sequence[Row] = ()

    def write(self, folder: Path) -> None:
        """Write ``README.md`` and its pictures."""
        pictures = self._pictures(folder)
        environment = Environment(
            loader=PackageLoader("fewstep.export"),
            autoescape=False,  # it is Markdown
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        text = environment.get_template("README.md.j2").render(**self._words(pictures))
        write_whole(folder / "README.md", re.sub(r"\n{3,}", "\n\n", text).encode())

    def _words(self, pictures: Sequence[Mapping[str, str]]) -> dict[str, Any]:
        """Return what the template names."""
        few, base = self.few, base_of(str(self.few["base_model"]))
        calls = {count: few["call"][str(count)] for count in few["num_steps"]}
        first = few["num_steps"][0]
        start = max(steps[0] for steps in few["sigmas"].values())
        lists = {name for name in LISTS for call in calls.values() if name in call}
        return {
            "name": self.name,
            "few": few,
            "front": self.front(pictures),
            "extra": list(self._extra),
            "family": TITLES[few["family"]],
            "counts": _steps(few["num_steps"]),
            "default": _steps([first]),
            "base": base or f"`{Path(few['base_model']).name}`",
            "place": base or few["base_model"],
            "which": which_of(few),
            "seed": self.proof.asked["seed"],
            "pictures": pictures,
            "gallery": few["form"] != "folder" and bool(pictures),
            "call": _python(self._drawn() | calls[first]),
            "told": {count: _python(call) for count, call in calls.items()},
            "explicit": min(lists, default=""),
            "global_noise": few["family"] in GLOBAL,
            "comfy": comfy(few),
            "request": self._request(calls[first]),
            "table": markdown(list(self.rows)) if self.rows else "",
            "shortfall": "" if start > 0.9999 else f"{start:.4f}",
            "licence": front_matter_of(few["base_model"]).get("license", "unknown"),
        }

    def front(self, pictures: Sequence[Mapping[str, str]]) -> str:
        """Return the front matter, YAML that the Hub reads."""
        few, theirs = self.few, front_matter_of(self.few["base_model"])
        base, adapter = base_of(str(few["base_model"])), few["form"] != "folder"
        task = "text-to-image" if "prompt" in self.proof.asked["inputs"] else "unconditional-image-generation"
        task = "image-to-image" if few["extra_inputs"] else task
        tags = [task, "diffusers", "distillation", "few-step", *(["lora", "template:sd-lora"] if adapter else [])]
        if few["family"] in TAGS:
            tags += [TAGS[few["family"]], f"{TAGS[few['family']]}-diffusers"]
        words: dict[str, Any] = {"license": theirs.get("license", "unknown"), "library_name": "diffusers"}
        words |= {key: theirs[key] for key in ("license_name", "license_link") if key in theirs}
        if base:
            words |= {"base_model": base, "base_model_relation": "adapter" if adapter else "finetune"}
        words |= {"pipeline_tag": task, "inference": True, "tags": tags}
        if pictures:
            words["widget"] = [{"text": each["text"], "output": {"url": each["url"]}} for each in pictures]
        if results := self._results(task):
            words["model-index"] = [{"name": self.name, "results": results}]
        return _yaml(words)

    def _results(self, task: str) -> list[dict[str, Any]]:
        """Return what was measured of the student itself, whose rows come last, as the Hub reads it."""
        own = [(row, _steps([row.steps or 0])) for row in self.rows if row.model == self.rows[-1].model]
        found = [
            {"type": kind, "value": value, "name": f"{title}, {steps}, {row.samples} images"}
            for row, steps in own
            for kind, title, value in (
                ("frechet", "Fréchet distance", row.frechet),
                ("accuracy", "right", row.accuracy),
            )
            if value is not None
        ]
        data = str(self.few["train"].get("data", "unknown"))
        return [{"task": {"type": task}, "dataset": {"name": data, "type": data}, "metrics": found}] if found else []

    def _pictures(self, folder: Path) -> list[dict[str, str]]:
        """Save the first images of the proof; say what they show."""
        images = self.proof.images[self.few["num_steps"][0]][:SHOWN].permute(0, 3, 1, 2) * 2 - 1
        inputs = self.proof.asked["inputs"]
        texts = inputs.get("prompt") or [f"class {label}" for label in inputs.get("class_labels", [])]
        found = []
        for i, image in enumerate(images):
            url = f"images/{i}.png"
            (folder / url).parent.mkdir(exist_ok=True)
            grid(image[None], folder / url, 1, 1)
            found.append({"text": str(texts[i]) if texts else "an image", "url": url})
        for name, given in self.proof.given.items():
            grid((given[:1].float() / 127.5 - 1).expand(-1, 3, -1, -1), folder / f"images/{name}.png", 1, 1)
        return found

    def _drawn(self) -> dict[str, Any]:
        """Return the first thing that the proof was asked to draw, and its generator."""
        inputs = self.proof.asked["inputs"]
        one = {"prompt": lambda v: v[0], "class_labels": lambda v: v[:1]}
        told = {key: one.get(key, lambda v: v)(value) for key, value in inputs.items() if key != "batch_size"}
        shown = {word: Code(f"load_image({f'{self.name}/images/{name}.png'!r})") for name, word in self._extra.items()}
        return told | shown | {"generator": Code("torch.manual_seed(0)")}

    @property
    def _extra(self) -> Mapping[str, str]:
        """The images that the pipeline is told besides the prompt, and what the stock call names them."""
        extra: Mapping[str, str] = self.few["extra_inputs"]
        return extra

    def _request(self, call: Mapping[str, Any]) -> str:
        """Return the JSON that a server is sent, empty where there is no prompt."""
        inputs, (width, height) = self.proof.asked["inputs"], self.few["resolutions"][0]
        if "prompt" not in inputs or self._extra:
            return ""
        words = {"model": self.name, "prompt": inputs["prompt"][0], "size": f"{width}x{height}", "seed": 0, **call}
        return json.dumps(words).replace("'", "\\u0027")  # it stands between single quotes


class Code(str):
    """Python that stands for itself."""

    def __repr__(self) -> str:
        return str(self)


def which_of(few: Mapping[str, Any]) -> str:
    """Return what follows the place of the base when it is opened; a variant in the precision of the student."""
    named = {name: few[f"base_{name}"] for name in ("variant", "revision") if few[f"base_{name}"]}
    told = "".join(f", {name}={json.dumps(value)}" for name, value in named.items())
    return told + (", dtype=torch.float32" if "variant" in named else "")


def base_of(place: str) -> str | None:
    """Return the Hub's id of a base, None where it is a folder that names none."""
    if not Path(place).exists():
        return place if HUB.fullmatch(place) else None
    index = Path(place) / "model_index.json"
    named = str(json.loads(index.read_text(encoding="utf-8")).get("_name_or_path", "")) if index.is_file() else ""
    return named if HUB.fullmatch(named) and not Path(named).exists() else None


def front_matter_of(place: str) -> Mapping[str, Any]:
    """Return the front matter of a folder's model card; nothing where there is none that can be read."""
    card = Path(place) / "README.md"
    if not card.is_file():
        return {}
    parts = card.read_text(encoding="utf-8").split("---\n")
    try:
        found = YAML(typ="safe").load(parts[1]) if len(parts) > 2 and not parts[0].strip() else {}
    except YAMLError:
        return {}
    return found if isinstance(found, dict) else {}


def _yaml(words: Mapping[str, Any]) -> str:
    out, yaml = StringIO(), YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = 4096
    yaml.dump(dict(words), out)
    return out.getvalue()


def _python(arguments: Mapping[str, Any]) -> str:
    """Return the arguments of a call."""
    return ", ".join(f"{name}={value!r}" for name, value in arguments.items())


def _steps(counts: Sequence[int]) -> str:
    listed = sorted(counts)
    words = f"{', '.join(map(str, listed[:-1]))} or {listed[-1]}" if len(listed) > 1 else str(listed[0])
    return f"{words} step{'s' * (listed != [1])}"
