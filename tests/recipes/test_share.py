"""Learners on one frozen base: the same numbers as whole copies, and none of their memory."""

import copy

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from torch import nn
from torch.nn.utils import parametrize

from fewstep.batch import Batch
from fewstep.denoiser import Denoiser
from fewstep.errors import RecipeError
from fewstep.model import Model
from fewstep.networks import MLP, Headed, Lora, digest_of, merged
from fewstep.process import EDM
from fewstep.recipes import Base, assemble, load_recipe
from fewstep.sampling import ManyStep
from fewstep.sharing import copy_sharing
from fewstep.terms import Adversarial, Denoise, Discriminate, DistributionMatching
from fewstep.times import Karras
from fewstep.training import Adam, Ema, Learner, OneStep, Training, checkpoints, restore, save_training, train

PATH = EDM(sigma_data=1.0)
LORA = Lora(3, ("^first$", "^middle"), alpha=5.0)
RECIPE = """\
title: T
source: arXiv 2405.14867
purpose: p
frozen: {teacher: {}}
learners:
  student:
    from: teacher
    lora: {rank: 2}
    every: 2
    objective: [{distribution_matching: {}}, {weight: 0.1, adversarial: {critic: fake_score}}]
    optimiser: {adam: {lr: 1e-2}}
    averages: {ema: {decay: 0.9, warm: false}}
  fake_score:
    from: teacher
    lora: {rank: 3, targets: [middle]}
    second_time: true
    heads: middle.0
    objective: [denoise: {on: samples}, {weight: 0.1, discriminate: {}}]
    optimiser: {adam: {lr: 1e-2}}
    averages: {slow: {decay: 0.99}}
rollout: {one_step: {start: 2.5}}
sampler: {few_step: {schedule: {explicit: [2.5]}, steps: [1]}}
steps: 20
"""


def teacher(kind: torch.dtype = torch.float32) -> Model:
    torch.manual_seed(3)
    net = MLP(2, classes=3, width=16, depth=1).to(kind)
    words = {"mlp": {"features": 2, "classes": 3, "width": 16, "depth": 1}}
    return Model(Denoiser(net.requires_grad_(False), PATH), ManyStep(Karras()), (2,), ("a", "b", "c"), words)


def batches(start: int = 0, kind: torch.dtype = torch.float32):
    step = start
    while True:
        generator = torch.Generator().manual_seed(step)
        yield Batch(torch.randn(8, 2, generator=generator).to(kind) + 1, torch.randint(3, (8,), generator=generator))
        step += 1


@pytest.fixture
def mine(tmp_path):
    """Return the recipe with settings applied."""

    def load(*settings: str):
        (tmp_path / "mine.yaml").write_text(RECIPE)
        return load_recipe(str(tmp_path / "mine.yaml"), settings)

    return load


def made(recipe, given: Model | None = None):
    return assemble(recipe, next(batches()), 3, given or teacher(), 0)


def run(training: Training, steps: int, kind: torch.dtype = torch.float32, prepare: bool = True) -> list:
    accelerator = Accelerator(cpu=True)
    if prepare:
        training.prepare(accelerator)
    found = []
    for report in train(training, batches(training.step, kind), accelerator):
        found.append(report)
        if training.step == steps and report.learner == training.due(report.step)[-1]:
            break
    return found


# --- the same numbers


class LowRank(nn.Module):
    """W + scale B A in the place of W: the definition, without the library."""

    def __init__(self, layer: nn.Module, like: nn.Module) -> None:
        super().__init__()
        self.a, self.b = (copy.deepcopy(part["default"].weight) for part in (like.lora_A, like.lora_B))

    def forward(self, weight):
        return weight + LORA.alpha / LORA.rank * (self.b @ self.a)


def whole_copy(adapted: nn.Module, base: nn.Module) -> nn.Module:
    """Return a copy of the base, on weights of its own, with that adapter added to its weights."""
    net = copy.deepcopy(base)
    for name, layer in adapted.named_modules():
        if hasattr(layer, "lora_A"):
            plain = net.get_submodule(name)
            parametrize.register_parametrization(plain, "weight", LowRank(plain, layer))
    return net


def learners(student: nn.Module, fake: nn.Module, only, base) -> Training:
    objective = DistributionMatching() + 0.1 * Adversarial()
    mine = Learner(Denoiser(student, PATH), objective, Adam(1e-2), averages={"ema": Ema(0.9)}, only=only, base=base)
    torch.manual_seed(4)
    like = (torch.zeros(2, 2).double(), torch.zeros(2).double(), torch.zeros(2, dtype=torch.long))
    headed = Denoiser(Headed(fake, "middle.0", like).double(), PATH)
    second = Learner(headed, Denoise(on="samples") + 0.1 * Discriminate(), Adam(1e-2), only=only, base=base)
    frozen = {"teacher": Denoiser(teacher(torch.float64).view.net, PATH)}
    return Training({"student": mine, "fake_score": second}, OneStep(2.0), frozen, 20, 5, probe=2)


def test_turns_on_one_base_equal_those_of_separate_whole_networks():
    """Every turn calls the student, the fake score and the teacher; costs, norms and weights agree in float64."""
    base = Base.of(teacher(torch.float64), None)
    torch.manual_seed(1)
    student, fake = (base.adapted(copy_sharing(base.given, base.given.parameters()), LORA) for _ in range(2))
    apart = [whole_copy(net, base.given) for net in (student, fake)]
    together = learners(student, fake, (), base.kept)
    copies = learners(*apart, (r"\.[ab]$", "^head"), None)
    one, other = run(together, 5, torch.float64), run(copies, 5, torch.float64)
    assert [(r.step, r.learner) for r in one] == [(r.step, r.learner) for r in other]
    assert len(one) == 10
    for a, b in zip(one, other, strict=True):
        for name, cost in a.costs.items():
            assert float(cost) == pytest.approx(float(b.costs[name]), abs=1e-9)
        assert float(a.norm) == pytest.approx(float(b.norm), rel=1e-6)
    x, label, c = torch.randn(4, 2).double(), torch.zeros(4).double(), torch.arange(4) % 3
    for name in ("student", "fake_score"):
        found = [training.learners[name].bare for training in (together, copies)]
        assert torch.allclose(found[0](x, label, c), found[1](x, label, c), atol=1e-9)
        assert not torch.allclose(found[0](x, label, c), base.given(x, label, c), atol=1e-4)
        assert torch.allclose(merged(found[0])(x, label, c), found[0](x, label, c), atol=1e-12)


def test_a_graph_does_not_notice_who_is_asked_after_it_was_built(mine):
    """Also when a part of it is computed again on the way back."""
    training = made(mine()).training
    student, critic = (training.learners[name].bare for name in ("student", "fake_score"))
    for net in (student, critic):
        for name, parameter in net.named_parameters():
            parameter.data += 0.1 * torch.randn(parameter.shape) * ("lora_B" in name)
    training.learners["student"].learn(True)
    x, label, found = torch.randn(4, 2), torch.zeros(4), []
    for between in (False, True):
        y = torch.utils.checkpoint.checkpoint(student, x, label, use_reentrant=False).sin().sum()
        if between:
            critic(x, label), training.frozen["teacher"].net(x, label)
        y.backward()
        found.append({name: p.grad.clone() for name, p in student.named_parameters() if p.grad is not None})
        student.zero_grad()
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())
    assert any(value.any() for value in found[0].values())


# --- who learns, and who does not


@pytest.mark.parametrize("bits", ["null", "int8", "bfloat16"])
def test_the_teacher_is_the_same_bit_for_bit_before_and_after(mine, bits: str):
    given = teacher()
    before = {key: value.clone() for key, value in given.view.net.state_dict().items()}
    training, ask = made(mine(f"base={bits}"), given).training, (torch.randn(4, 2), torch.full((4,), 0.5).double())
    first, own = training.frozen["teacher"](*ask), given.view(*ask)
    assert torch.equal(first, own) == (bits == "null")
    run(training, 4)
    assert torch.equal(training.frozen["teacher"](*ask), first)
    assert torch.equal(given.view(*ask), own)
    assert all(torch.equal(value, before[key]) for key, value in given.view.net.state_dict().items())
    for learner in training.learners.values():
        assert all(p.grad is None and not p.requires_grad for p in learner.base.parameters())


def test_only_the_one_whose_turn_it_is_has_a_graph(mine):
    training, ask = made(mine()).training, (torch.randn(4, 2), torch.full((4,), 0.5).double())
    training.prepare(Accelerator(cpu=True))
    for name in training.learners:
        with training.only(name) as views:
            found = {other for other, view in views.items() if view(*ask).requires_grad}
        assert found == {name}


@pytest.mark.parametrize(("waits", "learns"), [("student", "fake_score"), ("fake_score", "student")])
def test_a_turn_leaves_no_gradient_with_the_others(mine, waits: str, learns: str):
    training = made(mine(f"learners.{waits}.after=10")).training
    before = {name: copy.deepcopy(learner.bare.state_dict()) for name, learner in training.learners.items()}
    run(training, 3)
    after = {name: learner.bare.state_dict() for name, learner in training.learners.items()}
    moved = {name for name in after if any(not torch.equal(v, after[name][key]) for key, v in before[name].items())}
    assert moved == {learns}
    assert all(p.grad is None for p in training.learners[waits].bare.parameters())


def test_what_a_learner_adds_to_the_teacher_is_its_own_and_learns(mine):
    assembly = made(mine())
    learner = assembly.training.learners["fake_score"]
    before = {key: value.clone() for key, value in learner.parameters.items()}
    run(assembly.training, 4)
    moved = {key for key, value in learner.parameters.items() if not torch.equal(value, before[key])}
    assert {key for key in moved if "lora_" not in key and "until" not in key and not key.startswith("heads.")} == set()
    for part in ("lora_A", "lora_B", "until", "heads."):
        assert any(part in key for key in moved), part
    assert set(learner.parameters) == {key for key, _ in learner.bare.named_parameters()} - learner.shared


def test_averages_are_those_of_the_adapter_by_hand(mine):
    training = made(mine()).training
    accelerator, learner = Accelerator(cpu=True), training.learners["student"]
    expected = {key: value.detach().clone() for key, value in learner.parameters.items()}
    training.prepare(accelerator)
    for report in train(training, batches(), accelerator):
        if report.learner == "student":
            for key, value in learner.parameters.items():
                expected[key] = 0.9 * expected[key] + 0.1 * value.detach()
        if training.step == 7:
            break
    assert learner.updates == 4
    follower, bare = (dict(net.named_parameters()) for net in (learner.followers["ema"].net, learner.bare))
    for key, value in expected.items():
        assert torch.allclose(follower[key], value, atol=1e-7)
        assert not torch.equal(follower[key], bare[key])
    assert all(follower[key] is bare[key] for key in learner.shared)


# --- memory and files


def stored(nets) -> int:
    """Return the bytes of all parameters, each storage counted once."""
    parts = {p.untyped_storage().data_ptr(): p.untyped_storage().nbytes() for net in nets for p in net.parameters()}
    return sum(parts.values())


def test_memory_is_the_base_once_and_what_each_learner_owns(mine):
    given = teacher()
    assembly = made(mine(), given)
    found = list(assembly.training.learners.values())
    nets = [given.view.net, *assembly.beside]
    nets += [net for each in found for net in (each.bare, *(f.net for f in each.followers.values()))]
    own = sum(p.numel() * (1 + len(each.followers)) for each in found for p in each.parameters.values())
    base = sum(p.numel() for p in given.view.net.parameters())
    assert stored(nets) == 4 * (base + own)
    lora = {each: sum(p.numel() for key, p in found[0].parameters.items() if each in key) for each in ("_A", "_B")}
    layers = [m for name, m in given.view.net.named_modules() if isinstance(m, nn.Linear)]
    assert lora == {"_A": 2 * sum(m.in_features for m in layers), "_B": 2 * sum(m.out_features for m in layers)}


def test_a_base_in_int8_is_there_beside_the_teacher_that_was_given_only_once(mine):
    given = teacher()
    assembly = made(mine("base=int8"), given)
    found = list(assembly.training.learners.values())
    nets = [
        *assembly.beside,
        *(net for each in found for net in (each.bare, *(f.net for f in each.followers.values()))),
    ]
    own = sum(p.numel() * (1 + len(each.followers)) for each in found for p in each.parameters.values())
    layers = [m for m in given.view.net.modules() if isinstance(m, nn.Linear)]
    rest = sum(p.numel() for p in given.view.net.parameters()) - sum(m.weight.numel() for m in layers)
    small = sum(m.weight.numel() + 4 * m.out_features for m in layers)
    assert stored(nets) == small + 4 * (rest + own)
    assert not {p.data_ptr() for net in nets for p in net.parameters()} & {
        p.data_ptr() for p in given.view.net.parameters()
    }


@pytest.mark.parametrize("bits", ["null", "int8"])
def test_checkpoints_hold_adapters_only_and_resume_exactly(mine, tmp_path, bits: str):
    def state(training):
        return [
            {
                **learner.bare.state_dict(),
                **{f"{k}.{n}": v for k, f in learner.followers.items() for n, v in f.net.state_dict().items()},
            }
            for learner in training.learners.values()
        ]

    straight = made(mine(f"base={bits}")).training
    run(straight, 7)
    stopped = made(mine(f"base={bits}")).training
    run(stopped, 4)
    save_training(stopped, tmp_path / "c", {})
    path = checkpoints(tmp_path / "c")[-1]
    files = {file.stem: load_file(file) for file in path.glob("*.safetensors") if "optimiser" not in file.stem}
    assert set(files) == {"student", "student.ema", "fake_score", "fake_score.slow"}
    for name, tensors in files.items():
        assert set(tensors) == set(stopped.learners[name.split(".")[0]].parameters)
    again = made(mine(f"base={bits}")).training
    accelerator = Accelerator(cpu=True)
    again.prepare(accelerator)
    restore(again, path)
    run(again, 7, prepare=False)
    for one, other in zip(state(straight), state(again), strict=True):
        assert all(torch.equal(value, other[key]) for key, value in one.items())


# --- refusals


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["learners.student.lora.rank=0"], r"learners\.student\.lora \(mine\.yaml:8\): lora has rank 0"),
        (["learners.student.lora.rnak=2"], r"learners\.student\.lora\.rnak .*unknown key; did you mean 'rank'"),
        (
            ["learners.student.from=null", "learners.student.network={mlp: {width: 8}}"],
            r"learners\.student\.lora .* needs a frozen network to sit on; say 'from: teacher'",
        ),
        (["learners.student.only=[first]"], "'only' or 'lora' out"),
        (["learners.student.graft=first"], "'graft' or 'lora' out"),
        (["base=int4"], r"base \(--set\) is 'int4'; accepted is .*'bfloat16', 'int8'"),
    ],
)
def test_what_cannot_be_is_refused_while_reading(mine, settings, message: str):
    with pytest.raises(RecipeError, match=message):
        mine(*settings)


def test_a_base_without_a_teacher_is_refused(tmp_path):
    with pytest.raises(RecipeError, match="says how a teacher is kept, and this recipe has none"):
        load_recipe("edm", ["base=int8"])


def test_a_target_that_nothing_matches_is_refused_before_training(mine):
    with pytest.raises(RecipeError, match=r"'midle.0.1' of lora .*did you mean 'middle\.0\.1'"):
        made(mine("learners.student.lora.targets=[midle.0.1]"))


def test_any_recipe_becomes_one_of_adapters_by_a_setting():
    recipe = load_recipe("dmd2-no-gan", ["learners.student.lora.rank=16"])
    assert recipe.learners["student"].lora == Lora(16)
    assert recipe.learners["fake_score"].lora is None


def test_a_whole_learner_beside_an_adapter_is_a_copy_of_its_own(mine):
    given = teacher()
    training = made(mine("learners.fake_score.lora=null", "base=int8"), given).training
    fake, base = training.learners["fake_score"], training.learners["student"].base
    assert fake.shared == frozenset()
    assert not {id(p) for p in fake.bare.parameters()} & {
        id(p) for p in (*base.parameters(), *given.view.net.parameters())
    }
    run(training, 3)


def test_an_adapter_may_stand_on_the_model_that_was_given_first(mine):
    given, first = teacher(), teacher()
    for parameter in first.view.net.parameters():
        parameter.data += 0.1
    before = {name: value.clone() for name, value in first.view.net.state_dict().items()}
    assembly = assemble(mine("learners.student.from=origin"), next(batches()), 3, given, 0, first)
    student, fake = (assembly.training.learners[name] for name in ("student", "fake_score"))
    assert {name for name in student.parameters if "lora_" not in name} == set()
    assert (student.base, fake.base, assembly.base.given) == (first.view.net, given.view.net, first.view.net)
    run(assembly.training, 4)
    assert all(torch.equal(value, before[name]) for name, value in first.view.net.state_dict().items())
    file = assembly.base.file(student.bare, Lora(2))
    assert file.base == digest_of(first.view.net) != digest_of(given.view.net)
