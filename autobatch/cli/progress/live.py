"""A table of trials that grows on a terminal, with one line below it for what is running.

Only that last line is ever drawn again, so that neither a terminal that is resized nor what others print takes the
table apart: rows scroll up as any text does.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from rich.console import Console, ConsoleDimensions
from rich.live import Live
from rich.text import Text

from autobatch.cli.progress.aside import aside
from autobatch.cli.progress.cells import HEAD, cells, row

_COLORS = {"RAN": "green", "OVER_BUDGET": "yellow", "OUT_OF_MEMORY": "yellow"}
_TROUBLE = "red"
_PER_SECOND = 4


class Screen(Console):
    """A console on a stream of its own, wherever the process's standard streams lead meanwhile.

    The cursor stays visible: a process that is killed could not show it again.
    """

    @property
    def size(self) -> ConsoleDimensions:
        """What the terminal of the stream measures now."""
        try:
            columns, lines = os.get_terminal_size(self.file.fileno())
        except (OSError, ValueError):
            columns, lines = 0, 0
        return ConsoleDimensions(columns or 80, lines or 25)

    @size.setter
    def size(self, _size: tuple[int, int]) -> None:
        """Leaves it to the terminal."""

    def show_cursor(self, _show: bool = True) -> bool:  # noqa: FBT001, FBT002 - as rich has it
        """Leaves it as it is."""
        return False


class LiveTable:
    """One row for each trial that it is called with, and a line of what is going on.

    Args:
        console: Where to draw.
        clock: Seconds; a seam for tests.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console, self._clock = console, clock
        self._rows = 0
        self._what = "getting ready"
        self._since = clock()
        self._lock = threading.Lock()

    def says(self, what: str) -> None:
        """What is going on now; its seconds are counted from here."""
        with self._lock:
            self._what, self._since = what, self._clock()

    def __call__(self, trial: Any) -> None:
        """Adds the row of a trial."""
        if not self._rows:
            self._console.print(Text(row(HEAD), style="bold"), soft_wrap=True)
        self._rows += 1
        color = _COLORS.get(trial.outcome.name, _TROUBLE)
        self._console.print(Text(row(cells(trial)), style=color), soft_wrap=True)
        self.says("")

    def ends(self) -> None:
        """Leaves a line free between the table and what follows it."""
        if self._rows:
            self._console.print()

    def __rich__(self) -> Text:
        """The line of what is going on."""
        with self._lock:
            what = self._what or f"trial {self._rows + 1}"
            text = f"{what} … {max(0, self._clock() - self._since):.0f} s"
        return Text(text, style="dim", no_wrap=True, overflow="ellipsis")


@contextmanager
def live_table(stream: TextIO, *, color: bool) -> Iterator[LiveTable]:
    """A table on a terminal while the context lasts; what anybody prints meanwhile stands above it."""
    with aside(stream) as (own, others):
        console = Screen(file=own, force_terminal=True, no_color=not color, highlight=False, legacy_windows=False)
        table = LiveTable(console)
        live = Live(
            table,
            console=console,
            refresh_per_second=_PER_SECOND,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        with live:
            others(lambda line: console.print(Text.from_ansi(line), soft_wrap=True))
            yield table
        table.ends()
