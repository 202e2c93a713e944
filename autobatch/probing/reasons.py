"""Why a size was chosen, why no larger one is safe, and why none is: sentences with the numbers they rest on."""

import math
from collections.abc import Mapping, Sequence

from autobatch._text import format_bytes, format_count
from autobatch.backend import current_backend
from autobatch.errors import DoesNotFitError, ProbeError, ProbeTimeoutError
from autobatch.memory.budget import Budget
from autobatch.probing.request import ProbeRequest
from autobatch.probing.search import levels_off, peak_bounds, unseen, worth_trying
from autobatch.results.trial import Outcome, Trial

_MEMORY = (Outcome.OUT_OF_MEMORY, Outcome.OVER_BUDGET)
_NOT_ONE = "Not even one sample fits"
_STEPS = {"train": "a training step", "evaluate": "a step of an evaluation", "predict": "a step of a prediction"}


def choice_reason(request: ProbeRequest, size: int, fast: Trial | None) -> str:
    if request.only_whole:
        return f"{size} is the only size that the model takes."
    if request.mode == "auto":
        speed = "" if fast is None or fast.samples_per_s is None else f" ({fast.samples_per_s:,.0f} samples/s)"
        return f"{size} is the smallest size within 5 % of the best throughput measured{speed}."
    if request.effective_batch_size is None:
        return f"{size} is the largest size that ran within the budget."
    if size == request.effective_batch_size:
        return f"The effective batch of {size} samples fits at once."
    parts = -(-request.effective_batch_size // size)
    return (
        f"The effective batch of {request.effective_batch_size} samples is run as {parts} micro-batches, the fewest "
        "of a size that fits."
    )


def bound_reason(
    request: ProbeRequest, best: int, trials: Sequence[Trial], budgets: Mapping[str, int], *, beside_worker: bool
) -> str:
    """Why nothing above the largest safe size is."""
    if best >= request.cap:
        return f"Everything up to {best} fits, and that is {request.cap_reason}."
    failed = min(
        (trial for trial in trials if trial.size > best and trial.outcome is not Outcome.RAN),
        key=lambda trial: trial.size,
        default=None,
    )
    upcoming, nothing = worth_trying(best, len(trials)), f"Nothing above {best}"
    if request.rungs:
        above = [rung for rung in request.rungs if rung > best]
        effective = request.effective_batch_size
        cut = f"of whole groups of {request.group}" if effective is None else f"that {effective} samples are cut into"
        if not above:
            return f"{best} is the largest size {cut} up to {request.cap}, {request.cap_reason}."
        upcoming, nothing = min(above), f"Nothing above {best} {cut}"
    if failed is not None and failed.size <= upcoming:
        return f"{nothing} is safe: {failed.size} samples: {failed.outcome.value}"
    for name, bound in peak_bounds(trials).items():
        if bound.upper(upcoming) > budgets[name]:
            beside = " beside the worker that proves it" if beside_worker else ""
            return (
                f"{nothing} is safe: {upcoming} samples would peak at up to "
                f"{format_bytes(math.ceil(bound.upper(upcoming)))} ({name.replace('_', ' ')}), over the budget of "
                f"{format_bytes(budgets[name])}{beside}."
            )
    if unknown := unseen(trials, budgets):
        return f"{nothing} was tried: trials do not tell what they take of the {' and the '.join(unknown)}."
    if request.mode == "auto" and levels_off(trials):
        return f"Nothing above {best} was tried: no size can be much faster."
    return f"The search ended at {best} after {len(trials)} trials."


def unseen_notes(trials: Sequence[Trial], budgets: Mapping[str, int]) -> tuple[str, ...]:
    """A note on each resource whose peaks cannot be measured, so that no size can be shown to fit."""
    return tuple(
        f"What trials take of the {name} is unknown, since its allocator keeps no statistics: larger sizes are not "
        f"tried, and a size that ran is all that is known to fit. {current_backend().hints.statistics}"
        for name in unseen(trials, budgets)
    )


def nothing_left_error(resource: str, tightest: Budget, limit: str, request: ProbeRequest) -> DoesNotFitError:
    available, reserve = format_bytes(tightest.limit.available_bytes), format_bytes(tightest.reserve_bytes)
    beside = f", and {format_bytes(request.read_ahead_bytes)} are for samples read ahead"
    if request.result_bytes:
        beside += f", and {format_bytes(request.result_bytes)} for the predictions"
    if resource != "host":
        beside = ""
    msg = (
        f"Nothing is left for {_STEPS[request.step]}: of the {available} that are available ({limit}), "
        f"{reserve} are the reserve{beside}. {_remedy(request)}"
    )
    return DoesNotFitError(msg, None, 0)


def no_answer_error(
    trials: Sequence[Trial], left_bytes: int, limit: str, request: ProbeRequest
) -> DoesNotFitError | ProbeError:
    left = format_bytes(max(0, left_bytes))
    if not trials:
        msg = (
            "The process of the trials leaves nothing to try a size with: beside it and the reserve there are "
            f"{left} (limit: {limit}). {_remedy(request)}"
        )
        return DoesNotFitError(msg, None, max(0, left_bytes))
    smallest = min(trials, key=lambda trial: trial.size)
    if smallest.outcome in _MEMORY and (smallest.size == 1 or request.only_whole):
        what = f"The model's fixed batch of {smallest.size} does not fit" if request.only_whole else _NOT_ONE
        needed = max(smallest.peaks.values(), default=None)
        need = "more than there is" if needed is None else format_bytes(needed)
        msg = (
            f"{what}: it needs {need}, and the budget is {left} (limit: {limit}, without the "
            f"reserve). Take a smaller model or smaller pictures. {_remedy(request)}"
        )
        return DoesNotFitError(msg, needed, max(0, left_bytes), trials)
    tried = "; ".join(f"{trial.size}: {trial.outcome.value} {trial.detail or ''}".strip() for trial in trials)
    return ProbeError(f"The trials gave no answer, so no size is claimed to be safe. {tried}", trials)


def no_rung_error(trials: Sequence[Trial], request: ProbeRequest) -> DoesNotFitError | ProbeError:
    """The error when sizes have run, and none of those that count."""
    if request.group == 1:
        return ProbeError(f"No micro-batch that {request.effective_batch_size} samples are cut into ran.", trials)
    msg = f"Not even one group of {request.group} samples fits. Give a smaller batch_statistics=. {_remedy(request)}"
    return DoesNotFitError(msg, None, 0, trials)


def timeout_error(timeout_s: float, trials: Sequence[Trial], best: Trial | None) -> ProbeTimeoutError:
    ran = "None has run within the budget so far" if best is None else f"The largest that ran so far is {best.size}"
    msg = (
        f"The {timeout_s:g} s for the whole probe have passed after {format_count(len(trials), 'trial')}, so no size "
        f"is recommended. {ran}. Give a larger timeout_s=."
    )
    return ProbeTimeoutError(msg, trials, None if best is None else best.size)


def _remedy(request: ProbeRequest) -> str:
    more = "Free memory, or give" if request.limit_bytes is None else "Give a larger limit=, or"
    return f"{more} a smaller reserve=."
