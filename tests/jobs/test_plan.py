"""What is advised where a distillation does not fit: the savings are there, and each can be typed."""

import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pytest
import torch

import fewstep as fs
from fewstep.jobs.advise import Change, changes
from fewstep.jobs.ask import Ask, resized
from fewstep.jobs.hours import Pace
from fewstep.jobs.memory import LOOKS, PAIRS, PICTURES, TEACHERS, UPDATES, Memory, Rise, _pairs, together
from fewstep.jobs.plan import Plan, measured
from fewstep.networks import UNet
from fewstep.recipes import Recipe, load_recipe
from fewstep.training.held import Held

BRIEF = ("steps=40", "batch=16", "judged=128", "learners.student.every=1")
LEVEL = Rise(0.0, 0.0, 1)
HELD = Held("student", 1, 1, 2, {}, 1, 0)
SPARE = "learners.student.averages={ema: {decay: 0.99}, slow: {decay: 0.999}}"


@dataclass(frozen=True)
class Planned:
    """A plan, and what it was asked for."""

    ask: Ask
    found: Plan
    recipe: str
    settings: tuple[str, ...]

    @property
    def still(self) -> float:
        """What is taken all the time."""
        return self.found.memory.base + self.found.memory.kept

    def advised(self, updates: Rise, looks: Rise = LEVEL, there: float = 0.0, **more: Rise) -> list[Change]:
        """Return what is advised where updates and looks take so much, and so much is there."""
        beside = {UPDATES: updates, LOOKS: looks, TEACHERS: LEVEL, **more}
        memory = replace(self.found.memory, beside=beside, there=there)
        with pytest.MonkeyPatch.context() as patch:  # other networks take as much beside what they hold
            patch.setattr("fewstep.jobs.advise.measured", lambda ask: replace(memory, held=held_by(ask)))
            return changes(self.ask, replace(self.found, memory=memory), self.read)

    def read(self, more: Sequence[str]) -> Recipe:
        return load_recipe(self.recipe, (*self.settings, *more))


def asked(recipe: str, *more: str) -> Ask:
    """Ask for a plan on an untrained teacher of the digits."""
    read, data = load_recipe(recipe, (*BRIEF, *more)), fs.Digits()
    example = resized(data.batch(range(64)), (1, 8, 8), read.pairs)
    return Ask(read, teacher(), example, len(data), seconds=0.0)


KNOWN: dict[str, list[Held]] = {}  # by recipe: other numbers are advised on the same networks again and again


def held_by(ask: Ask) -> list[Held]:
    """Return what networks hold before the first update."""
    key = repr(ask.recipe)
    if key not in KNOWN:
        KNOWN[key] = ask.held(ask.recipe, ask.assembled(ask.recipe), cuda=False)
    return KNOWN[key]


@pytest.fixture(scope="module")
def planned() -> Callable[..., Planned]:
    """Make up a plan that holds the networks of a recipe, before the first update."""
    known: dict[object, Planned] = {}

    def make(recipe: str, *more: str) -> Planned:
        if (recipe, more) not in known:
            ask = asked(recipe, *more)
            found = Plan(ask.recipe, Memory(held_by(ask), 1e8, {}, 0.0), Pace({}, 1.0, {}, 1, 1))
            known[recipe, more] = Planned(ask, found, recipe, (*BRIEF, *more))
        return known[recipe, more]

    return make


def teacher() -> fs.Model:
    torch.manual_seed(0)
    words = {"channels": 1, "classes": 10, "widths": [16, 16]}
    view = fs.Denoiser(UNet(1, 10, widths=(16, 16)).eval(), fs.EDM(sigma_data=0.5), fs.predict.EDM())
    classes = tuple(map(str, range(10)))
    return fs.Model(view, load_recipe("edm").sampler, (1, 8, 8), classes, {"unet": words})


@pytest.fixture
def every_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    """Advise what saves little, too: these networks are tiny."""
    monkeypatch.setattr("fewstep.jobs.advise.LEAST", 1.0)


def of(made: list[Change], part: str) -> Change:
    return next(each for each in made if part in each.typed)


def test_a_line_goes_through_its_measurements_and_never_falls():
    assert Rise.through((2, 30), (4, 50), 10) == Rise(10.0, 10.0, 10)
    assert Rise.through((2, 30), (4, 50), 10).total == 110
    assert Rise.through((2, 30), (4, 20), 10).total == 30
    assert Rise.through((2, 30), (2, 30), 2).total == 30


def test_only_what_takes_the_most_counts():
    memory = Memory([], 5.0, {UPDATES: Rise(1.0, 1.0, 4), LOOKS: Rise(3.0, 1.0, 4)}, 12.0)
    assert (memory.dearest, memory.peak, memory.fits) == (LOOKS, 12.0, True)
    assert not replace(memory, there=11.0).fits


def test_where_looks_take_the_most_smaller_batches_are_not_advised(planned):
    case = planned("cd")
    made = case.advised(Rise(0.0, 1e6, 16), Rise(5e6, 1e6, 128))
    assert not [each for each in made if "batch" in each.typed or "accumulate" in each.typed]
    assert of(made, "at_once=64").memory.peak == pytest.approx(case.still + 69e6)
    assert of(made, "judged=64").memory.peak == pytest.approx(case.still + 85e6)  # eight of each of ten classes


def test_where_pictures_take_the_most_fewer_are_to_be_judged(planned):
    made = planned("cd").advised(Rise(0.0, 1e6, 16), **{PICTURES: Rise(5e8, 1e6, 128)})
    assert not [each for each in made if "batch" in each.typed or "at_once" in each.typed]
    assert of(made, "judged=64").memory.beside[PICTURES].total == 5e8 + 80e6


def test_pairs_count_with_the_models_that_are_there_then():
    """They are made before there are learners."""
    memory = Memory([HELD], 5.0, {UPDATES: Rise(0.0, 1.0, 4)}, 12.0, before=Rise(3.0, 1.0, 8))
    assert (memory.early, memory.peak, memory.fits) == (True, 16.0, False)
    assert replace(memory, before=Rise(3.0, 1.0, 2)).peak == 5.0 + 2.0 + 4.0


def test_where_pairs_take_the_most_smaller_lots_are_advised(planned):
    case = planned("kd", "pairs.count=400")
    found = replace(case.found, memory=replace(case.found.memory, before=Rise(1e9, 1e8, 400)))
    made = replace(case, found=found).advised(Rise(0.0, 1e6, 16))
    assert of(made, "at_once=200").memory.peak == pytest.approx(1e8 + 1e9 + 200 * 1e8)
    assert not [each for each in made if "batch" in each.typed]


def test_making_pairs_is_measured():
    """Beside the teacher, and on the CPU a shard of them."""
    ask = asked("kd", "pairs.count=64", "pairs.steps=2", "at_once=60")
    before = _pairs(ask.recipe.pairs, ask, cuda=False)
    held = sum(each.nbytes for each in ask.teacher.view.net.parameters()) + 2 * 64 * 4 * 8 * 8
    assert before.fixed >= held
    assert 64 * 4 < before.each < 1e6
    assert together(ask.recipe, 10)[PAIRS] == 60
    assert (before.fixed, before.each) == (
        _pairs(ask.recipe.pairs, ask, cuda=True).fixed + 2 * 64 * 4 * 8 * 8,
        before.each,
    )


def test_the_first_number_that_fits_is_advised(planned):
    case = planned("cd")
    made = case.advised(Rise(0.0, 1e7, 16), there=case.still + 45e6)
    assert of(made, "--set batch=4").memory.fits
    pieces = of(made, "accumulate=4")  # which leave gradients from one to the next
    assert pieces.memory.peak == pytest.approx(case.still + 40e6 + case.found.memory.held[0].gradients)
    assert [each.memory.peak for each in made] == sorted(each.memory.peak for each in made)


def test_no_saving_is_more_than_the_peak_falls(planned):
    """Behind the updates come the looks."""
    case = planned("cd")
    made = case.advised(Rise(0.0, 1e7, 16), Rise(0.0, 1.1e6, 128))
    assert of(made, "--set batch=8").memory.peak == pytest.approx(case.still + 128 * 1.1e6)


def test_nothing_is_advised_that_saves_nothing(planned):
    assert planned("cd").advised(Rise(1e9, 0.0, 16), Rise(1e9, 0.0, 128)) == []


def test_every_change_can_be_typed(planned, every_byte):
    case = planned("dmd2", SPARE)
    made = case.advised(Rise(0.0, 1e8, 16)) + case.advised(Rise(0.0, 0.0, 16), Rise(0.0, 1e7, 128))
    assert {"batch", "judged", "at_once", "averages", "lora", "accumulate"} <= {
        name for each in made for name in re.findall(r"[a-z_]+", each.typed)
    }
    for each in made:
        words = shlex.split(each.typed)
        assert words[::2] == ["--set"] * (len(words) // 2)
        assert case.read(words[1::2]) == case.read(each.settings)
        assert case.read(each.settings) != case.ask.recipe


def test_an_average_is_spared_only_where_nobody_asks_for_it(planned, every_byte):
    case = planned("dmd2", SPARE)
    made = of(case.advised(LEVEL), "averages")
    assert set(case.read(made.settings).learners["student"].averages) == {"ema"}
    assert case.still - made.memory.peak == pytest.approx(case.found.memory.held[0].averages["slow"])
    assert not [each for each in planned("cd").advised(LEVEL) if "averages" in each.typed]  # one is the target


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["cd", "dmd2"])
def test_promised_savings_are_those_of_the_changed_plan(recipe: str, every_byte):
    """Of what is taken beside the process to a tenth; what is held to the byte."""
    settings = ("batch=32", SPARE) if recipe == "dmd2" else ("batch=32",)
    ask = asked(recipe, *settings)
    found = Plan(ask.recipe, replace(measured(ask), there=0.0), Pace({}, 1.0, {}, 1, 1))
    made = changes(ask, found, Planned(ask, found, recipe, (*BRIEF, *settings)).read)
    kinds = {"batch", "accumulate", *(("lora", "averages") if recipe == "dmd2" else ())}  # cd looks at its only average
    assert kinds == {name for each in made for name in re.findall("batch|accumulate|lora|averages", each.typed)}
    assert all(re.search("|".join(kinds), each.typed) for each in made)
    for each in made:
        real, promised = measured(asked(recipe, *settings, *each.settings)), each.memory
        assert real.kept == promised.kept
        assert real.peak - real.base == pytest.approx(promised.peak - promised.base, rel=0.1), each.typed


def test_samples_in_smaller_lots_are_the_same():
    model = teacher()
    lots, sizes = replace(model, at_once=3), list[int]()
    whole = model.sample(range(8), [0] * 8, 2)
    handle = model.view.net.register_forward_pre_hook(lambda net, args: sizes.append(len(args[0])))
    torch.testing.assert_close(lots.sample(range(8), [0] * 8, 2), whole, atol=1e-5, rtol=1e-5)
    handle.remove()
    assert set(sizes) == {3, 2}


def test_a_recipe_says_how_many_samples_are_drawn_at_once():
    with pytest.raises(fs.RecipeError, match="at_once 0"):
        load_recipe("cd", ["at_once=0"])
