"""Work on many items a part at a time, where what is made of all of them together would take too much memory."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

__all__ = ["PART", "held", "in_parts"]

PART = 512  # items; pipelines decode 64 together, so that no image has other neighbours than without parts
MOST = 1 << 30  # bytes of pictures that are held in memory


def in_parts(make: Callable[..., Tensor], *items: Tensor) -> Tensor:
    """Return what ``make`` makes of items, and of what goes with each of them, put together from parts.

    Exact when what it makes of an item depends on no other one, or only on those of its part: to the last bit.
    """
    return torch.cat([make(*part) for part in zip(*(torch.split(each, PART) for each in items), strict=True)])


@contextmanager
def held(make: Callable[[Tensor], Tensor], items: Tensor, folder: Path) -> Iterator[Tensor]:
    """Yield what ``make`` makes of items, a part at a time: in memory, or what is more than 1 GiB in a file.

    The file lies in ``folder`` as long as it is needed, and the system reads of it what is asked for; do not write to
    the tensor.
    """
    parts = (make(part) for part in torch.split(items, PART))
    first = next(parts)
    if first.nbytes / len(first) * len(items) <= MOST:
        yield torch.cat([first, *parts])
        return
    shape = (len(items), *first.shape[1:])
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder) as place:
        path = Path(place) / "pictures"
        with path.open("wb") as file:
            for part in (first, *parts):
                file.write(part.cpu().contiguous().numpy().data)
        yield torch.from_file(str(path), shared=False, size=torch.Size(shape).numel(), dtype=first.dtype).view(shape)
