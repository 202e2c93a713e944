"""What the command calls: autobatch's own functions, or a test's fakes."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from autobatch.cli.console import import_keras
from autobatch.cli.devices import set_device
from autobatch.cli.model_ref import load_datagen, load_model

if TYPE_CHECKING:
    from autobatch.cli.command import CommandOutput


@dataclass(frozen=True, slots=True)
class Api:
    """The functions behind the subcommands.

    Attributes:
        fit: As `autobatch.fit`.
        probe: As `autobatch.probe`.
        read_memory: As `autobatch.read_memory`.
        load_model: From the word on the command line to a model, compiled or not.
        load_datagen: From the word on the command line to a generator.
        make_datagen: As `ImageDataGenerator`.
        share_memory: As `autobatch.share_memory`.
        set_device: Leaves only the device of that name visible to this process.
        accelerators: The names of those that the framework can use.
        make_samples: From a model to samples that are made up for it.
        dry_run: What a probe of the same arguments would do.
        environment: What a run depends on, for a report.
        supervise: From the words of `fit`, raw and parsed, and the stream for remarks to the exit status of a training
            in a child, or an answer where that had none.
    """

    fit: Callable[..., Any]
    probe: Callable[..., Any]
    read_memory: Callable[[], Any]
    load_model: Callable[[str], Any]
    load_datagen: Callable[[str], Any]
    make_datagen: Callable[..., Any]
    share_memory: Callable[[], Any]
    set_device: Callable[[str], None]
    accelerators: Callable[[], tuple[str, ...]]
    make_samples: Callable[[Any], Any]
    dry_run: Callable[..., Any]
    environment: Callable[[], dict[str, Any]]
    supervise: Callable[[Sequence[str], argparse.Namespace, TextIO], "CommandOutput | int"]


def real_api() -> Api:
    """The functions that users have; each is imported when it is called."""
    return Api(
        fit=_fit,
        probe=_probe,
        read_memory=_read_memory,
        load_model=load_model,
        load_datagen=load_datagen,
        make_datagen=_make_datagen,
        share_memory=_share_memory,
        set_device=set_device,
        accelerators=_accelerators,
        make_samples=_make_samples,
        dry_run=_dry_run,
        environment=_environment,
        supervise=_supervise,
    )


def _fit(*args: Any, **kwargs: Any) -> Any:
    from autobatch.train.fit import fit

    return fit(*args, **kwargs)


def _probe(*args: Any, **kwargs: Any) -> Any:
    from autobatch.probing.probe import probe

    return probe(*args, **kwargs)


def _read_memory() -> Any:
    from autobatch.memory.reading import read_memory

    return read_memory()


def _share_memory() -> Any:
    import autobatch

    return autobatch.share_memory()


def _accelerators() -> tuple[str, ...]:
    from autobatch.backend import accelerator_names

    return accelerator_names()


def _make_samples(model: Any) -> Any:
    from autobatch.data.adapters.synthetic import SyntheticSource

    return SyntheticSource(model)


def _dry_run(*args: Any, **kwargs: Any) -> Any:
    from autobatch.probing.probe import dry_run

    return dry_run(*args, **kwargs)


def _environment() -> dict[str, Any]:
    from autobatch.results.environment import environment

    return environment(_read_memory())


def _supervise(words: Sequence[str], args: argparse.Namespace, stream: TextIO) -> "CommandOutput | int":
    from autobatch.cli.supervisor.supervise import supervise

    return supervise(words, args, stream)


def _make_datagen(**options: Any) -> Any:
    import_keras()
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    return ImageDataGenerator(**options)
