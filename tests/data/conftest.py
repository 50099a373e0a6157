"""Small folders of images to break."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Paint = Callable[..., Path]
Describe = Callable[..., Path]


@pytest.fixture
def paint(tmp_path: Path) -> Paint:
    """Save an image of random pixels under tmp_path: ``paint("a/0.png", mode="RGB", size=(8, 8))``."""

    def save(name: str, mode: str = "RGB", size: tuple[int, int] = (8, 8), **options: object) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        draw = np.random.default_rng(sum(name.encode()))
        values = draw.integers(0, 256, (size[1], size[0], len(Image.new(mode, (1, 1)).getbands())), dtype=np.uint8)
        Image.fromarray(values.squeeze(-1) if values.shape[-1] == 1 else values).save(path, **options)
        return path

    return save


@pytest.fixture
def metadata(tmp_path: Path) -> Describe:
    """Write metadata.jsonl under tmp_path from records or raw lines."""

    def write(*lines: dict[str, object] | str) -> Path:
        text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
        (tmp_path / "metadata.jsonl").write_text(text + "\n", encoding="utf-8")
        return tmp_path

    return write
