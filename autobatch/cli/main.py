"""The `autobatch` command: results to stdout, progress and errors to stderr, the outcome in the exit status."""

import contextlib
import json
import math
import sys
import traceback
from collections.abc import Sequence
from typing import Any, TextIO

from autobatch.cli.api import Api, real_api
from autobatch.cli.commands import COMMANDS
from autobatch.cli.exit_codes import ExitCode, exit_code
from autobatch.cli.options import build_parser


def main(
    argv: Sequence[str] | None = None,
    *,
    api: Api | None = None,
    stdout: TextIO | None = None,
    stderr: TextIO | None = None,
) -> int:
    """The exit status of one run of the command.

    Args:
        argv: The words after `autobatch`; those of this process by default.
        api: The functions to call; autobatch's own by default.
        stdout: Where results go.
        stderr: Where progress and errors go.

    Returns:
        An `ExitCode`; of a training in a child whatever that ended with.

    Example:
        >>> main(["--version"])
        autobatch 0...
        0
    """
    out, err = stdout or sys.stdout, stderr or sys.stderr
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            args = build_parser().parse_args(argv)
    except SystemExit as stop:
        return int(stop.code or 0)
    api = api or real_api()
    try:
        if args.command == "fit" and not args.in_process:
            return api.supervise(sys.argv[1:] if argv is None else argv, args, err)
        # Keras and the user's own code print as they please: stdout is for the result alone
        with contextlib.redirect_stdout(err):
            answer = COMMANDS[args.command](args, api, err)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the door to the shell: every error becomes a status
        return _explain(error, err)
    print(json.dumps(_plain(answer.data), indent=2) if args.json else answer.text, file=out)
    return ExitCode.OK


def _explain(error: BaseException, stream: TextIO) -> ExitCode:
    code = exit_code(error)
    if code is ExitCode.FOREIGN:
        traceback.print_exception(error, file=stream)
    elif code is ExitCode.INTERRUPTED:
        print("autobatch: interrupted", file=stream)
    else:
        print(f"autobatch: error: {error}", file=stream)
    return code


def _plain(value: Any) -> Any:
    """A value as JSON can hold it: numpy's numbers as Python's, what is no number as null."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
