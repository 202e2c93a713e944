"""What the command calls: autobatch's own functions, or a test's fakes."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TextIO

import autobatch
from autobatch.cli.console import import_keras

if TYPE_CHECKING:
    from autobatch.cli.command import CommandOutput
    from autobatch.memory.reading import MemoryReading


class Api:
    """The functions behind the subcommands; each is imported when it is called."""

    def set_device(self, wanted: str) -> None:
        from autobatch.cli.devices import set_device

        set_device(wanted)

    def load_model(self, name: str) -> Any:
        from autobatch.cli.model_ref import load_model

        return load_model(name)

    def load_datagen(self, name: str) -> Any:
        from autobatch.cli.model_ref import load_datagen

        return load_datagen(name)

    def fit(self, *args: Any, **options: Any) -> Any:
        return autobatch.fit(*args, **options)

    def probe(self, *args: Any, **options: Any) -> Any:
        return autobatch.probe(*args, **options)

    def dry_run(self, *args: Any, **options: Any) -> Any:
        from autobatch.probing.probe import dry_run

        return dry_run(*args, **options)

    def read_memory(self) -> "MemoryReading":
        return autobatch.read_memory()

    def share_memory(self) -> Any:
        return autobatch.share_memory()

    def accelerators(self) -> tuple[str, ...]:
        from autobatch.backend import accelerator_names

        return accelerator_names()

    def make_datagen(self, **options: Any) -> Any:
        import_keras()
        from keras.src.legacy.preprocessing.image import ImageDataGenerator

        return ImageDataGenerator(**options)

    def make_samples(self, model: Any) -> Any:
        from autobatch.data.adapters.synthetic import SyntheticSource

        return SyntheticSource(model)

    def environment(self) -> dict[str, Any]:
        from autobatch.backend import framework_packages
        from autobatch.results.environment import environment

        return environment(self.read_memory(), packages=framework_packages())

    def supervise(self, words: Sequence[str], args: argparse.Namespace, stream: TextIO) -> "CommandOutput | int":
        from autobatch.cli.supervisor.supervise import supervise

        return supervise(words, args, stream)
