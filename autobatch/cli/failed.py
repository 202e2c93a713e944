"""An error that comes with an answer: what was known when it struck."""

from autobatch.cli.command import Answer


class Failed(Exception):  # noqa: N818 - it carries the error, it is none
    """Ends a subcommand by an error, with something to print all the same.

    Args:
        error: What happened; the exit status follows from it.
        answer: What was known by then.
    """

    def __init__(self, error: BaseException, answer: Answer) -> None:
        super().__init__(str(error))
        self.error = error
        self.answer = answer
