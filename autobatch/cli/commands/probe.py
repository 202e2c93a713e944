"""`autobatch probe`: the batch size that fits, without training."""

import argparse
from typing import Any

from autobatch.cli import options as values
from autobatch.cli.api import Api
from autobatch.cli.command import CommandOutput, Failed, Terminal
from autobatch.cli.inputs import inputs, search
from autobatch.cli.next_step import next_step
from autobatch.cli.options import add_inputs, add_search
from autobatch.cli.outcome import ExitCode, Started, best_line, described, exit_code, probe_object
from autobatch.cli.probe_progress import ProbeProgress, progress
from autobatch.cli.report_files import Reports
from autobatch.errors import ArgumentError

SUMMARY = "find the batch size that fits, without training"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The model, the pictures, how to search, and what to write."""
    add_inputs(parser, needs_pictures=False)
    add_search(parser)
    group = parser.add_argument_group("the probe")
    group.add_argument(
        "--timeout",
        type=values.seconds,
        metavar="SECONDS",
        help="deadline of the whole probe (default: none); the best size so far is printed then",
    )
    group.add_argument(
        "--limit", type=values.amount, metavar="AMOUNT", help="pretend that there is no more memory than this: 8GiB"
    )
    group.add_argument("--dry-run", action="store_true", help="say what would be done, and run no trial")
    group.add_argument(
        "-o",
        "--output",
        action="append",
        metavar="FILE",
        help="write a report, too: .html, .md or .json; again for several",
    )


def run(args: argparse.Namespace, api: Api, terminal: Terminal) -> CommandOutput:
    """The batch size that fits, each trial shown as it ends.

    Raises:
        Failed: By whatever went wrong, with what was known then.
        ArgumentError: A report cannot be written as asked for; nothing has been started.
    """
    started = Started.now(terminal.words)
    if args.dry_run and args.output:
        raise ArgumentError("A dry run has nothing to report. Received: --output beside --dry-run. Expected: one.")
    reports = Reports(args.output or (), terminal.err)
    trials: list[Any] = []
    surroundings: dict[str, Any] = {}
    try:
        if args.dry_run:
            return _dry_run(args, api, terminal, surroundings)
        with progress(terminal) as shown:
            result = _result(args, api, terminal, _Both(shown, trials), surroundings)
    except (Exception, KeyboardInterrupt, SystemExit) as error:  # a model may end the process
        raise Failed(error, _what_is_known(error, started, trials, surroundings, reports)) from error
    following = next_step(args, result, terminal.words)
    data = probe_object(started, ExitCode.OK, environment=surroundings, result=result, following=following)
    text = f"{result.verdict()}\n\n{result.summary()}\n\n{following}"
    unwritten = reports.write(data)
    if unwritten is None:
        return CommandOutput(text, data)
    told = {"exit_code": int(ExitCode.USAGE), "error": described(unwritten, "")}
    return CommandOutput(text, data | told, ExitCode.USAGE)


class _Both:
    """Shows how a probe goes on, and keeps its trials.

    Args:
        shown: Where it is shown.
        trials: Where they are kept.
    """

    def __init__(self, shown: ProbeProgress, trials: list[Any]) -> None:
        self._shown, self._trials = shown, trials

    def says(self, what: str) -> None:
        """What is going on now."""
        self._shown.says(what)

    def starts(self, size: int) -> None:
        """Another one of so many samples begins."""
        self._shown.says(f"trial {len(self._trials) + 1}: {size:,} samples")

    def __call__(self, trial: Any) -> None:
        """Another one has ended."""
        self._trials.append(trial)
        self._shown(trial)


def _result(args: argparse.Namespace, api: Api, terminal: Terminal, both: _Both, surroundings: dict[str, Any]) -> Any:
    both.says("loading the model")
    given = _given(args, api, terminal, surroundings)
    both.says("looking at samples")
    return api.probe(*given, on_trial=both, on_start=both.starts, **_options(args))


def _given(args: argparse.Namespace, api: Api, terminal: Terminal, surroundings: dict[str, Any]) -> tuple[Any, ...]:
    """The model and its data; what they run on is noted before the search, so that no answer is lost over it."""
    try:
        return inputs(args, api, terminal)
    finally:
        surroundings |= api.environment()


def _dry_run(args: argparse.Namespace, api: Api, terminal: Terminal, surroundings: dict[str, Any]) -> CommandOutput:
    from autobatch.train.run_log import SCHEMA_VERSION

    dry_run = api.dry_run(*_given(args, api, terminal, surroundings), **_options(args))
    return CommandOutput(str(dry_run), {"schema_version": SCHEMA_VERSION, "kind": "dry_run", **dry_run.to_dict()})


def _options(args: argparse.Namespace) -> dict[str, Any]:
    own = {"timeout_s": args.timeout, "limit": args.limit}
    return search(args) | {name: value for name, value in own.items() if value is not None}


def _what_is_known(
    error: BaseException, started: Started, trials: list[Any], surroundings: dict[str, Any], reports: Reports
) -> CommandOutput:
    code = exit_code(error)
    trials = list(getattr(error, "trials", ())) or trials
    data = probe_object(started, code, environment=surroundings, trials=trials, error=error)
    if code is not ExitCode.USAGE:  # nothing was started: there is nothing to report, and an older report may be there
        reports.write(data)
    text = best_line(trials) if code in {ExitCode.TIMEOUT, ExitCode.INTERRUPTED} else ""
    return CommandOutput(text, data, code)
