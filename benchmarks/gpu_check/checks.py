"""All checks, in the order of their worth: what is due first is run first where time is short."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class Check:
    """One check.

    Attributes:
        name: What it is called on the command line; "faults" means all of `faults.*`.
        title: For people.
        asks: What it answers.
        program: Its file, without the ending.
        words: What the program is given besides where to write, its form and its stage.
        deadline_s: After which its full form is ended.
        quick_deadline_s: The same of its quick form.
        needs: What must be there for it to be run: keys of `needs.NEEDS`.
    """

    name: str
    title: str
    asks: str
    program: str
    words: tuple[str, ...] = ()
    deadline_s: float = 300
    quick_deadline_s: float = 150
    needs: tuple[str, ...] = ("gpu",)

    def path(self, folder: Path = FOLDER) -> Path:
        """Where its program is."""
        return folder / f"{self.program}.py"

    def limit_s(self, *, quick: bool) -> float:
        """Its deadline in a form."""
        return self.quick_deadline_s if quick else self.deadline_s


CHECKS: tuple[Check, ...] = ()


def select(checks: Iterable[Check], words: Iterable[str] | None) -> list[Check]:
    """The checks that some words name, in the order of the list; all if there are no words.

    Example:
        >>> some = [Check(name, "", "", "") for name in ("readings", "faults.cycles", "faultless")]
        >>> [one.name for one in select(some, ["faults"])]
        ['faults.cycles']
    """
    wanted = None if words is None else set(words)
    return [one for one in checks if wanted is None or wanted & set(_names(one))]


def names(checks: Iterable[Check]) -> list[str]:
    """All words that name a check or several."""
    return list(dict.fromkeys(name for one in checks for name in _names(one)))


def _names(check: Check) -> list[str]:
    """A check's own name and those of the families it is in."""
    pieces = check.name.split(".")
    return [".".join(pieces[:count]) for count in range(1, len(pieces) + 1)]
