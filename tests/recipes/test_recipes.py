from pathlib import Path

import pytest

from fewstep.errors import RecipeError
from fewstep.predict import Velocity
from fewstep.process import EDM, Linear, Process, TrigFlow
from fewstep.recipes import Builder, Document, bibliography, choices, cite, load_recipe, paper_names, spell
from fewstep.recipes.build import HOMES
from fewstep.recipes.read import PAPERS
from fewstep.sampling import FewStep, ManyStep, Sampler
from fewstep.scalars import Cosine, Piecewise
from fewstep.terms import (
    Adversarial,
    Consistency,
    Denoise,
    DistributionMatching,
    HiddenScales,
    Identity,
    JensenShannon,
    L2Norm,
    PseudoHuber,
)
from fewstep.times import Explicit, Karras, LogNormal, grid
from fewstep.training import BackwardSimulation
from fewstep.vp import VP

MINIMAL = """\
title: T
source: arXiv 2206.00364
purpose: p
process: edm
learners:
  student:
    network: {mlp: {width: 8}}
    objective:
      - denoise: {drop: 0.1}
      - {weight: 0.5, denoise: {times: {log_normal: {mean: 0, std: 1}}}}
    optimiser: {adam: {lr: 1e-3}}
sampler: {many_step: {schedule: karras}}
steps: 10
"""


def recipe_file(folder: Path, text: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", paper_names())
def test_every_recipe_loads_and_names_its_source(name):
    recipe = load_recipe(name)
    assert recipe.title
    assert recipe.purpose
    assert recipe.source.startswith("arXiv")
    assert "student" in recipe.learners


@pytest.mark.parametrize("name", paper_names())
def test_every_number_of_a_recipe_has_a_source(name):
    """All but the size of the run, which says itself what it is."""
    lines = (PAPERS / f"{name}.yaml").read_text().splitlines()
    values = [(line, line.partition("#")[0].partition(":")[2]) for line in lines]
    bare = [line for line, value in values if any(ch.isdigit() for ch in value) and "#" not in line]
    plain = (
        "title:",
        "source:",
        "process:",
        "steps:",
        "batch:",
        "looks:",
        "judged:",
        "  steps:",
        "  shard:",
        "  schedule:",
    )
    assert [line for line in bare if not line.startswith(plain)] == []


def test_text_students_are_sampled_at_times_that_they_learned_at():
    """On the clock of pipelines: between two ends of cells a network was never asked."""
    consistent, matched = load_recipe("lcm-lora"), load_recipe("dmd2-text")
    (term,) = (term for _, term in consistent.learners["student"].objective.items())
    learned = grid(term.pairs.schedule, term.pairs.points.count - 1)
    for count in consistent.sampler.made_for:
        gaps = (learned[:, None] - consistent.sampler.schedule.points(count)).abs()
        assert gaps.min(0).values.max() < 1e-9
    assert matched.rollout.schedule == matched.sampler.schedule
    assert max(matched.sampler.made_for) == matched.rollout.steps


def test_a_minimal_recipe_becomes_pieces(tmp_path):
    recipe = load_recipe(recipe_file(tmp_path, MINIMAL))
    (one, first), (half, second) = recipe.learners["student"].objective.parts
    assert (one, half) == (1.0, 0.5)
    assert first == Denoise(drop=0.1)
    assert second == Denoise(times=LogNormal(0.0, 1.0))
    assert recipe.learners["student"].optimiser.lr == 1e-3
    assert recipe.sampler == ManyStep(Karras())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "drop: 0.1",
            "dorp: 0.1",
            r"objective\.0\.denoise\.dorp \(mine\.yaml:9\) is an unknown key; did you mean 'drop'",
        ),
        ("drop: 0.1", "drop: lots", r"denoise\.drop \(mine\.yaml:9\) is 'lots'; accepted is float"),
        ("steps: 10", "stpes: 10", r"stpes \(mine\.yaml:13\) is an unknown key; did you mean 'steps'"),
        ("karras", "karas", r"\(mine\.yaml:12\) names 'karas'; did you mean 'karras'\?"),
        ("denoise: {drop: 0.1}", "denoize: {drop: 0.1}", r"\(mine\.yaml:9\) names 'denoize'; did you mean 'denoise'\?"),
        ("steps: 10", "steps: ten", r"steps \(mine\.yaml:13\) is 'ten'; accepted is int"),
        ("steps: 10", "steps: 0", r"steps is 0.*must be 1 or more"),
        ("process: edm\n", "", r"needs a 'process'"),
        ("  student:", "  pupil:", r"one must be called 'student'"),
        ("    network: {mlp: {width: 8}}\n", "", r"needs 'from: teacher' or a 'network'"),
        ("steps: 10", "steps: 10\nkeep: ema", r"keep \(mine\.yaml:14\) names the average 'ema'"),
        ("title: T", "title: [", r"mine\.yaml, line \d+, is not YAML"),
        ("process: edm", "process: {edm: {sigma_max: 80}, vp: {}}", r"accepted is one name"),
        ("karras", "os.path.Karras", r"cannot be imported"),
        ("karras", "fewstep.terms.Denoise", r"is no Schedule"),
    ],
)
def test_mistakes_are_refused_with_path_line_and_nearest_name(old, new, message, tmp_path):
    with pytest.raises(RecipeError, match=message):
        load_recipe(recipe_file(tmp_path, MINIMAL.replace(old, new, 1)))


def test_any_value_can_be_set_by_its_path(tmp_path):
    name = recipe_file(tmp_path, MINIMAL)
    settings = ["steps=7", "learners.student.objective.0.denoise.drop=0.3", "learners.student.optimiser.adam.lr=2e-4"]
    recipe = load_recipe(name, settings)
    assert recipe.steps == 7
    assert recipe.learners["student"].objective.parts[0][1] == Denoise(drop=0.3)
    assert recipe.learners["student"].optimiser.lr == 2e-4


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("steps", "has no '='"),
        ("stepps=3", r"stepps \(--set\) is an unknown key; did you mean 'steps'"),
        ("steps.a=3", "leads through a value"),
        ("learners.student.objective.9.denoise.drop=1", "leads through a value"),
    ],
)
def test_wrong_settings_are_refused(setting, message, tmp_path):
    with pytest.raises(RecipeError, match=message):
        load_recipe(recipe_file(tmp_path, MINIMAL), [setting])


def test_unknown_recipes_are_refused_with_the_nearest():
    with pytest.raises(RecipeError, match=r"no recipe 'dmd3'; did you mean 'dmd"):
        load_recipe("dmd3")
    with pytest.raises(RecipeError, match="no recipe file"):
        load_recipe("nowhere.yaml")


@pytest.mark.parametrize(
    "piece",
    [
        EDM(0.7, 20.0),
        Linear(3.0),
        TrigFlow(),
        VP.from_betas([0.1, 0.2, 0.3]),
        Velocity(),
        FewStep(Explicit((2.0, 1.0)), (1, 2), 0.5),
        ManyStep(Karras(low=0.01)),
        Cosine(1.0),
        Piecewise(((0.0, 1.0), (1.0, 0.0))),
        BackwardSimulation(Explicit((2.0, 1.0)), 2, Piecewise(((0.0, 1.0), (1.0, 0.0)))),
        DistributionMatching(),
        DistributionMatching(divergence=JensenShannon(), estimator=Identity(1.2), guide=HiddenScales(1.0, 2.0)),
        Adversarial("critic"),
        PseudoHuber(0.1),
        L2Norm(),
    ],
)
def test_what_is_spelled_builds_the_same_piece(piece):
    base = next(kind for kind in type(piece).__mro__[1:] if kind in HOMES or kind is Process)
    assert Builder(Document("test", {})).build(base, spell(piece), "piece") == piece
    assert Builder(Document("test", {})).build(base, spell(piece, defaults=False), "piece") == piece


def test_choices_are_the_public_names_of_a_module():
    assert set(choices(Sampler)) == {"fewstep", "manystep"}
    assert "l2norm" in choices(type(L2Norm()).__mro__[1])


def test_citation_names_the_paper_first_and_every_piece_once():
    recipe = load_recipe("cd")
    assert any(isinstance(term, Consistency) for _, term in recipe.learners["student"].objective.parts)
    entries = cite(recipe).split("\n\n")
    assert "2303.01469" in entries[0]
    assert len(entries) == len(set(entries)) > 3
    assert not any(entry.startswith("%") for entry in entries)
    assert all(entry.startswith("@") for entry in bibliography().values())
