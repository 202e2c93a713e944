"""`autobatch probe`: the batch size that fits, without training."""

import argparse
import shlex
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from autobatch.cli.api import Api
from autobatch.cli.command import CommandOutput, Failed, Terminal
from autobatch.cli.inputs import PICTURES, described_pictures, inputs, search
from autobatch.cli.options import add_inputs, add_option, add_search, amount, seconds
from autobatch.cli.outcome import ExitCode, best_line, describe, exit_code, probe_object
from autobatch.cli.report_files import ReportFiles
from autobatch.cli.settings import Origin, Setting
from autobatch.errors import ArgumentError
from autobatch.results.text import outcome_words, peak_words

if TYPE_CHECKING:
    from autobatch.cli.live_table import LiveTable

SUMMARY = "find the batch size that fits, without training"
# What a training shares with its probe, apart from the size and what concerns a probe alone.
_CARRIED = frozenset(
    {"datagen", "device", "horizontal_flip", "loss", "optimizer", "rescale", "reserve", "seed"}
    | {"trial_timeout", "validation_split"}
)


def add_options(parser: argparse.ArgumentParser) -> None:
    add_inputs(parser, needs_pictures=False)
    add_search(parser)
    group = parser.add_argument_group("the probe")
    text = "deadline of the whole probe, which then prints the best size so far (default: none)"
    add_option(group, "--timeout SECONDS", text, seconds)
    add_option(group, "--limit AMOUNT", "pretend that there is no more memory than this: 8GiB", amount)
    add_option(group, "--dry-run", "say what would be done, and run no trial", action="store_true")
    text = "write a report to a file, .html, .md or .json; repeat it for several"
    add_option(group, "-o --output FILE", text, action="append")


def run(args: argparse.Namespace, api: Api, terminal: Terminal) -> CommandOutput:
    """Finds the batch size and shows each trial as it ends; whatever goes wrong is `Failed`, with what was known."""
    if args.dry_run and args.output:
        raise ArgumentError("A dry run has nothing to report. Received: --output beside --dry-run. Expected: one.")
    reports = ReportFiles(args.output or (), terminal.err)
    trials: list[Any] = []
    environment: dict[str, Any] = {}
    try:
        if args.dry_run:
            return _dry_run(args, api, terminal, environment)
        with progress(terminal) as shown:
            kept = KeptTrials(shown, trials)
            shown.says("loading the model")
            given = _inputs(args, api, terminal, environment)
            shown.says("looking at samples")
            result = api.probe(*given, on_trial=kept, on_start=kept.starts, **_options(args))
    except (Exception, KeyboardInterrupt, SystemExit) as error:  # a model may end the process
        raise Failed(error, _what_is_known(error, terminal, trials, environment, reports)) from error
    following = next_step(args, result, terminal.words)
    data = probe_object(terminal, ExitCode.OK, environment=environment, result=result, following=following)
    text = f"{result.verdict()}\n\n{result.summary()}\n\n{following}"
    unwritten = reports.write(data)
    if unwritten is None:
        return CommandOutput(text, data)
    failed = {"exit_code": int(ExitCode.USAGE), "error": describe(unwritten, ExitCode.USAGE)}
    return CommandOutput(text, data | failed, ExitCode.USAGE)


class TrialLines:
    """One line for each trial, and none for anything else: a line in a pipe cannot be taken back."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream  # `None` shows nothing
        self._count = 0

    def says(self, _what: str) -> None: ...

    def __call__(self, trial: Any) -> None:
        self._count += 1
        peak = f", peak {peak_words(trial)}" if trial.peaks else ""
        speed = "" if trial.samples_per_s is None else f", {trial.samples_per_s:,.0f} samples/s"
        line = f"trial {self._count}: {trial.size} samples: {outcome_words(trial.outcome)}{peak}{speed}"
        if self._stream is not None:
            print(f"{line}, {trial.wall_s:.1f} s", file=self._stream, flush=True)


class KeptTrials:
    def __init__(self, shown: "TrialLines | LiveTable", trials: list[Any]) -> None:
        self._shown, self._trials = shown, trials

    def starts(self, size: int) -> None:
        self._shown.says(f"trial {len(self._trials) + 1}: {size:,} samples")

    def __call__(self, trial: Any) -> None:
        self._trials.append(trial)
        self._shown(trial)


def _inputs(args: argparse.Namespace, api: Api, terminal: Terminal, environment: dict[str, Any]) -> tuple[Any, ...]:
    """The model and its data; the environment is read before the search, so that no answer is lost over it."""
    try:
        return inputs(args, api, terminal)
    finally:
        environment |= api.environment()


def _dry_run(args: argparse.Namespace, api: Api, terminal: Terminal, environment: dict[str, Any]) -> CommandOutput:
    from autobatch.train.jsonl_log import SCHEMA_VERSION

    dry_run = api.dry_run(*_inputs(args, api, terminal, environment), **_options(args))
    return CommandOutput(str(dry_run), {"schema_version": SCHEMA_VERSION, "kind": "dry_run", **dry_run.to_dict()})


def _options(args: argparse.Namespace) -> dict[str, Any]:
    own = {"timeout_s": args.timeout, "limit": args.limit}
    return search(args) | {name: value for name, value in own.items() if value is not None}


def _what_is_known(
    error: BaseException, terminal: Terminal, trials: list[Any], environment: dict[str, Any], reports: ReportFiles
) -> CommandOutput:
    code = exit_code(error)
    trials = list(getattr(error, "trials", ())) or trials
    data = probe_object(terminal, code, environment=environment, trials=trials, error=error)
    if code is not ExitCode.USAGE:  # nothing was started: there is nothing to report, and an older report may be there
        reports.write(data)
    text = best_line(trials) if code in {ExitCode.TIMEOUT, ExitCode.INTERRUPTED} else ""
    return CommandOutput(text, data, code)


def next_step(args: argparse.Namespace, result: Any, words: Sequence[str]) -> str:
    """One line to copy: the same model and pictures, trained at the size that was found."""
    size = result.samples_per_update
    if args.directory is None:
        fit = "model.fit(" if result.accumulation_steps == 1 else "autobatch.fit(model, "
        return f"{fit}x, y, batch_size={size})"
    unused = set(PICTURES) if isinstance(described_pictures(args), str) else {"datagen"}
    names = _CARRIED - unused
    same = [*carried(words[1:], args.parser, names), *_standing(args, args.parser.settings, names)]
    return shlex.join(["autobatch", "fit", args.model, args.directory, "--batch-size", str(size), *same])


def carried(words: Sequence[str], parser: argparse.ArgumentParser, names: Collection[str]) -> list[str]:
    """The options with these names among words that the parser has understood, as they were typed."""
    actions = {flag: action for action in parser._get_optional_actions() for flag in action.option_strings}
    kept: list[str] = []
    remaining = iter(words)
    for word in remaining:
        if word == "--":
            break
        flag, equals, _ = word.partition("=")
        action = actions.get(flag)
        if action is not None:
            typed = [word, next(remaining)] if action.nargs != 0 and not equals else [word]
            kept += typed if action.dest in names else []
    return kept


def _standing(args: argparse.Namespace, settings: Sequence[Setting], names: Collection[str]) -> list[str]:
    """Words for the settings with these names that were not typed and that `fit` would not find by itself."""
    try:
        found = args.settings_of("fit")
    except ArgumentError:  # a setting for `fit` that cannot be used: `fit` will say so
        found = {}
    choices = ((setting, args.settings[setting.name]) for setting in settings if setting.name in names)
    return [
        word
        for setting, choice in choices
        if choice.origin in {Origin.FILE, Origin.VARIABLE}
        if setting.name not in found or found[setting.name].value != choice.value
        for word in setting.words(choice)
    ]


@contextmanager
def progress(terminal: Terminal) -> "Iterator[TrialLines | LiveTable]":
    if terminal.quiet or not terminal.err.isatty():
        yield TrialLines(None if terminal.quiet else terminal.err)
        return
    from autobatch.cli.live_table import live_table

    with live_table(terminal.err, color=terminal.color) as table:
        yield table
