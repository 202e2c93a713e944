"""A folder of pictures, through an `ImageDataGenerator`, as samples that can be read one by one in any order."""

from os import PathLike, fspath
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from autobatch.data.flow import FlowSource
from autobatch.data.folder import check_folder, check_found, check_subset
from autobatch.data.image_backend import ImageBackend
from autobatch.data.options import FolderOptions, check_options
from autobatch.data.quiet import without_printing
from autobatch.errors import ArgumentError, DataError


class DirectorySource(FlowSource):
    """The pictures of a folder, with Keras' meaning of every option, addressed by sample.

    The folder is walked once, here. What a sample looks like follows from `(seed, epoch, index, image_backend)` alone,
    as `FlowSource` says.

    Args:
        datagen: A Keras `ImageDataGenerator`, or a subclass.
        directory: A folder with one subfolder for each class.
        seed: What order and augmentation derive from.
        augment: Whether pictures are transformed at random. Without, a sample looks the same in every epoch.
        image_backend: What transforms them, as `FlowSource` says.
        **options: What `flow_from_directory` takes.

    Raises:
        ArgumentError: An option that doesn't exist or doesn't fit the folder.
        DataError: A folder that can't be used; `.path` names it.
        MissingExtraError: OpenCV is not installed.

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
        image_backend: ImageBackend = "scipy",
        **options: Unpack[FolderOptions],
    ) -> None:
        require_generator(datagen)
        check_options(options, kind="folder")
        check_subset(datagen, options.get("subset"))
        check_folder(directory, options.get("classes"))
        flow = _walk(datagen, directory, options)
        super().__init__(flow, seed=seed, augment=augment, image_backend=image_backend)
        check_found(directory, self._counts, self._flow)

    @property
    def labels(self) -> npt.NDArray[np.int32]:
        """The class of each sample, shape `(samples,)`."""
        return np.asarray(self._flow.classes, dtype=np.int32)

    @property
    def filepaths(self) -> list[str]:
        """The file of each sample."""
        return list(self._flow.filepaths)


def require_generator(datagen: Any) -> None:
    """Checks that pictures are to be read through an `ImageDataGenerator`.

    Raises:
        ArgumentError: They are not.
    """
    if not hasattr(datagen, "flow_from_directory"):
        message = "Pictures are read through a Keras ImageDataGenerator."
        raise ArgumentError(f"{message} Received: datagen={datagen!r}. Expected an ImageDataGenerator.")


def _walk(datagen: Any, directory: str | PathLike[str], options: FolderOptions) -> Any:
    try:
        with without_printing():
            return datagen.flow_from_directory(fspath(directory), batch_size=1, **options)
    except OSError as error:
        raise DataError(f"{fspath(directory)} cannot be walked: {error}.", fspath(directory)) from error
