"""What a probe is asked: the mode, and the bounds that follow from what a user gave."""

from dataclasses import dataclass
from typing import Any

from autobatch.data.check import Step
from autobatch.data.splitting import rungs
from autobatch.memory.reading import DEFAULT_RESERVE, Reserve
from autobatch.results.probe import Mode

MOST = 2**16
UNCOUNTED = "the most that is tried of data that do not tell how many samples they have"


@dataclass(frozen=True, slots=True)
class Question:
    """What to look for.

    Attributes:
        mode: `"auto"`, `"largest"`, or `"micro"` for the micro-batch of an effective batch.
        cap: The largest size that makes sense: samples, effective batch, or the user's bound.
        cap_reason: Which of them, in words.
        effective: The effective batch in mode `"micro"`.
        reserve: What to leave free of each limit.
        read_ahead_bytes: Bytes that the loaders may occupy while a step runs.
        trial_timeout_s: Seconds that one trial, or the start of the worker, may take.
        step: What a trial runs.
        result_bytes: Bytes of the host that what is computed will take, all of it together.
        limit_bytes: How much memory to pretend there is where the steps run, `None` for what there really is.
    """

    mode: Mode
    cap: int
    cap_reason: str = "what was asked for"
    effective: int | None = None
    reserve: Reserve = DEFAULT_RESERVE
    read_ahead_bytes: int = 0
    trial_timeout_s: float = 300.0
    step: Step = "train"
    result_bytes: int = 0
    limit_bytes: int | None = None

    @property
    def rungs(self) -> tuple[int, ...]:
        """The sizes that an effective batch is cut into, descending, up to the largest that makes sense; else none."""
        return () if self.effective is None else rungs(self.effective, self.cap)

    @property
    def beside_bytes(self) -> int:
        """Bytes of the host that are for something else than the steps."""
        return self.read_ahead_bytes + self.result_bytes

    def lasting(self) -> dict[str, Any]:
        """The part that an earlier answer must share to be of use; the budget is read anew each time."""
        return {"effective": self.effective} | ({} if self.step == "train" else {"step": self.step})


def question_for(
    mode: Mode,
    batch_size: int | None,
    samples: int | None,
    *,
    most: int | None,
    reserve: Reserve,
    read_ahead_bytes: int,
    trial_timeout_s: float,
    step: Step = "train",
    limit_bytes: int | None = None,
    beyond: str = UNCOUNTED,
) -> tuple[Question, list[str]]:
    """The question that follows from what a user gave, and what to say about it.

    Args:
        mode: What to look for.
        batch_size: The effective batch that was given, in samples.
        samples: How many there are, `None` if that is not known.
        most: The user's bound on the micro-batch.
        reserve: What to leave free of each limit.
        read_ahead_bytes: Bytes that the loaders may occupy while a step runs.
        trial_timeout_s: Seconds that one trial may take.
        step: What a trial runs.
        limit_bytes: How much memory to pretend there is.
        beyond: Why nothing above `MOST` is tried where nothing else bounds the size.
    """
    allowed = f"the most that was allowed (max_batch_size={most})"
    bounds = {"all the samples there are": samples, "the effective batch": batch_size, allowed: most}
    known = [(bound, reason) for reason, bound in bounds.items() if bound is not None]
    cap, reason = min(known or [(MOST, beyond)])
    notes = []
    if batch_size is not None and samples is not None and batch_size > samples:
        notes.append(f"batch_size={batch_size} is more than the {samples} samples there are: {samples} is used.")
    effective = None if batch_size is None else min(batch_size, samples or batch_size)
    question = Question(
        mode,
        cap,
        reason,
        effective,
        reserve,
        read_ahead_bytes,
        trial_timeout_s,
        step,
        limit_bytes=limit_bytes,
    )
    return question, notes
