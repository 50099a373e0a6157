import pytest
import torch

from fewstep.errors import UnhealthyTraining
from fewstep.training import Collapse, Connected, ExplodingCritic, Finite, Report, RunawayCritic, watch


def report(step=0, norm=1.0, gradients=None, notes=None) -> Report:
    return Report(step, "student", {"Denoise": torch.tensor(0.5)}, torch.tensor(norm), notes or {}, gradients or {})


def test_finite_stops_after_so_many_bad_turns_in_a_row():
    monitor, bad = Finite(patience=3), report(norm=float("nan"))
    for each in (bad, bad, report(), bad, bad):
        monitor(each)
    with pytest.raises(UnhealthyTraining, match=r"not finite 3 times in a row .*Lower its learning rate"):
        monitor(bad)


def test_connected_stops_at_a_term_without_a_path():
    Connected()(report(gradients={"A": 0.1}))
    with pytest.raises(UnhealthyTraining, match="the term B gives 'student' no gradient"):
        Connected()(report(gradients={"A": 0.1, "B": None}))


def test_connected_forgives_a_zero_at_the_start_only():
    monitor = Connected(patience=3)  # a fake score that still equals the teacher gives a gradient of exactly 0
    for norm in (0.0, 0.0, 0.1, 0.0, 0.0):
        monitor(report(gradients={"A": norm}))
    with pytest.raises(UnhealthyTraining, match="no gradient"):
        monitor(report(gradients={"A": 0.0}))


def test_runaway_critic_is_named_only_when_it_is_always_right():
    calm, wild = RunawayCritic(turns=10), RunawayCritic(turns=10)
    for turn in range(30):
        calm(report(notes={"critic accuracy": 0.9}))
        if turn < 9:
            wild(report(notes={"critic accuracy": 1.0}))
    with pytest.raises(UnhealthyTraining, match=r"right 100.0% of the time for 10 turns"):
        watch([wild], report(notes={"critic accuracy": 1.0}))


def test_exploding_critic_is_named_when_its_logits_stay_huge():
    calm, wild, broken = (ExplodingCritic(turns=5) for _ in range(3))
    for turn in range(20):
        calm(report(notes={"critic logit": 1e6 if turn % 5 < 2 else 3.0}))  # hiccups
    for size in (3.0, 4.0, 400.0, 400.0):
        wild(report(notes={"critic logit": size}))
        broken(report(notes={"critic logit": size if size < 5 else float("nan")}))
    with pytest.raises(UnhealthyTraining, match="critic 'student' is exploding: its logits are 400 on average"):
        wild(report(notes={"critic logit": 400.0}))
    with pytest.raises(UnhealthyTraining, match="exploding"):
        broken(report(notes={"critic logit": float("nan")}))


def calm_after(monitor, name: str, *values: float) -> bool:
    for value in values:
        monitor(report(notes={name: value}))
    return monitor.calm


def test_finite_is_calm_after_a_gradient_that_is_finite():
    monitor = Finite()
    assert monitor.calm
    monitor(report(norm=float("nan")))
    assert not monitor.calm
    monitor(report())
    assert monitor.calm


def test_exploding_critic_is_suspected_at_its_first_huge_logit_and_for_a_quarter_of_its_turns():
    monitor = ExplodingCritic(turns=20)
    assert calm_after(monitor, "critic logit", 3.0, 4.0)
    assert not calm_after(monitor, "critic logit", 400.0)
    assert not calm_after(monitor, "critic logit", 3.0, 3.0, 3.0, 3.0)
    assert calm_after(monitor, "critic logit", 3.0)
    assert not calm_after(monitor, "critic logit", float("nan"))


def test_runaway_critic_is_suspected_when_it_was_right_for_a_tenth_of_its_turns():
    monitor = RunawayCritic(turns=40)
    assert calm_after(monitor, "critic accuracy", 1.0, 1.0, 1.0)  # a new one
    assert not calm_after(monitor, "critic accuracy", 1.0)
    assert calm_after(monitor, "critic accuracy", 0.9, 1.0, 1.0, 1.0)
    assert not calm_after(monitor, "critic accuracy", 1.0)


@pytest.mark.parametrize("monitor", [RunawayCritic(turns=3), ExplodingCritic(turns=3)], ids=["runaway", "exploding"])
def test_heads_that_know_classes_are_watched_by_themselves(monitor):
    fine, sick = {"critic accuracy": 0.6, "critic logit": 1.0}, {"critic accuracy": 1.0, "critic logit": 99.0}
    notes = fine | {f"class {name}": value for name, value in sick.items()}
    for _ in range(2):
        monitor(report(notes=notes))
    assert not monitor.calm
    with pytest.raises(UnhealthyTraining, match="the critic 'student'"):
        monitor(report(notes=notes))


@pytest.fixture
def healthy() -> torch.Tensor:
    return torch.randn(5, 8, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def test_healthy_samples_pass(healthy):
    other = torch.randn(5, 8, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    seen = Collapse.against(healthy).look(other, 10)
    assert seen["deviation"] == pytest.approx(1, abs=0.1)
    assert seen["distance between seeds"] == pytest.approx(1, abs=0.1)


def test_a_young_network_may_be_flat_but_not_infinite(healthy):
    collapse = Collapse.against(healthy)
    assert collapse.look(0.1 * healthy, 7, young=True)["deviation"] == pytest.approx(0.1)
    with pytest.raises(UnhealthyTraining, match="not finite"):
        collapse.look(healthy * float("nan"), 7, young=True)


@pytest.mark.parametrize(
    ("sick", "word"),
    [
        (lambda x: torch.full_like(x, 0.3), "flat"),
        (lambda x: 0.1 * x, "flat"),
        (lambda x: 10 * x, "exploding"),
        (lambda x: x[:, :1].expand_as(x), "different seeds give nearly the same sample"),
        (lambda x: x * float("nan"), "not finite"),
    ],
)
def test_collapse_is_named(healthy, sick, word):
    with pytest.raises(UnhealthyTraining, match=f"step 7 .*{word}"):
        Collapse.against(healthy).look(sick(healthy), 7)
