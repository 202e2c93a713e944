"""A folder of pictures, through an `ImageDataGenerator`, as samples that can be read one by one in any order."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from os import PathLike, fspath
from typing import Any, Self, Unpack

import keras
import numpy as np
import numpy.typing as npt

from autobatch.data.batch import Batch, concatenate
from autobatch.data.chance import Tamed, seeded
from autobatch.data.folder import check_folder, check_found, check_subset
from autobatch.data.options import ClassMode, FlowOptions, check_options
from autobatch.data.order import as_indices, sample_seed
from autobatch.data.picture import STEPS, PictureMaker
from autobatch.errors import ArgumentError, DataError


class DirectorySource:
    """The pictures of a folder, with Keras' meaning of every option, addressed by sample.

    The folder is walked once, here. A sample's picture depends on `(seed, epoch, index)` alone: not on what is read
    beside it, nor on the thread that reads it; the random state of the process isn't touched. A
    `preprocessing_function` or a subclass that draws from `np.random` or `random` is seeded the same way, under a lock
    (see `autobatch.data.chance` for what that doesn't cover).

    Args:
        datagen: A Keras `ImageDataGenerator`, or a subclass.
        directory: A folder with one subfolder for each class.
        seed: What order and augmentation derive from.
        augment: Whether pictures are transformed at random. Without, a sample looks the same in every epoch.
        **options: What `flow_from_directory` takes.

    Raises:
        ArgumentError: An option that doesn't exist or doesn't fit the folder.
        DataError: A folder that can't be used; `.path` names it.

    Example:
        ```python
        source = DirectorySource(ImageDataGenerator(rescale=1 / 255), "data/train", seed=1, target_size=(64, 64))
        batch = source.read([0, 5, 7], epoch=0)  # batch.x: (3, 64, 64, 3), batch.y: (3, classes)
        ```
    """

    def __init__(
        self,
        datagen: Any,
        directory: str | PathLike[str],
        *,
        seed: int = 0,
        augment: bool = True,
        **options: Unpack[FlowOptions],
    ) -> None:
        if not hasattr(datagen, "flow_from_directory"):
            message = "Pictures are read through a Keras ImageDataGenerator."
            raise ArgumentError(f"{message} Received: datagen={datagen!r}. Expected an ImageDataGenerator.")
        check_options(options)
        check_subset(datagen, options.get("subset"))
        check_folder(directory, options.get("classes"))
        self._flow = _walk(datagen, directory, options)
        self._datagen = datagen
        self._augment = augment
        self._seed = seed
        self._tamed = {step: Tamed() for step in STEPS}
        found = np.bincount(self.labels, minlength=len(self.class_indices)).tolist()
        self._counts = dict(zip(self.class_indices, found, strict=True))
        check_found(directory, self._counts, self._flow)

    @property
    def seed(self) -> int:
        """The seed that order and augmentation derive from."""
        return self._seed

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self._flow.classes)

    @property
    def labels(self) -> npt.NDArray[np.int32]:
        """The class of each sample, shape `(samples,)`."""
        return np.asarray(self._flow.classes, dtype=np.int32)

    @property
    def class_indices(self) -> dict[str, int]:
        """From the name of a class to its number."""
        return dict(self._flow.class_indices)

    @property
    def class_counts(self) -> dict[str, int]:
        """From the name of a class to how many pictures it has here."""
        return dict(self._counts)

    @property
    def filepaths(self) -> list[str]:
        """The file of each sample."""
        return list(self._flow.filepaths)

    @property
    def class_mode(self) -> ClassMode:
        """The form of the targets, as `flow_from_directory` names it."""
        mode: ClassMode = self._flow.class_mode
        return mode

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one picture: `(height, width, channels)`, or channels first if the generator says so."""
        return tuple(self._flow.image_shape)

    @property
    def sample_bytes(self) -> int:
        """Bytes of one picture and its target."""
        item: int = np.dtype(self._flow.dtype).itemsize
        picture = int(np.prod(self.sample_shape))
        target = {"input": picture, "categorical": len(self.class_indices), "sparse": 1, "binary": 1}
        return item * (picture + target.get(self.class_mode or "", 0))

    def without_saving(self) -> Self:
        """The same pictures, but reading them writes nothing, whatever `save_to_dir` says."""
        if not self._flow.save_to_dir:
            return self
        quiet = copy.copy(self)
        quiet._flow = copy.copy(self._flow)
        quiet._flow.save_to_dir = None
        return quiet

    def read(self, indices: Sequence[int] | npt.NDArray[np.int64], epoch: int) -> Batch:
        """The samples at `indices` as they look in `epoch`: pictures `(len(indices), ...)` and their targets.

        Raises:
            DataError: A file can't be decoded; `.path` names it. What the user's own transformation raises passes
                unchanged, with a note that names the file.
            IndexError: There is no such sample.
        """
        wanted = as_indices(indices, len(self)).tolist()
        if not wanted:
            raise ArgumentError("There is nothing to read. Received: indices=[]. Expected at least one.")
        if len(wanted) > 1 and not self._flow.save_to_dir:
            # Should one of them fail, reading them singly tells which.
            with suppress(Exception):
                return _make(self._flow_for(wanted, epoch), wanted)
        return concatenate([self._make_one(index, epoch) for index in wanted])

    def _make_one(self, index: int, epoch: int) -> Batch:
        flow = self._flow_for([index], epoch)
        # Keras draws the name of a saved picture from numpy's global state, too.
        alone = seeded(self._sample_seed(index, epoch)) if flow.save_to_dir else nullcontext()
        try:
            with alone:
                return _make(flow, [index])
        except (ImportError, MemoryError):
            raise
        except Exception as error:
            file = flow.filepaths[index]
            if flow.image_data_generator.decoded:
                error.add_note(f"autobatch was making sample {index} from {file}.")
                raise
            # Decoders raise whatever they like at a broken file: OSError, SyntaxError, ValueError, struct.error, ...
            message = f"{file} cannot be read as a picture: {error}. Repair the file or take it out of the folder."
            raise DataError(message, file) from error

    def _flow_for(self, indices: list[int], epoch: int) -> Any:
        """Keras' own flow, so that each option has its meaning there, with draws of our own."""
        seeds = (self._sample_seed(index, epoch) for index in indices)
        flow = copy.copy(self._flow)
        flow.image_data_generator = PictureMaker(self._datagen, self._tamed, seeds, augment=self._augment)
        return flow

    def _sample_seed(self, index: int, epoch: int) -> int:
        return sample_seed(self._seed, epoch if self._augment else 0, index)


def _make(flow: Any, indices: list[int]) -> Batch:
    made = flow._get_batches_of_transformed_samples(indices)
    return Batch(*made) if isinstance(made, tuple) else Batch(made)


def _walk(datagen: Any, directory: str | PathLike[str], options: FlowOptions) -> Any:
    try:
        with _quiet_keras():
            return datagen.flow_from_directory(fspath(directory), batch_size=1, shuffle=False, **options)
    except OSError as error:
        raise DataError(f"{fspath(directory)} cannot be walked: {error}.", fspath(directory)) from error


@contextmanager
def _quiet_keras() -> Iterator[None]:
    """Keeps Keras from printing what it found. The switch is thread-local in Keras, so nobody else falls silent."""
    loud = keras.config.is_interactive_logging_enabled()
    keras.config.disable_interactive_logging()
    try:
        yield
    finally:
        if loud:
            keras.config.enable_interactive_logging()
