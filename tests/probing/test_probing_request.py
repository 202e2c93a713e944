"""What a loader may read ahead: two updates, but neither next to nothing nor as much as there is."""

import pytest

from autobatch._text import MIB
from autobatch.probing.request import ProbeRequest, read_ahead_bytes


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


@pytest.mark.parametrize(
    ("cap", "effective", "group", "sizes"),
    [
        (64, 64, 16, (64, 32, 16)),
        (40, 64, 16, (32, 16)),
        (44, 44, 16, (44, 32, 16)),
        (8, 8, 16, (8,)),
        (50, None, 16, (48, 32, 16)),
        (10, None, 16, (10,)),
        (50, None, 1, ()),
    ],
)
def test_sizes_that_count_are_of_whole_groups(cap, effective, group, sizes):
    assert ProbeRequest("largest", cap, effective_batch_size=effective, group=group).rungs == sizes
