"""The GPU that steps run on, as the framework has set it up."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Accelerator:
    """The GPU that steps run on, and what the framework's allocator does there now.

    Attributes:
        name: How the framework calls it, among those that it uses: "GPU:0".
        number: Its number as the driver counts those that this process may use: k of "GPU:k" in a reading.
        in_use_bytes: What tensors take of it.
        limit_bytes: The most that its allocator may take, `None` where nobody has set a limit.
        grows: Whether its allocator takes memory as it needs it, instead of all of it at its start.
    """

    name: str
    number: int
    in_use_bytes: int = 0
    limit_bytes: int | None = None
    grows: bool = True
