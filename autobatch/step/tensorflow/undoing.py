"""What becomes of a step that failed: it is undone, and out of memory is told from everything else."""

import contextlib
import gc
from collections.abc import Callable, Iterator

from autobatch.errors import OutOfMemoryError
from autobatch.step.oom import Cause, classify
from autobatch.step.tensorflow.state import Backup


@contextlib.contextmanager
def undone_on_error(
    backup: Backup, samples: int, too_late: Callable[[BaseException], bool] = lambda _: False
) -> Iterator[None]:
    """Puts back what a step has changed, should it fail.

    Args:
        backup: What it may change; the step writes it under the number of this attempt.
        samples: How many it runs on.
        too_late: Told of the error; whether the step did all its work before, so that nothing is to be put back.

    Raises:
        OutOfMemoryError: Memory ran out; nothing has changed. Other errors pass through.
    """
    backup.attempt += 1
    try:
        yield
    except BaseException as error:
        if too_late(error):
            raise
        backup.restore()
        if classify(error) is not Cause.OUT_OF_MEMORY:
            raise
        # The traceback's frames hold the tensors of the failed pass; without it their memory is free again.
        error.with_traceback(None)
        gc.collect()
        msg = f"A micro-batch of {samples} samples did not fit in memory; the model is as it was before it."
        raise OutOfMemoryError(msg, samples) from error
