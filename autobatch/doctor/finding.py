"""One thing that was found, and what to do about it."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

State = Literal["ok", "warning", "problem"]
Group = Literal["framework", "devices", "memory", "allocators", "trials", "packages"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found.

    Attributes:
        group: What it belongs to.
        name: What was looked at.
        state: `ok`; `warning`, where something is missing and training works all the same; `problem`, where nothing can
            be trained.
        found: What it is, in a sentence.
        remedy: What to do about it; `None` where nothing is to be done.
    """

    group: Group
    name: str
    state: State
    found: str
    remedy: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns the finding as JSON-ready values."""
        return asdict(self)


def ok(group: Group, name: str, found: str) -> Finding:
    """Returns a finding that nothing is to be done about."""
    return Finding(group, name, "ok", found)


def warning(group: Group, name: str, found: str, remedy: str) -> Finding:
    """Returns a finding that something is missing."""
    return Finding(group, name, "warning", found, remedy)


def problem(group: Group, name: str, found: str, remedy: str) -> Finding:
    """Returns a finding that nothing can be trained."""
    return Finding(group, name, "problem", found, remedy)
