"""Looking again and again: on a terminal in place, in a pipe one JSON object a line."""

import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, TextIO

from autobatch.cli.memory_view import View
from autobatch.cli.plain import as_json
from autobatch.cli.reader import until_the_reader_leaves
from autobatch.memory.holders import Holders
from autobatch.memory.reading import MemoryReading


def utc_now() -> datetime:
    """The time of day, with its zone."""
    return datetime.now(UTC)


def views(
    look: Callable[[], tuple[MemoryReading, Holders]],
    every_s: float,
    *,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
    now: Callable[[], datetime] = utc_now,
) -> Iterator[View]:
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


def _view(look: Callable[[], tuple[MemoryReading, Holders]], at: datetime) -> View:
    try:
        reading, holders = look()
    except Exception as error:  # noqa: BLE001 - whatever a sensor raises, the next look may succeed
        return View(at, error=f"{type(error).__name__}: {error}")
    return View(at, reading, holders)


def print_lines(seen: Iterable[View], out: TextIO) -> None:
    """Prints one JSON object a line, each at once, until the reader leaves.

    Args:
        seen: What to print.
        out: Where to.
    """
    with until_the_reader_leaves(out):
        for view in seen:
            out.write(as_json(view.to_dict(), indent=None) + "\n")
            out.flush()


def draw(seen: Iterable[View], out: TextIO, every_s: float) -> None:
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

    def __init__(self, view: View, every_s: float) -> None:
        self._view, self._every_s = view, every_s

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        from rich.text import Text

        head = f"{self._view.at.astimezone():%H:%M:%S}, every {self._every_s:g} s, until Ctrl-C"
        lines = [head, "", *self._view.lines(options.max_width)][: console.height]
        for line in lines:
            yield Text(line, no_wrap=True, overflow="ellipsis")
