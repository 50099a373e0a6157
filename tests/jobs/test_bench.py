"""The bench: what it runs, what it keeps, what it writes."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch

import fewstep as fs
from fewstep.errors import DataError, RecipeError, UnhealthyTraining
from fewstep.evaluate import Judge, Row
from fewstep.evaluate.results import Result, read_results, write_results
from fewstep.jobs import keep, listing, publish
from fewstep.jobs.advice import Advice, advice_page, read_advice
from fewstep.jobs.bench import Bench, Outcome, bench, steps_for
from fewstep.model import Model
from fewstep.networks import build_network, complete
from fewstep.recipes import Recipe, load_recipe, paper_names
from fewstep.sampling import FewStep, ManyStep
from fewstep.solvers import Euler
from fewstep.store import load_model, save_model
from fewstep.times import Explicit, Karras

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


@dataclass
class Fits:
    """Stands for ``fit``: makes an untrained model in no time, and stops as it is told."""

    made: list[tuple[str, int]] = field(default_factory=list)
    errors: dict[tuple[str, int], Exception] = field(default_factory=dict)

    def __call__(self, recipe: Recipe, name: str, data: fs.Digits, options: fs.Options, teacher=None) -> Model:
        assert (teacher is not None) == recipe.needs_teacher
        if (options.folder / "run.json").is_file():
            return load_model(options.folder)
        if (name, options.seed) in self.errors:
            raise self.errors[name, options.seed]
        self.made.append((name, options.seed))
        words = complete({"unet": {"widths": [8, 8], "depth": 1}}, data.shape, len(data.classes))
        torch.manual_seed(sum(map(ord, name)) + options.seed)
        view = fs.Denoiser(build_network(words), fs.EDM(sigma_data=0.75))
        versions = {"torch": "0.0"}
        facts = {"training seconds": 10.0 + options.seed, "hardware": "a machine", "versions": versions, "recipe": name}
        save_model(Model(view, recipe.sampler, data.shape, data.classes, words, facts), options.folder)
        return load_model(options.folder)


@pytest.fixture(scope="session")
def judge() -> Judge:
    """Compares a few digits by their pixels."""
    batch = fs.Digits().batch(range(32))
    return Judge.of(batch.x0, batch.c, torch.nn.Flatten())


@pytest.fixture
def fits(monkeypatch, judge) -> Fits:
    fits = Fits()
    monkeypatch.setattr("fewstep.jobs.bench.fit", fits)
    monkeypatch.setattr("fewstep.jobs.bench.judge_for", lambda data, cache: judge)
    return fits


@pytest.fixture
def unpublished(monkeypatch) -> None:
    """Write ``results.json`` alone, not the pages and plots that are made from it and take a second."""
    monkeypatch.setattr("fewstep.jobs.bench.publish", lambda docs: [])


@pytest.fixture
def run(tmp_path, fits, counted, unpublished) -> Callable[..., Outcome]:
    """Bench with untrained models: ``run("cd", "kd", seeds=1)``."""

    def go(*recipes: str, seeds: int = 2, data: str = "digits") -> Outcome:
        return bench(Bench(data, recipes, tmp_path / "out", seeds, tmp_path / "docs", True, False, tmp_path))

    return go


@pytest.fixture
def counted(monkeypatch) -> list[tuple[str, int]]:
    """What is measured, as (folder, steps); instead of sampling, weights and calls are made into a number."""
    seen: list[tuple[str, int]] = []

    def measure(model: Model, judge: Judge, *, name: str, steps: list[int], samples: int | None) -> list[Row]:
        seen.append((name, steps[0]))
        calls = model.calls(steps[0])
        distance = sum(float(p.abs().mean()) for p in model.view.net.parameters()) / calls
        nothing = dict.fromkeys(("kernel", "precision", "recall", "diversity", "accuracy", "seconds_per_image"))
        return [Row(model=name, steps=steps[0], calls=calls, frechet=distance, samples=samples or 0, **nothing)]

    monkeypatch.setattr(keep, "measure", measure)
    return seen


# --- what is run and measured


def test_every_recipe_runs_with_every_seed_from_one_teacher(run, fits, tmp_path):
    done = run("cd", "kd", "ict")
    assert fits.made[0] == ("edm", 0)
    assert sorted(fits.made[1:]) == [(name, seed) for name in ("cd", "ict", "kd") for seed in (0, 1)]
    assert (tmp_path / "out" / "cd" / "seed-1" / "measured.json").is_file()
    at = {(line.recipe, line.calls): line for line in done.results}
    assert {calls for name, calls in at if name == "cd"} == {1, 2, 4}
    assert {calls for name, calls in at if name == "kd"} == {1}
    assert {calls for name, calls in at if name == "teacher"} == {1, 2, 4, 8, 35}
    assert at["real", None].ratio_to_teacher is None
    assert at["teacher", 35].ratio_to_teacher == 1.0
    assert at["cd", 1].seeds == 2
    assert at["cd", 1].spread is not None
    assert at["cd", 1].train_seconds == 10.5
    assert at["cd", 1].updates == 40
    assert at["cd", 1].ratio_to_teacher == pytest.approx(at["cd", 1].frechet / at["teacher", 35].frechet, abs=1e-3)
    assert read_results(tmp_path / "docs" / "results.json") == done.results


def test_all_takes_the_recipes_that_name_the_data(run, fits, monkeypatch):
    known = {name: replace(load_recipe(name), tuned_on=("notes",)) for name in paper_names()}
    known |= {name: load_recipe(name) for name in ("edm", "kd")}
    monkeypatch.setattr("fewstep.jobs.bench.load_recipe", lambda name, settings=(): known[name])
    done = run("all", seeds=1)
    assert fits.made == [("edm", 0), ("kd", 0)]
    assert "notes" in done.notes["cd"]
    assert "teacher" in done.notes["edm"]


@pytest.mark.parametrize(
    ("sampler", "steps"),
    [
        (FewStep(Explicit((80.0, 2.0, 0.8, 0.4)), (1, 2, 4)), [1, 2, 4]),
        (FewStep(Explicit((80.0,)), (1,)), [1]),
        (FewStep(Karras(), (1, 2)), [1, 2, 4, 8]),
        (ManyStep(Karras(), Euler(), 16), [1, 2, 4, 8, 16]),
    ],
)
def test_steps_are_those_that_the_sampler_allows(sampler, steps):
    assert steps_for(sampler) == steps


def test_student_updates_count_its_own_turns():
    recipe = load_recipe("dmd2-no-gan")
    assert recipe.learners["student"].updates(recipe.steps) == 1800
    assert recipe.learners["fake_score"].updates(3600) == 1980


# --- interrupted, failing, again


def test_an_interrupted_bench_continues(run, fits, counted, tmp_path):
    fits.errors["kd", 1] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        run("cd", "kd")
    made, measured = list(fits.made), list(counted)
    assert not (tmp_path / "docs" / "results.json").exists()
    fits.errors.clear()
    done = run("cd", "kd")
    assert fits.made[len(made) :] == [("kd", 1)]
    assert counted[len(measured) :] == [("seed-1", 1)]
    assert {line.seeds for line in done.results if line.recipe in ("cd", "kd")} == {2}


def test_nothing_is_measured_twice(run, fits, counted):
    first = run("kd", seeds=1)
    before = len(counted)
    assert run("kd", seeds=1).results == first.results
    assert len(counted) == before


def test_other_weights_are_measured_again(run, fits, counted, tmp_path):
    run("kd", seeds=1)
    before, folder = len(counted), tmp_path / "out" / "kd" / "seed-0"
    model = load_model(folder)
    with torch.no_grad():
        next(model.view.net.parameters()).add_(0.1)
    save_model(model, folder)
    run("kd", seeds=1)
    assert counted[before:] == [("seed-0", 1)]


def test_a_damaged_measurement_is_refused(run, fits, tmp_path):
    run("kd", seeds=1)
    (tmp_path / "out" / "kd" / "seed-0" / "measured.json").write_text("{")
    with pytest.raises(DataError, match=r"measured\.json cannot be read"):
        run("kd", seeds=1)


def test_a_failing_recipe_is_written_down_and_the_others_go_on(run, fits, tmp_path):
    fits.errors |= {("cd", 0): UnhealthyTraining("it ran away"), ("ict", 1): RecipeError("too short")}
    done = run("cd", "ict", "kd")
    assert done.failed == {"cd, seed 0": "it ran away", "ict, seed 1": "too short"}
    assert json.loads((tmp_path / "out" / "failures.json").read_text()) == done.failed
    assert (tmp_path / "out" / "cd" / "seed-0" / "illness.txt").read_text() == "it ran away\n"
    assert {line.recipe: line.seeds for line in done.results if line.calls == 1} == {
        "teacher": 1,
        "cd": 1,
        "ict": 1,
        "kd": 2,
    }


def test_lines_of_another_teacher_are_kept_and_named(run, fits, tmp_path):
    run("cd", "kd", seeds=1)
    path = tmp_path / "docs" / "results.json"
    write_results(path, [replace(line, frechet=line.frechet + 1) for line in read_results(path)])
    done = run("kd", seeds=1)
    assert "another teacher" in done.notes["cd"]
    assert "cd" in {line.recipe for line in read_results(path)} - {line.recipe for line in done.results}


# --- refusals


def test_unknown_recipe_names_the_nearest(run, fits):
    with pytest.raises(RecipeError, match="no recipe 'dmd3' to bench; did you mean 'dmd' or 'dmd2'"):
        run("cd", "dmd3")
    assert fits.made == []


def test_unknown_data_names_the_nearest(run, fits):
    with pytest.raises(DataError, match="did you mean 'digits'"):
        run("cd", data="digit")


def test_data_without_a_teacher_are_refused():
    with pytest.raises(RecipeError, match=r"made for 'flowers'.*accepted are the data digits"):
        listing.teacher_of("flowers")


@pytest.mark.parametrize("seeds", [0, -1])
def test_less_than_one_seed_is_refused(run, fits, seeds):
    with pytest.raises(RecipeError, match=f"{seeds} seeds were asked for; accepted are 1 and more"):
        run("cd", seeds=seeds)


def test_a_remark_on_no_recipe_is_refused_before_anything_runs(run, fits, tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "remarks.yaml").write_text("dmd3: is not there.\n")
    with pytest.raises(DataError, match="remark on 'dmd3', which is no recipe; did you mean 'dmd' or 'dmd2'"):
        run("cd")
    assert fits.made == []


# --- documents


def test_the_bench_writes_its_documents(run, fits, tmp_path, monkeypatch):
    monkeypatch.setattr("fewstep.jobs.bench.publish", publish.publish)
    (tmp_path / "src" / "fewstep" / "recipes").mkdir(parents=True)
    (tmp_path / "README.md").write_text("above\n<!-- results:begin -->\nold\n<!-- results:end -->\nbelow\n")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "remarks.yaml").write_text("kd: has one call\n  only.\n")
    (tmp_path / "docs" / "choose.yaml").write_text("- when: You test\n  recipes: {none-such: a., kd: because.}\n")
    done = run("cd", "kd")
    docs = tmp_path / "docs"
    assert {path.name for path in done.written} == {
        "results.md",
        "results.png",
        "choose.md",
        "README.md",
        "measured.json",
    }
    page = (docs / "results.md").read_text()
    assert "- `kd` has one call only." in page
    assert "beats the teacher at 1 by" in page
    readme = (tmp_path / "README.md").read_text()
    assert readme.startswith("above\n")
    assert readme.endswith("-->\nbelow\n")
    assert "old" not in readme
    assert "| `cd` |" in readme
    assert "`kd`: because. On digits: " in (docs / "choose.md").read_text()
    assert "none-such" not in (docs / "choose.md").read_text()
    measured = json.loads((tmp_path / "src/fewstep/recipes/measured.json").read_text())["digits"]
    assert set(measured) == {"edm", "cd", "kd"}
    assert measured["kd"]["frechet"] == {"1": next(line.frechet for line in done.results if line.recipe == "kd")}


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """The documents of this repository, written again."""
    folder = tmp_path_factory.mktemp("clone")
    (folder / "src" / "fewstep" / "recipes").mkdir(parents=True)
    (folder / "docs").mkdir()
    (folder / "README.md").write_text((ROOT / "README.md").read_text())
    for name in ("results.json", "remarks.yaml", "choose.yaml"):
        (folder / "docs" / name).write_text((DOCS / name).read_text())
    publish.publish(folder / "docs")
    return folder


@pytest.mark.parametrize(
    "name", ["README.md", "docs/results.md", "docs/choose.md", "src/fewstep/recipes/measured.json"]
)
def test_document_is_what_the_results_say(clone, name):
    """A number that was changed by hand, or results without their documents; see CONTRIBUTING.md on how to write."""
    assert (clone / name).read_text() == (ROOT / name).read_text()


def test_a_block_without_an_end_is_refused():
    with pytest.raises(DataError, match="results:end"):
        publish.with_block("a <!-- results:begin --> b", "c")


@pytest.mark.parametrize("path", [ROOT / "README.md", DOCS / "choose.md"], ids=lambda path: path.name)
def test_recipes_that_a_document_names_exist(path):
    text = path.read_text()
    named = {part.split()[0].rstrip(",`") for part in text.split("--recipe ")[1:]}
    named |= {line.split("`")[1] for line in text.splitlines() if line.startswith(("| `", "- or `"))}
    assert len(named) >= 5
    assert named - set(paper_names()) == set()


def test_advice_names_recipes_that_exist():
    advice = read_advice(DOCS / "choose.yaml")
    assert len(advice) >= 9
    assert {name for one in advice for name in one.recipes} - set(paper_names()) == set()


def test_advice_in_order_of_a_measured_distance():
    line = Result("digits", "cd", 1, 0.2, None, None, None, None, 1, None, "m")
    lines = [line, replace(line, recipe="kd", frechet=0.1), replace(line, recipe="teacher", calls=35, frechet=0.05)]
    advice = [Advice("You test", {"ect": "c.", "cd": "a.", "kd": "b."}, at=1), Advice("Nobody knows", {"ect": "c."})]
    page = advice_page(advice, lines, {name: load_recipe(name) for name in paper_names()})
    assert page.index("`kd`: b. On digits: 0.100 at 1 call") < page.index("- or `cd`: a. On digits: 0.200 at 1 call")
    assert "ect" not in page  # nobody measured it
    assert "Nobody knows" not in page


@pytest.mark.parametrize("content", ["- 3\n", "- {when: a}\n", "[", "- {when: a, recipes: {}, colour: red}\n"])
def test_advice_of_another_form_is_refused(content, tmp_path):
    (tmp_path / "choose.yaml").write_text(content)
    with pytest.raises(DataError, match=r"choose\.yaml"):
        read_advice(tmp_path / "choose.yaml")


# --- the real thing, small


def narrow(name: str, settings: Sequence[str] = ()) -> Recipe:
    """Load a recipe, that of the teacher with a small network and few steps."""
    small = ["learners.student.network.unet.widths=[8, 8]", "sampler.many_step.steps=4"]
    return load_recipe(name, [*settings, *(small if name == "edm" else [])])


def test_a_quick_bench_trains_and_measures(tmp_path, judge, monkeypatch):
    monkeypatch.setattr("fewstep.jobs.bench.load_recipe", narrow)
    monkeypatch.setattr("fewstep.jobs.bench.QUICK", ("steps=6", "looks=1", "judged=16", "batch=8"))
    for module in ("fewstep.jobs.bench", "fewstep.jobs.fit"):
        monkeypatch.setattr(sys.modules[module], "judge_for", lambda data, cache: judge)
    plan = Bench("digits", ("cd",), tmp_path / "out", 1, tmp_path / "docs", True, False, tmp_path)
    done = bench(plan)
    assert done.failed == {}, done.failed
    assert (tmp_path / "out" / "cd" / "seed-0" / "run.json").is_file()
    assert {line.calls for line in done.results if line.recipe == "cd"} == {1, 2, 4}
    assert bench(plan).results == done.results
