"""Whether the trials of an earlier probe answer a question under today's budget, and which of them are kept.

The same question is asked under one budget and another: of the machine as it is, and as if it had less. So the trials
of a few searches are kept beside each other, each by itself, because what a search has left out follows from its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from autobatch.data.cut import rungs
from autobatch.probing.budgets import Budgets
from autobatch.probing.question import Question
from autobatch.probing.search import (
    MAX_TRIALS,
    ladder_prev,
    largest,
    levels_off,
    next_size,
    next_throughput_size,
    verdict,
)
from autobatch.probing.trial import Outcome, Trial

_WORTH_A_NEW_PROBE = 1.1  # with an earlier answer at hand, look again only if more than this is to be gained
_MOST_SEARCHES = 8


def recalled(stored: Mapping[str, Any] | None, question: Question, budgets: Budgets) -> list[Trial] | None:
    """The trials of an earlier probe, judged anew, if they are an answer; of several the last one.

    Args:
        stored: What was kept of earlier probes.
        question: What to look for.
        budgets: What a step may take now.
    """
    answers = (_recalled(search, question, budgets) for search in _searches(stored))
    return next((trials for trials in answers if trials is not None), None)


def with_search(
    stored: Mapping[str, Any] | None, trials: Sequence[Trial], fallen: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """What to keep after a new search: its trials that ran, and those of the few searches before it.

    Args:
        stored: What was kept until then.
        trials: All that was tried now.
        fallen: Per resource, the bytes that the search itself has left of its budget, as another one would.
    """
    ran = [trial.to_dict() for trial in trials if trial.outcome.ran]
    return {"searches": [{"trials": ran, "fallen": dict(fallen or {})}, *_searches(stored)[: _MOST_SEARCHES - 1]]}


def _searches(stored: Mapping[str, Any] | None) -> list[Any]:
    """The searches that were kept, the last one first."""
    searches = (stored or {}).get("searches")
    return searches if isinstance(searches, list) else []


def _recalled(search: Any, question: Question, budgets: Budgets) -> list[Trial] | None:
    try:
        trials = [Trial.from_dict(trial) for trial in search["trials"]]
        fallen = {str(name): int(by) for name, by in search["fallen"].items()}
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    trials = [trial for trial in trials if trial.size <= question.cap]
    if any(trial.peaks and not budgets.now.keys() <= trial.peaks.keys() for trial in trials):
        return None
    # What was over the budget of that day may be within that of today, and the other way round.
    trials = [replace(t, outcome=verdict(t.peaks, budgets.now)) if t.peaks else t for t in trials]
    best = largest(trials, budgets.now)
    return trials if best is not None and _answer(trials, best, question, budgets, fallen) else None


def answer_of(question: Question, trials: Sequence[Trial], best: Trial) -> Trial | None:
    """The trial that proves the size to be answered, `None` where that has not run.

    Args:
        question: What was asked.
        trials: All that was tried.
        best: The trial of the largest safe size.
    """
    if question.effective is None:
        return best
    rung = rungs(question.effective, best.size)[0]
    ran = next((trial for trial in reversed(trials) if trial.size == rung and trial.outcome is Outcome.RAN), None)
    # Without a peak of its own it needs at most what a larger one did.
    return ran if ran is None or ran.peaks else replace(ran, peaks=best.peaks)


def has_run(trials: Sequence[Trial], size: int) -> bool:
    """Whether a size is among those that ran within the budget."""
    return any(trial.size == size and trial.outcome is Outcome.RAN for trial in trials)


def _answer(
    trials: Sequence[Trial], best: Trial, question: Question, budgets: Budgets, fallen: Mapping[str, int]
) -> bool:
    answer = answer_of(question, trials, best)
    if answer is None:
        return False
    if not budgets.room_to_grow(answer) and sum(trial.size == answer.size for trial in trials) < 2:
        return False  # it was not the answer then, so it has run a few updates only
    upcoming = _next_size(trials, best, question, budgets, fallen)
    if question.effective is not None:
        return upcoming <= best.size
    grows = upcoming > _WORTH_A_NEW_PROBE * best.size
    if question.mode == "auto":
        return (levels_off(trials) or not grows) and next_throughput_size(trials) is None
    return not grows


def _next_size(
    trials: Sequence[Trial], best: Trial, question: Question, budgets: Budgets, fallen: Mapping[str, int]
) -> int:
    """What a search that had come so far would try next, beside its own process; the largest safe size if nothing.

    Trials above it are left out, but for what they rule out: from far above they bound what is in between too roughly.
    And a search that was ended by the number of its trials may have more to find under a larger budget.
    """
    below = [trial for trial in trials if trial.size <= best.size][-(MAX_TRIALS - 1) :]
    left = {name: budget - fallen.get(name, 0) for name, budget in budgets.now.items()}
    guards = {name: budget - fallen.get("host", 0) for name, budget in budgets.guards(trials).items()}
    for_speed = question.mode == "auto"
    upcoming = next_size(below, left, question.cap, guards, rungs=question.rungs, for_speed=for_speed) or best.size
    over = min((trial.size for trial in trials if trial.size > best.size), default=None)
    return upcoming if over is None else min(upcoming, ladder_prev(over))
