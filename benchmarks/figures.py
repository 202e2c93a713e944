"""The small figures that are promised: start-up, a reading, and cutting a large folder anew.

`python benchmarks/figures.py` makes a folder of 50,000 empty pictures, walks it once as autobatch does, and prints
medians. A timing is no test: machines differ, and so does what else runs on them.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

FILES, CLASSES = 50_000, 10


def median_ms(function: Callable[[], Any], times: int) -> float:
    """Median milliseconds of a call."""
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds) * 1e3


def fresh(*words: str) -> Callable[[], Any]:
    """Runs Python with these arguments in a process of its own."""
    return lambda: subprocess.run([sys.executable, *words], check=True, capture_output=True)


def fill(folder: Path) -> None:
    """Makes empty files with the names of pictures: only their names are looked at."""
    for number in range(CLASSES):
        (folder / str(number)).mkdir()
    for number in range(FILES):
        (folder / str(number % CLASSES) / f"{number:06}.png").touch()


def main() -> None:
    """Prints one line a figure."""
    command = "from autobatch.cli.main import main; main(['--help'])"
    print(f"python -c pass            {median_ms(fresh('-c', 'pass'), 15):9.2f} ms")
    print(f"import autobatch          {median_ms(fresh('-c', 'import autobatch'), 15):9.2f} ms")
    print(f"autobatch --help          {median_ms(fresh('-c', command), 15):9.2f} ms")

    import autobatch

    autobatch.read_memory()
    print(f"read_memory()             {median_ms(autobatch.read_memory, 200):9.3f} ms")

    from tensorflow.keras.preprocessing.image import ImageDataGenerator

    from autobatch.data.cut import near_equal, updates
    from autobatch.data.directory import DirectorySource

    datagen = ImageDataGenerator(rescale=1 / 255)
    with tempfile.TemporaryDirectory() as name:
        fill(Path(name))
        walk = median_ms(lambda: datagen.flow_from_directory(name, batch_size=32), 3)
        print(f"flow_from_directory       {walk:9.2f} ms   ({FILES:,} files)")
        began = time.perf_counter()
        source = DirectorySource(datagen, name, target_size=(64, 64))
        print(f"one DirectorySource       {(time.perf_counter() - began) * 1e3:9.2f} ms   (walks once)")
        recut = median_ms(lambda: (list(updates(len(source), 48)), near_equal(48, 20)), 200)
        print(f"cutting all of it anew    {recut:9.3f} ms   ({walk / recut:,.0f} times faster than another flow)")


if __name__ == "__main__":
    main()
