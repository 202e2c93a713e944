"""One look at the memory: for people, and for programs."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TextIO

from autobatch._json import to_json
from autobatch._text import format_bytes
from autobatch.cli.console import until_the_reader_leaves
from autobatch.cli.wording import columns, wrapped
from autobatch.memory.budget import Budget
from autobatch.memory.consumers import Consumers
from autobatch.memory.reading import MemoryReading
from autobatch.memory.types import Consumer

SCHEMA_VERSION = 2

_UNKNOWN = "-"

_NOBODY = Consumers(())


@dataclass(frozen=True, slots=True)
class MemorySnapshot:
    """What was seen at one moment.

    Attributes:
        at: When.
        reading: What limits the memory, `None` where the sensors failed.
        consumers: Which processes hold it.
        error: Why there is no reading.
    """

    at: datetime
    reading: MemoryReading | None = None
    consumers: Consumers = _NOBODY
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns the view as JSON-ready values, in bytes."""
        head = {"schema_version": SCHEMA_VERSION, "read_at": self.at.isoformat(timespec="milliseconds")}
        if self.reading is None:
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
        """Returns the view as text.

        Args:
            width: Where to break sentences, `None` for nowhere.
        """
        if self.reading is None:
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


def headline(budget: Budget) -> str:
    """How much can be taken and what limits that, in one sentence."""
    limit = budget.limit
    name = f"{limit.kind} ({limit.detail})" if limit.kind == "device" else limit.kind
    available, reserve = format_bytes(limit.available_bytes), format_bytes(budget.reserve_bytes)
    if budget.free_bytes <= 0:
        return (
            f"Nothing can be taken, limited by the {name}: {available} are available, and {reserve} are to stay free "
            "as a reserve."
        )
    return (
        f"{format_bytes(budget.free_bytes)} can be taken, limited by the {name}: {available} are available, "
        f"{reserve} of them stay free as a reserve."
    )


def _limits(reading: MemoryReading) -> list[str]:
    binding = reading.budget().limit
    budgets = reading.budgets()
    rows = [["limit", "can be taken", "available", "of", "this process", ""], *map(_limit, budgets)]
    marks = ["  ", *("> " if budget.limit == binding else "  " for budget in budgets)]
    return [mark + line for mark, line in zip(marks, columns(rows, left=frozenset({0, 5})), strict=True)]


def _limit(budget: Budget) -> list[str]:
    limit = budget.limit
    figures = (max(0, budget.free_bytes), limit.available_bytes, limit.capacity_bytes, limit.occupied_bytes)
    return [limit.kind, *map(format_bytes, figures), limit.detail]


def _pressure(reading: MemoryReading, width: int | None) -> list[str]:
    if reading.pressure is None:
        return []
    some, full = reading.pressure.some_avg10, reading.pressure.full_avg10
    return wrapped("  pressure: ", f"some tasks waited {some:.1f} %, all {full:.1f} % of the last 10 s", width)


def _consumers(consumers: Consumers, devices: list[int]) -> list[str]:
    rows = [["pid", "process", "RSS", *(f"GPU:{index}" for index in devices), ""]]
    rows += [_consumer(consumer, devices) for consumer in consumers.shown]
    table = [f"  {line}" for line in columns(rows, left=frozenset({1, len(rows[0]) - 1}))]
    more = f"  and {consumers.left_out} more; --top N shows more of them"
    return [*table, more] if consumers.left_out else table


def _consumer(consumer: Consumer, devices: list[int]) -> list[str]:
    used = dict(consumer.device_bytes)
    on_devices = [_amount(used[index]) if index in used else "" for index in devices]
    name = "another container or the host" if consumer.name is None else consumer.name
    remarks = ["this process"] * consumer.own + ["in the group"] * bool(consumer.in_group)
    return [str(consumer.pid), name, _amount(consumer.rss_bytes), *on_devices, ", ".join(remarks)]


def _amount(count: int | None) -> str:
    return _UNKNOWN if count is None else format_bytes(count)


def utc_now() -> datetime:
    """The time of day, with its zone."""
    return datetime.now(UTC)


def views(
    look: Callable[[], tuple[MemoryReading, Consumers]],
    every_s: float,
    *,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
    now: Callable[[], datetime] = utc_now,
) -> Iterator[MemorySnapshot]:
    """Looks every so often, without end; a look that fails is a view that says so.

    Args:
        look: Takes a reading and finds who holds the memory.
        every_s: Seconds from one look to the next; a look that takes longer is followed by the next at once.
        sleep: Waits for some seconds.
        clock: Seconds that never go back.
        now: The time of day.
    """
    due_s = clock()
    while True:
        yield _view(look, now())
        due_s = max(due_s + every_s, clock())
        sleep(max(0.0, due_s - clock()))


def _view(look: Callable[[], tuple[MemoryReading, Consumers]], at: datetime) -> MemorySnapshot:
    try:
        reading, consumers = look()
    except Exception as error:  # noqa: BLE001 - whatever a sensor raises, the next look may succeed
        return MemorySnapshot(at, error=f"{type(error).__name__}: {error}")
    return MemorySnapshot(at, reading, consumers)


def print_lines(seen: Iterable[MemorySnapshot], out: TextIO) -> None:
    """Prints one JSON object a line, each at once, until the reader leaves.

    Args:
        seen: What to print.
        out: Where to.
    """
    with until_the_reader_leaves(out):
        for view in seen:
            out.write(to_json(view.to_dict(), indent=None) + "\n")
            out.flush()


def draw(seen: Iterable[MemorySnapshot], out: TextIO, every_s: float) -> None:
    """Shows each view in place of the one before, on a screen of its own, which follows the terminal's size.

    Args:
        seen: What to show.
        out: The terminal.
        every_s: How often that is, to say so.
    """
    from rich.console import Console
    from rich.live import Live

    console = Console(file=out, highlight=False)
    with (
        until_the_reader_leaves(out),
        Live(console=console, screen=True, redirect_stdout=False, redirect_stderr=False) as live,
    ):
        for view in seen:
            live.update(_Screen(view, every_s), refresh=True)


class _Screen:
    """A view as wide as the console is when it is drawn.

    Args:
        view: What to draw.
        every_s: How often there is a new one.
    """

    def __init__(self, view: MemorySnapshot, every_s: float) -> None:
        self._view, self._every_s = view, every_s

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        from rich.text import Text

        head = f"{self._view.at.astimezone():%H:%M:%S}, every {self._every_s:g} s, until Ctrl-C"
        lines = [head, "", *self._view.lines(options.max_width)][: console.height]
        for line in lines:
            yield Text(line, no_wrap=True, overflow="ellipsis")
