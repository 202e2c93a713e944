"""What the rest of autobatch asks of data: random access by sample, or batch after batch as they come."""

from collections.abc import Iterator
from types import TracebackType
from typing import Any, Protocol, Self, TypeGuard

from autobatch.data.batch import Batch


class Source(Protocol):
    """Samples that can be read in any order, any number of times, from any thread.

    `read` must return the same arrays for the same `(index, epoch)` whatever else is read beside it: augmentation is
    seeded per sample. Implementations are safe to call from several threads at once.

    `read` hands over every sample it is asked for, or raises: a source drops none in silence. What cannot be read is
    told from what can in `prefetch/source_loader.py` (`read_chunk`), for a mixture in `adapters/mixture_stream.py`
    (`_open`); there unreadable samples would be skipped, before they count as taken from their pass. A picture that
    cannot be decoded gets there as the `DataError` that `images/flow_source.py` makes of it.
    """

    @property
    def seed(self) -> int:
        """The seed that order and augmentation derive from."""

    @property
    def sample_bytes(self) -> int:
        """Bytes of one sample as `read` hands it over: inputs, targets and weight (the most, where samples differ)."""

    def __len__(self) -> int: ...

    def read(self, indices: Any, epoch: int) -> Batch:
        """The samples at `indices` (a sequence of ints) as they look in `epoch`.

        Raises:
            DataError: A sample cannot be read; the error names its file.
        """


class Stream(Protocol):
    """Samples that come in batches and in an order of their own: a dataset, a batch generator, a class of the user's.

    One pass is open at a time, in one thread. A stream may have more, and is asked for it where it does: `begin(epoch)`
    and `end(epoch)`, called when the first sample of a pass is asked for and the last one taken; `close()`; `notes`,
    what holds of these data; `infinite`, whether a pass has no end; `samples`, how many it has; `open_lengths`, whether
    batches may differ in shape (`None` if that is not told). `keep_apart` sets `apart` where they are not to be joined:
    `"whole"` if each is an update as it is, `"cut"` if larger ones than the effective batch are cut.
    """

    @property
    def seed(self) -> int:
        """The seed of what is drawn here, such as the order of batches; the stream's own draws are its own."""

    @property
    def sample_bytes(self) -> int:
        """Bytes of one sample as it comes, as far as the first batch tells."""

    @property
    def batches(self) -> int | None:
        """How many batches a pass has, `None` if that is not known or there is no end."""

    @property
    def repeatable(self) -> bool:
        """Whether pass after pass can be opened. Otherwise there is only one, wherever it stands."""

    def few(self) -> Batch:
        """The first few samples; a training gets them all the same."""

    def open(self, epoch: int) -> Iterator[Batch]:
        """The batches of a pass, in order, as numpy arrays.

        Raises:
            DataError: What comes is no batch. Errors of the user's own code pass through unchanged.
        """


def is_source(data: Source | Stream) -> TypeGuard[Source]:
    """Whether any sample can be read at any time; otherwise it is a stream."""
    return hasattr(data, "read")


class Loader(Protocol):
    """Samples in order, pass after pass, taken in any number: a `SourceLoader` or a `StreamLoader`."""

    epoch: int  # one that is used up is current until the first `take` of the next
    position: int  # samples taken from the current pass

    @property
    def ended(self) -> bool:
        """Whether the current pass is used up. It may have to wait for data to tell."""

    def window(self, effective: int) -> int:
        """How many samples the next update gets: `effective`, or what its pass has left; 0 if no more will come."""

    def take(self, number: int) -> Batch:
        """The next `number` samples of the current pass, or of the next once it is used up; never across two.

        If reading one of them raised, nothing is taken, the same `take` raises it again, and the samples before it can
        still be taken by themselves.

        Raises:
            ArgumentError: More than the pass has left, after the last pass, or after `close`.
        """

    def close(self) -> None:
        """Stops reading ahead and leaves no thread behind."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def without_saving(source: Source) -> Source:
    """The source, or what reads the same samples and writes no files."""
    quiet = getattr(source, "without_saving", None)
    return source if quiet is None else quiet()
