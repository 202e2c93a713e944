"""What a run came to, in sentences: the first paragraph of each report."""

import itertools
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from autobatch._text import format_bytes, format_count, format_duration
from autobatch.report.runs import Begun, Epoch, Record
from autobatch.results.text import format_number, how_big, how_fast, what_limits


@dataclass(frozen=True, slots=True)
class Answered:
    """A question with its answer; `code` is to be copied as it stands."""

    question: str
    text: str
    code: tuple[str, ...] = ()


def _fit_headline(record: Record) -> str:
    begun, count = record.begun, len(record.epochs)
    if begun is None:
        return "The training did not begin"
    epochs = format_count(count, "epoch")
    said = {
        "done": f"Trained {epochs}",
        "interrupted": f"Interrupted after {epochs}",
        "error": f"Ended by an error after {epochs}",
        "unfinished": f"{epochs} so far",
    }
    return f"{said.get(record.outcome, epochs)}, {begun.effective_batch_size} samples an update"


def _of_training(record: Record, begun: Begun) -> list[Answered]:
    told = [Answered("Batch size", _how_cut(begun))]
    if record.result is not None:
        told += [Answered("Why this size", " ".join(record.result.reasons) or "No reason is kept.")]
    told += [Answered("Memory", _what_limited(record)), Answered("Throughput", _how_fast_trained(record))]
    return [*told, Answered("Changes", _what_changed(record)), Answered("End", _how_it_ended(record))]


def _how_cut(begun: Begun) -> str:
    if begun.accumulation_steps == 1:
        return f"{begun.effective_batch_size} samples behind each update, at first in one micro-batch."
    parts = f"{begun.accumulation_steps} micro-batches of up to {begun.micro_batch_size}"
    return f"{begun.effective_batch_size} samples behind each update, at first in {parts}."


def _what_limited(record: Record) -> str:
    known = [seen for seen in record.observations if seen.headroom_bytes is not None]
    if not known:
        return what_limits(record.result) if record.result else "No memory was read."
    least = min(known, key=lambda seen: seen.headroom_bytes or 0)
    return (
        f"The {least.limit or 'memory'}. The least headroom seen was {format_bytes(least.headroom_bytes or 0)}, "
        f"{format_duration(least.at_s)} after the run began."
    )


def _how_fast_trained(record: Record) -> str:
    ends = sorted(epoch.at_s for epoch in record.epochs)
    each = [after - before for before, after in itertools.pairwise(ends)]
    told = [f"{format_duration(statistics.median(each))} an epoch (median)"] if each else []
    proof = record.result.proof if record.result else None
    if proof is not None and proof.samples_per_s is not None:
        told.append(f"{proof.samples_per_s:,.0f} samples/s in the trial of {proof.size}")
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


_NEXT_QUESTION = "What to type next"

_ENDED = {
    "usage": ("Nothing was started", "An argument, the model or the data cannot be used as given."),
    "does_not_fit": ("Not even one sample fits", "No size is safe, so none is given."),
    "device_missing": ("The device is missing", "What was asked for is not on this machine."),
    "inconclusive": ("The trials gave no answer", "No size is claimed to be safe."),
    "foreign_error": ("The model raised an error of its own", "It is not about memory, and any size would meet it."),
    "timeout": ("Time ran out", "The trials had not come to an answer by the deadline."),
    "interrupted": ("Interrupted", "The trials had not come to an answer when they were stopped."),
}

_NEXT = {
    "usage": "Mend what the message names, and run the command again.",
    "does_not_fit": "Free memory, take a smaller model or smaller pictures, or leave less free, and run it again.",
    "device_missing": "autobatch doctor says which devices were found; or run it without asking for one.",
    "inconclusive": "The table of trials says how each of them ended; autobatch doctor checks what they stand on.",
    "foreign_error": "Mend the error that the message names, and run the command again.",
    "timeout": "Give it more time, and run it again.",
    "interrupted": "Run the command again.",
}


def is_good(record: Record) -> bool:
    """Whether the run ended as it was meant to, or is still at it."""
    return record.outcome in ("found", "done", "unfinished")


def headline(record: Record) -> str:
    if record.kind == "fit":
        return _fit_headline(record)
    if record.result is not None:
        return f"Batch size {record.result.samples_per_update}"
    return _ENDED.get(record.outcome, (f"Ended with {record.outcome!r}", ""))[0]


def lead(record: Record) -> str:
    """One line under the headline: what the size needs and what finding it took, or what the end means."""
    if record.result is not None:
        return record.result.summary()
    if record.kind == "fit":
        return "No size was found, so nothing was trained."
    meaning = _ENDED.get(record.outcome, ("", ""))[1]
    if record.best_so_far is None:
        return meaning
    return f"{meaning} The largest size that had run within the budget by then: {record.best_so_far}."


def answers(record: Record) -> list[Answered]:
    found = _of_probe(record) if record.begun is None else _of_training(record, record.begun)
    return [*found, *_next(record)]


def _of_probe(record: Record) -> list[Answered]:
    result = record.result
    if result is None:
        return []
    return [
        Answered("Batch size", how_big(result)),
        Answered("Why this size", " ".join(result.reasons) or "No reason is kept."),
        Answered("Memory", _unlabelled(what_limits(result))),
        Answered("Throughput", _unlabelled(how_fast(result))),
    ]


def _unlabelled(sentence: str) -> str:
    """The sentence without the word that the page has as its heading."""
    return sentence.partition(": ")[2]


def _next(record: Record) -> list[Answered]:
    if record.kind == "fit":
        return _next_of_fit(record)
    if record.result is None:
        line = record.next or record.command
        said = _NEXT.get(record.outcome, "The message says what happened.")
        return [Answered(_NEXT_QUESTION, said, (line,) if line else ())]
    in_python = f"autobatch.fit(model, data, batch_size={record.result.samples_per_update})"
    if record.next is not None and record.next.startswith("autobatch "):
        return [Answered(_NEXT_QUESTION, "In a shell, or in Python:", (record.next, in_python))]
    return [Answered(_NEXT_QUESTION, "In Python:", (record.next or in_python,))]


def _next_of_fit(record: Record) -> list[Answered]:
    if record.command is None or record.outcome == "done":
        return []
    said = "Begin it again as it was; with a checkpoint it goes on from there."
    if record.begun is None:
        said = "Mend what the message names, and run it again."
    return [Answered(_NEXT_QUESTION, said, (record.command,))]


def comparison(record: Record) -> Mapping[str, str]:
    result = record.result
    proof, name, peak = (result.proof, result.binding, "-") if result else (None, None, "-")
    if result and name:
        peak = f"{format_bytes(result.peaks[name])} of {format_bytes(result.budgets[name])}"
    return {
        "kind": "training" if record.kind == "fit" else "probe",
        "outcome": record.outcome.replace("_", " "),
        "size": _size_words(record),
        "peak": peak,
        "speed": "-" if proof is None else format_number(proof.samples_per_s, ",.0f"),
        "changes": str(len(record.decisions)) if record.kind == "fit" else "-",
    }


def _size_words(record: Record) -> str:
    if record.begun is not None:
        return str(record.begun.effective_batch_size)
    if record.result is not None:
        return str(record.result.samples_per_update)
    return "-" if record.best_so_far is None else f"{record.best_so_far} so far"
