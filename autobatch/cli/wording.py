"""Messages of the functions in the words of the command: what is an argument there is an option here."""

import re

from autobatch.report.unstyled import unstyled

_FLAGS = {
    "batch_size": "--batch-size",
    "limit": "--limit",
    "max_batch_size": "--max-batch",
    "reserve": "--headroom",
    "timeout_s": "--timeout",
    "trial_timeout_s": "--trial-timeout",
}
# `limit=` as advice, not `limit=3` as what was received.
_ADVICE = re.compile(rf"\b({'|'.join(_FLAGS)})=(?![^\s.,;:)])")


def in_words_of_the_command(message: str) -> str:
    """A message whose advice names options.

    Example:
        >>> in_words_of_the_command("Give a larger timeout_s=.")
        'Give a larger --timeout.'
    """
    return _ADVICE.sub(lambda match: _FLAGS[match[1]], message)


def message_of(error: BaseException) -> str:
    """What an error says, in the words of the command and without a terminal's styles."""
    return unstyled(in_words_of_the_command(str(error)))
