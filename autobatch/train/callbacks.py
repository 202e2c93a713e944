"""Keras' progress bar, for epochs whose number of updates may change under way."""

from typing import Any

import keras

from autobatch.errors import ArgumentError

OWN = "autobatch/"


class Bar(keras.callbacks.ProgbarLogger):
    """The progress bar of `model.fit`: the same lines, without what is logged for files and dashboards."""

    def expect(self, steps: int | None) -> None:
        """Changes the number of updates that the running epoch comes to; `None` where that is not known."""
        self.target = steps
        if self.progbar is not None:
            self.progbar.target = steps

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Shows the metrics so far."""
        super().on_train_batch_end(batch, _shown(logs))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Shows the metrics of the epoch."""
        super().on_epoch_end(epoch, _shown(logs))


def _shown(logs: Any) -> dict[str, Any]:
    return {name: value for name, value in (logs or {}).items() if not name.startswith(OWN)}


def require_callbacks(callbacks: Any) -> None:
    """Refuses what `model.fit` would only stumble over once training begins.

    Raises:
        ArgumentError: Something among them is no callback of Keras.
    """
    if isinstance(callbacks, keras.callbacks.CallbackList):
        return
    for callback in keras.tree.flatten(callbacks):
        if callback is not None and not isinstance(callback, keras.callbacks.Callback):
            msg = f"Received: callbacks with {callback!r}. Expected instances of keras.callbacks.Callback."
            raise ArgumentError(msg)
