from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

WriteFolder = Callable[..., Path]


@pytest.fixture
def write_folder(tmp_path: Path) -> WriteFolder:
    """Writes a folder of tiny random pictures, `counts` of them per class, and returns where."""

    def write(*counts: int, size: tuple[int, int] = (12, 10), mode: str = "RGB", name: str = "pictures") -> Path:
        generator = np.random.default_rng(7)
        channels = len(mode) if mode != "L" else 1
        for label, count in enumerate(counts):
            folder = tmp_path / name / f"class{label}"
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 256, (*size, channels), dtype=np.uint8).squeeze()
                Image.fromarray(pixels, mode).save(folder / f"{number:04}.png")
        return tmp_path / name

    return write
