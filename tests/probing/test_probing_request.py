"""What a loader may read ahead: two updates, but neither next to nothing nor as much as there is."""

import pytest

from autobatch._text import MIB
from autobatch.probing.request import read_ahead_bytes


@pytest.mark.parametrize(
    ("effective", "sample_bytes", "expected"),
    [
        (64, MIB // 8, 16 * MIB),
        (1, 8, 16 * MIB),
        (65, MIB // 8, 16 * MIB + MIB // 4),
        (256, MIB // 8, 64 * MIB),
        (64, 4 * MIB, 64 * MIB),
        (None, 8, 64 * MIB),
    ],
)
def test_two_updates_are_read_ahead_within_bounds(effective: int | None, sample_bytes: int, expected: int) -> None:
    assert read_ahead_bytes(effective, sample_bytes) == expected
