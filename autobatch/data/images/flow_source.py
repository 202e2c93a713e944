"""A flow of an `ImageDataGenerator`, whatever it reads, as samples that can be read one by one in any order.

A picture that cannot be read is an error here; where a sample may be dropped is said at `Source` in `source.py`.
"""

import copy
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
from keras.config import floatx
from keras.src.legacy.preprocessing.image import ImageDataGenerator

from autobatch.data.batch import Batch, bytes_of_one, concatenate, leaves, map_leaves
from autobatch.data.epoch import as_indices, sample_seed
from autobatch.data.images.flow import FlowKind, class_counts_of, picture_shape, require_flow, sample_bytes_of
from autobatch.data.images.seeding import STEPS, SeededCalls, SeededImageGenerator, seeded
from autobatch.data.images.transform import PixelMover, require_image_backend
from autobatch.data.options import ClassMode, ImageBackend
from autobatch.errors import ArgumentError, DataError


class _Place:
    """Stands where the pictures belong."""

    def __repr__(self) -> str:
        return "PICTURES"


PICTURES: Final = _Place()
"""Stands for the pictures in a nest of arrays."""


@dataclass(frozen=True, slots=True)
class PictureArrays:
    """Pictures, and arrays of which each picture has a row."""

    pictures: Any  # four dimensions, samples first
    x: Any  # the inputs: `PICTURES`, or a list, tuple or dict with it and other arrays
    y: Any = None  # the targets: arrays in any nest, `PICTURES` if they are the pictures themselves, or `None`
    sample_weight: Any = None  # in any nest, or `None`

    @property
    def nest(self) -> tuple[Any, Any, Any]:
        return self.x, self.y, self.sample_weight

    @property
    def class_mode(self) -> ClassMode:
        """The form of the targets, as Keras names it for dataframes."""
        return None if self.y is None else "input" if self.y is PICTURES else "raw"

    def sample_bytes(self, picture_bytes: int) -> int:
        return sum(picture_bytes if leaf is PICTURES else bytes_of_one(leaf) for leaf in leaves(self.nest))

    def join(self, pictures: Any, indices: Any) -> Batch:
        x = map_leaves(lambda leaf: pictures if leaf is PICTURES else leaf[indices], self.x)
        y = map_leaves(lambda leaf: pictures.copy() if leaf is PICTURES else leaf[indices], self.y)
        return Batch(x, y, map_leaves(lambda leaf: leaf[indices], self.sample_weight))


class FlowSource:
    """The samples of a flow that Keras made of a folder, a dataframe or arrays, with its meaning of every option.

    A sample's picture depends on `(seed, epoch, index, image_backend)` alone: not on what is read beside it, nor on the
    thread that reads it; the random state of the process isn't touched. A `preprocessing_function` or a subclass that
    draws from `np.random` or `random` is seeded the same way, under a lock (`autobatch.data.images.seeding` says what
    that doesn't cover). The flow's batch size, position and order play no part, and the flow stays as it is. Without
    `augment` a sample looks the same in every epoch.
    """

    def __init__(
        self,
        flow: Any,
        *,
        seed: int = 0,
        augment: bool = True,
        arrays: PictureArrays | None = None,
        image_backend: ImageBackend = "scipy",
    ) -> None:
        self.kind: FlowKind = require_flow(flow)
        self.image_backend = require_image_backend(image_backend)
        self._flow = copy.copy(flow)
        # A flow from a file list works without a generator: pictures are then left as they are.
        self._datagen = flow.image_data_generator or ImageDataGenerator(data_format=flow.data_format, dtype=flow.dtype)
        self._mover = PixelMover(self._datagen, self.image_backend)
        self._augment = augment
        self.seed = seed
        self._arrays = arrays
        self._calls = {step: SeededCalls() for step in STEPS}
        self.class_counts = class_counts_of(flow)  # from the name of a class; empty if the flow knows none
        picture_bytes = sample_bytes_of(flow)
        self.sample_bytes = picture_bytes if arrays is None else arrays.sample_bytes(picture_bytes)

    @property
    def transformed_dtype(self) -> str:
        """The numbers of a picture while it is transformed, by name: Keras decodes files to its own float type."""
        return str(np.dtype(self._flow.dtype if self.kind == "arrays" else floatx()))

    @property
    def shuffles(self) -> bool:
        return bool(self._flow.shuffle)

    def __len__(self) -> int:
        return int(self._flow.n)

    @property
    def filepaths(self) -> list[str] | None:
        """The file of each sample, `None` if they come from arrays."""
        return None if self.kind == "arrays" else list(self._flow.filepaths)

    @property
    def class_indices(self) -> dict[str, int]:
        return dict(getattr(self._flow, "class_indices", {}))

    @property
    def class_mode(self) -> ClassMode:
        """The form of the targets, as Keras names it; those of arrays are `"raw"`, that is, as they are."""
        if self._arrays is not None:
            return self._arrays.class_mode
        if self.kind == "arrays":
            return None if self._flow.y is None else "raw"
        mode: ClassMode = self._flow.class_mode
        return mode

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return picture_shape(self._flow)

    def without_saving(self) -> Self:
        if not self._flow.save_to_dir:
            return self
        quiet = copy.copy(self)
        quiet._flow = copy.copy(self._flow)
        quiet._flow.save_to_dir = None
        return quiet

    def read(self, indices: Sequence[int] | npt.NDArray[np.int64], epoch: int) -> Batch:
        """Pictures `(len(indices), ...)` as they look in `epoch`, their targets and weights.

        What the user's own transformation raises passes unchanged, with a note that names the sample.
        """
        wanted = as_indices(indices, len(self)).tolist()
        if not wanted:
            raise ArgumentError("There is nothing to read. Received: indices=[]. Expected at least one.")
        if len(wanted) > 1 and not self._flow.save_to_dir:
            # Should one of them fail, reading them singly tells which.
            with suppress(Exception):
                return self._make(self._flow_for(wanted, epoch), wanted)
        return concatenate([self._make_one(index, epoch) for index in wanted])

    def _make_one(self, index: int, epoch: int) -> Batch:
        flow = self._flow_for([index], epoch)
        # Keras draws the name of a saved picture from numpy's global state, too.
        alone = seeded(self._sample_seed(index, epoch)) if flow.save_to_dir else nullcontext()
        try:
            with alone:
                return self._make(flow, [index])
        except (ImportError, MemoryError):
            raise
        except Exception as error:
            if flow.image_data_generator.decoded:
                whence = " of the arrays" if self.kind == "arrays" else f" from {self._flow.filepaths[index]}"
                error.add_note(f"autobatch was making sample {index}{whence}.")
                raise
            raise self._unreadable(index, error) from error

    def _make(self, flow: Any, indices: list[int]) -> Batch:
        made = flow._get_batches_of_transformed_samples(indices)
        if self._arrays is not None:
            return self._arrays.join(made, indices)
        # The columns of a dataframe need not be numpy's arrays.
        return Batch(*map_leaves(np.asarray, made if isinstance(made, tuple) else (made,)))

    def _unreadable(self, index: int, error: Exception) -> DataError:
        # Decoders raise whatever they like at a broken file: OSError, SyntaxError, ValueError, struct.error, ...
        if self.kind == "arrays":
            return DataError(f"Sample {index} of the arrays cannot be read: {error}.")
        file: str = self._flow.filepaths[index]
        place = "folder" if self.kind == "folder" else "dataframe"
        # Pillow's own words name an object in memory.
        why = "its format is unknown" if type(error).__name__ == "UnidentifiedImageError" else error
        message = f"{file} cannot be read as a picture: {why}. Repair the file or take it out of the {place}."
        return DataError(message, file)

    def _flow_for(self, indices: list[int], epoch: int) -> Any:
        """Keras' own flow, so that each option has its meaning there, with draws of our own."""
        seeds = (self._sample_seed(index, epoch) for index in indices)
        flow = copy.copy(self._flow)
        flow.image_data_generator = SeededImageGenerator(
            self._datagen, self._calls, seeds, augment=self._augment, mover=self._mover
        )
        return flow

    def _sample_seed(self, index: int, epoch: int) -> int:
        # Without augmentation a sample must look the same in every epoch, also where the user's own code draws.
        return sample_seed(self.seed, epoch if self._augment else 0, index)
