"""Every document that shows results, written from ``results.json`` alone, so that no number can go stale."""

import json
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from fewstep.errors import DataError, nearest
from fewstep.evaluate.families import family_curves
from fewstep.evaluate.results import REAL, TEACHER, Result, full, read_results
from fewstep.files import write_whole
from fewstep.jobs.advice import Advice, advice_page, read_advice
from fewstep.jobs.listing import teacher_of
from fewstep.jobs.pages import by_recipe, plot_of, readme_table, results_page
from fewstep.recipes import Recipe, load_recipe, paper_names

__all__ = ["RESULTS", "measured", "publish", "remarks", "with_block"]

RESULTS, REMARKS, ADVICE = "results.json", "remarks.yaml", "choose.yaml"
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
MEASURED = Path("src/fewstep/recipes/measured.json")


def publish(docs: Path) -> list[Path]:
    """Write what is made from ``docs/results.json`` and return the paths.

    Always ``results.md`` and the plots; ``choose.md`` where there is a ``choose.yaml``; and in a clone of fewstep, the
    folder above ``docs``, the marked block of ``README.md`` and the package's ``measured.json``.
    Raises ``DataError`` when a file cannot be read.
    """
    results = read_results(docs / RESULTS)
    recipes = {name: load_recipe(name) for name in paper_names()}
    texts = {docs / "results.md": results_page(results, recipes, remarks(docs))}
    advice: list[Advice] = read_advice(docs / ADVICE)
    if advice:
        texts[docs / "choose.md"] = advice_page(advice, results, recipes)
    root = docs.resolve().parent
    readme = root / "README.md"
    if readme.is_file() and BEGIN in readme.read_text(encoding="utf-8"):
        texts[readme] = with_block(readme.read_text(encoding="utf-8"), readme_table(results, recipes))
    if (root / MEASURED.parent).is_dir():
        texts[root / MEASURED] = json.dumps(measured(results), indent=1) + "\n"
    for path, text in texts.items():
        write_whole(path, text.encode())
    return [*texts, *_plots(docs, results, recipes)]


def with_block(text: str, block: str) -> str:
    """Return a text with another content between its marks."""
    before, _, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise DataError(f"A document has {BEGIN} but no {END} after it. Put the mark back where the table ends.")
    return f"{before}{BEGIN}\n\n{block}\n{END}{after}"


def remarks(docs: Path) -> Mapping[str, str]:
    """Return the sentences of ``remarks.yaml`` by recipe; none when there is no file.

    Raises ``DataError`` for a name that is no recipe.
    """
    path = docs / REMARKS
    try:
        found: Any = (YAML(typ="safe").load(path) if path.is_file() else None) or {}
        said = {str(name): " ".join(str(text).split()) for name, text in found.items()}
    except (YAMLError, AttributeError) as error:
        raise DataError(f"{path} is no mapping of recipes to sentences: {error}. Mend or remove it.") from error
    for name in said:
        if name not in paper_names():
            raise DataError(f"{path} has a remark on {name!r}, which is no recipe; {nearest(name, paper_names())}")
    return said


def measured(results: Sequence[Result]) -> dict[str, dict[str, Any]]:
    """Return what ``fewstep recipes`` reads: by data and recipe, the distances by calls, seconds, the teacher's."""
    table: dict[str, dict[str, Any]] = {}
    for data in dict.fromkeys(line.data for line in results):
        lines = [line for line in results if line.data == data]
        teacher = full(lines).frechet
        for name, found in by_recipe(lines).items():
            if name != REAL:
                table.setdefault(data, {})[teacher_of(data) if name == TEACHER else name] = {
                    "frechet": {str(line.calls): line.frechet for line in found},
                    "spread": {str(line.calls): line.spread for line in found},
                    "seconds": found[0].train_seconds,
                    "teacher": teacher,
                }
    return table


def _plots(docs: Path, results: Sequence[Result], recipes: Mapping[str, Recipe]) -> list[Path]:
    """Draw the plot of each data set that has a recipe."""
    families, written = {name: recipe.family for name, recipe in recipes.items()}, []
    for data in dict.fromkeys(line.data for line in results):
        lines = [line for line in results if line.data == data]
        if set(by_recipe(lines)) - {REAL, TEACHER}:
            drawn = BytesIO()
            family_curves(lines, families, drawn)
            written.append(docs / plot_of(data))
            write_whole(written[-1], drawn.getvalue())
    return written
