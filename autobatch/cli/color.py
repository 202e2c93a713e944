"""Whether to use colours."""

from collections.abc import Mapping
from typing import TextIO


def wants_color(environ: Mapping[str, str], stream: TextIO, *, asked: bool | None) -> bool:
    """Whether colours are wanted and possible.

    Args:
        environ: The environment.
        stream: Where they would go.
        asked: What the settings say, `None` if they say nothing; that stands over `NO_COLOR` (https://no-color.org).
    """
    if not stream.isatty() or environ.get("TERM") == "dumb":
        return False
    return not environ.get("NO_COLOR") if asked is None else asked
