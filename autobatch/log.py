"""The library's logger: what happens while it works, for programs that want to hear of it.

A library says nothing unless it is asked: the logger has a handler that drops everything, so that Python's last resort
(warnings on stderr) does not apply. A program that configures `logging` gets every line, once, under the name
"autobatch".

What was chosen and inferred is told at level INFO; decisions under way, and what goes wrong, at WARNING.

Example:
    >>> logging.getLogger("autobatch").handlers
    [<NullHandler (NOTSET)>]
"""

import logging

__all__ = ["log"]

log = logging.getLogger("autobatch")
log.addHandler(logging.NullHandler())
