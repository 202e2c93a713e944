"""The name that was probably meant."""

from collections.abc import Iterable


def nearest(word: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """The most similar of some names, `None` if none is similar.

    Args:
        word: What was typed.
        known: What there is.
        cutoff: From 0 for anything to 1 for the same.

    Example:
        >>> nearest("max_batches", ["cache", "max_batch"])
        'max_batch'
    """
    from difflib import get_close_matches

    close = get_close_matches(word, list(known), n=1, cutoff=cutoff)
    return close[0] if close else None


def did_you_mean(name: str | None) -> str:
    """A name as a sentence that follows another one; nothing without one."""
    return "" if name is None else f" Did you mean {name}?"
