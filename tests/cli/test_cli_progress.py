"""What is shown while a probe runs: readable at 60 columns, in a pipe, and whatever others print meanwhile."""

import fcntl
import io
import os
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from command_scene import Screen
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from autobatch.cli.command import Terminal
from autobatch.cli.commands.probe import progress
from autobatch.cli.console import wants_color
from autobatch.cli.live_table import HEAD, LiveTable, aside, cells, live_table, row
from autobatch.results.trial import Outcome, Trial

GIB = 2**30
RAN = Trial(256, Outcome.RAN, {"host": 3 * GIB, "device": 2 * GIB}, samples_per_s=7987.8, wall_s=0.84)
DIED = Trial(50_000, Outcome.OUT_OF_MEMORY, wall_s=31.0)
HIDES_CURSOR = "\x1b[?25l"


@pytest.mark.parametrize(
    ("trial", "expected"),
    [
        (RAN, "    256  ran              2.0 GiB     0.8 s       7,988"),
        (DIED, " 50,000  out of memory          -    31.0 s           -"),
        (Trial(1, Outcome.NO_ANSWER, {"host": 5 * 2**20}), "      1  no answer          5 MiB     0.0 s           -"),
    ],
)
def test_a_trial_is_a_row_under_the_head(trial, expected):
    assert row(cells(trial)) == expected
    assert len(row(HEAD)) <= 60


@given(
    st.builds(
        Trial,
        size=st.integers(1, 99_999),
        outcome=st.sampled_from(Outcome),
        peaks=st.dictionaries(st.sampled_from(["host", "device", "host_at_worst"]), st.integers(0, 999 * GIB)),
        samples_per_s=st.none() | st.floats(0, 999_999),
        wall_s=st.floats(0, 9_999),
    )
)
def test_a_row_fits_a_terminal_of_60_columns(trial):
    assert len(row(cells(trial))) <= 60


def test_in_a_pipe_each_trial_is_one_line():
    stream = io.StringIO()
    with progress(Terminal(io.StringIO(), stream)) as shown:
        shown.says("loading the model")
        shown(RAN)
        shown(DIED)
    assert stream.getvalue() == (
        "trial 1: 256 samples: ran, peak 2.0 GiB, 7,988 samples/s, 0.8 s\n"
        "trial 2: 50000 samples: out of memory, 31.0 s\n"
    )


def test_quiet_shows_nothing_anywhere():
    stream = Screen()
    with progress(Terminal(io.StringIO(), stream, quiet=True)) as shown:
        shown.says("loading the model")
        shown(RAN)
    assert stream.getvalue() == ""


def test_what_runs_is_said_with_its_seconds():
    now = [10.0]
    table = LiveTable(Console(file=io.StringIO()), clock=lambda: now[0])
    table.says("loading the model")
    now[0] = 22.4
    assert table.__rich__().plain == "loading the model … 12 s"
    table(RAN)
    now[0] = 25.0
    assert table.__rich__().plain == "trial 2 … 3 s"


@pytest.mark.parametrize(
    ("environ", "asked", "terminal", "expected"),
    [
        ({}, None, True, True),
        ({}, None, False, False),
        ({}, True, False, False),
        ({}, False, True, False),
        ({"NO_COLOR": "1"}, None, True, False),
        ({"NO_COLOR": "no"}, None, True, False),
        ({"NO_COLOR": ""}, None, True, True),
        ({"NO_COLOR": "1"}, True, True, True),
        ({"TERM": "dumb"}, None, True, False),
    ],
)
def test_colors_are_for_terminals_of_people_who_want_them(environ, asked, terminal, expected):
    assert wants_color(environ, Screen() if terminal else io.StringIO(), asked=asked) is expected


class Pty:
    """A terminal of 60 columns: what is written to `stream` comes out of `seen`."""

    def __init__(self):
        self._master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
        self.stream = os.fdopen(slave, "w")

    def seen(self):
        self.stream.close()
        text = b""
        while True:
            try:
                piece = os.read(self._master, 65536)
            except OSError:  # as Linux ends it
                break
            if not piece:
                break
            text += piece
        os.close(self._master)
        return text.decode()


def drawn(*, color):
    pty = Pty()
    with live_table(pty.stream, color=color) as table:
        table(RAN)
        os.write(pty.stream.fileno(), b"half a line from C")
        print(" and its end", file=pty.stream, flush=True)
        table(DIED)
    return pty.seen()


def plain(text):
    """Without colours; where the cursor is moved, something new begins."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "\n", re.sub(r"\x1b\[[0-9;]*m", "", text))


def test_the_table_survives_what_others_print():
    """Seen to fail without the pipe: what C prints stood behind the line that is drawn again."""
    lines = plain(drawn(color=False)).splitlines()
    table, printed = [row(HEAD), row(cells(RAN)), row(cells(DIED))], "half a line from C and its end"
    assert [line for line in lines if line in table] == table
    assert lines.count(printed) == 1
    assert max(map(len, lines)) <= 60


@pytest.mark.parametrize("color", [False, True])
def test_colors_are_used_only_where_they_are_wanted(color):
    text = drawn(color=color)
    assert ("\x1b[32m" in text) == color
    assert ("\x1b[33m" in text) == color


def test_the_cursor_is_never_hidden():
    """A killed process could not show it again. Seen to fail with rich's own console."""
    assert HIDES_CURSOR not in drawn(color=True)


def taken(path, write):
    """The lines that are handed on while `write` is called with the descriptor, and what the file holds afterwards."""
    lines = []
    with path.open("w") as stream:
        with aside(stream) as (own, others):
            others(lines.append)
            write(stream.fileno())
            own.write("mine\n")
        os.write(stream.fileno(), b"later\n")
    return lines, path.read_text()


@pytest.mark.parametrize(
    ("pieces", "lines"),
    [
        ([], []),
        ([b"a\n", b"b\n"], ["a", "b"]),
        ([b"a", b"b\nc"], ["ab", "c"]),
        ([b"1/3\r2/3\r3/3\n"], ["3/3"]),
        ([b"1/3\r2/3\r"], ["2/3"]),
        ([b"windows\r\n"], ["windows"]),
        ([b"\n\n"], ["", ""]),
        (["é\n".encode()[:1], "é\n".encode()[1:]], ["é"]),
        ([b"\xff\n"], ["\ufffd"]),
    ],
)
def test_what_others_write_is_handed_on_line_by_line(pieces, lines, tmp_path):
    seen, left = taken(tmp_path / "err", lambda descriptor: [os.write(descriptor, piece) for piece in pieces])
    assert (seen, left) == (lines, "mine\nlater\n")


def test_much_that_is_written_at_once_is_handed_on_whole(tmp_path):
    """More than a pipe holds. Seen to fail without a thread that reads it meanwhile."""
    seen, _ = taken(tmp_path / "err", lambda descriptor: os.write(descriptor, b"x" * 300_000 + b"\n"))
    assert seen == ["x" * 300_000]


def test_a_process_that_lives_on_does_not_hold_anything_up(tmp_path):
    """Seen to fail with the end of the pipe waited for."""
    left = []

    def start(descriptor):
        code = "import os, sys; os.write(2, b'from a child\\n'); sys.stdin.read()"
        child = subprocess.Popen(
            [sys.executable, "-c", code], stderr=descriptor, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        left.append(child)

    taken(tmp_path / "err", start)
    left[0].communicate(timeout=60)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="there is no list of open descriptors here")
def test_no_descriptor_is_left_open(tmp_path):
    before = len(list(Path("/proc/self/fd").iterdir()))
    taken(tmp_path / "err", lambda descriptor: os.write(descriptor, b"x\n"))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_stdout_that_leads_to_the_same_place_is_taken_along_and_put_back(tmp_path):
    """Seen to fail with stderr alone: what a model's C code prints would stand in the middle of the table."""
    code = (
        f"import os, sys; sys.path[:] = {sys.path!r}; from autobatch.cli.live_table import aside; lines = []\n"
        "with aside(sys.stderr) as (own, others):\n"
        "    others(lines.append); os.write(1, b'by C\\n'); os.write(2, b'by Python\\n')\n"
        "os.write(1, repr(lines).encode())"
    )
    with (tmp_path / "terminal").open("w+") as both:
        subprocess.run([sys.executable, "-c", code], stdout=both, stderr=both, check=True, timeout=60)
        both.seek(0)
        assert both.read() == "['by C', 'by Python']"
