"""What a training comes to: what it did, what limited it, what changed and how it ended."""

import itertools
import math
import statistics

from autobatch._text import counted, duration_words, format_bytes
from autobatch.report.record import Epoch, Record
from autobatch.results.text import Answered, speed, what_limits


def fit_headline(record: Record) -> str:
    """The verdict in a few words."""
    begun, count = record.begun, len(record.epochs)
    if begun is None:
        return "The training did not begin"
    epochs = counted(count, "epoch")
    said = {
        "done": f"Trained {epochs}",
        "interrupted": f"Interrupted after {epochs}",
        "error": f"Ended by an error after {epochs}",
        "unfinished": f"{epochs} so far",
    }
    return f"{said.get(record.outcome, epochs)}, {begun.effective} samples an update"


def of_training(record: Record) -> list[Answered]:
    """The questions that matter of a training, in the order in which they are asked."""
    told = [Answered("How big", _how_cut(record))]
    if record.result is not None:
        told += [Answered("Why that big", " ".join(record.result.reasons) or "No reason is kept.")]
    told += [Answered("What limited", _what_limited(record)), Answered("How fast", _how_fast_trained(record))]
    return [*told, Answered("What changed", _what_changed(record)), Answered("How it ended", _how_it_ended(record))]


def _how_cut(record: Record) -> str:
    begun = record.begun
    if begun is None:
        return "Nothing was trained."
    if begun.accumulation_steps == 1:
        return f"{begun.effective} samples behind each update, at first in one micro-batch."
    parts = f"{begun.accumulation_steps} micro-batches of up to {begun.micro}"
    return f"{begun.effective} samples behind each update, at first in {parts}."


def _what_limited(record: Record) -> str:
    known = [seen for seen in record.observations if seen.headroom_bytes is not None]
    if not known:
        return what_limits(record.result) if record.result else "No memory was read."
    least = min(known, key=lambda seen: seen.headroom_bytes or 0)
    limit = least.limit or "memory"
    return (
        f"The {limit}. The least headroom seen was {format_bytes(least.headroom_bytes or 0)}, "
        f"{duration_words(least.at_s)} after the run began."
    )


def _how_fast_trained(record: Record) -> str:
    ends = sorted(epoch.at_s for epoch in record.epochs)
    each = [after - before for before, after in itertools.pairwise(ends)]
    told = [] if not each else [f"{duration_words(statistics.median(each))} an epoch (median)"]
    measured = speed(record.result) if record.result else None
    if measured is not None and record.result is not None:
        told.append(f"{measured:,.0f} samples/s in the trial of {record.result.batch_size}")
    return "; ".join(told) + "." if told else "No speed was measured."


def _what_changed(record: Record) -> str:
    if not record.decisions:
        return "Nothing: the micro-batch stayed as it was."
    sizes = [size for decision in record.decisions for size in (decision.before, decision.after)]
    count = len(record.decisions)
    times = "once" if count == 1 else f"{count} times"
    return f"The micro-batch changed {times}, between {min(sizes)} and {max(sizes)} samples."


def _how_it_ended(record: Record) -> str:
    ends = {
        "done": "As planned.",
        "interrupted": "It was interrupted.",
        "error": "By an error.",
        "unfinished": "It has no end: it is still running, or it was killed.",
    }
    last = _logs_words(record.epochs[-1]) if record.epochs else ""
    return f"{ends.get(record.outcome, record.outcome)} {last}".strip()


def _logs_words(epoch: Epoch) -> str:
    said = [f"{name} {value:.4g}" for name, value in epoch.logs.items() if "/" not in name and math.isfinite(value)]
    return f"After epoch {epoch.epoch + 1}: {', '.join(said)}." if said else ""
