"""`autobatch memory`: what limits, how much is free, who holds it; once and again and again."""

import contextlib
import io
import itertools
import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from autobatch._text import columns
from autobatch.cli.api import Api
from autobatch.cli.commands.memory import MemorySnapshot, headline, print_lines, snapshots
from autobatch.cli.console import attentive_sleep, until_the_reader_leaves
from autobatch.cli.main import main
from autobatch.memory.consumers import Consumers
from autobatch.memory.types import Consumer, Device
from autobatch.testing import memory_reading

MIB, GIB = 1 << 20, 1 << 30
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
GPU = Device(0, "GPU-1", "Fake GPU", 16 * GIB, 4 * GIB)


def autobatch(*words, **figures):
    """Runs the command on a machine with these figures: status, stdout, stderr."""
    out, err = io.StringIO(), io.StringIO()
    api = Api()
    api.read_memory = lambda: memory_reading(**figures)
    return main(["memory", *words], api=api, stdout=out, stderr=err), out.getvalue(), err.getvalue()


def view(*consumers, left_out=0, notes=(), **figures):
    return MemorySnapshot(NOON, memory_reading(**figures), Consumers(consumers, left_out, notes))


def test_it_says_how_much_and_what_limits_and_who():
    status, out, err = autobatch(group_limit_bytes=12 * GIB, group_usage_bytes=2 * GIB)
    assert (status, err) == (0, "")
    assert out.startswith("9.0 GiB usable, limited by the control group: 10.0 GiB available, less the reserve of 983")
    assert "> control group" in out
    assert "this process" in out


def test_json_is_the_reading_with_its_consumers():
    status, out, _ = autobatch("--json", "--top", "3")
    facts = json.loads(out)
    assert status == 0
    assert facts["schema_version"] == 2
    assert facts["binding"] == memory_reading().to_dict()["binding"]
    assert len(facts["consumers"]) <= 3
    assert [consumer["pid"] for consumer in facts["consumers"] if consumer["own"]] == [os.getpid()]
    assert datetime.fromisoformat(facts["read_at"]).tzinfo is not None


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        ({"host_available_bytes": 48 * GIB}, "42.9 GiB usable, limited by the host: 48.0 GiB available"),
        ({"host_available_bytes": GIB}, "Nothing is usable, limited by the host: 1.0 GiB available"),
        ({"devices": (GPU,)}, "2.7 GiB usable, limited by the device (GPU:0 Fake GPU GPU-1): 4.0 GiB"),
    ],
)
def test_the_headline_tells_what_is_left_beside_the_reserve(figures, words):
    assert headline(memory_reading(**figures).budget()).startswith(words)


@pytest.mark.parametrize(
    ("consumer", "line"),
    [
        (Consumer(7, "python", 9 * MIB, own=True), "7  python  9 MiB  this process"),
        (Consumer(7, "java", 9 * MIB, ((0, 5 * MIB),)), "7  java     9 MiB  5 MiB"),
        (Consumer(7, "java", 9 * MIB, ((0, None),)), "7  java     9 MiB      -"),
        (Consumer(7, None, None, ((0, 5 * MIB),)), "7  another container or the host    -  5 MiB"),
        (Consumer(7, "sh", 9 * MIB, own=True, in_group=True), "7  sh       9 MiB  this process, in the group"),
    ],
)
def test_a_consumer_is_a_row(consumer, line):
    lines = view(consumer, devices=(GPU,)).lines()
    assert line.split() in [row.split() for row in lines]


def test_what_is_left_out_is_counted():
    assert any("and 4 more" in line for line in view(Consumer(7, "sh", 1), left_out=4).lines())


@pytest.mark.parametrize("width", [40, 60, 120])
def test_sentences_are_broken_at_the_width(width):
    lines = view(notes=("This is a note that is longer than a line of forty characters can be. " * 2,)).lines(width)
    paragraph = lines[: lines.index("")]
    note = lines[next(place for place, line in enumerate(lines) if line.startswith("note: ")) :]
    assert max(map(len, paragraph + note)) <= width
    assert " ".join(paragraph) == headline(memory_reading().budget())


def test_columns_without_anything_in_them_are_left_out():
    assert columns([["a", "b", "c"], ["1", "", "2"]]) == ["a  c", "1  2"]


def rounds(count, look, **seams):
    """The first views of a watch that never really waits."""
    return list(itertools.islice(snapshots(look, 5.0, now=lambda: NOON, **seams), count))


def test_it_looks_again_every_so_often():
    """Seen to fail with a pause of the whole interval after a look that has taken a part of it."""
    times, slept = itertools.count(100.0, 1.0), []
    seen = rounds(3, lambda: (memory_reading(), Consumers(())), clock=lambda: next(times), sleep=slept.append)
    assert len(seen) == 3
    assert slept == [3.0, 6.0]


def test_a_look_that_takes_longer_than_the_interval_is_followed_at_once():
    times, slept = itertools.count(100.0, 60.0), []
    rounds(3, lambda: (memory_reading(), Consumers(())), clock=lambda: next(times), sleep=slept.append)
    assert slept == [0.0, 0.0]


def test_a_sensor_that_fails_once_does_not_end_the_watch():
    """Seen to fail with the error let through."""
    answers = iter([memory_reading(), None, memory_reading()])

    def look():
        answer = next(answers)
        if answer is None:
            raise OSError("the sensor is gone")
        return answer, Consumers(())

    seen = rounds(3, look, sleep=lambda _: None)
    assert [one.error for one in seen] == [None, "OSError: the sensor is gone", None]
    assert seen[1].to_dict()["error"] == "OSError: the sensor is gone"
    assert "could not be read" in seen[1].lines()[0]


class Stream(io.StringIO):
    """Counts how often it is flushed; breaks after so many lines."""

    def __init__(self, most=99):
        super().__init__()
        self.most, self.flushed = most, 0

    def write(self, text):
        if self.flushed >= self.most:
            raise BrokenPipeError
        return super().write(text)

    def flush(self):
        self.flushed += 1


def test_each_look_is_one_line_of_json_flushed_at_once():
    out = Stream()
    print_lines([view(), MemorySnapshot(NOON, error="no"), view()], out)
    facts = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [one["schema_version"] for one in facts] == [2, 2, 2]
    assert facts[1]["error"] == "no"
    assert out.flushed == 3


def test_a_reader_that_leaves_ends_the_watch():
    out = Stream(most=2)
    print_lines(itertools.repeat(view()), out)
    assert len(out.getvalue().splitlines()) == 2


def test_a_sleep_ends_when_the_reader_leaves():
    """Seen to fail with `time.sleep`: nothing noticed before the next line."""
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream:
        attentive_sleep(stream)(0.0)  # somebody reads: no error
        os.close(reader)
        with pytest.raises(BrokenPipeError):
            attentive_sleep(stream)(60.0)


def test_what_is_left_in_the_stream_does_not_fail_at_the_end():
    reader, writer = os.pipe()
    stream = os.fdopen(writer, "w")
    os.close(reader)
    with until_the_reader_leaves(stream):
        print("unread", file=stream, flush=True)
    stream.close()  # writes what is left


PROGRAM = [sys.executable, "-m", "autobatch", "memory"]


@contextlib.contextmanager
def started(program, **options):
    """A program that is gone in the end, whatever became of the test."""
    with subprocess.Popen(program, **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("seconds", ["0.05", "600"])
def test_a_real_reader_may_leave_after_the_first_line(seconds):
    """As `| head -1` does. Seen to fail with the error let through, and with a sleep that notices nothing."""
    with started([*PROGRAM, "--watch", seconds]) as process:
        line = process.stdout.readline()
        process.stdout.close()
        assert process.wait(30) == 0
        assert process.stderr.read() == b""
    assert json.loads(line)["consumers"]


def test_the_reader_of_one_answer_may_leave_before_it_comes():
    """Seen to fail with a plain print: a traceback, and status 1."""
    reader, writer = os.pipe()
    os.close(reader)
    with started([*PROGRAM, "--json"], stdout=writer) as process:
        os.close(writer)
        assert process.wait(30) == 0
        assert process.stderr.read() == b""


# Under a test runner in the background SIGINT may be ignored.
HEEDS_CTRL_C = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "from autobatch.cli.main import main; sys.exit(main(['memory', '--watch', '600']))"
)


def test_ctrl_c_ends_a_watch_quietly():
    with started([sys.executable, "-c", HEEDS_CTRL_C]) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert process.stderr.read() == b""


def test_on_a_terminal_it_has_a_screen_of_its_own_and_gives_it_back():
    """Seen to fail with lines of JSON on a terminal."""
    keyboard, screen = os.openpty()
    environ = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}
    with started([sys.executable, "-c", HEEDS_CTRL_C], stdout=screen, env=environ) as process:
        os.close(screen)
        seen = until(keyboard, b"this process")
        process.send_signal(signal.SIGINT)
        seen += until(keyboard, b"\x1b[?1049l")
        assert process.wait(30) == 130
        assert process.stderr.read() == b""
    os.close(keyboard)
    assert b"\x1b[?1049h" in seen
    assert b"usable, limited by" in seen


def until(descriptor, words):
    """What is written to a terminal up to some words."""
    seen = b""
    while words not in seen:
        seen += os.read(descriptor, 4096)
    return seen


@pytest.mark.parametrize("words", [["--watch", "0"], ["--watch", "-1"], ["--watch", "nan"], ["--top", "0"]])
def test_words_that_mean_nothing_are_refused(words):
    status, out, err = autobatch(*words)
    assert status == 2
    assert out == ""
    assert words[0] in err
