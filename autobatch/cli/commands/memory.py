"""`autobatch memory`: how much memory there is, what limits it, and who holds it; written by `memory_view`."""

import argparse
from typing import TYPE_CHECKING

from autobatch.cli.api import Api
from autobatch.cli.command import CommandOutput, Terminal
from autobatch.cli.options import add_option, positive_count, seconds
from autobatch.cli.outcome import ExitCode

if TYPE_CHECKING:
    from autobatch.memory.consumers import Consumers
    from autobatch.memory.reading import MemoryReading

SUMMARY = "show how much memory there is, what limits it, and who holds it"


def add_options(parser: argparse.ArgumentParser) -> None:
    text = "repeat every so many seconds (default: 1) until Ctrl-C; in a pipe, or with --json, one line of JSON each"
    add_option(parser, "--watch SECONDS", text, seconds, nargs="?", const=1.0)
    add_option(parser, "--top N", "how many processes to show (default: 10)", positive_count, default=10)


def run(args: argparse.Namespace, api: Api, terminal: Terminal) -> CommandOutput | int | None:
    if args.watch is not None:
        return _watch(args, api, terminal)
    from autobatch.cli.command import utc_now
    from autobatch.cli.memory_view import MemorySnapshot
    from autobatch.cli.wording import width_of

    snapshot = MemorySnapshot(utc_now(), *_look(api, args.top))
    return CommandOutput("\n".join(snapshot.lines(width_of(terminal.out))), snapshot.to_dict())


def _look(api: Api, most: int) -> "tuple[MemoryReading, Consumers]":
    from autobatch.memory.consumers import read_consumers

    reading = api.read_memory()
    return reading, read_consumers(reading, most=most)


def _watch(args: argparse.Namespace, api: Api, terminal: Terminal) -> int | None:
    from autobatch.cli.console import attentive_sleep
    from autobatch.cli.memory_view import draw, print_lines, snapshots
    from autobatch.memory.sensors.nvml import nvml_session

    try:
        with nvml_session():
            seen = snapshots(lambda: _look(api, args.top), args.watch, sleep=attentive_sleep(terminal.out))
            if terminal.out.isatty() and not args.json:
                draw(seen, terminal.out, args.watch)
            else:
                print_lines(seen, terminal.out)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED  # the usual end, not worth a word
    return None
