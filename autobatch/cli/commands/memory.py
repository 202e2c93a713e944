"""`autobatch memory`: how much memory there is, what limits it, and who holds it."""

import argparse
from typing import TYPE_CHECKING

from autobatch.cli import options as values
from autobatch.cli.api import Api
from autobatch.cli.command import CommandOutput, Terminal
from autobatch.cli.outcome import ExitCode

if TYPE_CHECKING:
    from autobatch.memory.consumers import Consumers
    from autobatch.memory.reading import MemoryReading

SUMMARY = "say how much memory there is, what limits it, and who holds it"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds `--watch` and `--top`."""
    parser.add_argument(
        "--watch",
        type=values.seconds,
        nargs="?",
        const=1.0,
        metavar="SECONDS",
        help="look again every so many seconds (1 if no number follows), until Ctrl-C; in a pipe, or with --json, each "
        "look is one line of JSON",
    )
    parser.add_argument(
        "--top", type=values.count, default=10, metavar="N", help="how many processes to show (default: 10)"
    )


def run(args: argparse.Namespace, api: Api, terminal: Terminal) -> CommandOutput | int | None:
    """What limits this process now and who holds it; with `--watch`, again and again."""
    if args.watch is not None:
        return _watch(args, api, terminal)
    from autobatch.cli.memory_view import MemorySnapshot, utc_now
    from autobatch.cli.wording import width_of

    view = MemorySnapshot(utc_now(), *_look(api, args.top))
    return CommandOutput("\n".join(view.lines(width_of(terminal.out))), view.to_dict())


def _look(api: Api, most: int) -> "tuple[MemoryReading, Consumers]":
    from autobatch.memory.consumers import read_consumers

    reading = api.read_memory()
    return reading, read_consumers(reading, most=most)


def _watch(args: argparse.Namespace, api: Api, terminal: Terminal) -> int | None:
    from autobatch.cli.console import attentive_sleep
    from autobatch.cli.memory_view import draw, print_lines, views
    from autobatch.memory.sensors.nvml import hold_nvml

    try:
        with hold_nvml():
            seen = views(lambda: _look(api, args.top), args.watch, sleep=attentive_sleep(terminal.out))
            if terminal.out.isatty() and not args.json:
                draw(seen, terminal.out, args.watch)
            else:
                print_lines(seen, terminal.out)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED  # the usual end, not worth a word
    return None
