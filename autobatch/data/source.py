"""What the rest of autobatch asks of data: random access by sample."""

from typing import Any, Protocol

from autobatch.data.batch import Batch


class Source(Protocol):
    """Samples that can be read in any order, any number of times, from any thread.

    `read` must return the same arrays for the same `(index, epoch)` whatever else is read beside it: augmentation is
    seeded per sample. Implementations are safe to call from several threads at once.
    """

    @property
    def seed(self) -> int:
        """The seed that order and augmentation derive from."""

    @property
    def sample_bytes(self) -> int:
        """Bytes of one sample as `read` hands it over: inputs, targets and weight (the most, where samples differ)."""

    def __len__(self) -> int:
        """Number of samples."""

    def read(self, indices: Any, epoch: int) -> Batch:
        """The samples at `indices` (a sequence of ints) as they look in `epoch`.

        Raises:
            DataError: A sample cannot be read; the error names its file.
        """
