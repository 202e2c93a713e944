"""Trials in the caller's own process, for models that cannot be rebuilt in another one.

Covered: running out of memory where that raises an exception, and putting everything back bit for bit. Not covered: a
deadline (a running step cannot be interrupted), and an allocation that ends the process instead of raising, as on most
CPUs. So here, too, nothing is tried that the measured peaks do not allow.
"""

import time
from collections.abc import Mapping
from typing import Any

from autobatch.backend import preserved, preserved_random_states
from autobatch.data.batch import Batch
from autobatch.data.check import Step
from autobatch.errors import OutOfMemoryError
from autobatch.probing.answer import Answer
from autobatch.probing.runner import Runner
from autobatch.results.trial import Outcome, Where


class InProcess:
    """Runs trials of the caller's model and puts it back after each.

    Args:
        model: The caller's model. What is not built yet is built.
        samples: A few real samples.
        step: What a trial runs.
    """

    where: Where = "caller"

    def __init__(self, model: Any, samples: Batch, step: Step = "train") -> None:
        self._model = model
        with preserved_random_states():
            # What the profiler says of itself would be among the caller's own output.
            self._runner = Runner(model, samples, step, records=False)

    def trial(self, size: int, options: Mapping[str, Any], *, timeout_s: float) -> Answer:
        """Runs one size; errors that are not about memory are raised as they are."""
        del timeout_s
        began = time.monotonic()
        with preserved(self._model):
            try:
                payload = self._runner.run(size, options)
            except OutOfMemoryError as error:
                # Without its traceback, whose frames hold what the trial had in memory.
                error.with_traceback(None)
                wall_s = time.monotonic() - began
                return Answer(Outcome.OUT_OF_MEMORY, detail=str(error), wall_s=wall_s, exception=error)
            finally:
                self._runner.abandon()
        return Answer(Outcome.RAN, payload, wall_s=time.monotonic() - began)

    def close(self) -> None:
        """Nothing to end."""
