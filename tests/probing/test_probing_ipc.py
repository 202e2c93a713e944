"""Frames: whole and unharmed, or one of four clear errors; never a wait beyond the deadline."""

import os
import threading
import time
import zlib
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autobatch.probing.trials.ipc import (
    BadFrameError,
    DeadlineError,
    HalfFrameError,
    IpcError,
    PipeClosedError,
    read_frame,
    write_frame,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


class Pipe:
    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        self._open = {self.reader, self.writer}

    def close(self, end: int) -> None:
        if end in self._open:
            self._open.remove(end)
            os.close(end)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    ends = Pipe()
    yield ends
    ends.close(ends.reader)
    ends.close(ends.writer)


def frame(message: object) -> bytes:
    reader, writer = os.pipe()
    write_frame(writer, message)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        return file.read()


def soon() -> float:
    return time.monotonic() + 0.05


@given(JSON)
def test_what_is_written_is_read(message):
    reader, writer = os.pipe()
    try:
        write_frame(writer, message)
        write_frame(writer, "next")
        assert read_frame(reader, soon()) == message
        assert read_frame(reader, soon()) == "next"
    finally:
        os.close(reader)
        os.close(writer)


def test_a_message_larger_than_the_pipe_passes_through_to_a_slow_reader(pipe):
    message = "x" * 1_000_000
    writer = threading.Thread(target=write_frame, args=(pipe.writer, message))
    writer.start()
    assert read_frame(pipe.reader, time.monotonic() + 30) == message
    writer.join()


def test_numpy_numbers_arrive_as_numbers(pipe):
    write_frame(pipe.writer, {"bytes": np.int64(3), "seconds": np.float32(0.5)})
    assert read_frame(pipe.reader) == {"bytes": 3, "seconds": 0.5}


def test_what_json_cannot_say_is_an_error_and_nothing_is_written(pipe):
    with pytest.raises(TypeError, match="cannot hold a set"):
        write_frame(pipe.writer, {"sizes": {1, 2}})
    with pytest.raises(DeadlineError):
        read_frame(pipe.reader, soon())


def test_a_message_over_the_limit_is_refused(pipe):
    with pytest.raises(BadFrameError, match="at most"):
        write_frame(pipe.writer, "x" * (17 * 2**20))


@pytest.mark.parametrize("count", [0, 1, 4, 11, 12, 13, 20])
def test_an_end_before_or_within_a_frame_is_told_apart(pipe, count):
    os.write(pipe.writer, frame({"size": 8})[:count])
    pipe.close(pipe.writer)
    with pytest.raises(PipeClosedError if count == 0 else HalfFrameError):
        read_frame(pipe.reader, time.monotonic() + 10)


@pytest.mark.parametrize("count", [0, 1, 12, 13])
def test_a_frame_that_does_not_end_in_time_is_a_deadline(pipe, count):
    os.write(pipe.writer, frame({"size": 8})[:count])
    with pytest.raises(DeadlineError):
        read_frame(pipe.reader, soon())


def test_a_reader_that_does_not_read_in_time_is_a_deadline(pipe):
    """Seen to fail (to hang) with pieces longer than a writable pipe takes at once."""
    with pytest.raises(DeadlineError):
        write_frame(pipe.writer, "x" * 1_000_000, soon())


def test_writing_to_a_closed_pipe_is_a_closed_pipe(pipe):
    pipe.close(pipe.reader)
    with pytest.raises(PipeClosedError):
        write_frame(pipe.writer, "anybody?")


def test_a_writer_that_died_is_noticed_though_another_holds_its_pipe_open(pipe):
    """Seen to fail with `alive` ignored: the deadline comes first."""
    with pytest.raises(PipeClosedError):
        read_frame(pipe.reader, time.monotonic() + 60, alive=lambda: False)


def test_what_a_dead_writer_has_left_in_the_pipe_is_read(pipe):
    write_frame(pipe.writer, "last words")
    assert read_frame(pipe.reader, time.monotonic() + 60, alive=lambda: False) == "last words"


@pytest.mark.parametrize(
    "body",
    [
        b"W",
        b"WARNING: something was printed here, and it is long enough for a header",
        b"ABm1" + b"\xff" * 20,
        b"ABm1" + (7).to_bytes(4, "big") + (123).to_bytes(4, "big") + b"[1,2,3]",
        b"ABm1" + (2).to_bytes(4, "big") + zlib.crc32(b"{,").to_bytes(4, "big") + b"{,",
        b"ABm1" + (2).to_bytes(4, "big") + zlib.crc32(b"\xff\xfe").to_bytes(4, "big") + b"\xff\xfe",
    ],
)
def test_what_is_no_frame_is_called_that_at_once(pipe, body):
    os.write(pipe.writer, body)
    with pytest.raises(BadFrameError):
        read_frame(pipe.reader, time.monotonic() + 60)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_no_flipped_byte_goes_unnoticed(position, flip):
    """Seen to fail without the check of the sum."""
    original = {"size": 384, "peaks": {"host": 123456789}, "detail": "fine"}
    body = bytearray(frame(original))
    body[position % len(body)] ^= flip
    reader, writer = os.pipe()
    os.write(writer, bytes(body))
    os.close(writer)
    try:
        with pytest.raises(IpcError):
            read_frame(reader, time.monotonic() + 10)
    finally:
        os.close(reader)
