"""What the command's exit status says, one code for each thing that a caller can do about it."""

from enum import IntEnum

from autobatch.errors import (
    ArgumentError,
    AutobatchError,
    DataError,
    DoesNotFitError,
    ModelError,
    OutOfMemoryError,
    ProbeError,
    TooLateError,
    UpdateInterruptedError,
)


class ExitCode(IntEnum):
    """The statuses of `autobatch`."""

    OK = 0
    USAGE = 2
    DOES_NOT_FIT = 3
    DATA = 4
    INCONCLUSIVE = 5
    FOREIGN = 6
    HALF_UPDATED = 7
    INTERRUPTED = 130


MEANINGS = {
    ExitCode.OK: "done",
    ExitCode.USAGE: "an argument or the model cannot be used as given; nothing was started",
    ExitCode.DOES_NOT_FIT: (
        "not even one sample fits in memory, or memory killed the training more often than --restarts allows"
    ),
    ExitCode.DATA: "a folder or picture cannot be used",
    ExitCode.INCONCLUSIVE: "the trials gave no answer",
    ExitCode.FOREIGN: "the model, the generator or a callback raised an error of its own",
    ExitCode.HALF_UPDATED: "the optimizer stopped half-way through an update; restore the weights from a checkpoint",
    ExitCode.INTERRUPTED: "interrupted",
}

_OF_ERRORS: dict[type[AutobatchError], ExitCode] = {
    ArgumentError: ExitCode.USAGE,
    ModelError: ExitCode.USAGE,
    DataError: ExitCode.DATA,
    DoesNotFitError: ExitCode.DOES_NOT_FIT,
    OutOfMemoryError: ExitCode.DOES_NOT_FIT,
    ProbeError: ExitCode.INCONCLUSIVE,
    TooLateError: ExitCode.USAGE,
    UpdateInterruptedError: ExitCode.HALF_UPDATED,
}


def exit_code(error: BaseException) -> ExitCode:
    """The status for an error; what autobatch didn't raise on purpose is `FOREIGN`."""
    if isinstance(error, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    known = (_OF_ERRORS[kind] for kind in type(error).__mro__ if kind in _OF_ERRORS)
    return next(known, ExitCode.FOREIGN)


def exit_code_table() -> str:
    """The codes and their meanings, one a line, for `--help`."""
    rows = (f"  {code.value:>3}  {meaning}" for code, meaning in MEANINGS.items())
    return "\n".join(["exit codes:", *rows])
