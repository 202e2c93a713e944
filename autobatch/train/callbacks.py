"""The callbacks of a run, and Keras' progress bar for epochs whose number of updates may change under way."""

import math
import warnings
from collections.abc import Callable
from typing import Any

import keras

from autobatch._arguments import require_count
from autobatch.errors import ArgumentError

_OWN_LOGS = "autobatch/"


class Bar(keras.callbacks.ProgbarLogger):
    """The progress bar of `model.fit`: the same lines, without what is logged for files and dashboards."""

    def expect(self, steps: int | None) -> None:
        """Changes the number of updates that the running epoch comes to; `None` where that is not known."""
        self.target = steps
        if self.progbar is not None:
            self.progbar.target = steps

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        super().on_train_batch_end(batch, _shown(logs))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        super().on_epoch_end(epoch, _shown(logs))


def _shown(logs: Any) -> dict[str, Any]:
    return {name: value for name, value in (logs or {}).items() if not name.startswith(_OWN_LOGS)}


class Executions:
    """Calls the hooks of batches once for each execution of `steps_per_execution` steps, numbered as in Keras."""

    def __init__(self, model: Any, begins: Callable[[int], None], ends: Callable[[int, Any], None]) -> None:
        self._steps = int(getattr(model, "steps_per_execution", 1))
        self._begins, self._ends = begins, ends
        self._last: int | None = None  # the number of the last step in the execution that runs
        self._logs: Callable[[], Any] = dict

    def begin(self, step: int) -> bool:
        """Whether an execution begins with this step."""
        if self._last is not None:
            return False
        self._last = (step // self._steps + 1) * self._steps - 1
        self._begins(step)
        return True

    def end(self, step: int, logs: Callable[[], Any]) -> None:
        """Notes that a step is done; `logs` gives those of the execution so far, if this is its end."""
        self._logs = logs
        if step == self._last:
            self.finish()

    def finish(self) -> None:
        """Ends the execution that runs, if one does."""
        last, self._last = self._last, None
        if last is not None:
            self._ends(last, self._logs())


def steps_to_run(model: Any, **asked: Any) -> int | None:
    """So many as were asked for by one argument, in whole executions and within Keras' own limit; `None` for all."""
    require_count(**asked)
    ((name, steps),) = asked.items()
    most = keras.config.max_steps_per_epoch()
    if most and (steps is None or most < steps):
        warnings.warn(f"keras.config.max_steps_per_epoch() limits {name} to {most}.", stacklevel=3)
        steps = most
    execution = int(getattr(model, "steps_per_execution", 1))
    return None if steps is None else math.ceil(steps / execution) * execution


def require_callbacks(callbacks: Any) -> None:
    """Refuses what `model.fit` would only stumble over once training begins."""
    if isinstance(callbacks, keras.callbacks.CallbackList):
        return
    for callback in keras.tree.flatten(callbacks):
        if callback is not None and not isinstance(callback, keras.callbacks.Callback):
            msg = f"Received: callbacks with {callback!r}. Expected instances of keras.callbacks.Callback."
            raise ArgumentError(msg)


def callback_list(
    model: Any, callbacks: Any, *, verbose: Any, epochs: int, steps: int | None
) -> tuple[keras.callbacks.CallbackList, Bar | None]:
    """The user's callbacks with Keras' own beside them, in Keras' order, and the progress bar if it is ours."""
    if isinstance(callbacks, keras.callbacks.CallbackList):
        return callbacks, None
    given = keras.tree.flatten(callbacks) if callbacks else []
    bar = None
    if verbose != 0 and not any(isinstance(one, keras.callbacks.ProgbarLogger) for one in given):
        bar = Bar()
        if not any(isinstance(one, keras.callbacks.History) for one in given):
            given = [*given, keras.callbacks.History()]
        given = [*given, bar]
    options = {"add_history": True, "add_progbar": False, "verbose": verbose, "epochs": epochs, "steps": steps}
    return keras.callbacks.CallbackList(given, model=model, **options), bar
