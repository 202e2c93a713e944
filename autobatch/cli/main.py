"""The `autobatch` command: results to stdout, progress and errors to stderr, the outcome in the exit status."""

import contextlib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from autobatch._json import to_json
from autobatch.cli.api import Api
from autobatch.cli.command import CommandOutput, Failed, Terminal
from autobatch.cli.commands import COMMANDS
from autobatch.cli.console import kept_for_results, until_the_reader_leaves, wants_color
from autobatch.cli.outcome import ExitCode, describe, exit_code, failure_object, probe_object
from autobatch.cli.parser import UsageError, parse
from autobatch.cli.settings import show_settings
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
    """Runs the command, with the words of this process by default; `api` and `environ` are seams for tests.

    Returns the exit status: an `ExitCode`, or whatever a training in a child process ended with.
    """
    words = tuple(sys.argv[1:] if argv is None else argv)
    out = stdout or sys.stdout
    err = stderr or sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - open until the end
    if out is None:
        print(f"autobatch: error: {_CLOSED}", file=err)
        return ExitCode.USAGE
    terminal = Terminal(out, err, words)
    try:
        with contextlib.redirect_stdout(terminal.out), contextlib.redirect_stderr(terminal.err):
            output = _run(words, terminal, api or Api(), environ)
    except Failed as failed:
        code, output = _explain(failed.error, terminal.err), failed.output
    except (Exception, KeyboardInterrupt, SystemExit) as error:  # noqa: BLE001 - the door: all become a status
        code = _explain(error, terminal.err)
        output = _failure(terminal, error, code)
    return _print(output, terminal, as_data="--json" in words)


def _run(words: Sequence[str], terminal: Terminal, api: Api, environ: Mapping[str, str]) -> CommandOutput | int | None:
    try:
        args, notes = parse(words, environ, Path.cwd())
    except SystemExit as stop:  # --help and --version; a model that ends the process does so elsewhere
        return int(stop.code or 0)
    here = getattr(args, "in_process", True)
    if here or args.show_config:  # a child process that trains prints them itself
        for note in notes:
            print(f"autobatch: {note}", file=terminal.err)
    if args.show_config:
        return show_settings(args.command, args.settings)
    terminal = replace(terminal, color=wants_color(environ, terminal.err, asked=args.color), quiet=args.quiet)
    # Keras and the user's own code print as they please, and stdout is for the result alone; a child has its own stdout
    kept = kept_for_results(terminal.out) if here else contextlib.nullcontext(terminal.out)
    with kept as out, contextlib.redirect_stdout(terminal.err):
        return COMMANDS[args.command].run(args, api, replace(terminal, out=out))


def _print(output: CommandOutput | int | None, terminal: Terminal, *, as_data: bool) -> int:
    if not isinstance(output, CommandOutput):
        return ExitCode.OK if output is None else output
    text = to_json(output.data) if as_data else output.text
    if text:
        try:
            with until_the_reader_leaves(terminal.out):
                print(text, file=terminal.out, flush=True)
        except DataError as error:
            return _explain(error, terminal.err)
    return output.status


def _failure(terminal: Terminal, error: BaseException, code: ExitCode) -> CommandOutput:
    """The output without a result: a program that reads JSON gets some however the command ended."""
    if terminal.words[:1] != ("probe",):
        return CommandOutput("", failure_object(code, describe(error, code)), code)
    return CommandOutput("", probe_object(terminal, code, error=error), code)


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
