"""In which forms a student can be exported: the same functions are asked before it is trained and by the export."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fewstep.errors import RecipeError, WeightsError, nearest
from fewstep.export.kohya import kohya_whole
from fewstep.export.student import Student
from fewstep.export.timetable import Timetable, timetable
from fewstep.interop import Pipe
from fewstep.interop.own import reads_adapters
from fewstep.model import Model
from fewstep.networks import LoraFile

__all__ = ["FORMS", "Outlook", "outlook", "walked"]

FORMS = ("lora", "folder", "kohya")


@dataclass(frozen=True)
class Outlook:
    """In which numbers of ``steps`` a student can be exported, and why not in which ``forms``; nothing refused in those
    without a word.

    ``others`` says why not in the other numbers of steps that it is made for.
    """

    steps: tuple[int, ...]
    forms: Mapping[str, str] = field(default_factory=dict)
    others: str = ""

    @property
    def possible(self) -> list[str]:
        """The forms in which it can be exported."""
        return [form for form in FORMS if self.steps and not self.forms.get(form)]

    @property
    def words(self) -> str:
        """All of it in a line, with what to change: the reason of an adapter's first form stands for its others."""
        if not self.possible:
            return f"not possible: {self.others or self.forms[FORMS[0]]}"
        refused = [form for form in FORMS if form not in self.possible]
        said = [f"as {_listed(self.possible)}"]
        if self.others:
            said[0] += f" with {' '.join(f'--steps {count}' for count in self.steps)}"
            said.append(f"in other numbers of steps not: {self.others}")
        if refused:
            said.append(f"not as {_listed(refused)}: {self.forms[refused[0]]}")
        return "; ".join(said)


def outlook(model: Model, pipe: Pipe, file: LoraFile | None = None) -> Outlook:
    """Say how a student can be exported, trained or not; ``file`` is its adapter, if it learns one.

    What only a finished export shows is not foreseen: that nothing was learned, and that the proof fails.
    """
    try:
        student = Student.unmerged(model, pipe, file)
    except WeightsError as error:
        return _impossible(str(error))
    able, reason = _able(student)
    if not able:
        return _impossible(reason)
    forms = {}
    for form in FORMS:
        try:
            _refuse_form(student, form)
        except WeightsError as error:
            forms[form] = str(error)
    return Outlook(able, forms, reason)


def walked(student: Student, form: str, counts: Sequence[int]) -> Timetable:
    """Return how a student is walked in so many steps when it is exported in a form.

    Raises ``RecipeError`` for a form that there is none of, and ``WeightsError`` for a student that no stock scheduler
    follows, and only then for one that the form cannot hold, whose remedy is another form.
    """
    if form not in FORMS:
        raise RecipeError(f"there is no form {form!r} of an export; {nearest(form, FORMS)}")
    table = timetable(student, counts)
    _refuse_form(student, form)
    return table


def _refuse_form(student: Student, form: str) -> None:
    """Raise ``WeightsError`` for a student that the form cannot hold."""
    if form == "folder":
        return
    if student.adapter is None:
        raise WeightsError(
            f"The student learned with whole weights, which the form {form} has no place for. Export it with --form "
            "folder, or distil with a learner that has 'lora'."
        )
    if Path(student.pipe.place).is_file():
        raise WeightsError(
            f"The base of this adapter is a checkpoint in one file ({student.pipe.place}), which stock diffusers reads "
            "in more than one way. Write it into a folder (fewstep.interop.as_folder, as `fewstep distill` does), open "
            "that, and export on it; or export with --form folder."
        )
    if not reads_adapters(student.pipe.pipeline):
        raise WeightsError(
            f"{type(student.pipe.pipeline).__name__} of diffusers reads no LoRA files. Export with --form folder."
        )
    if form == "kohya":
        kohya_whole(student.adapter, student.pipe.family.name, student.backbone.config)


def _able(student: Student) -> tuple[tuple[int, ...], str]:
    """Return the numbers of steps that stock schedulers follow together, and why not all of them."""
    counts, able, reason = student.sampler.made_for, list[int](), ""
    for some in (counts, *((count,) for count in counts)):
        try:
            timetable(student, [*able, *some])
        except WeightsError as error:
            reason = reason or str(error)
        else:
            able += some
            if len(able) == len(counts):
                break
    return tuple(able), reason


def _impossible(reason: str) -> Outlook:
    return Outlook((), dict.fromkeys(FORMS, reason), reason)


def _listed(words: Sequence[str]) -> str:
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
