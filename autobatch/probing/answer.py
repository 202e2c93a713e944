"""What comes back from the process of a trial, as the caller sees it."""

import base64
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from autobatch.probing.protocol import BadFrameError
from autobatch.results.trial import Outcome


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a request to the worker.

    Attributes:
        outcome: `RAN` if it was answered; whether the measured peak is within the budget is for the caller to judge.
        payload: The answer's values, empty unless `outcome` is `RAN`.
        detail: What happened, for people; `None` if there is nothing to say.
        wall_s: Seconds the request took, a start of the worker included.
        exception: The worker's exception, with its traceback as a note, where it could travel.
    """

    outcome: Outcome
    payload: Mapping[str, Any] = field(default_factory=dict)
    detail: str | None = None
    wall_s: float = 0.0
    exception: Exception | None = None


def read_reply(reply: Any, request: int) -> Answer:
    """Turns a message into an answer.

    Args:
        reply: The message.
        request: The number of the request that it must answer.

    Raises:
        BadFrameError: It answers something else, or is no answer at all.
    """
    match reply:
        case {"kind": "answer", "id": number, "payload": dict() as payload} if number == request:
            return Answer(Outcome.RAN, payload)
        case {"kind": "error", "id": number, "type": str() as kind, "message": str() as message} if number == request:
            outcome = Outcome.OUT_OF_MEMORY if reply.get("cause") == "OUT_OF_MEMORY" else Outcome.ERROR
            trace = str(reply.get("traceback") or "").strip()
            detail = f"{kind}: {message}" + (f"\n{trace}" if trace else "")
            return Answer(outcome, detail=detail, exception=_unpickle(reply.get("exception"), trace))
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
