"""Keras and TensorFlow imported without TensorFlow's greeting.

TensorFlow writes a few lines to the process's error stream before its own log level applies, so the stream itself is
held back during the import, and let out if the import fails.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import BinaryIO

LEVEL = "TF_CPP_MIN_LOG_LEVEL"


def import_keras() -> None:
    """Imports Keras and its backend; somebody who has set TensorFlow's log level reads everything."""
    if "keras" in sys.modules:
        return
    if LEVEL in os.environ:
        import_module("keras")
        return
    os.environ[LEVEL] = "2"
    with held_back(2):
        import_module("keras")
        # Where there is no driver, TensorFlow calls the first look for GPUs an error; `autobatch doctor` says more.
        import_module("autobatch.step.backend").accelerators()


@contextmanager
def held_back(descriptor: int) -> Iterator[None]:
    """Keeps what is written to a file descriptor; lets it out only if the body fails; Ctrl-C is no failure."""
    import tempfile

    original = os.dup(descriptor)
    try:
        with tempfile.TemporaryFile() as kept:
            os.dup2(kept.fileno(), descriptor)
            try:
                yield
            except Exception:
                _release(kept, original)
                raise
            finally:
                os.dup2(original, descriptor)
    finally:
        os.close(original)


def _release(kept: BinaryIO, descriptor: int) -> None:
    import shutil

    kept.seek(0)
    with os.fdopen(os.dup(descriptor), "wb") as stream:
        shutil.copyfileobj(kept, stream)
