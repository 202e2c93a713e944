"""What a run says to people, in between the lines of Keras' progress bar."""

from typing import Any

from autobatch.log import log


def say(text: str, verbose: Any) -> None:
    """Logs a sentence and, unless `verbose` is 0, prints it on a line of its own, as callbacks of Keras do.

    Args:
        text: What to say.
        verbose: As in `model.fit`.
    """
    log.warning("%s", text)
    if verbose != 0:
        # The progress bar stands in the middle of a line; one line for each epoch, which 2 asks for, does not.
        print(text if verbose == 2 else f"\n{text}", flush=True)  # noqa: T201 - as Keras prints its progress
