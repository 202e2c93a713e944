"""The `autobatch` command: results to stdout, progress and errors to stderr, the outcome in the exit status."""

import contextlib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from autobatch._json import to_json
from autobatch.cli.api import Api, real_api
from autobatch.cli.command import CommandOutput, Failed, Terminal
from autobatch.cli.commands import COMMANDS
from autobatch.cli.console import kept_for_results, until_the_reader_leaves, wants_color
from autobatch.cli.outcome import ExitCode, Started, error_object, exit_code, probe_object
from autobatch.cli.parser import UsageError, parse
from autobatch.cli.settings import shown
from autobatch.cli.wording import message_of
from autobatch.errors import DataError

_CLOSED = "stdout is closed, and a file that is opened next would take its place. Send it to /dev/null instead."


def main(
    argv: Sequence[str] | None = None,
    *,
    api: Api | None = None,
    stdout: TextIO | None = None,
    stderr: TextIO | None = None,
    environ: Mapping[str, str] = os.environ,
) -> int:
    """The exit status of one run of the command.

    Args:
        argv: The words after `autobatch`; those of this process by default.
        api: The functions to call; autobatch's own by default.
        stdout: Where results go.
        stderr: Where progress and errors go.
        environ: Where settings are looked up.

    Returns:
        An `ExitCode`; of a training in a child whatever that ended with.

    Example:
        >>> main(["--version"])
        autobatch 0...
        0
    """
    words = tuple(sys.argv[1:] if argv is None else argv)
    out, err = stdout or sys.stdout, stderr or sys.stderr or _nowhere()
    if out is None:
        print(f"autobatch: error: {_CLOSED}", file=err)
        return ExitCode.USAGE
    terminal = Terminal(out, err, words)
    try:
        with contextlib.redirect_stdout(terminal.out), contextlib.redirect_stderr(terminal.err):
            answer = _answer(words, terminal, api or real_api(), environ)
    except Failed as failed:
        code, answer = _explain(failed.error, terminal.err), failed.answer
    except (Exception, KeyboardInterrupt, SystemExit) as error:  # noqa: BLE001 - the door: all become a status
        code = _explain(error, terminal.err)
        answer = _refusal(words, error, code)
    return _print(answer, terminal, as_data="--json" in words)


def _answer(
    words: Sequence[str], terminal: Terminal, api: Api, environ: Mapping[str, str]
) -> CommandOutput | int | None:
    try:
        args, remarks = parse(words, environ, Path.cwd())
    except SystemExit as stop:  # --help and --version; a model that ends the process does so elsewhere
        return int(stop.code or 0)
    here = getattr(args, "in_process", True)
    if here or args.show_config:  # a child that trains says them itself
        for remark in remarks:
            print(f"autobatch: {remark}", file=terminal.err)
    if args.show_config:
        return shown(args.command, args.settings)
    terminal = replace(terminal, color=wants_color(environ, terminal.err, asked=args.color), quiet=args.quiet)
    # Keras and the user's own code print as they please: stdout is for the result alone; of a child it is its own
    kept = kept_for_results(terminal.out) if here else contextlib.nullcontext(terminal.out)
    with kept as out, contextlib.redirect_stdout(terminal.err):
        return COMMANDS[args.command].run(args, api, replace(terminal, out=out))


def _print(answer: CommandOutput | int | None, terminal: Terminal, *, as_data: bool) -> int:
    if not isinstance(answer, CommandOutput):
        return ExitCode.OK if answer is None else answer
    text = to_json(answer.data) if as_data else answer.text
    if text:
        try:
            with until_the_reader_leaves(terminal.out):
                print(text, file=terminal.out, flush=True)
        except DataError as error:
            return _explain(error, terminal.err)
    return answer.status


def _refusal(words: tuple[str, ...], error: BaseException, code: ExitCode) -> CommandOutput | int:
    """What is answered where there is no result: a program that reads JSON gets some for every outcome."""
    if words[:1] != ("probe",):
        return CommandOutput("", error_object(error, code), code)
    return CommandOutput("", probe_object(Started.now(words), code, error=error), code)


def _nowhere() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123 - for as long as the process lives


def _explain(error: BaseException, stream: TextIO) -> ExitCode:
    if isinstance(error, UsageError):
        print(f"{error.usage}{error.prog}: error: {error}", file=stream)
        return ExitCode.USAGE
    code = exit_code(error)
    if code is ExitCode.FOREIGN:
        import traceback

        traceback.print_exception(error, file=stream)
    elif code is ExitCode.INTERRUPTED:
        print("autobatch: interrupted", file=stream)
    else:
        print(f"autobatch: error: {message_of(error)}", file=stream)
    return code
