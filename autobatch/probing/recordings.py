"""Recordings of a step at the first two sizes that are tried, and what they tell of larger ones."""

import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from autobatch.backend.base import Recording
from autobatch.memory.peak_model import Allocation, AllocationProfile

_ENOUGH = 2


class Recordings:
    """Records one step at each of the first two sizes.

    Args:
        make: Makes an empty recording, as `Measured.recording` does; `None` if nothing is to be recorded.
    """

    def __init__(self, make: Callable[[], Recording] | None) -> None:
        self._make = make
        self._open: tuple[int, Recording] | None = None
        self._kept: dict[int, Sequence[Allocation]] = {}

    def record(self, size: int) -> AbstractContextManager[Any]:
        """Where to run a step of `size` samples; it is recorded if that is still needed."""
        self._open = None
        if self._make is None or len(self._kept) == _ENOUGH or size in self._kept:
            return contextlib.nullcontext()
        recording = self._make()
        self._open = size, recording
        return recording

    def keep(self) -> None:
        """Reads what was recorded; call it once peaks have been read, for it takes memory itself."""
        if self._open is not None:
            size, recording = self._open
            self._open, self._kept[size] = None, recording.read()

    def moments(self) -> AllocationProfile | None:
        """What a step asks for at any size, `None` until that is known."""
        return AllocationProfile.of(*self._kept.items()) if len(self._kept) == _ENOUGH else None
