"""The lines of a training's log, read back into what they were."""

from collections.abc import Mapping
from typing import Any

from autobatch._text import unstyled
from autobatch.results.run import Decision, Seen

Values = Mapping[str, Any]


def seen_of(line: Values) -> Seen:
    """The reading of a line `observation`; what this process held is summed over all devices that say it."""
    held = [device.get("used_by_this_process_bytes") for device in line["devices"]]
    known = [int(count) for count in held if count is not None]
    return Seen(
        at_s=float(line["at_s"]),
        epoch=int(line["epoch"]),
        update=int(line["update"]),
        phase=str(line["phase"]),
        micro=int(line["micro"]),
        headroom_bytes=whole(line["headroom_bytes"]),
        rss_bytes=int(line["rss_bytes"]),
        device_bytes=sum(known) if known else None,
        budget_bytes=whole(line["budget_bytes"]),
        limit=text(line["limit"]),
    )


def decision_of(line: Values) -> Decision:
    """The decision of a line `decision`."""
    return Decision(
        epoch=int(line["epoch"]),
        update=int(line["update"]),
        phase=str(line["phase"]),
        before=int(line["before"]),
        after=int(line["after"]),
        reason=str(line["reason"]),
        at_s=float(line["at_s"]),
        headroom_bytes=whole(line["headroom_bytes"]),
        returned_bytes=whole(line["returned_bytes"]),
        held_bytes=whole(line["held_bytes"]),
    )


def unstyled_values(value: Any) -> Any:
    """The same values with no text in a terminal's colours: on a page those would be boxes and digits."""
    if isinstance(value, str):
        return unstyled(value)
    if isinstance(value, Mapping):
        return {key: unstyled_values(one) for key, one in value.items()}
    return [unstyled_values(one) for one in value] if isinstance(value, list | tuple) else value


def text(value: Any) -> str | None:
    """A value as text, if there is one."""
    return None if value is None else str(value)


def whole(value: Any) -> int | None:
    """A value as a whole number, if there is one."""
    return None if value is None else int(value)
