"""One update, whatever happens to its micro-batches: cut, accumulate, and when memory runs out, cut smaller."""

from collections.abc import Callable, Sequence

from autobatch.data.batch import Batch
from autobatch.data.cut import near_equal, next_rung
from autobatch.errors import DoesNotFitError, OutOfMemoryError
from autobatch.step.engine import Engine, Logs, Whole
from autobatch.train.feed import Feed

Cut = Callable[[int, int], Sequence[int]]
Shrunk = Callable[[int, int, str], None]


class Cutter:
    """Runs batches in micro-batches of a size that only ever falls.

    Args:
        micro: Samples in a micro-batch at first.
        ladder: The sizes to fall to, descending.
        shrunk: Called with the size before, the size after, and the reason.
        cut: From samples and the most in one micro-batch to the sizes of micro-batches.
    """

    def __init__(self, micro: int, ladder: Sequence[int], shrunk: Shrunk, cut: Cut = near_equal) -> None:
        self.micro = micro
        self._ladder = ladder
        self._shrunk = shrunk
        self._cut = cut

    def update(self, engine: Engine, feed: Feed, size: int) -> Logs:
        """Trains on the next `size` samples of the feed as one update.

        An error leaves the model as it was after the last micro-batch that went well, without an update.

        Raises:
            DoesNotFitError: Not even one sample fits any more.
        """
        try:
            whole = self._whole(engine, feed, size)
            logs = self._run(lambda part: engine.accumulate(part, whole), feed, size)
        except BaseException:
            engine.abandon()
            raise
        engine.apply()
        return logs

    def evaluate(self, engine: Engine, feed: Feed, size: int) -> Logs:
        """Evaluates the next `size` samples of the feed."""
        whole = self._whole(engine, feed, size)
        return self._run(lambda part: engine.evaluate(part, whole), feed, size)

    def _whole(self, engine: Engine, feed: Feed, size: int) -> Whole:
        """The effective batch; its weights only where a loss divides by them, since that needs all samples at once."""
        if not engine.needs_weights:
            return Whole(size)
        first = feed.take(min(size, self.micro))
        feed.put_back(first)
        if first.sample_weight is None:
            return Whole(size)
        batch = feed.take(size)
        feed.put_back(batch)
        return Whole.of(batch)

    def _run(self, step: Callable[[Batch], Logs], feed: Feed, size: int) -> Logs:
        logs: Logs = {}
        todo = list(self._cut(size, self.micro))
        while todo:
            part = feed.take(todo[0])
            try:
                logs = step(part)
            except OutOfMemoryError as error:
                feed.put_back(part)
                self.shrink(error)
                todo = list(self._cut(sum(todo), self.micro))
            else:
                del todo[0]
            del part
        return logs

    def shrink(self, error: OutOfMemoryError, cause: BaseException | None = None) -> None:
        """Falls to the next smaller size.

        Raises:
            DoesNotFitError: There is none.
        """
        before = error.size
        after = next_rung(before, self._ladder)
        if after is None:
            what = "Not even one sample fits" if before == 1 else f"{before} samples, which cannot be cut, do not fit"
            msg = (
                f"{what} in memory any more; the weights are as they were before this update. Save them, free memory, "
                "and train on."
            )
            raise DoesNotFitError(msg, None, 0) from (cause or error)
        self.micro = after
        self._shrunk(before, after, "it ran out of memory; it was rolled back and its samples are run in smaller ones")
