"""What passes between the caller and its worker: JSON in frames that say how long they are and what they add up to.

A frame is a mark, the length and CRC-32 of its body (big-endian), and the body. Covered: slow, dead, silent and
babbling processes. Not covered: one that writes well-formed lies.
"""

import base64
import json
import math
import os
import pickle
import select
import struct
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from autobatch.results.trial import Outcome

_MARK = b"ABm1"
_HEADER = struct.Struct(">4sII")
MAX_BODY_BYTES = 16 * 1024 * 1024
# POSIX promises that a pipe which polls as writable takes this much at once.
_PIECE = 512
_READ = 65536
# How often to ask whether the other process is still there: a grandchild may hold its end of the pipe open.
_SLICE_S = 0.1


class IpcError(Exception):
    """No message passed."""


class PipeClosedError(IpcError):
    """The other end was closed between two frames: the process ended."""


class HalfFrameError(IpcError):
    """The other end was closed within a frame: the process ended while it wrote."""


class BadFrameError(IpcError):
    """What was read is no frame (something else writes to this pipe), or what is to be written is too long for one."""


class DeadlineError(IpcError):
    """The deadline came before a whole frame had passed."""


def write_frame(fd: int, message: Any, deadline: float | None = None) -> None:
    """Writes one message of JSON-ready values, by a deadline of `time.monotonic`; numpy scalars become Python's."""
    body = json.dumps(message, separators=(",", ":"), default=_plain).encode()
    if len(body) > MAX_BODY_BYTES:
        raise BadFrameError(f"A message has {len(body):,} bytes; at most {MAX_BODY_BYTES:,} are allowed.")
    rest = memoryview(_HEADER.pack(_MARK, len(body), zlib.crc32(body)) + body)
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    while rest:
        if not poll.poll(_wait_ms(deadline)):
            if _is_over(deadline):
                raise DeadlineError("The other process did not read the message in time.")
            continue
        try:
            rest = rest[os.write(fd, rest[:_PIECE]) :]
        except BrokenPipeError:
            raise PipeClosedError("The other process closed its end of the pipe.") from None


def read_frame(fd: int, deadline: float | None = None, alive: Callable[[], bool] | None = None) -> Any:
    """Reads one message, and nothing beyond it, by a deadline of `time.monotonic`.

    Whether the writing process is still `alive` is asked every tenth of a second, because the end of the pipe may be
    held open by its children.
    """
    header = _read_exactly(fd, _HEADER.size, deadline, alive, begun=False)
    mark, length, total = _HEADER.unpack(header)
    if mark != _MARK or length > MAX_BODY_BYTES:
        raise BadFrameError(f"Something that is no message was written to the pipe; it begins with {header!r}.")
    body = _read_exactly(fd, length, deadline, alive, begun=True)
    if zlib.crc32(body) != total:
        raise BadFrameError(f"A message of {length:,} bytes does not add up.")
    try:
        return json.loads(body)
    except ValueError as error:
        raise BadFrameError(f"A message of {length:,} bytes is no JSON: {error}.") from error


def _read_exactly(
    fd: int, count: int, deadline: float | None, alive: Callable[[], bool] | None, *, begun: bool
) -> bytes:
    parts = bytearray()
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while len(parts) < count:
        # Asked before the poll: what a process wrote before it ended is then certainly there to be read.
        there = alive is None or alive()
        if poll.poll(_wait_ms(deadline, _SLICE_S if alive else None) if there else 0):
            part = os.read(fd, min(count - len(parts), _READ))
            if part:
                parts += part
                if not begun and not _MARK.startswith(parts[: len(_MARK)]) and not parts.startswith(_MARK):
                    raise BadFrameError(f"Something that is no message was written to the pipe: {bytes(parts)!r}.")
                continue
            there = False
        if not there:
            if begun or parts:
                raise HalfFrameError(f"The process ended within a message, after {len(parts):,} of {count:,} bytes.")
            raise PipeClosedError("The process ended without a message.")
        if _is_over(deadline):
            raise DeadlineError("No whole message arrived in time.")
    return bytes(parts)


def _wait_ms(deadline: float | None, at_most_s: float | None = None) -> float | None:
    left_s = None if deadline is None else deadline - time.monotonic()
    waits = [wait for wait in (left_s, at_most_s) if wait is not None]
    return max(min(waits) * 1000, 0) if waits else None


def _is_over(deadline: float | None) -> bool:
    return deadline is not None and time.monotonic() >= deadline


def _plain(value: Any) -> Any:
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"A message cannot hold a {type(value).__name__}. Received: {value!r}. Expected JSON-ready values.")


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment after which nothing new is started, and what runs is not waited for any longer."""

    timeout_s: float | None = None  # seconds there were from the start, `None` for no bound
    ends_at: float = math.inf  # the moment, by `clock`
    clock: Callable[[], float] = time.monotonic  # seconds that never go back

    @classmethod
    def after(cls, timeout_s: float | None, clock: Callable[[], float] = time.monotonic) -> Self:
        """The deadline so many seconds from now; `None` for none."""
        return cls() if timeout_s is None else cls(timeout_s, clock() + timeout_s, clock)

    @property
    def left_s(self) -> float:
        """Seconds until then, negative afterwards."""
        return self.ends_at - self.clock()

    @property
    def passed(self) -> bool:
        """Whether it is too late to start anything."""
        return self.left_s <= 0

    def at_most(self, seconds: float) -> float:
        """The seconds that something may take: `seconds`, or what is left; never negative."""
        return max(0.0, min(seconds, self.left_s))


NEVER = Deadline()


@dataclass(frozen=True, slots=True)
class Reply:
    # `RAN` if it was answered; whether the measured peak is within the budget is for the caller to judge.
    outcome: Outcome
    payload: Mapping[str, Any] = field(default_factory=dict)  # the answer's values, empty unless `outcome` is `RAN`
    detail: str | None = None  # what happened, for people; `None` if there is nothing to say
    wall_s: float = 0.0  # seconds the request took, a start of the worker included
    exception: Exception | None = None  # the worker's exception, with its traceback as a note, where it could travel


def read_reply(reply: Any, request: int) -> Reply:
    """Turns a message into an answer; one to something else, and none at all, is a `BadFrameError`."""
    match reply:
        case {"kind": "answer", "id": number, "payload": dict() as payload} if number == request:
            return Reply(Outcome.RAN, payload)
        case {"kind": "error", "id": number, "type": str() as kind, "message": str() as message} if number == request:
            outcome = Outcome.OUT_OF_MEMORY if reply.get("cause") == "OUT_OF_MEMORY" else Outcome.ERROR
            trace = str(reply.get("traceback") or "").strip()
            detail = f"{kind}: {message}" + (f"\n{trace}" if trace else "")
            return Reply(outcome, detail=detail, exception=_unpickle(reply.get("exception"), trace))
    raise BadFrameError(f"The answer to request {request} is none: {str(reply)[:200]}")


def _unpickle(body: Any, trace: str) -> Exception | None:
    if not isinstance(body, str):
        return None
    try:
        error = pickle.loads(base64.b64decode(body))  # noqa: S301 - from our own child, over its own pipe
    except Exception:  # noqa: BLE001 - the class may not exist here; the text of the error has arrived anyway
        return None
    if not isinstance(error, Exception):
        return None
    if trace:
        error.add_note(f"Raised in the process of a trial:\n{trace}")
    return error
