"""`autobatch memory`: how much memory there is, what limits it, and who holds it; once, or again and again."""

import argparse
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from autobatch._json import to_json
from autobatch._text import columns, format_bytes
from autobatch.cli.api import Api
from autobatch.cli.command import CommandOutput, Terminal, utc_now
from autobatch.cli.console import attentive_sleep, until_the_reader_leaves
from autobatch.cli.options import add_option, positive_count, seconds
from autobatch.cli.outcome import ExitCode
from autobatch.cli.wording import width_of, wrapped
from autobatch.results.text import format_amount

if TYPE_CHECKING:
    from datetime import datetime

    from autobatch.memory.budget import Budget
    from autobatch.memory.consumers import Consumers
    from autobatch.memory.reading import MemoryReading
    from autobatch.memory.types import Consumer

SUMMARY = "show how much memory there is, what limits it, and who holds it"
SCHEMA_VERSION = 2


def add_options(parser: argparse.ArgumentParser) -> None:
    text = "repeat every so many seconds (default: 1) until Ctrl-C; in a pipe, or with --json, one line of JSON each"
    add_option(parser, "--watch SECONDS", text, seconds, nargs="?", const=1.0)
    add_option(parser, "--top N", "how many processes to show (default: 10)", positive_count, default=10)


def run(args: argparse.Namespace, api: Api, terminal: Terminal) -> CommandOutput | int | None:
    if args.watch is not None:
        return _watch(args, api, terminal)
    snapshot = MemorySnapshot(utc_now(), *_look(api, args.top))
    return CommandOutput("\n".join(snapshot.lines(width_of(terminal.out))), snapshot.to_dict())


def _look(api: Api, most: int) -> "tuple[MemoryReading, Consumers]":
    from autobatch.memory.consumers import read_consumers

    reading = api.read_memory()
    return reading, read_consumers(reading, most=most)


def _watch(args: argparse.Namespace, api: Api, terminal: Terminal) -> int | None:
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


@dataclass(frozen=True, slots=True)
class MemorySnapshot:
    """What limits the memory at one moment and who holds it, or why it could not be read."""

    at: "datetime"
    reading: "MemoryReading | None" = None
    consumers: "Consumers | None" = None
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        head = {"schema_version": SCHEMA_VERSION, "read_at": self.at.isoformat(timespec="milliseconds")}
        if self.reading is None or self.consumers is None:
            return {**head, "error": self.error}
        facts = self.reading.to_dict()
        return {
            **head,
            **facts,
            "consumers": [consumer.to_dict() for consumer in self.consumers.shown],
            "consumers_left_out": self.consumers.left_out,
            "notes": [*facts["notes"], *self.consumers.notes],
        }

    def lines(self, width: int | None = None) -> list[str]:
        if self.reading is None or self.consumers is None:
            return wrapped("", f"Memory could not be read: {self.error}", width)
        notes = [
            line for note in (*self.reading.notes, *self.consumers.notes) for line in wrapped("note: ", note, width)
        ]
        return [
            *wrapped("", headline(self.reading.budget()), width),
            "",
            *_limits(self.reading),
            *_pressure(self.reading, width),
            "",
            *_consumers(self.consumers, [device.index for device in self.reading.devices]),
            *(["", *notes] if notes else []),
        ]


def headline(budget: "Budget") -> str:
    limit = budget.limit
    name = f"{limit.kind} ({limit.detail})" if limit.kind == "device" else limit.kind
    available, reserve = format_bytes(limit.available_bytes), format_bytes(budget.reserve_bytes)
    if budget.free_bytes <= 0:
        return f"Nothing is usable, limited by the {name}: {available} available, all within the reserve of {reserve}."
    free = format_bytes(budget.free_bytes)
    return f"{free} usable, limited by the {name}: {available} available, less the reserve of {reserve}."


def _limits(reading: "MemoryReading") -> list[str]:
    binding = reading.budget().limit
    budgets = reading.budgets()
    rows = [["limit", "usable", "available", "of", "this process", ""], *map(_limit, budgets)]
    marks = ["  ", *("> " if budget.limit == binding else "  " for budget in budgets)]
    return [mark + line for mark, line in zip(marks, columns(rows, left=frozenset({0, 5})), strict=True)]


def _limit(budget: "Budget") -> list[str]:
    limit = budget.limit
    figures = (max(0, budget.free_bytes), limit.available_bytes, limit.capacity_bytes, limit.occupied_bytes)
    return [limit.kind, *map(format_bytes, figures), limit.detail]


def _pressure(reading: "MemoryReading", width: int | None) -> list[str]:
    if reading.pressure is None:
        return []
    some, full = reading.pressure.some_avg10, reading.pressure.full_avg10
    return wrapped("  pressure: ", f"some tasks waited {some:.1f} %, all {full:.1f} % of the last 10 s", width)


def _consumers(found: "Consumers", devices: list[int]) -> list[str]:
    rows = [["pid", "process", "RSS", *(f"GPU:{index}" for index in devices), ""]]
    rows += [_consumer(consumer, devices) for consumer in found.shown]
    table = [f"  {line}" for line in columns(rows, left=frozenset({1, len(rows[0]) - 1}))]
    return [*table, f"  and {found.left_out} more (--top N)"] if found.left_out else table


def _consumer(consumer: "Consumer", devices: list[int]) -> list[str]:
    used = dict(consumer.device_bytes)
    on_devices = [format_amount(used[index]) if index in used else "" for index in devices]
    name = "another container or the host" if consumer.name is None else consumer.name
    remarks = ["this process"] * consumer.own + ["in the group"] * bool(consumer.in_group)
    return [str(consumer.pid), name, format_amount(consumer.rss_bytes), *on_devices, ", ".join(remarks)]


def snapshots(
    look: Callable[[], "tuple[MemoryReading, Consumers]"],
    every_s: float,
    *,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
    now: Callable[[], "datetime"] = utc_now,
) -> Iterator[MemorySnapshot]:
    """Snapshots without end, one every so many seconds; a look that takes longer is followed by the next at once."""
    due_s = clock()
    while True:
        at = now()
        try:
            reading, consumers = look()
        except Exception as error:  # noqa: BLE001 - whatever a sensor raises, the next look may succeed
            yield MemorySnapshot(at, error=f"{type(error).__name__}: {error}")
        else:
            yield MemorySnapshot(at, reading, consumers)
        due_s = max(due_s + every_s, clock())
        sleep(max(0.0, due_s - clock()))


def print_lines(seen: Iterable[MemorySnapshot], out: TextIO) -> None:
    """Prints one JSON object a line, each at once, until the reader leaves."""
    with until_the_reader_leaves(out):
        for snapshot in seen:
            out.write(to_json(snapshot.to_dict(), indent=None) + "\n")
            out.flush()


def draw(seen: Iterable[MemorySnapshot], out: TextIO, every_s: float) -> None:
    """Shows each snapshot in place of the one before, on a screen of its own that follows the terminal's size."""
    from rich.console import Console
    from rich.live import Live

    console = Console(file=out, highlight=False)
    with (
        until_the_reader_leaves(out),
        Live(console=console, screen=True, redirect_stdout=False, redirect_stderr=False) as live,
    ):
        for snapshot in seen:
            live.update(_Screen(snapshot, every_s), refresh=True)


@dataclass(frozen=True, slots=True)
class _Screen:
    """A snapshot as wide as the console when it is drawn."""

    snapshot: MemorySnapshot
    every_s: float

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        from rich.text import Text

        head = f"{self.snapshot.at.astimezone():%H:%M:%S}, every {self.every_s:g} s, until Ctrl-C"
        lines = [head, "", *self.snapshot.lines(options.max_width)][: console.height]
        for line in lines:
            yield Text(line, no_wrap=True, overflow="ellipsis")
