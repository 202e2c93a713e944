"""What the command's exit status says, one code for each thing that a caller can do about it."""

from enum import IntEnum

from autobatch.errors import (
    ArgumentError,
    AutobatchError,
    DataError,
    DeviceError,
    DoesNotFitError,
    MissingExtraError,
    ModelError,
    OutOfMemoryError,
    ProbeError,
    ProbeTimeoutError,
    TooLateError,
    UpdateInterruptedError,
)


class ExitCode(IntEnum):
    """The statuses of `autobatch`."""

    OK = 0
    USAGE = 2
    DOES_NOT_FIT = 3
    DEVICE = 4
    INCONCLUSIVE = 5
    FOREIGN = 6
    HALF_UPDATED = 7
    TIMEOUT = 124
    INTERRUPTED = 130


MEANINGS = {
    ExitCode.OK: "done; of probe: a safe size is found",
    ExitCode.USAGE: "an argument, the settings, the model or the data cannot be used as given",
    ExitCode.DOES_NOT_FIT: (
        "not even one sample fits in memory, or memory killed the training more often than --restarts allows"
    ),
    ExitCode.DEVICE: "the device that was asked for is not there",
    ExitCode.INCONCLUSIVE: "the trials gave no answer",
    ExitCode.FOREIGN: "the model, the generator or a callback raised an error of its own",
    ExitCode.HALF_UPDATED: "the optimizer stopped half-way through an update; restore the weights from a checkpoint",
    ExitCode.TIMEOUT: "the deadline of --timeout passed; the best size so far is printed",
    ExitCode.INTERRUPTED: "interrupted; of probe: the best size so far is printed",
}

_OF_ERRORS: dict[type[AutobatchError], ExitCode] = {
    ArgumentError: ExitCode.USAGE,
    ModelError: ExitCode.USAGE,
    DataError: ExitCode.USAGE,
    DeviceError: ExitCode.DEVICE,
    DoesNotFitError: ExitCode.DOES_NOT_FIT,
    MissingExtraError: ExitCode.USAGE,
    OutOfMemoryError: ExitCode.DOES_NOT_FIT,
    ProbeError: ExitCode.INCONCLUSIVE,
    ProbeTimeoutError: ExitCode.TIMEOUT,
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
