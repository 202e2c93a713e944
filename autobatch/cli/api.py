"""What the command calls: autobatch's own functions, or a test's fakes."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from autobatch.cli.objects import load_datagen, load_model
from autobatch.cli.quiet import import_keras


@dataclass(frozen=True, slots=True)
class Api:
    """The functions behind the subcommands.

    Attributes:
        fit: As `autobatch.fit`.
        probe: As `autobatch.probe`.
        read_memory: As `autobatch.read_memory`.
        load_model: From the word on the command line to a compiled model.
        load_datagen: From the word on the command line to a generator.
        make_datagen: As `ImageDataGenerator`.
        share_memory: As `autobatch.share_memory`.
        supervise: From the words of `fit`, raw and parsed, and the stream for remarks to the exit status of a training
            in a child.
    """

    fit: Callable[..., Any]
    probe: Callable[..., Any]
    read_memory: Callable[[], Any]
    load_model: Callable[[str], Any]
    load_datagen: Callable[[str], Any]
    make_datagen: Callable[..., Any]
    share_memory: Callable[[], Any]
    supervise: Callable[[Sequence[str], argparse.Namespace, TextIO], int]


def real_api() -> Api:
    """The functions that users have; each is imported when it is called."""
    return Api(_fit, _probe, _read_memory, load_model, load_datagen, _make_datagen, _share_memory, _supervise)


def _fit(*args: Any, **kwargs: Any) -> Any:
    from autobatch.train.fit import fit

    return fit(*args, **kwargs)


def _probe(*args: Any, **kwargs: Any) -> Any:
    from autobatch.probing.run import probe

    return probe(*args, **kwargs)


def _read_memory() -> Any:
    from autobatch.memory.read import read_memory

    return read_memory()


def _share_memory() -> Any:
    import autobatch

    return autobatch.share_memory()


def _supervise(words: Sequence[str], args: argparse.Namespace, stream: TextIO) -> int:
    from autobatch.cli.supervise import supervise

    return supervise(words, args, stream)


def _make_datagen(**options: Any) -> Any:
    import_keras()
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    return ImageDataGenerator(**options)
