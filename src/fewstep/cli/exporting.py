"""``fewstep export`` and ``fewstep verify``: students as files that other tools load, and the proof that they do."""

from collections.abc import Sequence
from pathlib import Path

from fewstep.cli.words import say
from fewstep.evaluate import read_rows
from fewstep.export import Request, Student, Wanted, export, verify
from fewstep.jobs.compare import ROWS
from fewstep.jobs.models import pipe_of
from fewstep.jobs.origin import captions_for
from fewstep.networks import LORA, LoraFile
from fewstep.store import load_model

__all__ = ["export_run", "verify_folder"]


def export_run(run: Path, out: Path, form: str, steps: Sequence[int], prompts: Sequence[str], proven: bool) -> None:
    """Write the student of a run in a form, and prove it unless nobody wants that."""
    model = load_model(run)
    file = LoraFile.read(run / LORA) if (run / LORA).is_file() else None
    student = Student.of(model, pipe_of(model), file)
    rows = tuple(read_rows(run / ROWS)) if (run / ROWS).is_file() else ()
    drawn = tuple(prompts) or captions_for(model, run, len(Request().prompts))
    request = Request(drawn) if drawn else Request()
    few = export(student, out, Wanted(form, tuple(steps), request, rows), verify if proven else None)
    checks, lora = few["checks"], few["lora"]
    tolerated = "" if not checks else f"{checks['reload_max_abs_diff']:.1e}, tolerated {checks['tolerance']:g}"
    say(
        {
            "form": form if lora is None else f"{form}, {lora['modules']} layers of rank {lora['r']}",
            **({"prompts": said} if (said := student.pipe.unread(request.prompts)) and model.condition else {}),
            "scheduler": f"{few['scheduler']}, {', '.join(map(str, few['num_steps']))} steps",
            "proof": f"largest difference of a pixel {tolerated}" if checks else "not asked for (--no-verify)",
            "written": str(out),
            "next": f"read {out / 'README.md'}" if checks else f"fewstep verify {out}",
        }
    )


def verify_folder(folder: Path, base: str | None) -> None:
    """Repeat the proof of an export."""
    found = verify(folder, base)
    each = ", ".join(f"{value:.1e} at {count} step{'s' * (count != 1)}" for count, value in found.differences.items())
    say(
        {
            "stock diffusers": f"draws the student's pictures: largest difference of a pixel {each}",
            "tolerated": f"{found.tolerance:g}, on a scale from 0 to 1",
            **({"adapted layers": str(found.modules)} if found.modules else {}),
        }
    )
