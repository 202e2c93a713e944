"""One update, whatever happens to its micro-batches: cut, accumulate, and cut again when their size changes."""

from collections.abc import Callable, Sequence
from typing import Any, cast

from autobatch.backend.base import BatchTotals, Engine, Evaluator, Logs, Predictor
from autobatch.data.batch import Batch, split
from autobatch.data.epoch import near_equal
from autobatch.errors import OutOfMemoryError
from autobatch.train.control.controller import Controller
from autobatch.train.passes import Feed

Cut = Callable[[int, int], Sequence[int]]


class MicroBatchRunner:
    """Runs batches in micro-batches of the size that a controller allows.

    Its methods raise `DoesNotFitError` where not even one sample fits any more.
    """

    def __init__(self, controller: Controller, cut: Cut = near_equal) -> None:
        self.controller = controller
        self.cut = cut

    def update(self, engine: Engine, feed: Feed, size: int) -> Logs:
        """Trains on the next `size` samples of the feed as one update.

        An error leaves the model as it was after the last micro-batch that went well, without an update.
        """
        try:
            logs = self._run(self._divided(engine, engine.accumulate, feed, size), feed, size)
        except BaseException:
            engine.abandon()
            raise
        engine.apply()
        return logs

    def step(self, engine: Engine, feed: Feed, most: int, before: Callable[[int], None]) -> tuple[Logs, int]:
        """Trains on as many of the next `most` samples of the feed as fit at once, as one update.

        Returns the metrics so far, and how many samples it took.
        """
        while True:
            part = feed.take(self.cut(most, self.controller.micro_batch_size)[0])
            self.controller.look()
            if part.size <= self.controller.micro_batch_size:
                before(part.size)
                self.controller.runs(part.size)
                try:
                    return engine.accumulate(part, BatchTotals(part.size)), part.size
                except OutOfMemoryError as error:
                    feed.put_back(part)
                    self.controller.ran_out(error)
            else:
                feed.put_back(part)
            del part

    def predict(self, engine: Predictor, feed: Feed, size: int, keep: Callable[[Any, int], None]) -> None:
        """Predicts the next samples of the feed; `keep` gets the outputs of each micro-batch and its size, in order."""

        def step(part: Batch) -> Logs:
            keep(engine.predict(part), part.size)
            return {}

        self._run(step, feed, size)

    def evaluate(self, engine: Evaluator, feed: Feed, size: int) -> Logs:
        return self._run(self._divided(engine, engine.evaluate, feed, size), feed, size)

    def _divided(
        self, engine: Evaluator, run: Callable[[Batch, BatchTotals], Logs], feed: Feed, size: int
    ) -> Callable[[Batch], Logs]:
        """`run` with what the next `size` samples are divided by, counted once they turn out to need several parts."""
        whole = BatchTotals(size)

        def step(part: Batch) -> Logs:
            nonlocal whole
            if part.size < size and whole.divisors is None and engine.needs_divisors:
                # The first part, then: all others are still to come.
                feed.put_back(part)
                batch = feed.take(size)
                feed.put_back(batch)
                try:
                    whole = engine.totals(*split(batch, self.cut(size, part.size)))
                finally:
                    feed.take(part.size)
            return run(part, whole)

        return step

    def _run(self, step: Callable[[Batch], Logs], feed: Feed, size: int) -> Logs:
        controller, logs = self.controller, cast("Logs", {})
        todo = list(self.cut(size, controller.micro_batch_size))
        while todo:
            part = feed.take(todo[0])
            controller.look()
            if part.size > controller.micro_batch_size:
                feed.put_back(part)
            else:
                controller.runs(part.size)
                try:
                    logs = step(part)
                except OutOfMemoryError as error:
                    feed.put_back(part)
                    controller.ran_out(error)
                else:
                    del todo[0]
            del part
            # A size that has grown serves from the next update on: what is left here is cut already.
            if todo and todo[0] > controller.micro_batch_size:
                todo = list(self.cut(sum(todo), controller.micro_batch_size))
        return logs
