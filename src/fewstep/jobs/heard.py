"""Models to listen to, side by side: the same conditions for all of them, the real sounds above."""

from collections.abc import Mapping, Sequence

from fewstep.data import Data, Ear
from fewstep.evaluate import Heard, Listening, Row, heard_words
from fewstep.model import Model

__all__ = ["listening"]

SHOWN = 5  # sounds in a row; more do not fit beside each other


def listening(rows: Sequence[Row], models: Mapping[str, Model], data: Data, ear: Ear) -> Listening:
    """Return the sounds of every measured row, from the same seeds and the conditions of real items."""
    real = data.batch([i * len(data) // SHOWN for i in range(SHOWN)])
    sounds = ear.sound(real.x0)
    seconds, heard = sounds.shape[1] / ear.rate, []
    for row in rows:
        if row.model == "real":
            heard.append(Heard("real", heard_words(row, seconds), sounds, ear.seen(real.x0)))
        elif row.model in models:
            model = models[row.model]
            made = model.sample(range(SHOWN), real.c if model.conditional else None, row.steps).clamp(-1, 1)
            title = f"{row.model}, {row.calls} call{'s' if row.calls != 1 else ''}"
            heard.append(Heard(title, heard_words(row, seconds), ear.sound(made), ear.seen(made)))
    return Listening(ear.rate, [] if real.c is None else ear.words(real.c), heard)
