"""The main result of a table in one sentence."""

from fewstep.evaluate.rows import Row

__all__ = ["headline"]


def headline(rows: list[Row]) -> str:
    """``1 call instead of 35: 53 times faster, Fréchet distance 8.42 against 10.1 (real data: 7.75).``

    The student is the row with the fewest calls, the teacher the one with the most; at equal calls the better one.
    Without both of them the sentence says what was measured instead.
    """
    teachers = [row for row in rows if row.model == "teacher" and row.calls is not None]
    students = [row for row in rows if row.model not in ("teacher", "real") and row.calls is not None]
    if not teachers or not students:
        return _summary(rows)
    teacher = min(teachers, key=lambda row: (-(row.calls or 0), _distance(row)))
    student = min(students, key=lambda row: (row.calls or 0, _distance(row)))
    parts = [_speed(teacher, student), _quality(teacher, student, rows)]
    said = ", ".join(part for part in parts if part)
    return f"{_calls(student)} instead of {teacher.calls}{': ' + said if said else ''}."


def _summary(rows: list[Row]) -> str:
    models = [row for row in rows if row.model != "real" and row.frechet is not None]
    if not models:
        return "No model has been measured yet."
    best = min(models, key=_distance)
    calls = "" if best.calls is None else f" with {_calls(best)} per image"
    return f"{best.model[:1].upper()}{best.model[1:]}{calls}: Fréchet distance {best.frechet:#.3g}{_floor(rows)}."


def _speed(teacher: Row, student: Row) -> str:
    if not teacher.seconds_per_image or not student.seconds_per_image:
        return ""
    factor = teacher.seconds_per_image / student.seconds_per_image
    return f"{factor:.0f} times faster" if factor >= 10 else f"{factor:.1f} times as fast"


def _quality(teacher: Row, student: Row, rows: list[Row]) -> str:
    if teacher.frechet is None or student.frechet is None:
        return ""
    return f"Fréchet distance {student.frechet:#.3g} against the teacher's {teacher.frechet:#.3g}{_floor(rows)}"


def _floor(rows: list[Row]) -> str:
    floor = next((row.frechet for row in rows if row.model == "real"), None)
    return "" if floor is None else f" (real data against itself: {floor:#.3g})"


def _calls(row: Row) -> str:
    return "1 call" if row.calls == 1 else f"{row.calls} calls"


def _distance(row: Row) -> float:
    return float("inf") if row.frechet is None else row.frechet
