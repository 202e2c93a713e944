"""A step is recorded at the first two sizes, and no more."""

import pytest

from autobatch.memory.peak_model import Allocation
from autobatch.probing.trials.measure import Recordings
from autobatch.testing import FakeRecording


def played(recordings, *sizes):
    for size in sizes:
        with recordings.record(size):
            pass
        recordings.keep()


def growing():
    """Recordings of one piece, 100 bytes larger each time."""
    made = []

    def make():
        made.append(FakeRecording((Allocation(0, 1, 100 * (len(made) + 1), "a"),)))
        return made[-1]

    return Recordings(make), made


def test_two_sizes_are_enough():
    recordings, made = growing()
    played(recordings, 2)
    assert recordings.profile() is None
    played(recordings, 2, 4, 8, 16)
    assert len(made) == 2
    profile = recordings.profile()
    assert profile is not None
    assert profile.at(8) == 400


def test_a_step_that_failed_is_recorded_again():
    """Seen to fail with the size noted when its recording begins."""
    recordings, made = growing()
    played(recordings, 2)
    with pytest.raises(MemoryError), recordings.record(4):
        raise MemoryError
    played(recordings, 3)
    assert len(made) == 3
    assert recordings.profile() is not None


def test_where_nothing_can_be_recorded_nothing_is_told():
    recordings = Recordings(FakeRecording)
    played(recordings, 2, 4, 8)
    assert recordings.profile() is None


def test_where_nothing_is_to_be_recorded_nothing_is():
    recordings = Recordings(None)
    played(recordings, 2, 4)
    assert recordings.profile() is None
