"""Text without a terminal's styles."""

import re

_STYLE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")


def unstyled(text: str) -> str:
    r"""The text without the sequences that colour it or make it bold on a terminal, as Keras does with its errors.

    Example:
        >>> unstyled("\x1b[1mInvalid dtype\x1b[0m")
        'Invalid dtype'
    """
    return _STYLE.sub("", text)
