"""The samples of a stream in order, read ahead by a thread, and cut and joined when they are taken."""

import threading
import weakref
from itertools import count
from types import TracebackType

from autobatch._arguments import require_count
from autobatch.data.batch import Batch, concatenate
from autobatch.data.prefetch.stream_queue import Failure, Outlook, StreamQueue, close_if_it_can
from autobatch.data.source import Loader, Stream
from autobatch.errors import ArgumentError

_STUCK_S = 1.0
_NOTHING = "There would be nothing to read."


class StreamLoader(Loader):
    """Hands out the samples of pass after pass, and reads ahead meanwhile.

    The stream's batches are cut and joined as samples are asked for: none is dropped, none comes twice, and no batch
    spans two passes. Where a pass ends is known only once it has been read that far; `window` reads as far as an update
    needs, so that a short last one is known before its first micro-batch. Then, and only then, more than `max_bytes`
    may lie ready: all samples of one update.

    Left with an error, it waits a second at most for a batch that is being read, because a batch generator may be
    stuck. Left without one, it raises what the end of the last pass raised. All methods are for one thread at a time.
    The arrays of a batch may be views of one as it came.
    """

    def __init__(
        self, stream: Stream, *, passes: int | None = None, start_epoch: int = 0, max_bytes: int = 256 * 2**20
    ) -> None:
        require_count(_NOTHING, passes=passes, max_bytes=max_bytes)
        if not stream.repeatable:
            passes = 1
        epochs = count(start_epoch) if passes is None else iter(range(start_epoch, start_epoch + passes))
        self.epoch, self.position = start_epoch, 0
        self._stream = stream
        self._between = self._closed = False
        self._raised: BaseException | None = None
        self._failed_ending: BaseException | None = None
        self._ahead = StreamQueue(stream, epochs, max_bytes)
        # A training that dies must not wait for a batch generator that never yields again.
        self._thread = threading.Thread(target=self._ahead.run, name="autobatch-stream", daemon=True)
        # A loader that is dropped without being closed must not leave its thread reading.
        self._abandon = weakref.finalize(self, self._ahead.close)
        self._thread.start()

    @property
    def bytes_ahead(self) -> int:
        return self._ahead.bytes_ahead

    @property
    def ended(self) -> bool:
        """Whether the current pass is used up; waits until that is known.

        An error that comes next is no end: it is for whoever asks for more samples, who may have enough of them.
        """
        if self._between:
            return True
        outlook = self._look(1)
        return not outlook.samples and not isinstance(outlook.stop, Failure)

    def window(self, effective: int) -> int:
        require_count(_NOTHING, effective=effective)
        apart = getattr(self._stream, "apart", None)
        outlook = self._look_into_pass(1 if apart else effective)
        if apart and outlook.samples:
            left = self._ahead.left_of_next()
            return left if apart == "whole" else min(effective, left)
        if outlook.samples < effective and isinstance(outlook.stop, Failure):
            raise self._failure(outlook.stop)
        return min(effective, outlook.samples)

    def take(self, number: int) -> Batch:
        require_count(_NOTHING, number=number)
        outlook = self._look_into_pass(number)
        if outlook.samples < number:
            if isinstance(outlook.stop, Failure):
                raise self._failure(outlook.stop)
            raise self._too_many(number, outlook.samples)
        if self._between:
            self.epoch, self.position, self._between = self.epoch + 1, 0, False
        self.position += number
        return concatenate(self._ahead.pop(number))

    def close(self, *, wait_s: float | None = None) -> None:
        """Waits for the batch that is being read, if there is one, and leaves no thread behind.

        A thread that is stuck for longer than `wait_s` is left to itself with the stream, and ends after that batch.
        """
        self._closed = True
        self._ahead.close()
        self._abandon.detach()  # not before: Ctrl-C may come between the two
        self._thread.join(wait_s)
        if self._thread.is_alive():
            return
        close_if_it_can(self._stream)
        self._failed_ending = self._ahead.failed_ending
        self._ahead.clear()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.close(wait_s=_STUCK_S)
            return
        self.close()
        if self._failed_ending is not None and self._failed_ending is not self._raised:
            raise self._failed_ending

    def _failure(self, stop: Failure) -> BaseException:
        self._raised = stop.error
        return stop.error

    def _look(self, samples: int) -> Outlook:
        if self._closed:
            raise ArgumentError("The loader is closed. Received: a call after close(). Expected a loader in use.")
        return self._ahead.outlook(samples)

    def _look_into_pass(self, samples: int) -> Outlook:
        """What lies ahead in the current pass or, if that is used up, in the next one."""
        outlook = self._look(samples)
        if outlook.samples or outlook.stop is None or isinstance(outlook.stop, Failure):
            return outlook
        self._ahead.leave_pass()
        self._between = True
        return self._look(samples)

    def _too_many(self, number: int, left: int) -> ArgumentError:
        if not left:
            return ArgumentError(f"The last pass (epoch {self.epoch}) is used up. Received: take(number={number}).")
        return ArgumentError(
            f"The pass of epoch {self.epoch + self._between} has {left:,} samples left, and a batch never spans two. "
            f"Received: number={number}. Expected at most {left}."
        )
