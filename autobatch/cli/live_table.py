"""A table of trials that grows on a terminal, with one line below it for what is running.

Only that last line is ever redrawn, so that neither a terminal that is resized nor what others print takes the table
apart: rows scroll up as any text does. Whatever others write to the terminal meanwhile (Python's prints, C libraries
and processes alike) is led into a pipe, and a thread prints it above the table, line by line.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

from rich.console import Console, ConsoleDimensions
from rich.live import Live
from rich.text import Text

from autobatch.results.text import format_number, outcome_words, peak_words

Show = Callable[[str], None]

HEAD = ("size", "outcome", "peak", "time", "samples/s")
_WIDTHS = (7, 13, 9, 8, 10)  # together with the gaps 55: there are terminals of 60
_COLORS = {"RAN": "green", "OVER_BUDGET": "yellow", "OUT_OF_MEMORY": "yellow"}
_TROUBLE = "red"
_PER_SECOND = 4
_END = b"\0autobatch ends here\0"


@contextmanager
def live_table(stream: TextIO, *, color: bool) -> Iterator["LiveTable"]:
    """A table on a terminal while the context lasts; what anybody prints meanwhile appears above it."""
    with aside(stream) as (own, others):
        console = TerminalConsole(
            file=own, force_terminal=True, no_color=not color, highlight=False, legacy_windows=False
        )
        table = LiveTable(console)
        with Live(
            table,
            console=console,
            refresh_per_second=_PER_SECOND,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        ):
            others(lambda line: console.print(Text.from_ansi(line), soft_wrap=True))
            yield table
        table.ends()


def cells(trial: Any) -> tuple[str, ...]:
    speed = format_number(trial.samples_per_s, ",.0f")
    return f"{trial.size:,}", outcome_words(trial.outcome), peak_words(trial), f"{trial.wall_s:.1f} s", speed


def row(texts: tuple[str, ...]) -> str:
    """Cells side by side, in columns of fixed width: later rows are not known yet."""
    padded = (
        text.ljust(width) if i == 1 else text.rjust(width)
        for i, (text, width) in enumerate(zip(texts, _WIDTHS, strict=True))
    )
    return "  ".join(padded).rstrip()


class LiveTable:
    """A row for each trial that it is called with, and a line of what is going on; `clock` counts seconds."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console, self._clock = console, clock
        self._rows = 0
        self._what = "getting ready"
        self._since = clock()
        self._lock = threading.Lock()

    def says(self, what: str) -> None:
        with self._lock:
            self._what, self._since = what, self._clock()

    def __call__(self, trial: Any) -> None:
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
        with self._lock:
            what = self._what or f"trial {self._rows + 1}"
            text = f"{what} … {max(0, self._clock() - self._since):.0f} s"
        return Text(text, style="dim", no_wrap=True, overflow="ellipsis")


class TerminalConsole(Console):
    """A console on a stream of its own, wherever the process's standard streams lead meanwhile.

    The cursor stays visible: a process that is killed could not show it again.
    """

    @property
    def size(self) -> ConsoleDimensions:
        try:
            columns, lines = os.get_terminal_size(self.file.fileno())
        except (OSError, ValueError):
            columns, lines = 0, 0
        return ConsoleDimensions(columns or 80, lines or 25)

    @size.setter
    def size(self, _size: tuple[int, int]) -> None: ...

    def show_cursor(self, _show: bool = True) -> bool:  # noqa: FBT001, FBT002 - as rich has it
        return False


@contextmanager
def aside(stream: TextIO) -> Iterator[tuple[TextIO, Callable[[Show], None]]]:
    """A stream of one's own to the same terminal, and how to set what shows the lines that others write to `stream`."""
    descriptor = stream.fileno()
    stream.flush()
    together = _led_along(descriptor)
    terminal = os.dup(descriptor)
    reader, writer = os.pipe()
    with (
        os.fdopen(terminal, "w", encoding=stream.encoding, errors="replace") as own,
        os.fdopen(reader, "rb", buffering=0) as pipe,
    ):
        for each in together:
            os.dup2(writer, each)
        os.close(writer)
        shows: list[Show] = [lambda line: print(line, file=own)]  # the last one counts
        thread = threading.Thread(target=_pump, args=(pipe.fileno(), shows), name="autobatch-aside", daemon=True)
        thread.start()
        try:
            yield own, shows.append
        finally:
            stream.flush()
            # A process that outlives this may keep the pipe open, so its end is a mark of our own.
            os.write(descriptor, _END)
            for each in together:
                os.dup2(terminal, each)
            thread.join()


def _led_along(descriptor: int) -> set[int]:
    """The descriptor, and that of stdout if it leads to the same terminal."""
    try:
        return {descriptor, 1} if os.path.sameopenfile(1, descriptor) else {descriptor}
    except OSError:  # stdout is closed
        return {descriptor}


def _pump(descriptor: int, shows: Sequence[Show]) -> None:
    """Shows what comes through a pipe, line by line, up to the mark of its end."""
    kept, end = b"", b""
    while not end and (piece := os.read(descriptor, 65536)):
        text, end, _ = (kept + piece).partition(_END)
        *lines, kept = text.split(b"\n")
        for line in [*lines, kept] if end and kept else lines:
            # The last state of a line: a progress bar draws over itself.
            shows[-1](line.decode(errors="replace").rstrip("\r").rpartition("\r")[2])
