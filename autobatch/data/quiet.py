"""Keras' own remarks while it makes a flow: kept off the screen, or handed to whoever says them."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import keras


@contextmanager
def without_printing() -> Iterator[None]:
    """Keeps Keras from printing what it found. The switch is thread-local in Keras, so nobody else falls silent."""
    loud = keras.config.is_interactive_logging_enabled()
    keras.config.disable_interactive_logging()
    try:
        yield
    finally:
        if loud:
            keras.config.enable_interactive_logging()


@contextmanager
def collected_warnings() -> Iterator[list[str]]:
    """Collects what is warned of as `UserWarning`, once each; warnings of other kinds are given again afterwards."""
    said: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield said
    for warning in caught or ():
        if warning.category is UserWarning:
            said.append(str(warning.message))
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    said[:] = dict.fromkeys(said)
