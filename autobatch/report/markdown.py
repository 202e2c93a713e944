"""Saved runs as Markdown: for an issue, a pull request, a notebook of an experiment.

Whatever a run holds (messages, notes, names of classes and files) is text and stays text: what Markdown or HTML would
take for markup is written as a character reference.
"""

import re
from collections.abc import Iterable, Sequence

from autobatch.report.runs import Record
from autobatch.report.summary import Answered, answers, comparison, headline, lead
from autobatch.report.tables import decisions_table, environment_rows
from autobatch.results.text import UNKNOWN, format_number, trial_rows
from autobatch.results.trial import Trial

MARKER = "<!-- autobatch report -->"
# Inside a word an underscore is one; at its edge it would begin to emphasise.
_MARKUP = re.compile(r"[&<>|`\\*\[\]~]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|[\x00-\x1f\x7f\ud800-\udfff]")
_FENCES = re.compile(r"`{3,}")


def markdown_page(records: Sequence[Record]) -> str:
    """The runs as one page of GitHub's Markdown, in their order, a comparison first where there are several."""
    overview = [] if len(records) == 1 else ["## All runs", _overview(records)]
    blocks = [MARKER, "# autobatch", *overview, *(block for record in records for block in _run(record))]
    return "\n\n".join(blocks) + "\n"


def escaped(text: object) -> str:
    r"""Text as Markdown shows it: one line, nothing in it taken for markup.

    Example:
        >>> escaped("</script> | a")
        '&lt;/script&gt; &#124; a'
    """
    return _MARKUP.sub(_reference, " ".join(str(text).split()))


def table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """A table, "" without rows; every row has as many columns as its head, whatever is in the cells.

    Example:
        >>> print(table(["size", "outcome"], [[8, "ran | well"]]))
        | size | outcome |
        | --- | --- |
        | 8 | ran &#124; well |
    """
    cells = [[escaped(cell) or UNKNOWN for cell in line] for line in (head, *rows)]
    cells.insert(1, ["---"] * len(head))
    return "\n".join(f"| {' | '.join(line)} |" for line in cells) if cells[2:] else ""


def _run(record: Record) -> list[str]:
    about = " · ".join(escaped(word) for word in (record.name, record.started_at) if word)
    error = [] if record.error is None else [f"**{escaped(record.error['kind'])}**: {escaped(record.error['message'])}"]
    decisions = decisions_table(record.decisions, most=len(record.decisions))
    return [
        f"## {escaped(headline(record))}",
        about,
        escaped(lead(record)),
        *error,
        *map(_answer, answers(record)),
        *_section("Trials", _trials(record.trials)),
        *_section("Decisions", table(decisions.head, decisions.rows)),
        *_section("Epochs", _epochs(record)),
        *_section("Notes", "\n".join(f"- {escaped(note)}" for note in record.notes)),
        *_section("Environment", table(["what", "value"], environment_rows(record.environment))),
        *_section("Command", "" if record.command is None else _fenced(record.command)),
    ]


def _section(title: str, body: str) -> list[str]:
    return [f"### {title}", body] if body else []


def _answer(answer: Answered) -> str:
    said = f"**{escaped(answer.question)}**: {escaped(answer.text)}".rstrip()
    return "\n\n".join([said, *map(_fenced, answer.code)])


def _fenced(code: str) -> str:
    """A block of code, between fences that are longer than any in it."""
    longest = max((len(found) for found in _FENCES.findall(code)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}\n{code}\n{fence}"


def _overview(records: Sequence[Record]) -> str:
    compared = [{"run": record.name, **comparison(record)} for record in records]
    return table(list(compared[0]), [list(row.values()) for row in compared]) if compared else "No run."


def _trials(trials: Sequence[Trial]) -> str:
    head, rows = trial_rows(trials)
    said = [(*row, trial.where, trial.detail or UNKNOWN) for row, trial in zip(rows, trials, strict=True)]
    return table([*head, "where", "detail"], said)


def _epochs(record: Record) -> str:
    names = list(dict.fromkeys(name for epoch in record.epochs for name in epoch.logs if "/" not in name))
    rows = [
        [epoch.epoch + 1, f"{epoch.at_s:.1f}", *(format_number(epoch.logs.get(name), ".4g") for name in names)]
        for epoch in record.epochs
    ]
    return table(["epoch", "seconds", *names], rows)


def _reference(found: re.Match[str]) -> str:
    named = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
    character = found[0]
    # What is no character of a text: a reference to it would not be one, either.
    if ord(character) < 32 or ord(character) == 127 or "\ud800" <= character <= "\udfff":
        return "\N{REPLACEMENT CHARACTER}"
    return named.get(character, f"&#{ord(character)};")
