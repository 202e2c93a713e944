"""Whether the trials of an earlier probe answer a question under today's budget, and which of them are kept.

The same question is asked under one budget and another: of the machine as it is, and as if it had less. So the trials
of a few searches are kept beside each other, each by itself, because what a search has left out follows from its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from autobatch.probing.budgets import Budgets
from autobatch.probing.question import Question
from autobatch.probing.runner import WORST
from autobatch.probing.search import (
    MAX_TRIALS,
    ladder_prev,
    largest,
    levels_off,
    next_size,
    next_throughput_size,
    verdict,
)
from autobatch.results.trial import Trial

_WORTH_A_NEW_PROBE = 1.1  # with an earlier answer at hand, look again only if more than this is to be gained
_MOST_SEARCHES = 8


@dataclass(frozen=True, slots=True)
class Search:
    """A search that was made before.

    Attributes:
        trials: Those that ran, judged anew.
        beside_bytes: Per resource, what the process of the trials took beside the caller, as it would again.
    """

    trials: list[Trial]
    beside_bytes: Mapping[str, int]


def recalled(stored: Mapping[str, Any] | None, question: Question, budgets: Budgets) -> Search | None:
    """An earlier search, if it is an answer; of several the last one.

    Args:
        stored: What was kept of earlier probes.
        question: What to look for.
        budgets: What a step may take now.
    """
    answers = (_recalled(search, question, budgets) for search in _searches(stored))
    return next((answer for answer in answers if answer is not None), None)


def with_search(
    stored: Mapping[str, Any] | None, trials: Sequence[Trial], beside_bytes: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """What to keep after a new search: its trials that ran, and those of the few searches before it.

    Args:
        stored: What was kept until then.
        trials: All that was tried now.
        beside_bytes: Per resource, what the process of the trials took beside the caller.
    """
    ran = [trial.to_dict() for trial in trials if trial.outcome.ran]
    search = {"trials": ran, "beside_bytes": dict(beside_bytes or {})}
    return {"searches": [search, *_searches(stored)[: _MOST_SEARCHES - 1]]}


def _searches(stored: Mapping[str, Any] | None) -> list[Any]:
    """The searches that were kept, the last one first."""
    searches = (stored or {}).get("searches")
    return searches if isinstance(searches, list) else []


def _recalled(search: Any, question: Question, budgets: Budgets) -> Search | None:
    try:
        trials = [Trial.from_dict(trial) for trial in search["trials"]]
        beside_bytes = {str(name): int(taken) for name, taken in search["beside_bytes"].items()}
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    trials = [trial for trial in trials if trial.size <= question.cap]
    if any(trial.peaks and not budgets.now.keys() <= trial.peaks.keys() for trial in trials):
        return None
    # What was over the budget of that day may be within that of today, and the other way round.
    trials = [replace(t, outcome=verdict(t.peaks, budgets.now)) if t.peaks else t for t in trials]
    earlier = Search(trials, beside_bytes)
    return earlier if _is_answer(earlier, question, budgets) else None


def _is_answer(search: Search, question: Question, budgets: Budgets) -> bool:
    trials = search.trials
    best, answer = largest(trials, budgets.now), largest(trials, budgets.now, question.rungs)
    if best is None or answer is None:
        return False
    if not budgets.room_to_grow(answer) and sum(trial.size == answer.size for trial in trials) < 2:
        return False  # it was not the answer then, so it has run a few updates only
    upcoming = _next_size(search, best, question, budgets)
    if question.effective is not None:
        return upcoming <= best.size
    grows = upcoming > _WORTH_A_NEW_PROBE * best.size
    if question.mode == "auto":
        return (levels_off(trials) or not grows) and next_throughput_size(trials) is None
    return not grows


def _next_size(search: Search, best: Trial, question: Question, budgets: Budgets) -> int:
    """What a search that had come so far would try next, beside its own process; the largest safe size if nothing.

    Trials above it are left out, but for what they rule out: from far above they bound what is in between too roughly.
    And a search that was ended by the number of its trials may have more to find under a larger budget.
    """
    below = [trial for trial in search.trials if trial.size <= best.size][-(MAX_TRIALS - 1) :]
    over = min((trial.size for trial in search.trials if trial.size > best.size), default=None)
    left = less(budgets.now, search.beside_bytes)
    guards = less(budgets.guards(search.trials), {WORST: search.beside_bytes.get("host", 0)})
    counting = tuple(rung for rung in question.rungs if over is None or rung < over)
    for_speed = question.mode == "auto"
    upcoming = next_size(below, left, question.cap, guards, rungs=counting, for_speed=for_speed) or best.size
    return upcoming if over is None else min(upcoming, ladder_prev(over))


def less(budgets: Mapping[str, int], taken: Mapping[str, int]) -> dict[str, int]:
    """Budgets less what is taken of some of them."""
    return {name: budget - taken.get(name, 0) for name, budget in budgets.items()}
