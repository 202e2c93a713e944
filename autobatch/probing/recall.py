"""Whether the trials of an earlier probe answer a question under today's budget."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from autobatch.data.cut import rungs
from autobatch.probing.budgets import Budgets
from autobatch.probing.question import Question
from autobatch.probing.search import MAX_TRIALS, ladder_prev, largest, next_size, next_throughput_size, verdict
from autobatch.probing.trial import Outcome, Trial

_WORTH_A_NEW_PROBE = 1.1  # with an earlier answer at hand, look again only if more than this is to be gained


def recalled(stored: Mapping[str, Any] | None, question: Question, budgets: Budgets) -> list[Trial] | None:
    """The trials of an earlier probe, judged anew, if they are an answer.

    Args:
        stored: What was kept of it.
        question: What to look for.
        budgets: What a step may take now.
    """
    try:
        trials = [Trial.from_dict(trial) for trial in (stored or {})["trials"]]
    except (KeyError, TypeError, ValueError):
        return None
    trials = [trial for trial in trials if trial.size <= question.cap]
    if any(trial.peaks and not budgets.now.keys() <= trial.peaks.keys() for trial in trials):
        return None
    # What was over the budget of that day may be within that of today, and the other way round.
    trials = [replace(t, outcome=verdict(t.peaks, budgets.now)) if t.peaks else t for t in trials]
    best = largest(trials, budgets.now)
    return trials if best is not None and _answer(trials, best, question, budgets) else None


def has_run(trials: Sequence[Trial], size: int) -> bool:
    """Whether a size is among those that ran within the budget."""
    return any(trial.size == size and trial.outcome is Outcome.RAN for trial in trials)


def _answer(trials: Sequence[Trial], best: Trial, question: Question, budgets: Budgets) -> bool:
    if not budgets.room_to_grow(best) and sum(trial.size == best.size for trial in trials) < 2:
        return False  # it was not the answer then, so it has run a few updates only
    if _next_size(trials, best, question, budgets) > _WORTH_A_NEW_PROBE * best.size:
        return False
    if question.mode == "auto":
        return next_throughput_size(trials) is None
    if question.effective is not None:
        return has_run(trials, rungs(question.effective, best.size)[0])
    return True


def _next_size(trials: Sequence[Trial], best: Trial, question: Question, budgets: Budgets) -> int:
    """What a search that had come so far would try next; the largest safe size if nothing.

    Trials above it are left out, but for what they rule out: from far above they bound what is in between too roughly.
    And a search that was ended by the number of its trials may have more to find under a larger budget.
    """
    below = [trial for trial in trials if trial.size <= best.size][-(MAX_TRIALS - 1) :]
    upcoming = next_size(below, budgets.now, question.cap, budgets.guards(trials)) or best.size
    over = min((trial.size for trial in trials if trial.size > best.size), default=None)
    return upcoming if over is None else min(upcoming, ladder_prev(over))
