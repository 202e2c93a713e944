"""The library's logger: what happens while it works, for programs that want to hear of it.

A library says nothing unless it is asked: the logger has a handler that drops everything, so that Python's last resort
(warnings on stderr) does not apply. A program that configures `logging` gets every line, once, under the name
"autobatch".

What was chosen and inferred is told at level INFO; decisions under way, and what goes wrong, at WARNING.

Example:
    >>> logging.getLogger("autobatch").handlers
    [<NullHandler (NOTSET)>]
"""

import logging
from typing import Any

log = logging.getLogger("autobatch")
log.addHandler(logging.NullHandler())


def say(text: str, verbose: Any) -> None:
    """Logs a sentence and, unless `verbose` is 0, prints it on a line of its own, as callbacks of Keras do."""
    log.warning("%s", text)
    if verbose != 0:
        # The progress bar stands in the middle of a line; one line for each epoch, which 2 asks for, does not.
        print(text if verbose == 2 else f"\n{text}", flush=True)  # noqa: T201 - as Keras prints its progress
